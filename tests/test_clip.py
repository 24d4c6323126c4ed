"""Clipped gradients are what torch's own clipping gives, once for each step."""

import math

import pytest
import torch
from test_record import reads_of
from tiny import linear_learner
from torch import nn
from torch.nn.utils import clip_grad_norm_, get_total_norm

from learnlite import CancelFitException, DataLoaders, GradientAccumulation, Learner, on
from learnlite.callbacks.gradient import GradientClip
from learnlite.events import Order


def gradients(learn):
    return [p.grad.clone() for p in learn.model.parameters()]


def clipped(clip, cbs=(), model=None, **kwargs):
    """The gradients of one step, before and after `clip`."""
    before, after = [], []
    learn = linear_learner(
        [
            on(before_step=lambda learn: before.extend(gradients(learn)), order=Order.OPTIM - 1),
            on(before_step=lambda learn: after.extend(gradients(learn)), order=Order.OPTIM + 1),
            clip,
            *cbs,
        ],
        **{"n_train": 1, "n_valid": 0} | kwargs,
    )
    if model is not None:
        learn.model = model
    learn.fit(1)
    return before, after


def by_torch(before, max_norm, norm_type=2.0):
    params = [torch.zeros_like(g, requires_grad=True) for g in before]
    for param, gradient in zip(params, before, strict=True):
        param.grad = gradient.clone()
    clip_grad_norm_(params, max_norm, norm_type)
    return [p.grad for p in params]


def equal(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.5, math.inf])
@pytest.mark.parametrize("max_norm", [1e-3, 0.5, 1e6])
def test_the_norm_is_torchs_and_at_most_what_was_asked_for(max_norm, norm_type):
    clip = GradientClip(max_norm, norm_type)
    before, after = clipped(clip)
    assert clip.norm == get_total_norm(before, norm_type).item()
    assert get_total_norm(after, norm_type).item() == pytest.approx(
        min(clip.norm, max_norm), rel=1e-2 if max_norm < 1e-2 else 1e-4
    )
    assert equal(after, by_torch(before, max_norm, norm_type))


def test_small_gradients_stay_bit_for_bit():
    before, after = clipped(GradientClip(1e6))
    assert equal(before, after)


class TwoTypes(nn.Module):
    def __init__(self):
        super().__init__()
        self.narrow, self.wide = nn.Linear(3, 4), nn.Linear(4, 1).double()

    def forward(self, x):
        return self.wide(self.narrow(x).double()).float()


def test_gradients_of_several_types_are_clipped_together():
    before, after = clipped(GradientClip(0.1), model=TwoTypes())
    assert {g.dtype for g in before} == {torch.float32, torch.float64}
    assert equal(after, by_torch(before, 0.1))


def test_a_value_cuts_each_element():
    clip = GradientClip(value=0.3)
    before, after = clipped(clip)
    assert max(g.abs().max() for g in before) > 0.3
    assert equal(after, [g.clamp(-0.3, 0.3) for g in before])
    assert clip.norm is None


def test_a_value_cuts_each_element_of_sparse_gradients_too():
    def gradient(cbs, sparse):
        torch.manual_seed(0)
        words = nn.Embedding(6, 2, sparse=sparse)
        model = nn.Sequential(words, nn.Flatten(), nn.Linear(6, 1))
        x = torch.tensor([[1, 1, 2], [1, 4, 2]])
        dls = DataLoaders([(x, torch.full((2, 1), 9.0))], device="cpu")
        Learner(dls, model, nn.MSELoss(), torch.optim.SGD, cbs=cbs, default_cbs=False).fit(1)
        return words.weight.grad.to_dense()

    whole, cut = gradient([], False), gradient(GradientClip(value=0.5), True)
    assert whole.abs().max() > 0.5
    torch.testing.assert_close(cut, whole.clamp(-0.5, 0.5))


class Waves(nn.Module):
    """A complex layer."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 1, dtype=torch.complex64))

    def forward(self, x):
        return (x.to(torch.complex64) @ self.weight).abs()


def test_complex_gradients_have_a_norm_but_no_range():
    def fit(clip):
        learn = linear_learner(clip, n_train=1, n_valid=0)
        learn.model = Waves()
        learn.fit(1)
        return learn.model.weight.grad

    gradient = fit(GradientClip(1e-3))
    assert gradient.abs().square().sum().sqrt().item() == pytest.approx(1e-3, rel=1e-3)
    with pytest.raises(ValueError, match="`weight` is torch.complex64, .* use `max_norm`"):
        fit(GradientClip(value=0.1))


def test_elements_and_then_the_norm_are_clipped_by_two():
    value, norm = GradientClip(value=0.3), GradientClip(0.4)
    before, after = clipped(value, [norm])
    cut = [g.clamp(-0.3, 0.3) for g in before]
    assert norm.norm == get_total_norm(cut).item() > 0.4
    assert equal(after, by_torch(cut, 0.4))


@pytest.mark.parametrize("clip", [GradientClip(0.1), GradientClip(value=0.1)])
def test_with_accumulation_the_whole_windows_gradient_is_clipped_once(clip):
    torch.manual_seed(1)
    one = clipped(clip, n_train=1, bs=12)
    torch.manual_seed(1)
    three = clipped(clip, [GradientAccumulation(12)], n_train=3, bs=4)
    for whole, gathered in zip(one, three, strict=True):
        assert len(whole) == len(gathered) == 2  # one step of two parameters
        for a, b in zip(whole, gathered, strict=True):
            torch.testing.assert_close(a, b)


def test_a_parameter_that_is_listed_twice_counts_once():
    learn = linear_learner(clip := GradientClip(1e6), n_train=1, n_valid=0)
    weight, bias = learn.model.weight, learn.model.bias
    with pytest.warns(UserWarning, match="duplicate parameters"):
        learn.opt = torch.optim.SGD([weight, bias, weight], lr=0.0)
    learn.fit(1)
    assert clip.norm == get_total_norm([weight.grad, bias.grad]).item()


def test_frozen_parameters_are_left_out():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    model[0].requires_grad_(False)
    clip = GradientClip(0.1)
    learn = linear_learner(clip, n_train=1, n_valid=0)
    learn.model = model
    learn.fit(1)
    assert get_total_norm([p.grad for p in model[1].parameters()]).item() == pytest.approx(0.1)


def test_clipping_never_waits_for_the_device():
    assert reads_of(10, GradientClip(0.1)) == reads_of(40, GradientClip(0.1))
    assert reads_of(10, GradientClip(value=0.1)) == reads_of(40, GradientClip(value=0.1))


def test_no_norm_is_known_before_the_first_step():
    def stop(learn):
        raise CancelFitException

    linear_learner([clip := GradientClip(), on(before_step=stop, order=0)]).fit(1)
    assert math.isnan(clip.norm)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_norm": 0}, "`max_norm` must be above 0 and finite, got 0"),
        ({"max_norm": math.nan}, "`max_norm` must be above 0 and finite, got nan"),
        ({"value": -1.0}, "`value` must be above 0 and finite, got -1.0"),
        ({"norm_type": 0}, "`norm_type` is the order of a norm and above 0, got 0"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        GradientClip(**given)


def test_a_norm_and_a_value_at_once_are_refused_and_so_is_text():
    with pytest.raises(ValueError, match="give `max_norm` or `value`, not both: use two `Gradien"):
        GradientClip(1.0, value=0.5)
    for given in ({"max_norm": "1"}, {"value": "0.5"}, {"norm_type": "inf"}):
        with pytest.raises(TypeError, match="must be a number, got '"):
            GradientClip(**given)
    for n_acc in ("64", 64.0, True):
        with pytest.raises(TypeError, match="`n_acc` must be a whole number, got"):
            GradientAccumulation(n_acc)


def test_the_repr_shows_the_arguments():
    assert repr(GradientClip(0.5)) == "GradientClip(max_norm=0.5, norm_type=2.0, value=None)"
    assert "max_norm=1.0" in repr(GradientClip())
    assert "max_norm=None" in repr(GradientClip(value=0.5))
