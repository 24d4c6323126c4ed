"""Transforms of images in exported files, as validation has them."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torchvision import transforms as v1
from torchvision.transforms import InterpolationMode, v2

from learnlite.data.wording import short
from learnlite.export.data import BATCH_TFMS, ITEM_TFMS, WAY_OUT, make_tfms, tell_tfms
from learnlite.export.table import ExportError, Told, name_of
from learnlite.vision import affine, aug, item_tfms, lighting
from learnlite.vision.batch_tfms import BatchTfms, IntToFloatTensor, Normalize
from learnlite.vision.decode import MAX_PIXELS
from learnlite.vision.fuse import SpaceTransform
from learnlite.vision.item_stage import OnlyTraining
from learnlite.vision.points import ScalePoints

# --- item transforms


def _within(cls: Any, *sizes: str, reach: str | None = None) -> Any:
    """Makes a transform, unless its images would be larger than any that is opened."""

    def make(**args: Any) -> Any:
        for name in sizes:
            given = args.get(name)
            sides = cast("list[Any]", given if isinstance(given, list) else [given] * 2)
            sides = [1 if side is None else side for side in sides]
            more = args.get(reach, 0) if reach else 0
            if not all(isinstance(n, int | float) and n >= 0 for n in (*sides, more)):
                raise ValueError(f"`{name}` is a number of pixels or (height, width)")
            if max(sides, default=0) ** 2 * (1 + more) ** 2 > MAX_PIXELS:
                raise ValueError(f"`{name}={short(given)}` makes images that are too large")
        return cls(**{key: _tuple(value) for key, value in args.items()})

    return make


def _tuple(value: Any) -> Any:
    return tuple(cast("list[Any]", value)) if isinstance(value, list) else value


_RESIZE = ("size", "method", "pad_mode", "resamples")
ITEM_TFMS.add(
    item_tfms.Resize,
    *_RESIZE,
    tell=lambda t: {
        "size": t.size,
        "method": t.method,
        "pad_mode": t.pad_mode,
        "resamples": t.resample,
    },
    make=_within(item_tfms.Resize, "size"),
)
ITEM_TFMS.add(
    item_tfms.RandomResizedCrop,
    "size",
    "val_xtra",
    "resamples",
    tell=lambda t: {"size": t.size, "val_xtra": t.val_xtra, "resamples": t.resample},
    make=_within(item_tfms.RandomResizedCrop, "size", reach="val_xtra"),
)
ITEM_TFMS.add(item_tfms.CropPad, "size", "pad_mode", make=_within(item_tfms.CropPad, "size"))
ITEM_TFMS.add(item_tfms.RandomCrop, "size", make=_within(item_tfms.RandomCrop, "size"))
ITEM_TFMS.add(
    item_tfms.RatioResize,
    "max_sz",
    "resamples",
    tell=lambda t: {"max_sz": t.max_sz, "resamples": t.resample},
    make=_within(item_tfms.RatioResize, "max_sz"),
)

_IDLE = (item_tfms.FlipItem, item_tfms.DihedralItem, item_tfms.ToTensor, OnlyTraining)
"""Item transforms that do nothing in validation."""


def _interpolated(cls: Any) -> Any:
    def make(**args: Any) -> Any:
        mode = args.get("interpolation")
        return cls(**(args | {"interpolation": InterpolationMode(mode)}))

    return _within(make, "size", "max_size")


def _tell_resize(tfm: Any) -> Told:
    told = {name: getattr(tfm, name) for name in ("size", "max_size", "antialias")}
    mode = tfm.interpolation
    return told | {"interpolation": mode.value if isinstance(mode, InterpolationMode) else mode}


def _tell_pad(tfm: Any) -> Told:
    return {"padding": tfm.padding, "fill": tfm.fill, "padding_mode": tfm.padding_mode}


def _to_dtype(dtype: Any, scale: Any) -> v2.ToDtype:
    if dtype not in _DTYPES:
        raise ValueError(f"`dtype` is one of {', '.join(_DTYPES)}, got {short(dtype)}")
    return v2.ToDtype(_DTYPES[dtype], scale=scale is True)


def _tell_dtype(tfm: Any) -> Told:
    if not isinstance(tfm.dtype, torch.dtype):
        raise ExportError("its `dtype` is a dict; give one for all")
    return {"dtype": str(tfm.dtype).removeprefix("torch."), "scale": getattr(tfm, "scale", True)}


_DTYPES = {name: getattr(torch, name) for name in ("uint8", "int64", "float16", "float32")}
_SIZE = ("size", "interpolation", "max_size", "antialias")
for _room, _prefix in ((v2, "v2"), (v1, "v1")):  # the older ones know images alone
    ITEM_TFMS.add(
        _room.Resize,
        *_SIZE,
        tell=_tell_resize,
        make=_interpolated(_room.Resize),
        kind=f"{_prefix}.Resize",
    )
    ITEM_TFMS.add(
        _room.CenterCrop,
        "size",
        make=_within(_room.CenterCrop, "size"),
        kind=f"{_prefix}.CenterCrop",
    )
    ITEM_TFMS.add(
        _room.Pad,
        "padding",
        "fill",
        "padding_mode",
        tell=_tell_pad,
        make=_within(_room.Pad, "padding"),
        kind=f"{_prefix}.Pad",
    )
    ITEM_TFMS.add(_room.Grayscale, "num_output_channels", kind=f"{_prefix}.Grayscale")
    ITEM_TFMS.add(_room.Normalize, "mean", "std", kind=f"{_prefix}.Normalize")
for _tfm in (v2.RGB, v2.ToImage, v2.ToPureTensor, v2.Identity):
    ITEM_TFMS.add(_tfm, kind=f"v2.{_tfm.__name__}")
ITEM_TFMS.add(
    v2.ToDtype,
    "dtype",
    "scale",
    tell=_tell_dtype,
    make=_to_dtype,
    kind="v2.ToDtype",
)


def tell_item_tfms(tfms: Sequence[Any]) -> list[Told]:
    """What a file tells of item transforms, without those that do nothing in validation."""
    found = [tfm for tfm in tfms if not isinstance(tfm, _IDLE)]
    for tfm in found:
        name = name_of(tfm)
        is_theirs = type(tfm).__module__.startswith("torchvision.")
        if is_theirs and (name.startswith("Random") or name in ("ColorJitter", "AugMix")):
            raise ExportError(
                f"the item transform `{name}` is random in predictions too; wrap it, so that it "
                f"acts in training alone: `OnlyTraining({name}(…))`"
            )
    way_out = f"where only training needs it, wrap it: `OnlyTraining(…)`; else {WAY_OUT}"
    return tell_tfms(ITEM_TFMS, found, way_out)


# --- batch transforms

_LIGHTS = (lighting.Brightness, lighting.Contrast, lighting.Saturation, lighting.Hue)
_MOVERS = (affine.Flip, affine.Dihedral, affine.Rotate, affine.Zoom, affine.Warp)


def _batch_side(tfms: Sequence[Any]) -> list[Any]:
    """The batch transforms as validation has them: what is drawn is left out, a size stays."""
    found: list[Any] = []
    for tfm in tfms:
        if type(tfm) in _MOVERS:
            space = cast(SpaceTransform, tfm)
            if space.size is not None:
                found.append(affine.ResizeBatch(space.size, space.mode, space.pad_mode))
        elif type(tfm) not in (*_LIGHTS, aug.RandomErasing):
            found.append(tfm)
    return found


def _tell_batch(group: Any) -> Told:
    return {"tfms": tell_tfms(BATCH_TFMS, _batch_side(group.tfms), WAY_OUT)}


def _make_batch(tfms: Any) -> BatchTfms:
    return BatchTfms(make_tfms(BATCH_TFMS, tfms))


def _tell_normalize(tfm: Any) -> Told:
    if tfm.mean is None:
        raise ExportError("it has no mean and standard deviation yet")
    return {"mean": tfm.mean.flatten(), "std": tfm.std.flatten()}


BATCH_TFMS.add(
    BatchTfms,
    "tfms",
    tell=_tell_batch,
    make=_make_batch,
)
BATCH_TFMS.add(
    affine.ResizeBatch, "size", "mode", "pad_mode", make=_within(affine.ResizeBatch, "size")
)
BATCH_TFMS.add(
    affine.RandomResizedCropGPU,
    "size",
    "ratio",
    "valid_scale",
    "mode",
    "pad_mode",
    make=_within(affine.RandomResizedCropGPU, "size"),
)
BATCH_TFMS.add(Normalize, "mean", "std", tell=_tell_normalize)
BATCH_TFMS.add(IntToFloatTensor, "div", "div_mask")
BATCH_TFMS.add(ScalePoints)
