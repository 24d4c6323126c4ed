"""Mixed precision: nobody sees a scaled number, nothing leaks, a skipped step is no step."""

import pytest
import torch
from tiny import digits_loaders, net, silent
from torch import nn

from learnlite import Callback, CancelBatchException, CancelStepException, Learner, accuracy, on
from learnlite.callbacks.gradient import GradientAccumulation
from learnlite.callbacks.precision import MixedPrecision
from learnlite.precision import Precision, Scaled, mixed


def learner(model=None, seed=1, **kwargs):
    torch.manual_seed(0)
    model = net() if model is None else model
    return silent(Learner(digits_loaders(seed=2), model, metrics=accuracy, seed=seed, **kwargs))


def half_learner(**kwargs):
    """One that trains in float16 on the CPU, which `to_fp16` would not allow: it is slow there."""
    learn = learner(**kwargs)
    learn.precision = Scaled("cpu")
    return learn


def test_bf16_computes_in_bf16_and_gives_float32():
    seen = {}

    class Look(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = net()

        def forward(self, x):
            pred = self.inner(x)
            seen["inside"] = pred.dtype
            return pred

    learn = learner(Look()).to_bf16()
    learn.fit(1, 0.01, cbs=on(after_pred=lambda learn: seen.update(pred=learn.pred.dtype)))
    assert seen == {"inside": torch.bfloat16, "pred": torch.float32}
    assert {p.dtype for p in learn.model.parameters()} == {torch.float32}
    assert repr(learn.cbs[1]) == "MixedPrecision(dtype=torch.bfloat16)"


def test_bf16_trains_as_fp32_does():
    plain, bf16 = learner(), learner().to_bf16()
    for learn in (plain, bf16):
        learn.fit_one_cycle(4, 0.02)
    curves = [torch.tensor(learn.recorder.losses) for learn in (plain, bf16)]
    # bfloat16 keeps 8 bits: about 0.4 % a number, and the loss is a mean over many.
    assert torch.allclose(*curves, rtol=0.05, atol=0.02)
    assert not torch.equal(*curves)
    assert abs(plain.recorder.last("accuracy") - bf16.recorder.last("accuracy")) < 0.1


def test_validate_alone_is_in_bf16_too_and_leaves_no_autocast():
    learn = learner().to_bf16()
    learn.fit(1, 0.01)
    inside = []
    learn.validate(cbs=on(after_pred=lambda learn: inside.append(repr(learn.precision))))
    assert set(inside) == {"Mixed('cpu', torch.bfloat16)"}
    assert type(learn.precision) is Precision
    assert not torch.is_autocast_enabled("cpu")


def test_to_fp32_takes_it_back_and_the_last_one_counts():
    learn = learner().to_bf16().to_bf16()
    assert sum(isinstance(cb, MixedPrecision) for cb in learn.cbs) == 1
    assert not any(isinstance(cb, MixedPrecision) for cb in learn.to_fp32().cbs)


def test_fp16_on_the_cpu_names_the_choices():
    with pytest.raises(ValueError, match=r"use `learn.to_bf16\(\)` or `learn.to_fp32\(\)`"):
        learner().to_fp16()
    with pytest.raises(ValueError, match=r"use `learn.to_bf16\(\)` or `learn.to_fp32\(\)`"):
        learner().fit(1, cbs=MixedPrecision("fp16"))


@pytest.mark.parametrize("dtype", [torch.float32, "float8", 16])
def test_other_dtypes_are_refused_when_it_is_made(dtype):
    with pytest.raises(ValueError, match='torch.bfloat16 \\("bf16"\\) or torch.float16'):
        MixedPrecision(dtype)


def test_a_device_without_autocast_is_told():
    with pytest.raises(ValueError, match="no mixed precision for the device `meta`"):
        mixed(torch.device("meta"), torch.bfloat16)


def test_two_of_them_are_refused():
    with pytest.raises(ValueError, match="both drive `precision`"):
        learner().to_bf16().fit(1, cbs=MixedPrecision)


def gradients_of(learn, **fit):
    found = []

    def keep(learn):
        found.append([p.grad.clone() for p in learn.model.parameters()])

    learn.fit(1, 0.01, cbs=[on(before_step=keep), *fit.pop("cbs", [])])
    return found


@pytest.mark.parametrize("cbs", [[], [GradientAccumulation(96)]])
def test_gradients_at_before_step_are_unscaled(cbs):
    plain = gradients_of(learner(), cbs=list(cbs))[0]
    scaled = gradients_of(half_learner(), cbs=list(cbs))[0]
    for a, b in zip(plain, scaled, strict=True):
        assert torch.allclose(a, b, rtol=0.05, atol=2e-3)


def test_the_loss_is_never_scaled():
    learn = half_learner()
    learn.fit(1, 0.01, cbs=on(after_backward=lambda learn: learn.loss.item() < 10 or 1 / 0))
    assert learn.recorder.losses[0] < 10


class Overflow(Callback):
    """Makes the gradients of some batches overflow; the loss is as it was."""

    run_valid = False

    def __init__(self, *batches):
        self.batches = batches

    def after_loss(self):
        if self.learn.train_iter in self.batches:
            self.loss = self.loss + 1e38 * (self.loss - self.loss.detach())


def test_a_step_that_overflows_is_left_out_counted_and_no_after_step_comes():
    learn, steps = half_learner(), []
    weights = {}

    def keep(learn):
        weights[learn.train_iter] = [p.detach().clone() for p in learn.model.parameters()]

    learn.fit(
        1,
        0.01,
        cbs=[
            Overflow(2, 4),
            on(after_step=lambda learn: steps.append(learn.train_iter), after_batch=keep),
        ],
    )
    assert steps == [0, 1, 3, 5]
    assert learn.precision.skipped == 2
    assert all(torch.equal(a, b) for a, b in zip(weights[1], weights[2], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(weights[2], weights[3], strict=True))
    assert all(p.isfinite().all() for p in learn.model.parameters())


def test_the_scale_falls_by_half_for_each_overflow():
    learn = half_learner()
    learn.fit(1, 0.01, cbs=Overflow(2, 4))
    assert learn.precision.state_dict()["scaler"]["scale"] == 2.0**16 / 4


@pytest.mark.parametrize(
    ("event", "cancel"),
    [
        ("before_step", CancelStepException),
        ("after_backward", CancelBatchException),
        ("after_loss", CancelBatchException),
    ],
)
def test_a_cancel_leaves_fp16_ready_for_the_next_batch(event, cancel):
    def stop(learn):
        if learn.training and learn.train_iter in (1, 2):
            raise cancel

    learn, steps = half_learner(), []
    count = on(after_step=lambda learn: steps.append(learn.train_iter))
    learn.fit(1, 0.01, cbs=[on(**{event: stop}), count])
    assert steps == [0, 3, 4, 5]
    assert not torch.is_autocast_enabled("cpu")


def test_an_error_in_a_step_leaves_fp16_ready_for_the_next_fit():
    def fail(learn):
        raise RuntimeError("on purpose")

    learn, steps = half_learner(), []
    with pytest.raises(RuntimeError, match="on purpose"):
        learn.fit(1, 0.01, cbs=on(before_step=fail))
    learn.fit(1, 0.01, cbs=on(after_step=lambda learn: steps.append(learn.train_iter)))
    assert len(steps) == 6


def test_the_scale_and_the_count_of_skipped_steps_survive():
    learn = half_learner()
    learn.fit(1, 0.01, cbs=Overflow(2, 4))
    other = Scaled("cpu")
    other.load_state_dict(learn.precision.state_dict())
    assert other.state_dict() == learn.precision.state_dict()
    assert other.skipped == 2


def test_an_optimizer_that_is_not_fused_skips_too():
    learn = half_learner(opt_func=torch.optim.Adadelta)
    learn.fit(1, 0.01, cbs=Overflow(2))
    assert learn.precision.skipped == 1
    assert all(p.isfinite().all() for p in learn.model.parameters())


def test_a_model_in_half_precision_is_told_to_be_float():
    class OnGPU(MixedPrecision):
        """Without the question for the device, which comes later."""

    learn = learner(net().half())
    with pytest.raises(ValueError, match=r"`0.weight` is torch.float16; call `model.float\(\)`"):
        learn.fit(1, cbs=OnGPU("fp16"))
