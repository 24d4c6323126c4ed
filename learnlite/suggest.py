"""What learning rate the finder's curve suggests: pure functions of the rates and their losses.

Each is called as `function(lrs, losses, num_it)` with what `trimmed` leaves, and gives the
suggested rate and the point of the curve to mark, `(lr, (lr, loss))`. If the curve says nothing
(too few points, a loss that never fell) it raises a `ValueError` that tells so.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Curve: TypeAlias = Sequence[float] | NDArray[Any]
Suggestion: TypeAlias = tuple[float, tuple[float, float]]
Points: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]

_LEAST_POINTS = 3
_LEAST_FALL = 0.01  # of where the loss began: less is noise between batches

__all__ = ["SuggestionMethod", "minimum", "slide", "steep", "trimmed", "valley"]


def trimmed(lrs: Curve, losses: Curve, num_it: int) -> Points:
    """The part of the finder's curve that can be judged.

    Off go the first tenth of `num_it`, where the smoothed loss still settles, the last five points
    (of a short run a tenth), where it blows up, and everything from the first NaN or infinity on.

    >>> lrs, losses = trimmed(range(100), range(100), 100)
    >>> len(lrs), int(lrs[0]), int(lrs[-1])
    (85, 10, 94)
    """
    end = len(losses) - min(5, len(losses) // 10)
    return _finite(lrs[num_it // 10 : end], losses[num_it // 10 : end])


def valley(lrs: Curve, losses: Curve, num_it: int = 0) -> Suggestion:
    """Half way down the longest valley, the longest falling subsequence of losses.

    >>> lrs = np.logspace(-6, 0, 60)
    >>> f"{valley(lrs, np.log10(lrs / 1e-2) ** 2)[0]:.0e}"
    '7e-05'
    """
    lrs, losses = _checked(lrs, losses)
    falls = np.ones(
        len(losses), dtype=int
    )  # length of the longest falling subsequence that ends here
    for i in range(1, len(losses)):
        falls[i] += np.max(falls[:i], initial=0, where=losses[:i] > losses[i])
    end = int(falls.argmax())
    start = end - int(falls[end])
    third = (end - start) / 3
    i = max(start + int(third) + int(third / 2), 0)
    return float(lrs[i]), (float(lrs[i]), float(losses[i]))


def slide(
    lrs: Curve,
    losses: Curve,
    num_it: int = 0,
    lr_diff: int = 15,
    thresh: float = 0.005,
    adjust_value: float = 1.0,
) -> Suggestion:
    """Where an interval of `lr_diff` points, slid back from the end, has one slope at both ends.

    >>> lrs = np.logspace(-6, 0, 60)
    >>> f"{slide(lrs, np.log10(lrs / 1e-2) ** 2, thresh=0.5)[0]:.0e}"
    '3e-02'
    """
    lrs, losses = _checked(lrs, losses)
    slopes = np.gradient(losses)
    right = len(losses) - 1
    left = max(right - lr_diff, 0)
    best = left
    while left >= 0 and abs(slopes[right] - slopes[left]) > thresh:
        best = left
        left, right = left - 1, right - 1
    suggested = float(lrs[best]) * adjust_value
    loss = np.interp(np.log10(suggested), np.log10(lrs), losses)
    return suggested, (suggested, float(loss))


def minimum(lrs: Curve, losses: Curve, num_it: int = 0) -> Suggestion:
    """A tenth of the rate with the lowest loss; the point marked is the lowest itself.

    >>> lrs = np.logspace(-6, 0, 7)
    >>> round(minimum(lrs, np.log10(lrs / 1e-2) ** 2)[0], 6)
    0.001
    """
    lrs, losses = _checked(lrs, losses)
    i = int(losses.argmin())
    return float(lrs[i]) / 10, (float(lrs[i]), float(losses[i]))


def steep(lrs: Curve, losses: Curve, num_it: int = 0) -> Suggestion:
    """The rate at which the loss falls fastest, over the logarithm of the rate.

    >>> lrs = np.logspace(-6, 0, 7)
    >>> round(steep(lrs, [5, 5, 4, 1, 0, 0, 9])[0], 6)
    0.0001
    """
    lrs, losses = _checked(lrs, losses)
    i = int((np.diff(losses) / np.diff(np.log(lrs))).argmin())
    return float(lrs[i]), (float(lrs[i]), float(losses[i]))


class SuggestionMethod:
    """The functions that suggest a rate, under the names by which fastai's users know them."""

    Valley = staticmethod(valley)
    Slide = staticmethod(slide)
    Minimum = staticmethod(minimum)
    Steep = staticmethod(steep)


def _finite(lrs: Any, losses: Any) -> Points:
    """Both as arrays, up to the first loss that is no number."""
    lrs, losses = np.asarray(lrs, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    if lrs.shape != losses.shape or lrs.ndim != 1:
        raise ValueError(
            f"each rate needs its loss, got {lrs.shape} rates and {losses.shape} losses"
        )
    broken = np.flatnonzero(~np.isfinite(losses))
    end = int(broken[0]) if len(broken) else len(losses)
    return lrs[:end], losses[:end]


def _checked(lrs: Any, losses: Any) -> Points:
    lrs, losses = _finite(lrs, losses)
    if len(losses) < _LEAST_POINTS:
        raise ValueError(
            f"{len(losses)} points are too few to judge, at least {_LEAST_POINTS} are needed; "
            "raise `num_it`, or lower `start_lr` if the loss was NaN or diverged at once"
        )
    began, lowest = float(losses[0]), float(losses.min())
    if began - lowest <= _LEAST_FALL * abs(began):
        raise ValueError(
            f"the loss never fell: it began at {began:.4g} and {lowest:.4g} was its lowest; "
            "look at the data, the loss and whether layers are frozen, "
            "or try other rates (`start_lr`, `end_lr`)"
        )
    return lrs, losses
