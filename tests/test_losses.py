"""Losses against torch's, against each other and by hand."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from learnlite.losses import (
    BCEWithLogitsLossFlat,
    CrossEntropyLossFlat,
    FocalLoss,
    L1LossFlat,
    LabelSmoothingCrossEntropy,
    LabelSmoothingCrossEntropyFlat,
    MSELossFlat,
    infer_loss,
)

N, C = 12, 5
CLASS_LOSSES = [CrossEntropyLossFlat, LabelSmoothingCrossEntropy, FocalLoss]


def problem(*shape):
    """Outputs (N, C, *shape) in float64 and labels (N, *shape)."""
    generator = torch.Generator().manual_seed(len(shape))
    outputs = torch.randn(N, C, *shape, generator=generator, dtype=torch.float64)
    return outputs.requires_grad_(), torch.randint(C, (N, *shape), generator=generator)


def one_hot(labels):
    return F.one_hot(labels, C).movedim(-1, 1).double()


WEIGHT = torch.tensor([0.2, 1.0, 3.0, 0.5, 2.0], dtype=torch.float64)


@pytest.mark.parametrize("shape", [(), (3,), (3, 4), (2, 3, 2)])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_equals_torchs_with_the_classes_on_any_axis(
    shape, reduction, weight, smoothing
):
    outputs, labels = problem(*shape)
    expected = F.cross_entropy(
        outputs, labels, weight, reduction=reduction, label_smoothing=smoothing
    )
    for axis in range(1, outputs.ndim):
        loss = CrossEntropyLossFlat(axis, weight, -100, reduction, smoothing)
        moved = outputs.movedim(1, axis)
        torch.testing.assert_close(
            loss(moved, labels), expected, check_dtype=False, rtol=1e-6, atol=1e-6
        )
        loss.axis = axis - outputs.ndim
        torch.testing.assert_close(
            loss(moved, labels), expected, check_dtype=False, rtol=1e-6, atol=1e-6
        )


@pytest.mark.parametrize("make", CLASS_LOSSES)
@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(), (3,), (3, 4)])
def test_one_hot_probabilities_give_what_labels_give(make, weight, reduction, shape):
    outputs, labels = problem(*shape)
    loss = make(weight=weight, reduction=reduction, axis=1)
    torch.testing.assert_close(
        loss(outputs, one_hot(labels)), loss(outputs, labels), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("spread", ["all", "others"])
def test_mixed_probabilities_mix_the_losses(spread):
    outputs, labels = problem()
    other = labels.roll(1)
    soft = 0.3 * one_hot(labels) + 0.7 * one_hot(other)
    for loss in [
        CrossEntropyLossFlat(),
        FocalLoss(),
        LabelSmoothingCrossEntropy(0.1, spread=spread),
    ]:
        mixed = 0.3 * loss(outputs, labels) + 0.7 * loss(outputs, other)
        torch.testing.assert_close(loss(outputs, soft), mixed)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_label_smoothing_by_hand(reduction, weight):
    outputs, labels = problem()
    log_probs, w = outputs.log_softmax(1), torch.ones(C).double() if weight is None else weight
    for spread, on, off in [("all", 0.9 + 0.1 / C, 0.1 / C), ("others", 0.9, 0.1 / (C - 1))]:
        shares = torch.where(one_hot(labels) == 1, on, off)
        losses = -(shares * log_probs * w).sum(1)
        expected = {"none": losses, "sum": losses.sum(), "mean": losses.sum() / w[labels].sum()}[
            reduction
        ]
        loss = LabelSmoothingCrossEntropy(0.1, weight, reduction, spread=spread)
        torch.testing.assert_close(loss(outputs, labels), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("eps", [0.05, 0.1, 0.3])
def test_smoothed_labels_are_best_met_by_a_finite_gap(eps):
    outputs = torch.zeros(1, C, dtype=torch.float64, requires_grad=True)
    loss = LabelSmoothingCrossEntropy(eps, spread="others")
    optimizer = torch.optim.LBFGS(
        [outputs], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-15
    )

    def closure():
        optimizer.zero_grad()
        value = loss(outputs, torch.tensor([2]))
        value.backward()
        return value

    optimizer.step(closure)
    gaps = outputs[0, 2] - outputs[0, [0, 1, 3, 4]]
    expected = math.log((C - 1) * (1 - eps) / eps)
    torch.testing.assert_close(gaps, torch.full_like(gaps, expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", CLASS_LOSSES)
@pytest.mark.parametrize("weight", [None, WEIGHT.tolist()])
def test_a_batch_in_which_all_is_ignored_costs_nothing_and_moves_nothing(make, weight):
    outputs, labels = problem(3)
    loss = make(weight=weight, axis=1)
    value = loss(outputs, torch.full_like(labels, -100))
    value.backward()
    assert value.item() == 0
    assert torch.equal(outputs.grad, torch.zeros_like(outputs))


@pytest.mark.parametrize("make", CLASS_LOSSES)
@pytest.mark.parametrize("ignore_index", [-1, 255, 2])
def test_what_is_ignored_is_as_if_it_were_not_there(make, ignore_index):
    outputs, labels = problem()
    labels = torch.where(labels == 2, 1, labels)
    labels[::3] = ignore_index
    loss = make(weight=WEIGHT, ignore_index=ignore_index)
    kept = labels != ignore_index
    torch.testing.assert_close(loss(outputs, labels), loss(outputs[kept], labels[kept]))


@pytest.mark.parametrize("shape", [(6, C), (6, 4, C), (6, C, 2, 2)])
@pytest.mark.parametrize("spread", ["all", "others"])
@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_smoothing_leaves_rows_without_probability_ignored_and_others_as_torch_does(
    shape, spread, weight
):
    axis = -1 if len(shape) == 3 else 1
    outputs = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    rows = torch.randn_like(outputs).softmax(axis).detach()
    loss = LabelSmoothingCrossEntropy(0.1, weight, "none", axis, spread=spread)
    eps = 0.1 if spread == "all" else 0.1 * C / (C - 1)
    torchs = F.cross_entropy(
        outputs.movedim(axis, 1),
        rows.movedim(axis, 1),
        weight,
        reduction="none",
        label_smoothing=eps,
    )
    torch.testing.assert_close(loss(outputs, rows), torchs)
    rows[::2] = 0
    losses = loss(outputs, rows)
    losses.sum().backward()
    assert not losses[::2].any() and not outputs.grad[::2].any()
    torch.testing.assert_close(losses[1::2], torchs[1::2])


@pytest.mark.parametrize("ignore_index", [255, 2])
def test_probabilities_go_with_any_ignored_label(ignore_index):
    outputs, labels = problem(3)
    rows = F.one_hot(labels, outputs.shape[1]).movedim(-1, 1).float()
    with_it = CrossEntropyLossFlat(axis=1, ignore_index=ignore_index)
    assert torch.equal(with_it(outputs, rows), CrossEntropyLossFlat(axis=1)(outputs, rows))


def test_the_focal_loss_by_hand():
    outputs, labels = problem()
    p = outputs.softmax(1).gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(FocalLoss(3.0)(outputs, labels), ((1 - p) ** 3 * -p.log()).mean())
    expected = F.cross_entropy(outputs, labels, WEIGHT)
    torch.testing.assert_close(
        FocalLoss(0.0, WEIGHT)(outputs, labels), expected, rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_the_focal_loss_has_a_finite_gradient_where_the_model_is_certain(gamma):
    outputs = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    FocalLoss(gamma)(outputs, torch.tensor([0, 0])).backward()
    assert outputs.grad.isfinite().all()


def test_masks_with_an_axis_of_one_and_small_integers_are_labels_too():
    outputs, labels = problem(3, 4)
    loss = CrossEntropyLossFlat(axis=1)
    for masks in (labels.unsqueeze(1), labels.byte(), labels.int(), labels.flatten()):
        assert torch.equal(loss(outputs, masks), loss(outputs, labels))
    flat, column = problem()
    assert torch.equal(CrossEntropyLossFlat()(flat, column[:, None]), F.cross_entropy(flat, column))


def test_bce_equals_torchs_in_any_layout():
    outputs, labels = torch.randn(6, 3), torch.randint(2, (6, 3))
    expected = F.binary_cross_entropy_with_logits(outputs, labels.float())
    for targ in (labels, labels.bool(), labels.float(), labels.double(), labels.flatten()):
        assert torch.equal(BCEWithLogitsLossFlat()(outputs, targ), expected)
    column = BCEWithLogitsLossFlat()(outputs[:, :1], labels[:, 0])
    torch.testing.assert_close(
        column, F.binary_cross_entropy_with_logits(outputs[:, 0], labels[:, 0].float())
    )


def test_bce_weights_lie_along_the_axis():
    outputs, labels = torch.randn(6, 3, 4, 4), torch.randint(2, (6, 3, 4, 4)).float()
    pos_weight = [1.0, 2.0, 3.0]
    last = F.binary_cross_entropy_with_logits(
        outputs.movedim(1, -1), labels.movedim(1, -1), pos_weight=torch.tensor(pos_weight)
    )
    torch.testing.assert_close(
        BCEWithLogitsLossFlat(axis=1, pos_weight=pos_weight)(outputs, labels), last
    )
    loss = BCEWithLogitsLossFlat(pos_weight=pos_weight)
    torch.testing.assert_close(loss(outputs.movedim(1, -1), labels.movedim(1, -1)), last)


@pytest.mark.parametrize(
    ("loss", "reference"), [(MSELossFlat(), F.mse_loss), (L1LossFlat(), F.l1_loss)]
)
def test_numbers_are_compared_one_to_one(loss, reference):
    outputs, numbers = torch.randn(8, 1, requires_grad=True), torch.randn(8)
    expected = reference(outputs[:, 0], numbers)
    for targ in (numbers, numbers[:, None], numbers.double(), numbers[None]):
        torch.testing.assert_close(loss(outputs, targ), expected)
    whole = torch.arange(8)
    torch.testing.assert_close(loss(outputs, whole), reference(outputs[:, 0], whole.float()))
    loss(outputs, numbers.double()).backward()
    assert outputs.grad.dtype == torch.float32


@pytest.mark.parametrize("make", [MSELossFlat, L1LossFlat, BCEWithLogitsLossFlat, *CLASS_LOSSES])
def test_half_predictions_have_a_finite_loss_and_gradient(make):
    for dtype in (torch.float16, torch.bfloat16):
        outputs = torch.randn(4, 3).mul(100).to(dtype).requires_grad_()
        targ = torch.tensor([0, 1, 2, 0]) if make in CLASS_LOSSES else torch.rand(4, 3).round()
        value = make()(outputs, targ)
        value.backward()
        assert value.isfinite()
        assert outputs.grad.isfinite().all()
        assert outputs.grad.dtype == dtype


@pytest.mark.parametrize("make", [MSELossFlat, L1LossFlat, BCEWithLogitsLossFlat, *CLASS_LOSSES])
def test_reduction_can_be_set_and_restored(make):
    outputs = torch.randn(4, 3)
    targ = torch.tensor([0, 1, 2, 0]) if make in CLASS_LOSSES else torch.rand(4, 3).round()
    loss = make()
    mean = loss(outputs, targ)
    loss.reduction = "none"
    assert loss(outputs, targ).shape == targ.shape
    torch.testing.assert_close(loss(outputs, targ).mean(), mean)
    loss.reduction = "sum"
    torch.testing.assert_close(loss(outputs, targ) / targ.numel(), mean)


def test_what_predictions_mean():
    outputs = torch.randn(2, 3, 4)
    for make in CLASS_LOSSES:
        probs = make(axis=1).activation(outputs)
        torch.testing.assert_close(probs, outputs.softmax(1))
        assert torch.equal(make(axis=1).decodes(probs), outputs.argmax(1))
    bce = BCEWithLogitsLossFlat(thresh=0.7)
    assert torch.equal(bce.decodes(bce.activation(outputs)), outputs.sigmoid() > 0.7)
    assert MSELossFlat().decodes(MSELossFlat().activation(outputs)) is outputs


def test_losses_are_modules_that_can_be_copied_moved_and_shown():
    loss = CrossEntropyLossFlat(axis=1, weight=[1.0, 2.0])
    assert isinstance(loss, nn.Module)
    assert not loss.state_dict()
    assert loss.to(torch.float64).weight.dtype == torch.float64
    assert torch.equal(copy.deepcopy(loss).weight, loss.weight)
    assert repr(loss) == "CrossEntropyLossFlat(axis=1, weight=tensor of 2)"
    assert repr(LabelSmoothingCrossEntropy(0.2, spread="others")) == (
        "LabelSmoothingCrossEntropy(eps=0.2, spread='others')"
    )
    assert repr(FocalLoss()) == "FocalLoss(gamma=2.0)"


@pytest.mark.parametrize(
    ("targ", "loss"),
    [
        (torch.tensor([0, 3]), CrossEntropyLossFlat),
        (torch.zeros(2, 5).long(), CrossEntropyLossFlat),
        (torch.tensor([True, False]), BCEWithLogitsLossFlat),
        (torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 0.0]]), BCEWithLogitsLossFlat),
        (torch.tensor([[0.0], [1.0]]), MSELossFlat),
        (torch.tensor([0.3, 2.5]), MSELossFlat),
        (torch.randn(4, 3), MSELossFlat),
        (torch.rand(4, 3, 8, 8), MSELossFlat),
    ],
)
def test_the_loss_that_targets_call_for(targ, loss):
    assert type(infer_loss(targ)) is loss


def test_masks_have_their_classes_on_axis_1():
    assert infer_loss(torch.zeros(2, 8, 8).long()).axis == 1
    assert infer_loss(torch.zeros(2, 8).long()).axis == -1


@pytest.mark.parametrize("targ", [torch.eye(3), torch.eye(3)[[0, 1, 1]], torch.full((4, 4), 0.25)])
def test_floats_that_may_be_classes_or_numbers_are_asked_about(targ):
    with pytest.raises(ValueError, match=r"pass `loss_func`: `CrossEntropyLossFlat\(\)`"):
        infer_loss(targ)


def test_targets_that_name_no_loss():
    for targ in ({"a": 1}, torch.zeros(2, dtype=torch.complex64)):
        with pytest.raises(ValueError, match="pass `loss_func`"):
            infer_loss(targ)


@pytest.mark.parametrize(
    ("loss", "pred", "targ", "message"),
    [
        (
            CrossEntropyLossFlat(),
            (4, 3),
            torch.rand(4),
            r"wants integer labels.*torch.float32.*`targ.long\(\)`",
        ),
        (CrossEntropyLossFlat(), (4, 3), torch.rand(4, 2), r"shape of the outputs \(4, 3\); got"),
        (
            CrossEntropyLossFlat(),
            (4, 3),
            torch.ones(4, 3).long(),
            r"several labels .* `BCEWithLogitsLossFlat\(\)`",
        ),
        (CrossEntropyLossFlat(), (4, 3, 8, 8), torch.ones(4, 8, 8).long(), "pass `axis=1`"),
        (CrossEntropyLossFlat(), (4, 3, 8), torch.ones(8, 4).long(), r"shape \(4, 3\)"),
        (CrossEntropyLossFlat(), (4,), torch.ones(4).long(), "an output per class.*`squeeze`"),
        (
            CrossEntropyLossFlat(weight=[1.0, 2.0]),
            (4, 3),
            torch.ones(4).long(),
            "a number for each of 3",
        ),
        (FocalLoss(), (4, 3), torch.ones(5).long(), "keep the batch as the first axis"),
        (
            LabelSmoothingCrossEntropy(0.9, spread="others"),
            (4, 3),
            torch.ones(4).long(),
            "`eps` of 0.9",
        ),
        (MSELossFlat(), (4, 3), torch.rand(4), r"got \(4, 3\) and \(4,\)"),
        (MSELossFlat(), (4, 3), torch.rand(3, 4), r"got \(4, 3\) and \(3, 4\)"),
        (L1LossFlat(), (4, 1), torch.rand(5), r"got \(4, 1\) and \(5,\)"),
        (BCEWithLogitsLossFlat(), (4, 3), torch.ones(4).long(), r"got \(4, 3\) and \(4,\)"),
        (MSELossFlat(floatify=False), (4,), torch.ones(4).long(), "leave out `floatify=False`"),
    ],
)
def test_what_does_not_fit_is_said(loss, pred, targ, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        loss(torch.randn(pred), targ)


def test_arguments_that_cannot_be():
    with pytest.raises(
        ValueError, match='`reduction` must be "mean", "sum" or "none", got \'avg\''
    ):
        MSELossFlat(reduction="avg")
    with pytest.raises(TypeError, match="pass weights as `weight=`"):
        CrossEntropyLossFlat(torch.ones(3))
    with pytest.raises(ValueError, match=r"`eps` is the share left to doubt.*got 1.5"):
        LabelSmoothingCrossEntropy(1.5)
    with pytest.raises(ValueError, match='`spread` must be "all" or "others"'):
        LabelSmoothingCrossEntropy(spread="rest")
    with pytest.raises(ValueError, match="`gamma` must be at least 0, got -1"):
        FocalLoss(-1)


def test_fastais_name_of_the_smoothed_loss_is_the_same():
    assert LabelSmoothingCrossEntropyFlat is LabelSmoothingCrossEntropy
    assert repr(LabelSmoothingCrossEntropyFlat(eps=0.1, axis=1)) == (
        "LabelSmoothingCrossEntropy(eps=0.1, axis=1)"
    )
