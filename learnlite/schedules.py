"""Schedules: pure functions from the position in training, 0 to 1, to a value.

They hold no state, so a schedule can be drawn before training, and the value at batch 1,234 is the
same whether or not the run was interrupted. Ends are numbers, or arrays with one value for each
layer group; then so are the values. Position i/N belongs to batch i of N.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from math import cos, pi
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Values: TypeAlias = float | NDArray[np.float64]
"""One number, or an array with one for each layer group."""
Schedule: TypeAlias = Callable[[float], Any]
"""Called with a position from 0 to 1; gives the value there."""

__all__ = [
    "SchedCos",
    "SchedExp",
    "SchedLin",
    "SchedNo",
    "SchedPoly",
    "Schedule",
    "Values",
    "combine_scheds",
    "combined_cos",
    "flat_cos",
    "one_cycle",
    "one_cycle_mom",
    "sgdr",
]


def _values(given: Any) -> Any:
    """A plain float, whose arithmetic is fast and which any file can hold; or an array of them."""
    return np.array(given, dtype=np.float64) if np.ndim(given) else float(given)


def SchedLin(start: Any, end: Any) -> Schedule:  # noqa: N802  # the names that users know
    """From `start` to `end` along a straight line.

    >>> [SchedLin(0, 2)(t) for t in (0, 0.25, 1)]
    [0.0, 0.5, 2.0]
    """
    start, way = _start_and_way(start, end)
    return lambda position: start + position * way


def SchedCos(start: Any, end: Any) -> Schedule:  # noqa: N802
    """From `start` to `end` along half a cosine: slow, fast, slow.

    >>> [round(SchedCos(1, 0)(t), 2) for t in (0, 0.25, 0.5, 1)]
    [1.0, 0.85, 0.5, 0.0]
    """
    start, way = _start_and_way(start, end)
    half = way / 2
    return lambda position: start + (1 + cos(pi * (1 - position))) * half


def SchedNo(start: Any, end: Any = None) -> Schedule:  # noqa: N802
    """Stays at `start`; it takes an `end` so that it can stand where any other schedule can.

    >>> SchedNo(0.1, 5)(0.7)
    0.1
    """
    start = _values(start)
    return lambda position: start


def SchedExp(start: Any, end: Any) -> Schedule:  # noqa: N802
    """From `start` to `end` by equal factors: a straight line on a logarithmic scale.

    >>> [round(SchedExp(1, 100)(t), 6) for t in (0, 0.5, 1)]
    [1.0, 10.0, 100.0]
    """
    start, end = _values(start), _values(end)
    if np.min(start) <= 0 or np.min(end) <= 0:
        raise ValueError(
            "`SchedExp` goes by factors, so `start` and `end` must be above 0, got "
            f"{start} and {end}; to reach 0 take `SchedCos` or `SchedLin`"
        )
    factor = end / start
    return lambda position: start * factor**position


def SchedPoly(start: Any, end: Any, power: float) -> Schedule:  # noqa: N802
    """From `start` to `end` along a power of the position.

    >>> [SchedPoly(0, 1, power=2)(t) for t in (0, 0.5, 1)]
    [0.0, 0.25, 1.0]
    """
    start, way = _start_and_way(start, end)
    return lambda position: start + way * position**power


def _start_and_way(start: Any, end: Any) -> tuple[Any, Any]:
    start = _values(start)
    return start, _values(end) - start


def combine_scheds(pcts: Sequence[float], scheds: Sequence[Schedule]) -> Schedule:
    """One schedule out of several: the i-th takes the part `pcts[i]` of the way.

    >>> warm_up = combine_scheds([0.2, 0.8], [SchedLin(0, 1), SchedNo(1, 1)])
    >>> [warm_up(t) for t in (0, 0.1, 0.2, 1)]
    [0.0, 0.5, 1.0, 1.0]
    """
    pcts, scheds = tuple(float(pct) for pct in pcts), tuple(scheds)
    if len(pcts) != len(scheds):
        raise ValueError(
            f"each schedule needs its part, got {len(pcts)} `pcts` and {len(scheds)} `scheds`"
        )
    if not all(pct >= 0 for pct in pcts):
        raise ValueError(f"`pcts` are parts of the whole and must be at least 0, got {list(pcts)}")
    if not math.isclose(math.fsum(pcts), 1, abs_tol=1e-6):
        raise ValueError(f"`pcts` must sum to 1, got {list(pcts)} with the sum {math.fsum(pcts):g}")
    begins = [math.fsum(pcts[:i]) for i in range(len(pcts))]
    parts = [part for part in zip(begins, pcts, scheds, strict=True) if part[1] > 0]
    bounds = [begin for begin, _, _ in parts[1:]]

    def combined(position: float) -> Any:
        begin, length, sched = parts[bisect_right(bounds, position)]
        return sched((position - begin) / length)

    return combined


def combined_cos(pct: float, start: Any, middle: Any, end: Any) -> Schedule:
    """Along a cosine from `start` to `middle` in the part `pct` of the way, then one to `end`.

    >>> sched = combined_cos(0.25, 0, 1, 0)
    >>> [round(sched(t), 2) for t in (0, 0.125, 0.25, 0.625, 1)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if not 0 <= pct <= 1:
        raise ValueError(f"`pct` is a part of the way, between 0 and 1, got {pct}")
    return combine_scheds([pct, 1 - pct], [SchedCos(start, middle), SchedCos(middle, end)])


def one_cycle(
    lr_max: Any, *, div: float = 25.0, div_final: float = 1e5, pct_start: float = 0.25
) -> Schedule:
    """The learning rate of the 1cycle policy: from `lr_max/div` up, then to `lr_max/div_final`.

    >>> [round(one_cycle(0.1)(t), 4) for t in (0, 0.25, 1)]
    [0.004, 0.1, 0.0]
    """
    peak = _values(lr_max)
    return combined_cos(pct_start, peak / div, peak, peak / div_final)


def one_cycle_mom(moms: Sequence[Any] = (0.95, 0.85, 0.95), *, pct_start: float = 0.25) -> Schedule:
    """The momentum of the 1cycle policy: low where the learning rate is high.

    >>> [one_cycle_mom()(t) for t in (0, 0.25, 1)]
    [0.95, 0.85, 0.95]
    """
    if len(moms) != 3:
        raise ValueError(
            f"`moms` are three values (at the start, at the peak, at the end), got {moms}"
        )
    return combined_cos(pct_start, *moms)


def flat_cos(lr: Any, *, pct_start: float = 0.75, div_final: float = 1e5) -> Schedule:
    """At `lr` for the part `pct_start` of the way, then along a cosine down to `lr/div_final`.

    >>> [round(flat_cos(0.1)(t), 4) for t in (0, 0.75, 0.875, 1)]
    [0.1, 0.1, 0.05, 0.0]
    """
    peak = _values(lr)
    return combined_cos(pct_start, peak, peak, peak / div_final)


def sgdr(n_cycles: int, cycle_len: int, cycle_mult: float, lr_max: Any) -> Schedule:
    """Cosines from `lr_max` to 0 with restarts, each `cycle_mult` times as long as the one before.

    >>> sched = sgdr(2, 1, 3, 0.1)   # one epoch, then three
    >>> [round(sched(epoch / 4), 3) for epoch in (0, 0.5, 1, 2.5, 4)]
    [0.1, 0.05, 0.1, 0.05, 0.0]
    """
    if n_cycles < 1 or cycle_len <= 0 or cycle_mult <= 0:
        raise ValueError(
            "`n_cycles` must be at least 1, `cycle_len` and `cycle_mult` above 0, "
            f"got {n_cycles}, {cycle_len} and {cycle_mult}"
        )
    lengths = [cycle_len * cycle_mult**i for i in range(n_cycles)]
    return combine_scheds(
        [length / sum(lengths) for length in lengths], [SchedCos(lr_max, 0)] * n_cycles
    )
