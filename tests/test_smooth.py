"""Label smoothing as a callback: the loss that training gets, and that nothing else changes."""

from functools import partial
from math import log

import pytest
import torch
import torch.nn.functional as F
from tiny import linear_learner
from torch import nn

from learnlite import (
    BCEWithLogitsLossFlat,
    CrossEntropyLossFlat,
    DataLoaders,
    FocalLoss,
    LabelSmoothingCrossEntropy,
    Learner,
    MSELossFlat,
    Order,
    Recorder,
    on,
)
from learnlite.callbacks.mix import MixUp
from learnlite.callbacks.smooth import LabelSmoothing

WEIGHT = torch.tensor([1.0, 2.0, 5.0])


def learner(cbs, loss_func=None):
    batches = [(torch.randn(8, 5), torch.randint(3, (8,))) for _ in range(2)]
    dls = DataLoaders(batches, batches, device="cpu")
    return Learner(dls, nn.Linear(5, 3), loss_func, cbs=cbs, lr=0.1, default_cbs=False)


def training_losses(cbs, loss_func, wanted):
    """The losses of a fit, and what `wanted` says they should be."""

    def note(learn):
        if learn.training:
            losses.append(learn.loss.detach())
            expected.append(wanted(learn.pred, learn.yb[0]).detach())

    losses, expected = [], []
    look = on(after_loss=note, order=Order.SETUP)  # before mixup puts the labels back
    learner([*cbs, look], loss_func).fit(2)
    return torch.stack(losses), torch.stack(expected)


@pytest.mark.parametrize(
    "loss_func", [None, nn.CrossEntropyLoss(), F.cross_entropy, partial(F.cross_entropy)]
)
@pytest.mark.parametrize("cbs", [[], [MixUp]], ids=["alone", "over mixup"])
def test_training_gets_torchs_smoothed_loss_alone_and_over_mixup(loss_func, cbs):
    torchs = partial(F.cross_entropy, label_smoothing=0.2)
    losses, expected = training_losses([LabelSmoothing(0.2), *cbs], loss_func, torchs)
    torch.testing.assert_close(losses, expected)


def test_spread_over_the_others_is_the_mean_loss_of_a_wrong_class_for_the_doubt():
    def bag_of_tricks(pred, targ):
        logs = F.log_softmax(pred, 1)
        right = logs.gather(1, targ[:, None]).squeeze(1)
        return -(0.7 * right + 0.3 * (logs.sum(1) - right) / 2).mean()

    losses, expected = training_losses([LabelSmoothing(0.3, "others")], None, bag_of_tricks)
    torch.testing.assert_close(losses, expected)


@pytest.mark.parametrize(("eps", "classes"), [(0.1, 3), (0.3, 10)])
def test_the_best_outputs_differ_by_what_the_formula_says(eps, classes):
    class Free(nn.Module):
        """Outputs that are the parameters themselves."""

        def __init__(self):
            super().__init__()
            self.outputs = nn.Parameter(torch.zeros(classes, classes))

        def forward(self, x):
            return self.outputs

    batch = (torch.zeros(classes, 1), torch.arange(classes))
    learn = Learner(
        DataLoaders([batch] * 50, device="cpu"),
        Free(),
        F.cross_entropy,
        partial(torch.optim.SGD, momentum=0.9),
        cbs=LabelSmoothing(eps, spread="others"),
        default_cbs=False,
    )
    learn.fit(30, float(classes))
    outputs = learn.model.outputs.detach()
    others = outputs[~torch.eye(classes, dtype=torch.bool)].view(classes, -1)
    gaps = outputs.diagonal()[:, None] - others
    wanted = log((classes - 1) * (1 - eps) / eps)
    torch.testing.assert_close(gaps, torch.full_like(gaps, wanted), rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    "loss_func",
    [
        CrossEntropyLossFlat(weight=WEIGHT, ignore_index=1, reduction="sum"),
        nn.CrossEntropyLoss(weight=WEIGHT, ignore_index=1, reduction="sum"),
        partial(F.cross_entropy, weight=WEIGHT, ignore_index=1, reduction="sum"),
    ],
)
def test_weights_and_the_ignored_label_and_the_reduction_stay(loss_func):
    torchs = partial(
        F.cross_entropy, weight=WEIGHT, ignore_index=1, reduction="sum", label_smoothing=0.1
    )
    losses, expected = training_losses([LabelSmoothing(0.1)], loss_func, torchs)
    torch.testing.assert_close(losses, expected)


def test_the_class_axis_stays():
    pred, targ = torch.randn(4, 3, 6, 6), torch.randint(3, (4, 6, 6))
    wanted = F.cross_entropy(pred, targ, label_smoothing=0.1)
    for loss_func in (nn.CrossEntropyLoss(), F.cross_entropy, CrossEntropyLossFlat(axis=1)):
        torch.testing.assert_close(LabelSmoothing(0.1).smoothed(loss_func)(pred, targ), wanted)
    last = LabelSmoothing(0.1).smoothed(CrossEntropyLossFlat())
    torch.testing.assert_close(last(pred.movedim(1, -1), targ), wanted)


def test_mixed_labels_with_weights_take_their_weights_as_ours_do():
    pred, soft = torch.randn(6, 3), torch.randn(6, 3).softmax(1)
    smoothed = LabelSmoothing(0.1).smoothed(nn.CrossEntropyLoss(weight=WEIGHT))
    ours = CrossEntropyLossFlat(weight=WEIGHT, label_smoothing=0.1)
    torch.testing.assert_close(smoothed(pred, soft), ours(pred, soft))


def test_validation_has_the_plain_loss_and_so_has_the_learner_afterwards():
    plain, recorder = nn.CrossEntropyLoss(), Recorder()
    seen = []
    look = on(
        after_loss=lambda learn: seen.append((learn.training, learn.loss_func)),
        after_epoch=lambda learn: seen.append((False, learn.loss_func)),
    )
    learn = learner([LabelSmoothing(0.1), recorder, look], plain)
    learn.fit(2)
    for training, loss_func in seen:
        assert isinstance(loss_func, LabelSmoothingCrossEntropy) == training
        assert training or loss_func is plain
    with torch.no_grad():
        losses = [F.cross_entropy(learn.model(x), y) for x, y in learn.dls.valid]
    assert recorder.last("valid_loss") == pytest.approx(torch.stack(losses).mean().item())


def test_a_validation_in_the_middle_of_a_training_pass_has_the_plain_loss():
    measured, expected = [], []

    def look(learn):
        if not learn.training:
            return
        measured.append(learn.validate()[0])
        with torch.no_grad():
            losses = [F.cross_entropy(learn.model(x), y) for x, y in learn.dls.valid]
        expected.append(torch.stack(losses).mean().item())
        assert isinstance(learn.loss_func, LabelSmoothingCrossEntropy)

    learner([LabelSmoothing(0.3), on(after_batch=look)]).fit(1)
    assert measured and measured == pytest.approx(expected)


def test_the_plain_loss_is_back_after_an_error():
    def fail(learn):
        raise RuntimeError("a bomb")

    for event in ("before_train", "before_batch", "after_pred", "after_loss", "after_train"):
        learn = learner([LabelSmoothing(0.1), on(**{event: fail})], nn.CrossEntropyLoss())
        plain = learn.loss_func
        with pytest.raises(RuntimeError, match="a bomb"):
            learn.fit(1)
        assert learn.loss_func is plain


@pytest.mark.parametrize(
    ("loss_func", "message"),
    [
        (MSELossFlat(), r"of a cross entropy, but the loss is `MSELossFlat\(\)`; use `CrossEntr"),
        (BCEWithLogitsLossFlat(), "leave the callback out"),
        (FocalLoss(), r"`FocalLoss\(gamma=2.0\)`"),
        (F.mse_loss, "`mse_loss`"),
        (partial(F.cross_entropy, size_average=True), "of a cross entropy"),
        (LabelSmoothingCrossEntropy(0.1), "smooths them already; leave one of the two out"),
        (CrossEntropyLossFlat(label_smoothing=0.1), "smooths them already"),
        (nn.CrossEntropyLoss(label_smoothing=0.1), "smooths them already"),
        (partial(F.cross_entropy, label_smoothing=0.1), "smooths them already"),
    ],
)
def test_another_loss_is_refused_before_training(loss_func, message):
    started = []
    look = on(before_epoch=started.append)
    with pytest.raises(ValueError, match=message):
        learner([LabelSmoothing(0.1), look], loss_func).fit(1)
    assert not started


def test_a_cross_entropy_that_computes_otherwise_is_refused():
    class Doubled(nn.CrossEntropyLoss):
        def forward(self, input, target):
            return 2 * super().forward(input, target)

    with pytest.raises(ValueError, match=r"the loss is `Doubled\(\)`"):
        learner(LabelSmoothing(0.1), Doubled()).fit(1)


def test_two_that_smooth_are_refused_together():
    with pytest.raises(ValueError, match="both drive `smoothing`"):
        linear_learner([LabelSmoothing(), LabelSmoothing(0.2)]).fit(1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eps": 1.0}, "`eps` is the share left to doubt, from 0 to below 1; got 1.0"),
        ({"spread": "some"}, '`spread` must be "all" or "others"'),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        LabelSmoothing(**arguments)


def test_arguments_are_shown():
    assert repr(LabelSmoothing(0.2, "others")) == "LabelSmoothing(eps=0.2, spread='others')"
