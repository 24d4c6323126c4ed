"""Back to the last good weights after a NaN, on at a lower rate."""

import warnings

import pytest
import torch
from tiny import digits_loaders, net, silent

from learnlite import EMA, SGD, GradientAccumulation, Learner, RollBack, on
from learnlite.nested import take_apart

N = 6  # batches an epoch


def learner(cbs=(), **kwargs):
    torch.manual_seed(0)
    kwargs = {"lr": 0.01} | kwargs
    learn = silent(Learner(digits_loaders(seed=1), net(0.1), seed=2, cbs=cbs, **kwargs))
    learn.say = lambda text: None
    return learn


def poison(*batches):
    """A NaN in the loss of these batches of the fit."""

    def spoil(learn):
        if learn.training and learn.train_iter in batches:
            learn.loss = learn.loss * float("nan")

    return on(after_loss=spoil)


def states_of(learn, states):
    def keep(learn):
        states.append({name: value.clone() for name, value in learn.model.state_dict().items()})

    return on(before_batch=lambda learn: keep(learn) if learn.training else None, order=1000)


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("opt_func", [SGD, torch.optim.Adam])
@pytest.mark.parametrize(("every", "bad", "good"), [(1, 3, 2), (2, 4, 3), (4, 4, 3), (2, 8, 7)])
def test_the_weights_are_again_those_before_the_bad_batch(opt_func, every, bad, good):
    states = []
    learn = learner([RollBack(every=every)], opt_func=opt_func)
    with pytest.warns(RuntimeWarning, match="the loss became nan") as told:
        learn.fit(3, cbs=[poison(bad), states_of(learn, states)])
    at = min(-(-(bad % N + 1) // every) * every, N) - 1 + bad // N * N  # where it looked
    message = str(told[0].message)
    assert f"at batch {bad % N} of epoch {bad // N}, at a learning rate of 0.01" in message
    assert f"those of batch {good % N} of epoch {good // N}" in message
    assert "gradients of norm" in message and "0.5 of its rate (1 of 3 times)" in message
    assert same(states[at + 1], states[good + 1])
    assert all(bool(value.isfinite().all()) for value in learn.model.state_dict().values())
    assert len(learn.recorder.values) == 3


def test_the_rate_is_lowered_from_there_on_and_recorded_as_used():
    plain, learn = learner(), learner(RollBack(0.5, every=2))
    plain.fit_one_cycle(3, 0.01)
    with pytest.warns(RuntimeWarning):
        learn.fit_one_cycle(3, 0.01, cbs=poison(3))
    ours, theirs = learn.recorder.lrs, plain.recorder.lrs
    assert ours[:4] == theirs[:4]
    assert ours[4:] == [lr * 0.5 for lr in theirs[4:]]
    assert learn.opt.param_groups[0]["lr"] == plain.opt.param_groups[0]["lr"]


def test_without_a_fault_training_is_the_same_bit_for_bit():
    plain, learn = learner(), learner(RollBack(every=2))
    plain.fit_one_cycle(2, 0.01)
    learn.fit_one_cycle(2, 0.01)
    assert same(plain.model.state_dict(), learn.model.state_dict())


def test_a_rate_that_is_too_high_is_found_by_the_weights_alone():
    def huge(learn):
        if learn.train_iter == 4:
            learn.opt.param_groups[0]["params"][0].grad.fill_(float("inf"))

    learn = learner(RollBack(every=1), opt_func=SGD)
    with pytest.warns(RuntimeWarning, match="a weight or the optimizer's state") as told:
        learn.fit(1, cbs=on(before_step=huge))
    assert "gradients of norm inf" in str(told[0].message)
    assert all(bool(value.isfinite().all()) for value in learn.model.state_dict().values())


def test_it_gives_up_with_the_last_good_weights():
    states = []
    learn = learner(RollBack(every=1, times=2))
    with pytest.warns(RuntimeWarning) as told:
        learn.fit(3, cbs=[poison(3, 5, 9), states_of(learn, states)])
    assert "after 2 turns back training stops" in str(told[-1].message)
    assert len(states) == 10 and same(learn.model.state_dict(), states[9])


def test_averages_go_back_too_and_the_mean_of_the_loss_leaves_the_undone_out():
    learn = learner([RollBack(every=2), EMA(0.9)])
    with pytest.warns(RuntimeWarning):
        learn.fit(2, cbs=poison(4))
    assert all(bool(value.isfinite().all()) for value in learn.model.state_dict().values())
    losses, raw = learn.recorder.losses, learn.recorder.raw_losses
    assert raw[4] != raw[4] and all(loss == loss for loss in losses)
    assert losses[4] == losses[5] == losses[3]  # it looked after batch 5
    assert all(value == value for row in learn.recorder.values for value in row)


def test_it_waits_for_the_end_of_a_window():
    learn = learner([RollBack(every=1), GradientAccumulation(64)])
    with pytest.warns(RuntimeWarning, match="those of batch 1 of epoch 0"):
        learn.fit(1, cbs=poison(2))
    assert all(bool(value.isfinite().all()) for value in learn.model.state_dict().values())


class Stop(Exception):
    pass


@pytest.mark.parametrize("at", range(1, 13))
def test_a_fit_that_is_resumed_turns_back_as_the_whole_one_did(at):
    def stop(learn):
        if learn.training and learn.train_iter + 1 == at:
            saved.append(learn.state_dict())
            raise Stop

    saved = []
    fit = {"cbs": poison(4, 8)}
    whole, cut, fresh = (learner([RollBack(0.1, every=3), EMA(0.9)]) for _ in range(3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        whole.fit_one_cycle(2, 0.01, **fit)
        with pytest.raises(Stop):
            cut.fit_one_cycle(2, 0.01, cbs=[poison(4, 8), on(after_batch=stop, order=1000)])
        fresh.fit_one_cycle(2, 0.01, cbs=poison(4, 8), resume=saved[0])
    assert same(whole.model.state_dict(), fresh.model.state_dict())
    assert whole.recorder.lrs == fresh.recorder.lrs
    assert whole.recorder.losses == fresh.recorder.losses


def test_a_state_has_few_tensors_however_many_batches_are_pending():
    back, sizes = RollBack(every=1000), []

    def count(learn):
        if learn.training:
            sizes.append(len(take_apart(back.state_dict()["pending"])[1]))

    learner(back).fit(6, cbs=on(after_batch=count, order=1000))
    assert sizes[0] == 2 and max(sizes) <= 5


def test_buffers_that_are_infinite_for_good_are_no_fault():
    learn = learner(RollBack(every=1))
    learn.model.register_buffer("mask", torch.full((2,), float("-inf")))
    learn.fit(1)


def test_rates_that_are_tensors_stay_the_same_tensors():
    def adam(params, lr=0.01, **kwargs):
        return torch.optim.Adam(params, lr=torch.tensor(0.01))

    learn = learner(RollBack(0.5, every=1), opt_func=adam, lr=None)
    rates = []
    with pytest.warns(RuntimeWarning):
        learn.fit(1, cbs=[poison(2), on(before_step=lambda learn: rates.append(
            float(learn.opt.param_groups[0]["lr"])), order=99)])  # fmt: skip
    assert rates[3:] == [pytest.approx(0.005)] * 3
    assert float(learn.opt.param_groups[0]["lr"]) == pytest.approx(0.01)


@pytest.mark.parametrize("wrong", [{"factor": 0}, {"factor": 2}, {"every": 0}, {"times": 0}])
def test_arguments_out_of_range_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"`{name}`"):
        RollBack(**wrong)
