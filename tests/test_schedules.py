"""Schedules: their formulas, their joints, torch's OneCycleLR, and what they refuse."""

import math
import re

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR

from learnlite.schedules import (
    SchedCos,
    SchedExp,
    SchedLin,
    SchedNo,
    SchedPoly,
    combine_scheds,
    combined_cos,
    flat_cos,
    one_cycle,
    one_cycle_mom,
    sgdr,
)

POSITIONS = [0.0, 0.1, 0.25, 0.5, 0.77, 1.0]
FORMULAS = {
    "SchedLin": (SchedLin, lambda s, e, t: s + t * (e - s)),
    "SchedCos": (SchedCos, lambda s, e, t: s + (1 + math.cos(math.pi * (1 - t))) * (e - s) / 2),
    "SchedNo": (SchedNo, lambda s, e, t: s),
    "SchedExp": (SchedExp, lambda s, e, t: s * (e / s) ** t),
    "SchedPoly": (lambda s, e: SchedPoly(s, e, 3), lambda s, e, t: s + (e - s) * t**3),
}
ALL = {
    "lin": SchedLin(1, 2),
    "poly": SchedPoly(1, 2, 2),
    "one_cycle": one_cycle(0.1),
    "one_cycle_mom": one_cycle_mom(),
    "flat_cos": flat_cos(0.1),
    "sgdr": sgdr(3, 1, 2, 0.1),
}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize(("start", "end"), [(0.1, 2.0), (3.0, 1e-4)])
def test_a_schedule_is_its_formula(name, start, end):
    sched, formula = FORMULAS[name]
    for t in POSITIONS:
        value = sched(start, end)(t)
        assert type(value) is float
        assert value == pytest.approx(formula(start, end, t), rel=1e-12)


@pytest.mark.parametrize("name", FORMULAS)
def test_arrays_give_a_value_for_each_layer_group(name):
    sched, formula = FORMULAS[name]
    starts, ends = np.array([0.1, 0.2, 0.3]), np.array([1.0, 0.01, 0.3])
    for t in POSITIONS:
        expected = [formula(s, e, t) for s, e in zip(starts, ends, strict=True)]
        np.testing.assert_allclose(sched(starts, ends)(t), expected, rtol=1e-12)


def test_ends_may_be_of_different_kinds():
    np.testing.assert_allclose(SchedCos([0.1, 1.0], 0)(0.5), [0.05, 0.5])
    assert type(SchedLin(np.float64(1), torch.tensor(2.0))(0.5)) is float


@pytest.mark.parametrize("name", ALL)
def test_values_are_plain_floats_that_any_file_can_hold(name):
    assert all(type(ALL[name](t)) is float for t in POSITIONS)


def test_combined_schedules_each_see_their_part_as_a_whole():
    seen = []

    def spy(t):
        seen.append(t)
        return 0.0

    sched = combine_scheds([0.2, 0.3, 0.5], [spy] * 3)
    for t in (0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0):
        sched(t)
    assert seen == pytest.approx([0, 0.5, 0, 0.5, 0, 0.5, 1])


def test_parts_that_sum_to_one_but_for_rounding_are_taken():
    sched = combine_scheds([0.1] * 10, [SchedNo(i, i) for i in range(10)])
    assert [sched((i + 0.5) / 10) for i in range(10)] == list(range(10))
    assert sched(1.0) == 9


def test_a_part_of_no_length_is_left_out():
    assert combined_cos(0, 5, 1, 0)(0) == 1
    assert combined_cos(1, 0, 1, 5)(1.0) == 1


@pytest.mark.parametrize(
    ("pcts", "message"),
    [
        ([0.5, 0.6], "`pcts` must sum to 1, got [0.5, 0.6] with the sum 1.1"),
        ([-0.5, 1.5], "`pcts` are parts of the whole and must be at least 0, got [-0.5, 1.5]"),
        ([float("nan"), 1], "`pcts` are parts of the whole and must be at least 0, got [nan, 1.0]"),
        ([1.0], "each schedule needs its part, got 1 `pcts` and 2 `scheds`"),
    ],
)
def test_parts_that_are_none_are_refused(pcts, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        combine_scheds(pcts, [SchedNo(1, 1), SchedNo(2, 2)])


def test_other_arguments_that_make_no_schedule_are_refused():
    with pytest.raises(ValueError, match=r"`start` and `end` must be above 0, got 0\.1 and 0\.0"):
        SchedExp(0.1, 0)
    with pytest.raises(ValueError, match=r"between 0 and 1, got 1\.2"):
        combined_cos(1.2, 0, 1, 0)
    with pytest.raises(ValueError, match="`moms` are three values"):
        one_cycle_mom((0.9, 0.8))
    with pytest.raises(ValueError, match="`n_cycles` must be at least 1"):
        sgdr(0, 1, 2, 0.1)


@pytest.mark.parametrize("n", [4, 37, 100])
@pytest.mark.parametrize("pct_start", [0.25, 0.3])
def test_one_cycle_is_that_of_torch(n, pct_start):
    opt = torch.optim.AdamW([torch.zeros(1)], lr=1.0)
    torch_sched = OneCycleLR(
        opt,
        max_lr=0.1,
        total_steps=n + 1,  # torch counts from 0 to total_steps - 1; we from 0 to n
        pct_start=(pct_start * n + 1) / (n + 1),
        div_factor=25,
        final_div_factor=1e5 / 25,  # torch divides the initial rate
        base_momentum=0.85,
        max_momentum=0.95,
    )
    lr, mom = one_cycle(0.1, pct_start=pct_start), one_cycle_mom(pct_start=pct_start)
    for i in range(n):
        group = opt.param_groups[0]
        assert lr(i / n) == pytest.approx(group["lr"], rel=1e-9)
        assert mom(i / n) == pytest.approx(group["betas"][0], rel=1e-9)
        opt.step()
        torch_sched.step()


def test_flat_cos_is_flat_and_then_falls():
    sched = flat_cos(0.1, pct_start=0.75, div_final=100)
    assert {sched(t) for t in (0, 0.3, 0.749)} == {0.1}
    assert sched(0.875) == pytest.approx((0.1 + 0.001) / 2)
    assert sched(1.0) == pytest.approx(0.001)


def test_sgdr_restarts_at_the_end_of_each_cycle():
    sched = sgdr(3, 2, 2, 0.1)  # cycles of 2, 4 and 8 epochs
    assert [sched(epoch / 14) for epoch in (0, 2, 6)] == pytest.approx([0.1, 0.1, 0.1])
    assert [sched(epoch / 14) for epoch in (1, 4, 10)] == pytest.approx([0.05, 0.05, 0.05])
    assert sched(1.0) == pytest.approx(0, abs=1e-12)
    assert sgdr(2, 1, 1, 0.1)(0.5) == pytest.approx(0.1)  # cycles of one length
