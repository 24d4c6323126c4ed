"""Single items of a loader by their numbers, as batches that a model gets."""

from collections.abc import Sequence
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset, default_collate

from learnlite.data import DataLoaders
from learnlite.data.batch import batch_size, map_batch, move
from learnlite.data.in_order import in_order
from learnlite.data.loader import Loader
from learnlite.data.single import row_of
from learnlite.plots import grid
from learnlite.seeds import kept_rng
from learnlite.types import Batch


@runtime_checkable
class ShowsItems(Protocol):
    """Loaders that can draw items of a batch that the model gets."""

    def show_batch(self, batch: Any = None, max_n: int = 9, **settings: Any) -> Any: ...


@runtime_checkable
class ShowsResults(Protocol):
    """Loaders that can draw items of a batch with what they are and what is predicted."""

    def show_results(
        self, batch: Any, decoded: Any, max_n: int = 9, **settings: Any
    ) -> Sequence[Any]: ...


@runtime_checkable
class DecodesBatches(Protocol):
    """Loaders that can read a batch that the model gets as people do."""

    def decode_batch(self, batch: Any, max_n: int = 9) -> Sequence[tuple[Any, ...]]: ...


class Rows:
    """The items of a loader in the data's order, each found again by its number.

    >>> dls = DataLoaders.from_tensors(torch.arange(10.0), torch.arange(10), valid_pct=0.3, bs=2)
    >>> rows = Rows(dls, dls.valid)
    >>> len(rows.batch([2, 0])[0])
    2
    """

    def __init__(self, dls: DataLoaders, loader: Any) -> None:
        self.dls = dls
        self.loader = in_order(loader)
        """It gives all items once, in order, without augmentation."""

    def batch(self, indices: Sequence[int]) -> Batch:
        """A batch of these items on the device, as the model gets it in validation."""
        with kept_rng(self.dls.device):
            batch = move(self._raw(indices), self.dls.device)
            return self.dls.transformed(batch, training=False)

    def source(self, i: int) -> Any:
        """What item `i` is made of, as a path, if the dataset keeps it; else its number."""
        items = getattr(getattr(self.loader, "dataset", None), "items", None)
        return items[self._place(i)] if isinstance(items, Sequence) else i

    def show(self, indices: Sequence[int], titles: Sequence[str], **settings: Any) -> Any:
        """Draw these items with their targets; gives the axes."""
        batch = self.batch(indices)
        if isinstance(self.dls, ShowsItems):
            panels = self.dls.show_batch(batch, max_n=len(indices), **settings)
        else:
            panels = _draw(self.dls.split(batch)[0], **settings)
        for panel, title in zip(panels, titles, strict=False):
            panel.set_title(title, fontsize=9)
        return panels

    def show_results(
        self, indices: Sequence[int], decoded: Any, notes: Sequence[str], **settings: Any
    ) -> Any:
        """Draw these items with targets and predictions as `learn.show_results`, and a note each.

        None where the loaders do not know how.
        """
        if not isinstance(self.dls, ShowsResults):
            return None
        rows = [row_of(decoded, i) for i in indices]
        stacked = (
            tuple(torch.stack(part) for part in zip(*rows, strict=True))
            if isinstance(decoded, tuple)
            else torch.stack(rows)
        )
        panels = self.dls.show_results(self.batch(indices), stacked, max_n=len(indices), **settings)
        times = len(panels) // len(indices)  # pictures of each item
        for i, note in enumerate(notes):
            first = panels[times * i]
            told = first.get_title()
            # beside others the note stands above what the picture is, else below what it says
            lines = [told, note] if times == 1 else [note, told]
            first.set_title("\n".join(line for line in lines if line), fontsize=9)
            for panel in panels[times * i + 1 : times * (i + 1)]:
                panel.set_title(panel.get_title(), fontsize=9)
        return panels

    def images(self, indices: Sequence[int]) -> list[Tensor | None]:
        """The images of these items, of 0 to 1; None for what is no image."""
        batch = self.batch(indices)
        if isinstance(self.dls, DecodesBatches):
            firsts = [item[0] for item in self.dls.decode_batch(batch, len(indices))]
        else:
            inputs = self.dls.split(batch)[0]
            firsts = _as_images(inputs[0] if isinstance(inputs, tuple) else None, len(indices))
        return [x if isinstance(x, Tensor) and x.ndim == 3 else None for x in firsts]

    def _raw(self, indices: Sequence[int]) -> Batch:
        loader = self.loader
        if isinstance(loader, Loader):
            some = Subset(loader.dataset, list(indices))
            return loader.like(some, bs=len(indices), num_workers=0).raw_batch()
        if type(loader) is DataLoader and hasattr(loader.dataset, "__getitem__"):
            collate = loader.collate_fn or default_collate
            return collate([loader.dataset[self._place(i)] for i in indices])
        return _picked(loader, indices)

    def _place(self, i: int) -> int:
        """The index in the dataset: another one where a sampler of torch's chooses."""
        sampler = getattr(self.loader, "sampler", None)
        return cast(list[int], sampler)[i] if isinstance(sampler, list) else i


def _picked(loader: Any, indices: Sequence[int]) -> Batch:
    """The rows of a list of batches, or of a stream, which has to be read for it."""
    found: dict[int, Any] = {}
    begun = 0
    for batch in loader:
        n = batch_size(batch)
        for i in indices:
            if begun <= i < begun + n:
                found[i] = map_batch(batch, lambda part, at=i - begun: part[at : at + 1])
        begun += n
        if len(found) == len(set(indices)):
            break
    return _joined([found[i] for i in indices])


def _joined(batches: Sequence[Any]) -> Any:
    first = batches[0]
    if isinstance(first, Tensor):
        return torch.cat(list(batches))
    if isinstance(first, dict):
        return {key: _joined([batch[key] for batch in batches]) for key in first}
    return type(first)(_joined(parts) for parts in zip(*batches, strict=True))


def _draw(inputs: Any, nrows: Any = None, ncols: Any = None, figsize: Any = None) -> Any:
    """Inputs that have the shape of images, drawn as such."""
    image = inputs[0] if isinstance(inputs, tuple) else None
    images = _as_images(image, len(image) if isinstance(image, Tensor) else 1)
    if images[0] is None:
        given = f"{tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
        raise TypeError(
            f"these inputs are no images to draw: a batch of them is {given}; "
            "`top_losses()` and `most_confused()` give the numbers of the items"
        )
    panels = grid(len(images), nrows, ncols, figsize)
    for panel, one in zip(panels, images, strict=True):
        panel.imshow(cast(Tensor, one).permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray")
        panel.axis("off")
    return panels


def _as_images(batch: Any, n: int) -> Sequence[Tensor | None]:
    """Inputs that have the shape of images as numbers from 0 to 1, black what is least in each."""
    if not isinstance(batch, Tensor) or batch.ndim != 4 or batch.shape[1] not in (1, 3):
        return [None] * n
    pixels = batch.detach().float().cpu()
    low, high = pixels.amin((1, 2, 3), keepdim=True), pixels.amax((1, 2, 3), keepdim=True)
    return list((pixels - low) / (high - low).clamp_min(1e-6))
