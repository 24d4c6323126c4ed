"""Drawing images, masks, points and boxes with matplotlib."""

from collections.abc import Sequence
from math import ceil
from textwrap import wrap
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from learnlite.plots import grid, plain_text, pyplot

_CHANNELS = (1, 2, 3, 4)
_WIDTH = 3.0  # inches of one picture
_TITLE = 32  # characters that stand above one
_COLOURS = 20  # of masks
_MOST_NAMED, _WIDTH_NAMED = 24, 2.0  # classes of masks, and inches of a column of their names
_SHADE = 0.5  # how opaque masks are
_COLOURING = {"cmap", "norm", "vmin", "vmax"}  # settings that say which colours masks have
_RIGHT, _WRONG = "#1a7f37", "#cf222e"  # green and red that can be read on white


def show_image(
    image: Any,
    ax: Any = None,
    figsize: tuple[float, float] | None = None,
    title: Any = None,
    ctx: Any = None,
    **settings: Any,
) -> Any:
    """Draw an image: a tensor (channels, height, width) of bytes or of 0 to 1, an array, PIL's.

    `ax`, or `ctx` as fastai calls it, is where; `settings` are those of matplotlib's `imshow`.
    Gives the axes.
    """
    ax = ctx if ax is None else ax
    if ax is None:
        _, ax = pyplot().subplots(figsize=figsize or (_WIDTH, _WIDTH))
    pixels = _pixels(image)
    if pixels.ndim == 2 and "cmap" not in settings:
        settings["cmap"] = _grey()
    ax.imshow(pixels, **settings)
    ax.axis("off")
    if title is not None:
        ax.set_title(_wrapped(_text(title)))
    return ax


def _grey() -> str:
    """The colours of one channel: those of `matplotlib.rc("image", cmap=...)`, else grey."""
    plt = pyplot()
    chosen = plt.rcParams["image.cmap"]
    return "gray" if chosen == plt.rcParamsDefault["image.cmap"] else chosen


def show_images(
    images: Sequence[Any],
    nrows: int | None = None,
    ncols: int | None = None,
    titles: Sequence[Any] | None = None,
    figsize: tuple[float, float] | None = None,
    suptitle: Any = None,
    **settings: Any,
) -> Any:
    """Draw several images in a grid, `suptitle` above all; gives the axes.

    `settings` are those of matplotlib's `imshow`.
    """
    panels = grid(len(images), nrows, ncols, figsize)
    names = titles if titles is not None else [None] * len(images)
    for ax, image, title in zip(panels, images, names, strict=False):
        show_image(image, ax, title=title, **settings)
    if suptitle is not None and panels:
        panels[0].figure.suptitle(_text(suptitle))
    return panels


def n_shown(max_n: int | None, nrows: int | None, ncols: int | None) -> int:
    """How many items to draw: as told, else as many as a grid has places, else nine.

    >>> n_shown(None, 4, 4), n_shown(None, 2, None), n_shown(6, 4, 4)
    (16, 9, 6)
    """
    return max_n if max_n is not None else nrows * ncols if nrows and ncols else 9


def show_items(
    items: Sequence[tuple[Any, ...]],
    kinds: Sequence[str | None],
    *,
    nrows: int | None = None,
    ncols: int | None = None,
    figsize: tuple[float, float] | None = None,
    codes: Sequence[Any] | None = None,
    **settings: Any,
) -> Any:
    """Draw decoded items: images with masks, points and boxes over them, labels as titles.

    `codes` are the names of the classes of masks; those that are there are told below.
    """
    panels = grid(len(items), nrows, ncols, figsize)
    for ax, item in zip(panels, items, strict=False):
        show_item(item, kinds, ax, **settings)
    if codes is not None and "mask" in kinds:
        _name_classes(panels, codes, _masks_of(items, kinds), own=bool(_COLOURING & set(settings)))
    return panels


def show_predictions(
    items: Sequence[tuple[Any, ...]],
    preds: Sequence[tuple[Any, ...]],
    kinds: Sequence[str | None],
    *,
    nrows: int | None = None,
    ncols: int | None = None,
    figsize: tuple[float, float] | None = None,
    codes: Sequence[Any] | None = None,
) -> Any:
    """Draw decoded items with what is predicted for them, in the form of their last elements.

    Labels and numbers stand in the title, the target's above the prediction's; what lies over an
    image is drawn on two of them, the target's on the left. Items without targets have one. Masks
    are drawn in the very colours that are named below, beside the image.
    """
    n_targets = len(preds[0])
    n_inp = len(kinds) - n_targets
    has_target = bool(items) and len(items[0]) > n_inp
    if not any(kinds[n_inp:]):
        panels = grid(len(items), nrows, ncols, figsize)
        for ax, item, pred in zip(panels, items, preds, strict=True):
            show_item(item[:n_inp], kinds[:n_inp], ax)
            _title_both(ax, item[n_inp:], pred)
        return panels
    names = ("target", "prediction") if has_target else ("prediction",)
    settings: dict[str, Any] = {}
    if "mask" in kinds:
        names, settings = ("", *names), {"alpha": 1.0}
    times = len(names)
    columns = ncols or (ceil(len(items) / nrows) if nrows else ceil((len(items) / times) ** 0.5))
    panels = grid(times * len(items), None, times * columns, figsize)
    both = list(zip(items, preds, strict=True))
    for i, (item, pred) in enumerate(both):
        drawn = {"": item[:n_inp], "target": item, "prediction": (*item[:n_inp], *pred)}
        for ax, name in zip(panels[times * i :], names, strict=False):
            show_item(drawn[name], kinds[: len(drawn[name])], ax, **(settings if name else {}))
            told = ax.get_title()
            ax.set_title(f"{name}: {told}" if told else name)
    if codes is not None and "mask" in kinds:
        masks = _masks_of([*items, *((*item[:n_inp], *pred) for item, pred in both)], kinds)
        _name_classes(panels[1:], codes, masks)
    return panels


def _title_both(ax: Any, target: tuple[Any, ...], pred: tuple[Any, ...]) -> None:
    lines = [_wrapped(", ".join(_text(value) for value in part)) for part in (target, pred) if part]
    is_number = any(isinstance(part, float) for value in pred for part in _flat(value))
    colour = "black"
    if target and not is_number:
        colour = _RIGHT if list(map(_flat, target)) == list(map(_flat, pred)) else _WRONG
    ax.set_title("\n".join(lines), color=colour)


def _flat(value: Any) -> list[Any]:
    if isinstance(value, Tensor):
        value = value.tolist()
    return cast(list[Any], value) if isinstance(value, list) else [value]


def show_item(item: tuple[Any, ...], kinds: Sequence[str | None], ax: Any, **settings: Any) -> None:
    """Draw one decoded item: what lies over the image on it, the rest as title.

    `settings` are matplotlib's for the mask, or without one for the image.
    """
    kinds = (*kinds, *[None] * (len(item) - len(kinds)))
    titles: list[str] = []
    boxes = [value for value, kind in zip(item, kinds, strict=False) if kind == "boxes"]
    images = [value for value, kind in zip(item, kinds, strict=False) if kind == "image"]
    if images:
        pixels = _side_by_side([_pixels(image) for image in images])
        white = 255 if pixels.dtype == np.uint8 else 1
        style: Any = {"vmin": 0, "vmax": white}  # else grey ones are all stretched to black
        show_image(pixels, ax, **style | ({} if "mask" in kinds else settings))
    for value, kind in zip(item, kinds, strict=False):
        if kind == "image":
            continue
        if kind == "mask":
            codes, style = _pixels(value), {"cmap": "tab20", "alpha": _SHADE}
            if not _COLOURING & set(settings):
                codes = _by_turns(codes)
                style |= {"vmin": 0, "vmax": _COLOURS - 1}
            ax.imshow(codes, **style | {"interpolation": "nearest"} | settings)
        elif kind == "points":
            ax.scatter(value[:, 0], value[:, 1], s=36, c="red", edgecolors="white", linewidths=1)
        elif kind is None and boxes and isinstance(value, list):  # their labels, before or after
            _draw_boxes(ax, boxes.pop(0), cast(list[Any], value))
        elif kind != "boxes":
            titles.append(_text(value))
    for unlabelled in boxes:
        _draw_boxes(ax, unlabelled, [])
    ax.axis("off")
    if titles:
        ax.set_title(_wrapped(", ".join(titles)))


def _by_turns(codes: Any) -> Any:
    """The colours of classes: each has one in all pictures, whatever they hold."""
    codes = codes % _COLOURS
    return 2 * codes % _COLOURS + codes // (_COLOURS // 2)  # dark first, then light


def _masks_of(items: Sequence[tuple[Any, ...]], kinds: Sequence[str | None]) -> list[Any]:
    return [
        _pixels(value)
        for item in items
        for value, kind in zip(item, kinds, strict=False)
        if kind == "mask"
    ]


def _name_classes(
    panels: Sequence[Any], codes: Sequence[Any], masks: list[Any], *, own: bool = False
) -> None:
    """Tell below the pictures which colour is which class, of those that are in the masks."""
    from matplotlib.patches import Patch

    found = np.unique(np.concatenate([mask.ravel() for mask in masks] or [[]])).astype(int)
    there = found[(found >= 0) & (found < len(codes))][:_MOST_NAMED]
    if not len(there):
        return
    drawn = panels[0].images[-1]  # the mask lies above the image
    colours = drawn.to_rgba(there if own else _by_turns(there))
    handles = [
        Patch(color=tuple(colour), label=plain_text(codes[code], longest=24), linewidth=0)
        for code, colour in zip(there.tolist(), colours, strict=True)
    ]
    figure = panels[0].figure
    n_columns = max(int(figure.get_figwidth() // _WIDTH_NAMED), 1)
    figure.legend(handles=handles, loc="outside lower center", ncols=n_columns, frameon=False)


def _draw_boxes(ax: Any, boxes: Tensor, labels: list[Any]) -> None:
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    around: list[Any] = [
        withStroke(linewidth=3.5, foreground="black")
    ]  # white alone is lost on white
    names = [*labels, *[""] * (len(boxes) - len(labels))]
    for (left, top, right, bottom), label in zip(boxes.tolist(), names, strict=False):
        if right <= left or bottom <= top:
            continue  # it fills up the batch
        box = Rectangle((left, top), right - left, bottom - top, fill=False, color="white", lw=2)
        box.set_path_effects(around)
        ax.add_patch(box)
        if label != "":
            style = {"facecolor": "black", "alpha": 0.6, "pad": 1, "edgecolor": "none"}
            ax.text(left, top, _text(label), color="white", size=9, va="bottom", bbox=style)


def _pixels(image: Any) -> Any:
    """An array that matplotlib draws: (height, width) or (height, width, colours)."""
    if isinstance(image, Tensor):
        image = image.detach().cpu().as_subclass(Tensor)
        if image.ndim == 3 and (image.shape[0] in _CHANNELS or image.shape[-1] not in _CHANNELS):
            image = image.permute(1, 2, 0)  # else it lies as an array does: `tensor(photo)`
        image = image.float().numpy() if image.dtype == torch.bfloat16 else image.numpy()
    array = np.asarray(image)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim == 3 and array.shape[-1] == 2:  # grey and how opaque it is: over white
        white = 1.0 if array.dtype.kind == "f" else 255.0
        array = white - (white - array[..., 0]) * (array[..., 1] / white)
        return array if white == 1 else array.round().astype(np.uint8)
    return array.clip(0, 1) if array.dtype.kind == "f" and array.ndim == 3 else array


def _side_by_side(images: list[Any]) -> Any:
    """Several images as one, the first on the left, a white stripe between two."""
    if len(images) == 1:
        return images[0]
    tallest = max(image.shape[0] for image in images)
    is_colour = any(image.ndim == 3 for image in images)
    parts: list[Any] = []
    for image in images:
        if is_colour and image.ndim == 2:
            image = np.stack([image] * 3, -1)
        white = 1 if image.dtype.kind == "f" else 255
        stripe = (0, -(-image.shape[1] // 30) if len(parts) < len(images) - 1 else 0)
        filling = [(0, tallest - image.shape[0]), stripe, *[(0, 0)] * (image.ndim - 2)]
        parts.append(np.pad(image, filling, constant_values=white))
    return np.concatenate(parts, axis=1)


def _wrapped(title: str) -> str:
    """A title as wide as a picture."""
    lines = wrap(title.replace(r"\$", "$"), _TITLE)  # none ends between the two
    return "\n".join(lines).replace("$", r"\$")


def _text(value: Any) -> str:
    """A label as a title, several with semicolons between them."""
    if isinstance(value, Tensor):
        value = value.tolist()
    if isinstance(value, list):
        value = "; ".join(str(part) for part in cast(list[Any], value))
    return plain_text(value)
