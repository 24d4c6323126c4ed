"""Targets that do not suit the loss are named before the loss is computed."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from learnlite.checks import check_targets, label_error
from learnlite.losses import BCEWithLogitsLossFlat, CrossEntropyLossFlat, FocalLoss, MSELossFlat

CLASS_LOSSES = [
    nn.CrossEntropyLoss(),
    nn.NLLLoss(),
    F.cross_entropy,
    F.nll_loss,
    CrossEntropyLossFlat(),
    FocalLoss(),
]
NUMBER_LOSSES = [
    nn.MSELoss(),
    nn.L1Loss(),
    nn.SmoothL1Loss(),
    nn.HuberLoss(),
    F.mse_loss,
    F.l1_loss,
]


@pytest.mark.parametrize("loss", [*CLASS_LOSSES, partial(F.cross_entropy, label_smoothing=0.1)])
def test_labels_outside_the_outputs_are_named_with_the_classes(loss):
    with pytest.raises(
        ValueError, match=r"labels 3, 7, but the model gives 3 outputs, for the labels 0 to 2; give"
    ):
        check_targets(loss, torch.zeros(4, 3), torch.tensor([0, 7, 3, 3]))
    with pytest.raises(
        ValueError, match=r"\(cat, dog, owl, fox\); the data has 4 classes: build .* n_out=4"
    ):
        check_targets(
            loss, torch.zeros(4, 3), torch.tensor([0, 1, 3, 3]), ["cat", "dog", "owl", "fox"]
        )
    with pytest.raises(ValueError, match=r"label -1, .*`ignore_index=-1`"):
        check_targets(loss, torch.zeros(4, 3), torch.tensor([0, 1, -1, 2]))
    with pytest.raises(ValueError, match="the data names 3 classes only"):
        check_targets(loss, torch.zeros(4, 3), torch.tensor([0, 1, 3, 2]), ["a", "b", "c"])


def test_fewer_outputs_than_classes_are_told_before_the_label_comes():
    vocab = ["a", "b", "c"]
    with pytest.raises(
        ValueError, match=r"2 outputs but the data has 3 classes \(a, b, c\); build it with n_out=3"
    ):
        check_targets(nn.CrossEntropyLoss(), torch.zeros(2, 2), torch.tensor([0, 1]), vocab)
    check_targets(
        nn.CrossEntropyLoss(ignore_index=2), torch.zeros(2, 2), torch.tensor([0, 2]), vocab
    )
    check_targets(nn.CrossEntropyLoss(), torch.zeros(2, 5), torch.tensor([0, 1]), vocab)


def test_ignored_labels_are_no_labels():
    targ = torch.tensor([0, 255, -100])
    check_targets(CrossEntropyLossFlat(ignore_index=255), torch.zeros(2, 3), targ[:2])
    check_targets(nn.CrossEntropyLoss(), torch.zeros(2, 3), targ[::2])
    check_targets(partial(F.cross_entropy, ignore_index=255), torch.zeros(2, 3), targ[:2])


@pytest.mark.parametrize("loss", CLASS_LOSSES)
def test_float_targets_for_classes(loss):
    with pytest.raises(ValueError, match=r"wants integer labels.*torch.float32 .*`targ.long\(\)`"):
        check_targets(loss, torch.zeros(4, 3), torch.rand(4))


@pytest.mark.parametrize("loss", CLASS_LOSSES)
@pytest.mark.parametrize("pred", [(4, 1), (4,)])
def test_one_output_for_classes(loss, pred):
    with pytest.raises(ValueError, match=r"an output per class, got .*`BCEWithLogitsLossFlat\(\)`"):
        check_targets(loss, torch.zeros(pred), torch.tensor([0, 1, 0, 0]))


@pytest.mark.parametrize(
    "loss", [*CLASS_LOSSES, *NUMBER_LOSSES, nn.BCEWithLogitsLoss(), MSELossFlat()]
)
def test_as_many_predictions_as_targets(loss):
    targ = torch.zeros(6) if loss in NUMBER_LOSSES or "BCE" in str(loss) else torch.zeros(6).long()
    with pytest.raises(ValueError, match=r"4.*6"):
        check_targets(loss, torch.zeros(4, 3), targ)


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), F.cross_entropy])
def test_shapes_and_kinds_of_labels_that_torch_does_not_take(loss):
    with pytest.raises(
        ValueError, match=r"labels of shape \(4,\) .*got \(4, 1\); `CrossEntropyLossFlat"
    ):
        check_targets(loss, torch.zeros(4, 3), torch.zeros(4, 1).long())
    with pytest.raises(ValueError, match="for several labels an item use `BCE"):
        check_targets(loss, torch.zeros(4, 3), torch.zeros(4, 3).long())
    with pytest.raises(
        ValueError, match=r"labels of torch.int64, got torch.int32; give `targ.long\(\)`"
    ):
        check_targets(loss, torch.zeros(4, 3), torch.zeros(4).int())


@pytest.mark.parametrize("loss", NUMBER_LOSSES)
def test_shapes_that_torch_would_broadcast(loss):
    with pytest.raises(
        ValueError, match=r"got \(4, 1\) and \(4,\), which torch would broadcast.*reshape\(4, 1\)"
    ):
        check_targets(loss, torch.zeros(4, 1), torch.zeros(4))
    with pytest.raises(ValueError, match=r"got \(4, 3\) and \(4,\)"):
        check_targets(loss, torch.zeros(4, 3), torch.zeros(4))


@pytest.mark.parametrize(
    "loss", [*NUMBER_LOSSES, nn.BCEWithLogitsLoss(), F.binary_cross_entropy_with_logits]
)
def test_integer_targets_for_numbers(loss):
    with pytest.raises(
        ValueError, match=r"wants float targets, got torch.int64; .*`targ.float\(\)`"
    ):
        check_targets(loss, torch.zeros(4, 1), torch.zeros(4, 1).long())


@pytest.mark.parametrize("loss", [nn.BCEWithLogitsLoss(), BCEWithLogitsLossFlat()])
def test_yes_and_no_lie_between_0_and_1(loss):
    with pytest.raises(ValueError, match="targets from 0 to 1, got values from 0 to 2"):
        check_targets(loss, torch.zeros(2, 1), torch.tensor([[0.0], [2.0]]))
    with pytest.raises(ValueError, match="predictions from 0 to 1"):
        check_targets(nn.BCELoss(), torch.tensor([[3.0]]), torch.tensor([[1.0]]))


@pytest.mark.parametrize(
    ("loss", "pred", "targ"),
    [
        (nn.CrossEntropyLoss(), (4, 3), torch.zeros(4).long()),
        (nn.CrossEntropyLoss(), (4, 3), torch.zeros(4).byte()),
        (nn.CrossEntropyLoss(), (4, 3), torch.full((4, 3), 1 / 3)),
        (nn.CrossEntropyLoss(), (4, 3, 8, 8), torch.zeros(4, 8, 8).long()),
        (nn.CrossEntropyLoss(), (3,), torch.tensor(1)),
        (CrossEntropyLossFlat(), (4, 7, 3), torch.full((4, 7), 2)),
        (CrossEntropyLossFlat(axis=1), (4, 3, 8, 8), torch.full((4, 1, 8, 8), 2).byte()),
        (nn.BCEWithLogitsLoss(), (4, 3), torch.zeros(4, 3)),
        (BCEWithLogitsLossFlat(), (4, 1), torch.zeros(4).long()),
        (nn.MSELoss(), (4, 3), torch.zeros(4, 3)),
        (MSELossFlat(), (4, 1), torch.zeros(4).long()),
        (lambda pred, targ: pred.mean(), (4, 3), torch.zeros(7).long()),
        (nn.TripletMarginLoss(), (4, 3), torch.zeros(7)),
    ],
)
def test_what_fits_passes_in_silence(loss, pred, targ):
    check_targets(loss, torch.zeros(pred), targ)


def test_predictions_that_are_no_tensors_are_left_alone():
    check_targets(nn.CrossEntropyLoss(), {"logits": torch.zeros(2, 3)}, torch.tensor([0, 7]))


@pytest.mark.parametrize("shape", [(), (4,), (4, 4)])
@pytest.mark.parametrize("bad", [7, -3])
def test_torchs_error_on_a_later_batch_becomes_the_same_sentence(shape, bad):
    pred, targ = torch.zeros(2, 3, *shape), torch.zeros(2, *shape).long()
    targ[-1] = bad
    with pytest.raises(IndexError) as caught:
        F.cross_entropy(pred, targ)
    named = label_error(caught.value, pred, targ, ["a", "b", "c"])
    with pytest.raises(ValueError, match=f"label {bad}, but the model gives 3 outputs") as checked:
        check_targets(F.cross_entropy, pred, targ, ["a", "b", "c"])
    assert str(named) == str(checked.value)


def test_outputs_with_the_classes_last_are_counted_rightly():
    pred, targ = torch.zeros(2, 7, 3), torch.full((2, 7), 5)
    with pytest.raises(IndexError) as caught:
        CrossEntropyLossFlat()(pred, targ)
    assert "the model gives 3 outputs" in str(label_error(caught.value, pred, targ))


def test_other_errors_are_not_its_business():
    assert (
        label_error(IndexError("list index out of range"), torch.zeros(2, 3), torch.tensor([0, 1]))
        is None
    )
    assert label_error(IndexError("Target 3 is out of bounds."), None, None) is None
