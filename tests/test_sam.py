"""SAM: its step is that of the paper, written out."""

import pytest
import torch
import torch.nn.functional as F
from tiny import digits_loaders, net, silent

from learnlite import SGD, CancelBackwardException, CancelBatchException, Learner, on
from learnlite.callbacks.gradient import GradientAccumulation
from learnlite.callbacks.sharpness import SAM


def learner(cbs=None, **kwargs):
    torch.manual_seed(0)
    return silent(
        Learner(digits_loaders(shuffle=False, seed=2), net(), SGD_LOSS, SGD, cbs=cbs, seed=1)
    )


SGD_LOSS = F.cross_entropy


def by_hand(batches, rho, adaptive, lr, n_acc=1):
    """The algorithm of the paper, one statement a line."""
    torch.manual_seed(0)
    model = net()
    params = list(model.parameters())
    for i in range(0, len(batches), n_acc):
        window = batches[i : i + n_acc]
        total = sum(len(y) for _, y in window)

        def gradients(window=window, total=total):
            loss = sum(F.cross_entropy(model(x), y) * len(y) / total for x, y in window)
            return torch.autograd.grad(loss, params)

        first = gradients()
        kept = [b.clone() for b in model.buffers()]
        own = [p.detach().clone() for p in params]
        scaled = [g * p.abs() if adaptive else g for g, p in zip(first, own, strict=True)]
        norm = torch.cat([s.flatten() for s in scaled]).norm()
        with torch.no_grad():
            for p, s, w in zip(params, scaled, own, strict=True):
                p += rho * s / norm * (w.abs() if adaptive else 1)
        second = gradients()
        with torch.no_grad():
            for p, w, g in zip(params, own, second, strict=True):
                p.copy_(w - lr * g)
            for b, k in zip(model.buffers(), kept, strict=True):
                b.copy_(k)
    return model


@pytest.mark.parametrize(("rho", "adaptive"), [(0.05, False), (0.5, True)])
@pytest.mark.parametrize("n_acc", [1, 3])
def test_a_step_is_that_of_the_paper(rho, adaptive, n_acc):
    learn = learner(SAM(rho, adaptive))
    learn.opt_func = lambda params: torch.optim.SGD(params, lr=0.1)
    batches = list(learn.dls.train.batches(0))
    learn.fit(1, 0.1, cbs=GradientAccumulation(96) if n_acc == 3 else None)
    reference = by_hand(batches, rho, adaptive, 0.1, n_acc)
    for ours, theirs in zip(learn.model.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
    for ours, theirs in zip(learn.model[1:2].buffers(), reference[1:2].buffers(), strict=True):
        if ours.is_floating_point():
            assert torch.allclose(ours, theirs, atol=1e-5)


def test_others_see_the_loss_and_the_prediction_of_the_first_run():
    def seen(cbs):
        found = []
        look = on(
            before_backward=lambda learn: found.append((learn.loss.item(), learn.pred.clone()))
        )
        after = on(after_batch=lambda learn: found.append((learn.loss.item(), learn.pred.clone())))
        learner(cbs).fit(1, 0.1, cbs=[look, after])
        return found

    found = seen(SAM)
    # before_backward comes once a batch; what it saw is there at the batch's end
    train = found[: len(found) // 2 * 2]
    for (loss, pred), (loss_after, pred_after) in zip(train[0:12:2], train[1:12:2], strict=True):
        assert loss == loss_after and torch.equal(pred, pred_after)


def test_an_error_in_the_second_run_leaves_the_weights():
    calls = []

    def fail(learn):
        calls.append(1)
        if len(calls) == 4:  # the second run of the second batch
            raise RuntimeError("on purpose")

    learn, kept = learner(SAM), []

    def keep(learn):
        kept.append([p.detach().clone() for p in learn.model.parameters()])

    with pytest.raises(RuntimeError, match="on purpose"):
        learn.fit(1, 0.1, cbs=on(after_pred=fail, after_step=keep))
    assert all(torch.equal(a, b) for a, b in zip(kept[-1], learn.model.parameters(), strict=True))
    assert learn.model[1].momentum == 0.1


def test_rho_must_be_above_0():
    with pytest.raises(ValueError, match="`rho` is a distance above 0, got 0"):
        SAM(0)


def test_a_batch_that_was_cancelled_gives_no_second_gradient():
    def spoil(learn):
        if learn.training and learn.train_iter == 1 and not runs.count(1) > 1:
            raise CancelBatchException

    runs = []
    learn = learner(SAM)
    count = on(after_pred=lambda learn: runs.append(learn.train_iter) if learn.training else None)
    learn.fit(1, 0.1, cbs=[GradientAccumulation(96), count, on(after_loss=spoil, order=50)])
    # 0 1 2 3 gather 96 samples without the 32 of batch 1, and run again but for that one
    assert runs == [0, 1, 2, 3, 3, 3, 3, 4, 5, 5, 5]


@pytest.mark.parametrize(
    "norm",
    [
        lambda: torch.nn.BatchNorm1d(16, momentum=None),
        lambda: torch.nn.InstanceNorm1d(16, affine=True, track_running_stats=True),
    ],
)
def test_statistics_are_those_of_the_first_run(norm):
    class Watch(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.norm = torch.nn.Linear(8, 16), norm()
            self.last = torch.nn.Linear(16, 4)

        def forward(self, x):
            return self.last(self.norm(self.first(x).unsqueeze(-1).expand(-1, -1, 2)).mean(-1))

    def run(cbs):
        torch.manual_seed(0)
        learn = silent(Learner(digits_loaders(seed=2), Watch(), F.cross_entropy, cbs=cbs, lr=0.0))
        learn.fit(1)
        return list(learn.model.buffers())

    for plain, sam in zip(run(None), run(SAM()), strict=True):
        assert torch.equal(plain, sam)


def test_gradients_that_a_callback_made_are_left_alone():
    def own(learn):
        for p in learn.model.parameters():
            p.grad = torch.zeros_like(p)
        raise CancelBackwardException

    learn = learner(SAM)
    before = [p.detach().clone() for p in learn.model.parameters()]
    learn.fit(1, 0.1, cbs=on(before_backward=own))
    assert all(torch.equal(a, b) for a, b in zip(before, learn.model.parameters(), strict=True))
