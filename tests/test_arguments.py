"""Numbers that callbacks and losses are made with: text, truth values and parts of a count."""

import numpy as np
import pytest
import torch

from learnlite import (
    EMA,
    SAM,
    SWA,
    CutMix,
    CutMixUp,
    EarlyStopping,
    FocalLoss,
    GradientAccumulation,
    GradientClip,
    LabelSmoothing,
    MixUp,
    ProgressiveResize,
    RandomErasing,
    ReduceLROnPlateau,
)
from learnlite.types import check_number

NUMBERS = [
    (EMA, {"decay": 0.99}),
    (SWA, {"start": 0.5}),
    (SAM, {"rho": 0.05}),
    (MixUp, {"alpha": 0.4}),
    (CutMix, {"alpha": 1.0}),
    (CutMixUp, {"mixup_alpha": 0.4}),
    (CutMixUp, {"mixup_share": 0.5}),
    (LabelSmoothing, {"eps": 0.1}),
    (FocalLoss, {"gamma": 2.0}),
    (GradientClip, {"max_norm": 1.0}),
    (GradientClip, {"value": 0.5}),
    (EarlyStopping, {"min_delta": 0.1}),
    (ReduceLROnPlateau, {"factor": 0.1}),
    (ReduceLROnPlateau, {"threshold": 0.1}),
    (ReduceLROnPlateau, {"eps": 1e-8}),
    (ReduceLROnPlateau, {"min_lr": 1e-5}),
    (RandomErasing, {"p": 0.5}),
    (RandomErasing, {"sl": 0.1}),
    (RandomErasing, {"sh": 0.1}),
    (RandomErasing, {"min_aspect": 0.3}),
    (ProgressiveResize, {"start": 8, "end": 16, "pct_start": 0.1}),
]
COUNTS = [
    (GradientAccumulation, {"n_acc": 64}),
    (RandomErasing, {"max_count": 2}),
    (ProgressiveResize, {"end": 16, "start": 8}),
    (ProgressiveResize, {"start": 8, "end": 16}),
    (ProgressiveResize, {"start": 8, "end": 16, "multiple": 2}),
    (EarlyStopping, {"patience": 3}),
    (ReduceLROnPlateau, {"patience": 3}),
    (ReduceLROnPlateau, {"cooldown": 3}),
]


def last(given):
    return list(given.items())[-1]


def named(case):
    return getattr(case, "__name__", None) or ".".join(map(str, last(case)))


@pytest.mark.parametrize(("cls", "given"), NUMBERS + COUNTS, ids=named)
def test_text_or_truth_in_place_of_a_number_is_refused_by_name(cls, given):
    name, value = last(given)
    cls(**given | {name: np.array([value])[0]})  # a number of numpy's is one
    for wrong in (str(value), True, None, torch.tensor(value)):
        if wrong is None and name in ("max_norm", "value"):
            continue
        with pytest.raises(TypeError, match=f"`{name}` must be a (whole )?number, got "):
            cls(**given | {name: wrong})


@pytest.mark.parametrize(("cls", "given"), COUNTS, ids=named)
def test_a_count_is_a_whole_number(cls, given):
    name, value = last(given)
    with pytest.raises(TypeError, match=f"`{name}` must be a whole number, got {value}.0"):
        cls(**given | {name: float(value)})


def test_a_number_is_what_python_or_numpy_calls_so():
    for number in (1, 2.5, np.float32(0.1), np.int64(3), float("nan")):
        check_number("x", number)
    with pytest.raises(TypeError, match="`x` must be a number, got '1'"):
        check_number("x", "1")
