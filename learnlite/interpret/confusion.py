"""How often each class is taken for each, counted and drawn."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learnlite.plots import axes, plain_text

Counts = NDArray[np.int64]

_MOST_WRITTEN = 25  # classes: with more, numbers in the cells cannot be read


def confusion(targs: Tensor, decoded: Tensor, n: int) -> Counts:
    """How often label i (rows) was taken for class j (columns); labels below 0 are left out."""
    targs, decoded = targs.reshape(-1).long(), decoded.reshape(-1).long()
    kept = (targs >= 0) & (targs < n)
    pairs = targs[kept] * n + decoded[kept]
    return torch.bincount(pairs, minlength=n * n).reshape(n, n).numpy()


def class_names(vocab: Sequence[Any] | None, n: int) -> list[Any]:
    """The classes' names, or their numbers where they have none."""
    return list(range(n)) if vocab is None else list(vocab)


def plot_counts(
    counts: Counts,
    classes: Sequence[Any],
    normalize: bool = False,
    *,
    title: str = "Confusion matrix",
    cmap: str = "Blues",
    norm_dec: int = 2,
    plot_txt: bool | None = None,
    ax: Any = None,
    **settings: Any,
) -> Any:
    """Draw a confusion matrix; with `normalize` as the part of each class's items.

    The arguments are those of `ClassificationInterpretation.plot_confusion_matrix`.
    """
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    n = len(counts)
    side = min(max(3.0, 0.6 * n + 2), 14.0)
    width, height = settings.pop("figsize", (side, side))
    dpi = settings.pop("dpi", None)
    if settings:
        raise TypeError(f"`plot_confusion_matrix` has no argument `{next(iter(settings))}`")
    ax = axes(ax, width=width, height=height, dpi=dpi)
    # Coloured by shares in both cases: a class of few items is as visible as one of many.
    ax.imshow(shares, cmap=cmap, vmin=0, vmax=1)
    ax.set(title=title, xlabel="Predicted", ylabel="Actual")
    names = [plain_text(name, longest=24) for name in classes]
    size = 10 if n <= 12 else max(4, 10 - n // 12)
    ax.set_xticks(range(n), names, rotation=90, fontsize=size)
    ax.set_yticks(range(n), names, fontsize=size)
    if plot_txt or (plot_txt is None and n <= _MOST_WRITTEN):
        for i in range(n):
            for j in range(n):
                text = f"{shares[i, j]:.{norm_dec}f}" if normalize else f"{counts[i, j]:,}"
                colour = "white" if shares[i, j] > 0.5 else "black"
                ax.text(j, i, text, ha="center", va="center", color=colour, fontsize=size)
    return ax
