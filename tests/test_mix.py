"""Mixing: what the model and the loss are given, what everybody else sees, what is refused."""

from functools import partial
from math import prod, sqrt

import pytest
import torch
import torch.nn.functional as F
from tiny import digits_loaders, linear_learner, net
from torch import nn

from learnlite import (
    BCEWithLogitsLossFlat,
    CancelBatchException,
    CrossEntropyLossFlat,
    DataLoaders,
    FocalLoss,
    GradientAccumulation,
    LabelSmoothingCrossEntropy,
    Learner,
    MSELossFlat,
    Order,
    Recorder,
    accuracy,
    on,
)
from learnlite.callbacks.mix import CutMix, CutMixUp, Mixing, MixUp
from learnlite.callbacks.sharpness import SAM
from learnlite.losses.soft import check_takes_soft, soft_targets

EVERY = [MixUp, CutMix, CutMixUp]


class Watch:
    """What a batch looks like before it is mixed, to the model, to the loss, and after it."""

    def __init__(self):
        self.plain, self.mixed, self.soft, self.after, self.preds = [], [], [], [], []
        self.shares, self.partners = [], []

    @property
    def cbs(self):
        def begun(learn):
            if learn.training:
                self.plain.append(learn.xb)

        def pred(learn):
            if learn.training:
                self.mixed.append(learn.xb)
                self.soft.append(learn.yb)
                self.preds.append(learn.pred.detach())
                mixture = next(cb for cb in learn.cbs if isinstance(cb, Mixing))._mixture
                self.shares.append(mixture.share)
                self.partners.append(mixture.partner)

        def loss(learn):
            if learn.training:
                self.after.append((learn.yb, learn.loss.detach()))

        return [
            on(before_batch=begun, order=Order.DATA - 1),
            on(after_pred=pred, order=Order.DATA + 1),
            on(after_loss=loss, order=Order.DATA + 1),
        ]


def learner(cbs, batches, model, loss_func=None, valid=None, **kwargs):
    dls = DataLoaders(batches, valid, device="cpu")
    kwargs = {"lr": 0.01, "default_cbs": False, "seed": 7} | kwargs
    return Learner(dls, model, loss_func, cbs=cbs, **kwargs)


def images(n_batch=1, bs=8, size=16, classes=3):
    shape = (bs, 2, size, size)
    return [(torch.randn(shape), torch.randint(classes, (bs,))) for _ in range(n_batch)]


def image_net(size=16, classes=3):
    return nn.Sequential(nn.Flatten(), nn.Linear(2 * size * size, classes))


def column(share, like):
    return share.view(-1, *[1] * (like.ndim - 1))


# What is drawn


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_the_shares_of_mixup_are_the_larger_of_a_beta_pair(alpha):
    share = MixUp(alpha).draw(torch.zeros(100_000, 1)).share.double()
    assert share.min() >= 0.5 and share.max() <= 1
    spread = (share - 0.5).square()  # the same for the larger and the smaller of the pair
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(spread.mean() - variance) < 4 * spread.std() / sqrt(len(share))
    density = torch.distributions.Beta(alpha, alpha)
    middle = density.sample((100_000,)).double()
    larger = torch.maximum(middle, 1 - middle)
    assert abs(share.mean() - larger.mean()) < 6 * share.std() / sqrt(len(share))


@pytest.mark.parametrize("callback", [MixUp(), CutMix()])
def test_partners_are_a_permutation_and_every_item_has_its_own_share(callback):
    mixture = callback.draw(torch.zeros(64, 1, 32, 32))
    assert mixture.partner.sort().values.tolist() == list(range(64))
    assert len(set(mixture.share.tolist())) > 32


def test_each_image_has_one_box_and_its_label_the_share_of_what_is_left():
    mixture = CutMix().draw(torch.zeros(200, 2, 24, 40))
    for box, share in zip(mixture.inside[:, 0], mixture.share.tolist(), strict=True):
        rows, columns = box.any(1), box.any(0)
        assert torch.equal(box, rows[:, None] & columns[None])
        for side in (rows, columns):  # no gap: at most one change each way
            assert (side.int().diff() != 0).sum() <= 2
            assert not (side[0] and side[-1]) or side.all()
        assert share == pytest.approx(1 - box.sum().item() / box.numel(), abs=1e-6)


def mean_area(alpha, steps=2000):
    """The part of an image that CutMix cuts, by the definition: midpoint sums over l and places."""
    middle = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
    lam = middle**3 / (middle**3 + (1 - middle) ** 3)  # finer near 0 and 1
    weight = torch.distributions.Beta(alpha, alpha).log_prob(lam.clamp(1e-12, 1 - 1e-12)).exp()
    weight *= torch.gradient(lam)[0]
    side = (1 - lam).sqrt()[:, None]
    inside = ((middle + side / 2).clamp(max=1) - (middle - side / 2).clamp(min=0)).mean(1)
    return ((weight * inside.square()).sum() / weight.sum()).item()


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_the_mean_area_of_the_boxes_is_that_of_the_definition(alpha):
    cut = 1 - CutMix(alpha).draw(torch.zeros(20_000, 1, 32, 32)).share
    assert abs(cut.mean().item() - mean_area(alpha)) < 4 * cut.std().item() / sqrt(len(cut)) + 1e-3


def test_both_kinds_come_as_often_as_asked_for_and_a_seed_decides_which():
    def kinds(seed, share=0.3, n=300):
        callback = CutMixUp(mixup_share=share)
        seen = []
        look = on(after_pred=lambda learn: seen.append(type(callback._mixture).__name__))
        batches = images(1, bs=2, size=4) * n
        learner([callback, look], batches, image_net(4), seed=seed).fit(1)
        return seen

    first = kinds(1)
    averages = first.count("Mixture")
    assert abs(averages - 0.3 * 300) < 4 * sqrt(0.3 * 0.7 * 300)
    assert set(first) == {"Mixture", "Cut"}
    assert kinds(1) == first != kinds(2)
    assert set(kinds(1, share=0.0)) == {"Cut"} and set(kinds(1, share=1.0)) == {"Mixture"}


# What the model and the loss are given


def test_mixup_gives_the_model_and_the_loss_the_same_mixture():
    watch = Watch()
    batches = images(3)
    learner([MixUp(), *watch.cbs], batches, image_net()).fit(1)
    for i, (_, y) in enumerate(batches):
        share, partner, x = watch.shares[i], watch.partners[i], watch.plain[i][0]
        wanted = column(share, x) * x + (1 - column(share, x)) * x[partner]
        torch.testing.assert_close(watch.mixed[i][0], wanted)
        rows = F.one_hot(y, 3).float()
        soft = share[:, None] * rows + (1 - share[:, None]) * rows[partner]
        torch.testing.assert_close(watch.soft[i][0], soft)
        torch.testing.assert_close(watch.soft[i][0].sum(1), torch.ones(8))


def test_cutmix_gives_the_model_boxes_and_the_loss_their_area():
    watch = Watch()
    batches = images(3, classes=8)
    batches = [(x, torch.arange(8)) for x, _ in batches]
    learner([CutMix(), *watch.cbs], batches, image_net(classes=8)).fit(1)
    for x, mixed, soft, partner in zip(
        watch.plain, watch.mixed, watch.soft, watch.partners, strict=True
    ):
        differs = (mixed[0] != x[0]).all(1)
        assert torch.equal(differs, (mixed[0] != x[0]).any(1))  # all channels or none
        expected = torch.where(differs[:, None], x[0][partner], x[0])
        assert torch.equal(mixed[0], expected)
        others = partner != torch.arange(8)
        cut = differs.float().mean((1, 2))
        torch.testing.assert_close(soft[0].diagonal()[others], (1 - cut)[others])
        torch.testing.assert_close(soft[0][torch.arange(8), partner][others], cut[others])


@pytest.mark.parametrize(
    "loss_func",
    [F.cross_entropy, nn.CrossEntropyLoss(), CrossEntropyLossFlat(), LabelSmoothingCrossEntropy()],
)
def test_the_loss_is_the_weighted_sum_of_two_losses_of_labels(loss_func):
    watch = Watch()
    batches = images(2)
    learner([MixUp(), *watch.cbs], batches, image_net(), loss_func).fit(1)
    smoothing = getattr(loss_func, "eps", 0.0)
    for i, (_, y) in enumerate(batches):
        loss = partial(F.cross_entropy, watch.preds[i], reduction="none", label_smoothing=smoothing)
        share = watch.shares[i]
        wanted = share * loss(y) + (1 - share) * loss(y[watch.partners[i]])
        torch.testing.assert_close(watch.after[i][1], wanted.mean())


def test_every_input_is_mixed_alike_in_tuples_and_in_dicts():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(5, 3)

        def forward(self, a, b):
            return self.linear(torch.cat([a, b.flatten(1)], 1))

    a, b, y = torch.randn(6, 3), torch.randn(6, 2, 1), torch.randint(3, (6,))
    for batch in ((a, b, y), {"a": a, "b": b, "y": y}):
        watch = Watch()
        dls = DataLoaders(
            [batch], device="cpu", **({"label": "y"} if isinstance(batch, dict) else {"n_inp": 2})
        )
        Learner(dls, Two(), F.cross_entropy, cbs=[MixUp(), *watch.cbs], default_cbs=False).fit(1)
        xb = watch.mixed[0]
        mixed = tuple(xb.values()) if isinstance(xb, dict) else xb
        assert isinstance(xb, dict) == isinstance(batch, dict)
        share, partner = watch.shares[0], watch.partners[0]
        for given, x in zip(mixed, (a, b), strict=True):
            weight = column(share, x)
            torch.testing.assert_close(given, weight * x + (1 - weight) * x[partner])


def one_pass(callback, model, x, yb, loss_func):
    watch = Watch()
    learner([callback, *watch.cbs], [(x, *yb)], model, loss_func).fit(1)
    return watch


@pytest.mark.parametrize(
    ("y", "loss_func"),
    [
        (torch.randn(6, 4), MSELossFlat()),
        (torch.randn(6, 4), nn.L1Loss()),
        (torch.randn(6, 4).softmax(1), CrossEntropyLossFlat()),
        (torch.randint(2, (6, 4)).float(), nn.BCEWithLogitsLoss()),
        (torch.randint(2, (6, 4)).bool(), BCEWithLogitsLossFlat()),
        (torch.randint(9, (6, 4)), MSELossFlat()),
    ],
)
def test_numbers_probabilities_and_several_labels_an_item_are_mixed_as_numbers(y, loss_func):
    watch = one_pass(MixUp(), nn.Linear(3, 4), torch.randn(6, 3), [y], loss_func)
    share, partner = watch.shares[0][:, None], watch.partners[0]
    wanted = share * y.float() + (1 - share) * y[partner].float()
    torch.testing.assert_close(watch.soft[0][0], wanted)


def test_regression_of_one_number_an_item():
    y = torch.randn(6)
    watch = one_pass(MixUp(), nn.Linear(3, 1), torch.randn(6, 3), [y], MSELossFlat())
    share, partner = watch.shares[0], watch.partners[0]
    torch.testing.assert_close(watch.soft[0][0], share * y + (1 - share) * y[partner])


@pytest.mark.parametrize("loss_func", [CrossEntropyLossFlat(axis=1), nn.CrossEntropyLoss()])
@pytest.mark.parametrize("ignored", [False, True])
def test_mixup_of_masks_mixes_the_classes_of_each_pixel(loss_func, ignored):
    y = torch.randint(3, (4, 8, 8))
    if ignored:
        y[:, :2] = -100
    watch = one_pass(MixUp(), nn.Conv2d(2, 3, 1), torch.randn(4, 2, 8, 8), [y], loss_func)
    rows = F.one_hot(y.clamp(min=0), 3).movedim(-1, 1) * (y >= 0).unsqueeze(1)
    share, partner = column(watch.shares[0], rows), watch.partners[0]
    torch.testing.assert_close(watch.soft[0][0], share * rows + (1 - share) * rows[partner])
    assert watch.soft[0][0].sum(1)[:, :2].eq(0).all() == ignored


def test_cutmix_of_masks_cuts_the_mask_and_leaves_labels():
    x, y = torch.randn(4, 2, 8, 8), torch.randint(3, (4, 8, 8))
    for targ in (y, y.unsqueeze(1), torch.randn(4, 3, 8, 8)):
        loss = MSELossFlat() if targ.is_floating_point() else CrossEntropyLossFlat(axis=1)
        watch = one_pass(CutMix(), nn.Conv2d(2, 3, 1), x, [targ], loss)
        [given], partner = watch.soft[0], watch.partners[0]
        boxed = (watch.mixed[0][0] != x).any(1).view(4, *[1] * (targ.ndim - 3), 8, 8)
        assert given.dtype == targ.dtype
        assert torch.equal(given, torch.where(boxed, targ[partner], targ))


def test_classes_on_another_axis_and_labels_of_any_integer_type():
    pred, targ = torch.randn(2, 5, 3), torch.randint(3, (2, 5), dtype=torch.uint8)
    rows = soft_targets(CrossEntropyLossFlat(), pred, targ)  # on the last axis
    assert torch.equal(rows.argmax(-1), targ.long()) and rows.shape == pred.shape
    moved = soft_targets(F.cross_entropy, pred.movedim(-1, 1), targ)
    assert torch.equal(moved, rows.movedim(-1, 1))
    assert torch.equal(soft_targets(CrossEntropyLossFlat(), pred[0], targ[0].unsqueeze(1)), rows[0])


@pytest.mark.parametrize("ignore_index", [-100, 0, 2, 255])
def test_an_ignored_label_has_no_probability(ignore_index):
    targ = torch.tensor([0, 1, 2, ignore_index])
    for loss_func in (
        CrossEntropyLossFlat(ignore_index=ignore_index),
        partial(F.cross_entropy, ignore_index=ignore_index),
    ):
        rows = soft_targets(loss_func, torch.zeros(4, 3), targ)
        assert torch.equal(rows.sum(1), (targ != ignore_index).float())


def test_several_targets_are_mixed_each():
    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(3, 2)

        def forward(self, x):
            return self.a(x), self.b(x)

    def loss(pred, y, z):
        return F.cross_entropy(pred[0], y) + F.cross_entropy(pred[1], z)

    x, y, z = torch.randn(6, 3), torch.randint(4, (6,)), torch.randint(2, (6,))
    seen = []
    look = on(after_pred=lambda learn: seen.append(learn.yb), order=Order.DATA + 1)
    dls = DataLoaders([(x, y, z)], device="cpu", n_inp=1)
    Learner(dls, Heads(), loss, cbs=[MixUp(), look], default_cbs=False).fit(1)
    assert [tuple(targ.shape) for targ in seen[0]] == [(6, 4), (6, 2)]


@pytest.mark.parametrize("callback", [*EVERY, lambda: CutMixUp(mixup_share=0.0)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_inputs_of_other_float_types_keep_their_type(callback, dtype):
    x, y = torch.randn(4, 2, 4, 4).to(dtype), torch.randint(3, (4,))
    watch = one_pass(callback(), image_net(4).to(dtype), x, [y], CrossEntropyLossFlat())
    assert watch.mixed[0][0].dtype == dtype
    assert watch.soft[0][0].dtype == (dtype if dtype is torch.float64 else torch.float32)
    torch.testing.assert_close(watch.soft[0][0].sum(1).float(), torch.ones(4))


@pytest.mark.parametrize("callback", EVERY)
def test_a_batch_of_one_is_mixed_with_itself(callback):
    x, y = torch.randn(1, 2, 5, 7), torch.tensor([1])
    model = nn.Sequential(nn.Flatten(), nn.Linear(70, 3))
    watch = one_pass(callback(), model, x, [y], CrossEntropyLossFlat())
    torch.testing.assert_close(watch.mixed[0][0], x)
    torch.testing.assert_close(watch.soft[0][0], F.one_hot(y, 3).float())


# What everybody else sees


@pytest.mark.parametrize("callback", EVERY)
def test_after_the_loss_the_labels_are_there_again(callback):
    watch = Watch()
    batches = images(3)
    learner([callback(), *watch.cbs], batches, image_net()).fit(1)
    for (_, y), (yb, _) in zip(batches, watch.after, strict=True):
        assert len(yb) == 1 and yb[0] is y


def test_metrics_compare_what_the_model_says_of_mixed_inputs_with_the_labels():
    watch = Watch()
    batches = images(4)
    recorder = Recorder(train_metrics=True)
    learn = learner([MixUp(), recorder, *watch.cbs], batches, image_net(), metrics=accuracy)
    learn.fit(1)
    labels = torch.cat([y for _, y in batches])
    hits = torch.cat(watch.preds).argmax(1) == labels
    assert recorder.last("accuracy") == pytest.approx(hits.float().mean().item())


def test_nothing_is_mixed_in_validation():
    def in_validation(learn):
        if not learn.training:
            seen.append((learn.xb[0], learn.yb[0]))

    seen = []
    train, valid = images(2), images(2)
    look = on(after_pred=in_validation, order=Order.DATA + 1)
    learner([CutMixUp(), look], train, image_net(), valid=valid).fit(1)
    assert len(seen) == 2
    for (x, y), (given_x, given_y) in zip(valid, seen, strict=True):
        assert given_x is x and given_y is y


def test_a_batch_that_is_cancelled_at_any_event_leaves_the_labels():
    for event in ("before_batch", "after_pred", "after_loss"):

        def cancel(learn):
            raise CancelBatchException

        seen = []
        batches = images(2)
        look = on(after_batch=lambda learn, seen=seen: seen.append(learn.yb[0]), order=Order.RECORD)
        for place in (Order.SETUP, Order.NORMAL):
            seen.clear()
            cbs = [MixUp(), on(**{event: cancel}, order=place), look]
            learner(cbs, batches, image_net()).fit(1)
            assert [y is given for (_, y), given in zip(batches, seen, strict=True)] == [True] * 2


def test_a_batch_that_is_cancelled_before_it_is_mixed_has_its_own_labels():
    def cancel(learn):
        if learn.iter == 1:
            raise CancelBatchException

    seen, batches = [], images(3)
    look = on(after_batch=lambda learn: seen.append(learn.yb[0]), order=Order.RECORD)
    cbs = [on(before_batch=cancel, order=Order.SETUP), MixUp(), look]
    learner(cbs, batches, image_net()).fit(1)
    assert all(y is given for (_, y), given in zip(batches, seen, strict=True))


def test_a_model_that_runs_twice_on_a_batch_gets_the_same_targets():
    def again(learn):
        labels = learn.yb
        learn.yb = soft[-1]
        try:
            learn.forward()
            losses.append(learn.loss.detach())
        finally:
            learn.yb = labels

    soft, losses, first = [], [], []
    watch = Watch()
    keep = on(after_pred=lambda learn: soft.append(learn.yb), order=Order.DATA + 1)
    cbs = [MixUp(), keep, on(after_backward=again), *watch.cbs]
    cbs.append(on(after_loss=lambda learn: first.append(learn.loss.detach())))
    batches = images(2)
    learner(cbs, batches, image_net()).fit(1)
    assert len(soft) == 4 and all(given is soft[i - i % 2] for i, given in enumerate(soft))
    assert first[0] == first[1] == losses[0] and first[2] == first[3] == losses[1]


def test_it_trains_with_accumulation_checks_and_metrics():
    learn = Learner(
        digits_loaders(), net(), metrics=accuracy, cbs=[MixUp(), GradientAccumulation(64)]
    )
    with learn.no_logging():
        learn.fit(12, 0.03)
    assert learn.recorder.last("accuracy") > 0.8


def test_sam_runs_the_batches_of_its_window_again_with_their_own_mixtures():
    seen = []
    look = on(after_pred=lambda learn: seen.append((learn.xb, learn.yb)), order=Order.DATA + 1)
    learn = learner([MixUp(), SAM(), GradientAccumulation(16), look], images(4), image_net())
    learn.fit(1)
    first, again = seen[0:2] + seen[4:6], seen[2:4] + seen[6:8]
    assert len(seen) == 8 and all(yb[0].shape == (8, 3) for _, yb in seen)
    for (xb, yb), (second_xb, second_yb) in zip(first, again, strict=True):
        assert xb is second_xb and yb is second_yb


# The same draws at the same step


@pytest.mark.parametrize("callback", EVERY)
def test_a_fit_that_begins_later_draws_what_the_whole_fit_draws(callback):
    torch.manual_seed(1)
    batches = images(4)

    def mixed(start):
        watch = Watch()
        learn = learner([callback(), *watch.cbs], batches, image_net())
        learn.fit(3, start_epoch=start)
        return [xb[0] for xb in watch.mixed]

    whole, rest = mixed(0), mixed(2)
    assert len(rest) == 4
    assert all(torch.equal(a, b) for a, b in zip(whole[8:], rest, strict=True))
    assert not torch.equal(whole[0], whole[4])


def test_trying_the_loss_does_not_change_what_is_drawn():
    class Noisy(CrossEntropyLossFlat):
        """Draws, and counts its calls."""

        calls = 0

        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, pred, targ):
            self.calls += 1
            self.seen += 1
            return super().forward(pred + torch.rand(()), targ)

    def draws(callback):
        seen = []
        loss = Noisy()
        look = on(after_loss=lambda learn: seen.append(torch.rand(3)))
        learner([callback, look], images(2), image_net(), loss).fit(1)
        return seen, loss

    class Unchecked(MixUp):
        def _check_loss(self, mixture, preds, labels):
            pass

    (with_check, loss), (without, _) = draws(MixUp()), draws(Unchecked())
    assert all(torch.equal(a, b) for a, b in zip(with_check, without, strict=True))
    assert loss.calls == 2 and loss.seen == 2


# What is refused


def test_losses_that_take_probabilities_pass():
    pred, targ = torch.randn(8, 3), torch.tensor([0, 1, 2, 2, -100, 1, 0, 0])
    weight = torch.tensor([1.0, 2.0, 5.0])
    for loss in (
        F.cross_entropy,
        nn.CrossEntropyLoss(),
        nn.CrossEntropyLoss(label_smoothing=0.1),
        CrossEntropyLossFlat(weight=weight),
        CrossEntropyLossFlat(reduction="sum"),
        LabelSmoothingCrossEntropy(0.1, weight, spread="others"),
        FocalLoss(weight=weight),
    ):
        check_takes_soft(loss, pred, [pred], [targ], pred.device, "MixUp")


@pytest.mark.parametrize(
    ("loss_func", "message"),
    [
        (
            nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 5.0])),
            r"^`MixUp` gives the loss probabilities of classes, but `CrossEntropyLoss\(\)` takes "
            r"them otherwise than labels: .* for labels, "
            r".* as rows of 0 and 1; use `CrossEntropyLossFlat\(weight=…\)`",
        ),
        (
            partial(F.cross_entropy, weight=torch.tensor([1.0, 2.0, 5.0])),
            r"otherwise than labels.* use `CrossEntropyLossFlat\(weight=…\)`",
        ),
        (nn.NLLLoss(), r"but `NLLLoss\(\)` does not take them \(.*\); use `CrossEntropyLossFl"),
        (nn.MultiMarginLoss(), r"does not take them .* `BCEWithLogitsLossFlat\(\)` for several"),
        (lambda pred, targ: pred[:, 0].mean() + (targ.float()).mean(), "otherwise than labels"),
    ],
)
def test_a_loss_that_takes_no_probabilities_is_named_on_the_first_batch(loss_func, message):
    batches = [(torch.randn(6, 2, 4, 4), torch.tensor([0, 1, 2, 2, 1, 1]))]
    learn = learner(MixUp(), batches, image_net(4), loss_func)
    before = [p.clone() for p in learn.model.parameters()]
    with pytest.raises(ValueError, match=message):
        learn.fit(1)
    assert all(torch.equal(a, b) for a, b in zip(before, learn.model.parameters(), strict=True))


def test_the_loss_is_tried_in_every_fit():
    learn = learner(MixUp(), images(2), image_net(), F.cross_entropy)
    learn.fit(1)
    learn.loss_func = nn.MultiMarginLoss()
    with pytest.raises(ValueError, match="does not take them"):
        learn.fit(1)


@pytest.mark.parametrize(
    ("x", "callback", "message"),
    [
        (torch.zeros(4, 2, 4, 4).byte(), MixUp(), r"torch.uint8; make images floats .*/ 255`"),
        (torch.zeros(4, 9).long(), MixUp(), "torch.int64; indices, as of words, have no mean"),
        (torch.zeros(4, 9), CutMix(), r"cuts boxes out of images .* got the shape \(4, 9\)"),
        (torch.zeros(4, 9), CutMixUp(mixup_share=1.0), "`MixUp` mixes inputs of any shape"),
    ],
)
def test_inputs_that_cannot_be_mixed_are_refused_with_advice(x, callback, message):
    model = nn.Sequential(nn.Flatten(), nn.Linear(prod(x.shape[1:]), 3))
    with pytest.raises(ValueError, match=message):
        learner(callback, [(x, torch.tensor([0, 1, 2, 0]))], model, F.cross_entropy).fit(1)


def test_targets_whose_classes_nobody_knows_are_refused():
    class Named(nn.Linear):
        def forward(self, x):
            return {"logits": super().forward(x)}

    batch = (torch.randn(4, 3), torch.tensor([0, 1, 2, 0]))
    loss = lambda pred, targ: F.cross_entropy(pred["logits"], targ)  # noqa: E731
    with pytest.raises(ValueError, match="the model gave a dict; let it give a tensor"):
        learner(MixUp(), [batch], Named(3, 3), loss).fit(1)


@pytest.mark.parametrize("label", [3, 9, -1])
def test_a_label_out_of_range_is_an_error_also_on_a_later_batch(label):
    x = torch.randn(4, 2, 4, 4)
    batches = [(x, torch.tensor([0, 1, 2, 0])), (x, torch.tensor([0, 1, label, 0]))]
    learn = learner(MixUp(), batches, image_net(4), F.cross_entropy)
    with pytest.raises(IndexError, match=f"index {label} is out of bounds .* size 3"):
        learn.fit(1)
    assert learn.yb[0] is batches[1][1]


def test_two_that_mix_are_refused_together():
    with pytest.raises(ValueError, match="both drive `mixing`; keep one of them"):
        linear_learner([MixUp(), CutMix()]).fit(1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MixUp(0), "`alpha` shapes .* above 0 .*got 0; leave the callback out"),
        (lambda: CutMix(-1.0), "`alpha` shapes .* got -1.0"),
        (lambda: CutMixUp(cutmix_alpha=0.0), "`cutmix_alpha` shapes"),
        (lambda: CutMixUp(mixup_share=1.5), "`mixup_share` .* from 0 to 1; got 1.5"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_whole_numbers_are_numbers_too():
    x = torch.randn(4, 3, 8, 8)
    for whole in (MixUp(1), CutMix(1)):
        torch.manual_seed(0)
        share = whole.draw(x).share
        torch.manual_seed(0)
        assert torch.equal(share, type(whole)(1.0).draw(x).share)
    for mixup_share in (0, 1):
        both = CutMixUp(1, 1, mixup_share)
        one_pass(both, nn.Conv2d(3, 3, 1), x, [torch.zeros_like(x)], MSELossFlat())


def test_masks_whose_ignored_label_is_positive_are_mixed():
    y = torch.randint(3, (4, 8, 8))
    y[:, :2] = 255
    loss = CrossEntropyLossFlat(axis=1, ignore_index=255)
    watch = one_pass(MixUp(), nn.Conv2d(2, 3, 1), torch.randn(4, 2, 8, 8), [y], loss)
    assert watch.soft[0][0].sum(1)[:, :2].eq(0).all()


def test_arguments_are_shown():
    assert repr(MixUp(0.3)) == "MixUp(alpha=0.3)"
    assert repr(CutMix()) == "CutMix(alpha=1.0)"


def test_a_label_out_of_range_on_a_later_batch_is_named():
    x, y = torch.randn(64, 8), torch.randint(4, (64,))
    y[40] = 9
    batches = list(zip(x.split(16), y.split(16), strict=True))
    learn = Learner(DataLoaders(batches, device="cpu"), nn.Linear(8, 4), cbs=MixUp())
    with learn.no_logging(), pytest.raises(ValueError, match="the targets hold the label 9"):
        learn.fit(1)
