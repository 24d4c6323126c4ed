"""Whether the images of loaders suit a network and its weights; they are normalized as these."""

import warnings
from contextlib import suppress
from typing import Any, cast

import torch
from torch import Tensor, nn

from learnlite.data import DataLoaders
from learnlite.seeds import kept_rng
from learnlite.types import counted
from learnlite.vision.batch_tfms import BatchTfms, Normalize
from learnlite.vision.loaders import BlockLoaders
from learnlite.vision.models.flow import NotTraced, first_line, output_shape

Stats = tuple[tuple[float, ...], tuple[float, ...]]

_CLOSE = 0.02  # of a channel's range: a mean that differs by less changes nothing to be seen


class SizeError(ValueError):
    """Images of this size do not go through a network: `fault` says so, `size` is one that does."""

    def __init__(self, fault: str, size: int | None) -> None:
        super().__init__(fault, size)
        self.fault = fault
        self.size = size

    def __str__(self) -> str:
        by = f": `item_tfms=Resize({self.size})`" if self.size else ""
        return f"{self.fault}; resize them{by}"


def one_image(dls: DataLoaders) -> Tensor | None:
    """The first image as the model gets it, (1, channels, height, width); None if there is none."""
    i = min(1, len(dls) - 1)
    batch: Any = None
    with suppress(Exception), kept_rng(dls.device):  # what is wrong with the data, a fit tells
        if isinstance(dls, BlockLoaders):
            dataset: Any = dls[i].dataset
            parts = tuple(part.to(dls.device) for part in dataset.collate([dataset[0]]))
            batch = dls.transformed(parts, training=False)
        else:
            batch = dls.one_batch(i)
        x = batch[0] if isinstance(batch, tuple | list) else dls.split(batch)[0]
        if isinstance(x, Tensor) and x.ndim == 4:
            return x[:1]
    return None


def check_image(image: Tensor, n_in: int) -> None:
    """Raise a ValueError if images have another number of channels than the network takes."""
    if image.shape[1] != n_in:
        has = counted(image.shape[1], "channel")
        raise ValueError(
            f"the images have {has}, but the network takes {n_in}; pass `n_in={image.shape[1]}`"
            + (", or open them in colour: `ImageBlock(PILImage)`" if image.shape[1] == 1 else "")
        )


def check_size(model: nn.Module, image: Tensor, name: str, size: int | None) -> None:
    """Raise a ValueError if an image of this size does not go through the network.

    If it goes through the first of two parts, the second is at fault: a head of the user's.
    """
    height, width = image.shape[-2:]
    try:
        output_shape(model, image.shape[1], (height, width))
    except NotTraced as error:
        fault = first_line(error.__cause__ or error)
        with suppress(NotTraced):
            body, _ = cast(nn.Sequential, model)
            shape = output_shape(body, image.shape[1], (height, width))
            if shape is not None:
                raise ValueError(_no_head(name, shape, fault)) from error
        wanted = f"images of {size} pixels" if size else "others"
        raise SizeError(
            f"images of {height} x {width} pixels do not go through `{name}`, which takes "
            f"{wanted} ({fault})",
            size,
        ) from error


def _no_head(name: str, shape: tuple[int, ...], fault: str) -> str:
    features = counted(shape[1], "map" if len(shape) == 4 else "feature")
    size = f" of {shape[2]} x {shape[3]}" if len(shape) == 4 else ""
    pool = "" if len(shape) == 4 else ", pool=False"
    return (
        f"`custom_head` does not take what the body of `{name}` gives of an image, {features}"
        f"{size} ({fault}); give one that does, as `create_head({shape[1]}, n_out{pool})` makes"
    )


def normalize_as(dls: DataLoaders, stats: Stats, label: str, n_in: int) -> str:
    """Normalize batches of `dls` by `stats`, unless they are already; tells what is done."""
    if n_in != len(stats[0]):
        return f"images of {counted(n_in, 'channel')} are left as they are"
    given = _normalize_of(dls)
    if given is not None:
        if _differs(given, stats):
            warnings.warn(
                f"the images are normalized by other means than those of the weights {label} "
                f"({_listed(stats[0])}, deviations {_listed(stats[1])}); leave `Normalize` out of "
                "`batch_tfms`, and they are normalized as the weights want it",
                stacklevel=4,
            )
            return "images are normalized as `batch_tfms` says"
        return "images are normalized as theirs were"
    if not dls.kinds:
        fault = _adopt(dls)
        if fault:
            return fault
    _append(dls, Normalize.from_stats(*stats))
    return "images are normalized as theirs were"


def _normalize_of(dls: DataLoaders) -> Normalize | None:
    tfms: list[Any] = [each for tfm in dls.batch_tfms for each in _parts(tfm)]
    return next((tfm for tfm in tfms if isinstance(tfm, Normalize)), None)


def _parts(tfm: Any) -> list[Any]:
    return list(tfm.tfms) if isinstance(tfm, BatchTfms) else [tfm]


def _append(dls: DataLoaders, normalize: Normalize) -> None:
    for i, tfm in enumerate(dls.batch_tfms):
        if isinstance(tfm, BatchTfms):
            dls.batch_tfms[i] = BatchTfms([*tfm.tfms, normalize])
            return
    dls.batch_tfms.append(BatchTfms(normalize))


def _adopt(dls: DataLoaders) -> str:
    """Find out whether plain loaders give images that are not normalized; else say what they give.

    Then `dls.kinds` tells that their first elements are images.
    """
    batch = dls.one_batch()
    x: Any = batch[0] if isinstance(batch, tuple | list) and batch else None
    if not isinstance(x, Tensor) or x.ndim != 4:
        return "the loaders' batches are left as they are"
    low, high = torch.stack(torch.aminmax(x.detach().float())).tolist()  # host sync: once
    if x.is_floating_point() and (low < 0 or high > 1):
        return f"the loaders' images, from {low:.1f} to {high:.1f}, count as normalized"
    dls.kinds = ("image",)
    return ""


def _differs(given: Normalize, stats: Stats) -> bool:
    if given.mean is None or given.std is None:
        return False  # not set up yet: then nothing is known of it
    ours = torch.tensor(stats)
    theirs = torch.stack([t.flatten().expand(ours.shape[1]) for t in (given.mean, given.std)])
    return bool((ours - theirs).abs().max() > _CLOSE)


def _listed(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.3g}" for value in values)
