"""Transforms of whole batches on the device, put together so that each pixel is read once.

A batch transform is called as `tfm(batch, kinds, training)`: `kinds` says for each element of the
batch what it is, "image", "mask", "points", "boxes" or None, and only those that are meant change.
Images come as bytes or floats and leave as floats. Points and boxes are in pixels, counted from
the outer edge of the image: the first pixel lies between 0 and 1.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from inspect import isfunction, signature
from typing import Any, Protocol, Self, cast, runtime_checkable

import torch
from torch import Tensor

from learnlite.shapes import shape_of
from learnlite.types import BatchTransform, counted
from learnlite.vision.fuse import (
    FusedTransform,
    PixelOp,
    PixelTransform,
    SpaceTransform,
    on_images,
    to_unit,
)

Batch = tuple[Tensor, ...]
Kinds = tuple[str | None, ...]

imagenet_stats = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
cifar_stats = ([0.491, 0.482, 0.447], [0.247, 0.243, 0.261])
mnist_stats = ([0.131], [0.308])


@runtime_checkable
class _SetUp(Protocol):
    def setup(self, batch: Batch, kinds: Kinds) -> None: ...


@runtime_checkable
class _Decodes(Protocol):
    def decode(self, batch: Batch, kinds: Kinds) -> Batch: ...


class BatchTfms:
    """Batch transforms in a row; neighbours that move pixels share one interpolation.

    They run by their `order`: first what moves pixels, then light and colours, then `Normalize`,
    then `RandomErasing`. One without an `order` stays behind the one it was given after.

    >>> from learnlite.vision.affine import Flip, Rotate
    >>> tfms = BatchTfms([Normalize.from_stats(*mnist_stats), Rotate(20), Flip()])
    >>> images = torch.randint(256, (4, 1, 28, 28), dtype=torch.uint8)
    >>> x, y = tfms((images, torch.zeros(4)), ("image", None), training=True)
    >>> x.dtype, x.shape
    (torch.float32, torch.Size([4, 1, 28, 28]))
    """

    def __init__(self, tfms: Iterable[Any] | BatchTransform | None = None) -> None:
        self.tfms = tuple(_in_order(_flat(tfms)))
        self._stages = _stages(self.tfms)

    @torch.no_grad()
    def __call__(self, batch: Any, kinds: Kinds | None = None, training: bool = True) -> Any:
        """The batch after all of them; images alone, or one image, need no `kinds`."""
        if kinds is None:
            return on_images(self, batch, training)
        if len(batch) != len(kinds):
            raise ValueError(
                f"the batch has {len(batch)} elements but `kinds` tells of {len(kinds)}; "
                "give one kind, or None, for each element"
            )
        for stage in self._stages:
            try:
                new = stage(batch, kinds, training)
            except Exception as error:
                parts = ", ".join(map(_told, batch, kinds))
                error.add_note(f"while the batch transform `{_name(stage)}` changed {parts}")
                raise
            batch = _checked(new, stage, len(kinds))
        return batch

    @torch.no_grad()
    def setup(self, batch: Batch, kinds: Kinds) -> None:
        """Let each transform learn from a batch, as validation sees it: `Normalize()` its means."""
        for i, tfm in enumerate(self.tfms):
            if isinstance(tfm, _SetUp):
                tfm.setup(BatchTfms(self.tfms[:i])(batch, kinds, False), kinds)

    @torch.no_grad()
    def decode(self, batch: Batch, kinds: Kinds) -> Batch:
        """The batch to look at: what can be undone, as `Normalize`, is undone.

        >>> tfms = BatchTfms(Normalize([0.5], [0.25]))
        >>> tfms.decode((torch.zeros(1, 1, 1, 1),), ("image",))
        (tensor([[[[0.5000]]]]),)
        """
        for tfm in reversed(self.tfms):
            if isinstance(tfm, _Decodes):
                batch = tfm.decode(batch, kinds)
        return batch

    def __repr__(self) -> str:
        return f"BatchTfms([{', '.join(repr(tfm) for tfm in self.tfms)}])"


class IntToFloatTensor:
    """Images of bytes as floats from 0 to 1, masks as the integers that losses want.

    The other transforms here take bytes themselves, and more quickly, so this one runs after
    `Normalize`, and images that are floats already stay. With another `div` it runs first, for
    images of 16 bits.

    >>> batch = torch.full((1, 1, 1, 1), 255, dtype=torch.uint8), torch.tensor([[[0, 255]]])
    >>> IntToFloatTensor(div_mask=255)(batch, ("image", "mask"), training=True)
    (tensor([[[[1.]]]]), tensor([[[0, 1]]]))
    """

    def __init__(self, div: float = 255.0, div_mask: int = 1) -> None:
        self.div = div
        self.div_mask = div_mask
        self.order = 99.5 if div == 255 else 10.0

    def __call__(self, batch: Any, kinds: Kinds | None = None, training: bool = True) -> Any:
        if kinds is None:
            return on_images(self, batch, training)
        return tuple(self._converted(x, kind) for x, kind in zip(batch, kinds, strict=True))

    def _converted(self, x: Tensor, kind: str | None) -> Tensor:
        if kind == "image" and not x.is_floating_point():
            return x.float().div_(self.div)
        if kind == "mask":
            whole = x.long()
            return whole if self.div_mask == 1 else whole // self.div_mask
        return x

    def __repr__(self) -> str:
        return f"IntToFloatTensor(div={self.div}, div_mask={self.div_mask})"


class Normalize(PixelTransform):
    """Images with a mean of 0 and a standard deviation of 1 in each channel, over the data.

    `Normalize()` takes both from the batch that its `setup` is shown.

    >>> x = torch.tensor([[[[0.0, 1.0]]]])
    >>> Normalize([0.5], [0.25])((x,), ("image",), training=False)
    (tensor([[[[-2., 2.]]]]),)
    """

    order = 99

    def __init__(
        self,
        mean: Sequence[float] | Tensor | None = None,
        std: Sequence[float] | Tensor | None = None,
    ) -> None:
        if (mean is None) != (std is None):
            raise ValueError(
                "`Normalize` needs both `mean` and `std`, or neither; got one; of a pair give both "
                "with a star: `Normalize(*imagenet_stats)`"
            )
        self.mean = None if mean is None else _channels(mean)
        self.std = None if std is None else _channels(std)
        if self.mean is not None and self.std is not None:
            if self.mean.shape != self.std.shape:
                raise ValueError(
                    f"`mean` and `std` need a number for each channel, got {self.mean.numel()} "
                    f"and {self.std.numel()}"
                )
            if not bool((self.std > 0).all()):
                raise ValueError(f"`std` must be above 0, got {self.std.flatten().tolist()}")
        self._there: dict[torch.device, tuple[Tensor, Tensor]] = {}

    @classmethod
    def from_stats(
        cls, mean: Sequence[float] | Tensor, std: Sequence[float] | Tensor | None = None
    ) -> Self:
        """By known statistics: `Normalize.from_stats(*imagenet_stats)`."""
        if std is None:
            raise TypeError(
                "`from_stats` takes the means and the deviations: with a star, as "
                "`Normalize.from_stats(*imagenet_stats)`"
            )
        return cls(mean, std)

    @torch.no_grad()
    def setup(self, batch: Batch, kinds: Kinds) -> None:
        """Take mean and standard deviation from the images of a batch, if none were given."""
        if self.mean is not None:
            return
        for x, kind in zip(batch, kinds, strict=True):
            if kind == "image":
                std, mean = torch.std_mean(to_unit(x), (0, 2, 3), keepdim=True)
                self.mean, self.std = mean.cpu(), std.cpu() + 1e-7
                return
        raise ValueError(f"`Normalize()` needs a batch with images, got the kinds {kinds}")

    def operation(self, x: Tensor, training: bool) -> PixelOp:
        return _Standardize(*self._stats(x))

    @torch.no_grad()
    def decode(self, batch: Batch, kinds: Kinds) -> Batch:
        """The images as they were before."""
        return tuple(
            self._decoded(x) if kind == "image" else x for x, kind in zip(batch, kinds, strict=True)
        )

    def _decoded(self, x: Tensor) -> Tensor:
        mean, std = self._stats(x)
        return x * std + mean

    def _stats(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.mean is None or self.std is None:
            raise RuntimeError(
                "`Normalize()` has no mean and standard deviation yet: call `setup(batch, kinds)`, "
                "or give them, for example `Normalize.from_stats(*imagenet_stats)`"
            )
        if x.device not in self._there:  # one copy to the device, not one for each batch
            self._there[x.device] = self.mean.to(x.device), self.std.to(x.device)
        return self._there[x.device]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_there": {}}

    def __repr__(self) -> str:
        if self.mean is None or self.std is None:
            return "Normalize()"
        mean, std = (
            ", ".join(f"{value:.4g}" for value in part.flatten().tolist())
            for part in (self.mean, self.std)
        )
        return f"Normalize([{mean}], [{std}])"


class _Standardize:
    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self.mean = mean
        self.std = std

    def __call__(self, x: Tensor, rows: slice | Tensor) -> Tensor:
        if self.mean.shape[1] not in (1, x.shape[1]):
            raise ValueError(
                f"`Normalize` has {self.mean.shape[1]} means, but the images have {x.shape[1]} "
                "channels; give a mean and a standard deviation for each channel"
            )
        return x.sub_(self.mean).div_(self.std)

    def then(self, following: PixelOp) -> PixelOp | None:
        return None


def _checked(new: Any, stage: BatchTransform, n: int) -> Batch:
    if isinstance(new, tuple | list) and len(cast(Sequence[Any], new)) == n:
        return tuple(cast(Sequence[Any], new))
    count = f" of {len(cast(Sequence[Any], new))}" if isinstance(new, tuple | list) else ""
    raise TypeError(
        f"the batch transform `{_name(stage)}` must return the batch, a tuple of {n} elements, "
        f"got a `{type(new).__name__}`{count}"
    )


def _told(x: Any, kind: str | None) -> str:
    if not isinstance(x, Tensor):
        return f"a `{type(x).__name__}`"
    return f"{kind or 'a tensor'} {shape_of(x)} of {str(x.dtype).removeprefix('torch.')}"


def _name(tfm: BatchTransform) -> str:
    return getattr(tfm, "__name__", None) or repr(tfm)


def _channels(values: Sequence[float] | Tensor) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32).reshape(1, -1, 1, 1)


def _flat(tfms: Any) -> list[BatchTransform]:
    if tfms is None:
        return []
    if isinstance(tfms, BatchTfms):
        return list(tfms.tfms)
    if isinstance(tfms, Iterable) and not callable(tfms):
        return [tfm for part in cast(Iterable[Any], tfms) for tfm in _flat(part)]
    _check_callable(tfms)
    return [cast(BatchTransform, tfms)]


def _is_ours(function: Any) -> bool:
    """Whether it is a function of this library with a name; code of `exec` is of no module."""
    return (function.__module__ or "").startswith("learnlite.") and "<" not in function.__qualname__


def _check_callable(tfm: Any) -> None:
    form = "a batch transform is called as `tfm(batch, kinds, training)`"
    if isinstance(tfm, type):
        name = tfm.__name__
        raise TypeError(f"{form}, got the class `{name}`; call it: `{name}(…)`")
    if not callable(tfm):
        raise TypeError(f"{form}, got {tfm!r}")
    if isfunction(tfm) and _is_ours(tfm):
        name = tfm.__name__
        raise TypeError(f"`{name}` makes transforms, and is none; call it: `{name}(…)`")
    with suppress(ValueError):  # one of C does not tell what it takes
        found = signature(tfm)
        try:
            found.bind(None, None, None)
        except TypeError:
            takes = counted(len(found.parameters), "argument")
            raise TypeError(
                f"{form}, and `{_name(cast(Any, tfm))}` takes {takes}; one for images alone is "
                "`lambda batch, kinds, training: (function(batch[0]), *batch[1:])`"
            ) from None


def _in_order(tfms: list[BatchTransform]) -> list[BatchTransform]:
    orders: list[float] = []
    for tfm in tfms:
        orders.append(getattr(tfm, "order", orders[-1] if orders else 0))
    return [tfms[i] for i in sorted(range(len(tfms)), key=orders.__getitem__)]


def _stages(tfms: Sequence[BatchTransform]) -> list[BatchTransform]:
    """The transforms with neighbours fused: what moves pixels, and then what changes them."""
    stages: list[BatchTransform] = []
    fused: list[SpaceTransform | PixelTransform] = []
    for tfm in tfms:
        own = isinstance(tfm, SpaceTransform | PixelTransform)
        if fused and not (own and tfm.goes_with(fused[-1])):
            stages.append(FusedTransform(fused))
            fused = []
        if isinstance(tfm, SpaceTransform | PixelTransform):
            fused.append(tfm)
        else:
            stages.append(tfm)
    return [*stages, FusedTransform(fused)] if fused else stages
