"""SAM: its step is that of the paper, written out."""

import pytest
import torch
import torch.nn.functional as F
from tiny import digits_loaders, net, silent

from learnlite import SGD, Learner, on
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
