"""Fitting: schedules against their formulas, optimizers kept, the finder's silence, interrupts."""

import math
import os
import pickle
import signal
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from tiny import digits_loaders, linear_learner, net, silent
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

from learnlite import (
    Callback,
    CancelBackwardException,
    CancelBatchException,
    CancelFitException,
    DataLoaders,
    GradientAccumulation,
    Learner,
    ParamScheduler,
    SchedCos,
    SchedLin,
    ShortEpoch,
    TerminateOnNaN,
    TorchScheduler,
    accuracy,
    on,
    optim,
    slide,
    valley,
)


def learner(cbs=None, dropout=0.0, seed=3, dls=None, **kwargs):
    torch.manual_seed(1)
    kwargs = {"metrics": accuracy} | kwargs
    return silent(
        Learner(
            dls or digits_loaders(shuffle=True, seed=5), net(dropout), cbs=cbs, seed=seed, **kwargs
        )
    )


def weights(learn):
    return [t.detach().clone() for t in learn.model.state_dict().values()]


def equal(a, b):
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


class Hypers(Callback):
    """Writes down what the optimizer uses at each step."""

    run_valid = False

    def before_fit(self):
        self.seen = []

    def before_step(self):
        self.seen.append(
            [
                (g["lr"], g["betas"][0] if "betas" in g else g["momentum"])
                for g in self.opt.param_groups
            ]
        )


@pytest.mark.parametrize(
    "opt_func", [optim.Adam, partial(torch.optim.SGD, momentum=0.9), torch.optim.AdamW]
)
def test_one_cycle_gives_the_formulas_rate_and_momentum_at_every_batch(opt_func):
    hypers = Hypers()
    learn = learner(hypers, opt_func=opt_func)
    learn.fit_one_cycle(3, 0.02)
    n = 3 * len(learn.dls.train)
    assert len(hypers.seen) == n

    def cos(start, end, part):
        return end + (start - end) * (1 + math.cos(math.pi * part)) / 2

    for i, groups in enumerate(hypers.seen):
        t = i / n
        if t < 0.25:
            expected = cos(0.02 / 25, 0.02, t / 0.25), cos(0.95, 0.85, t / 0.25)
        else:
            expected = cos(0.02, 0.02 / 1e5, (t - 0.25) / 0.75), cos(0.85, 0.95, (t - 0.25) / 0.75)
        for group in groups:
            assert group == pytest.approx(expected, rel=1e-9)
    assert learn.recorder.lrs == [groups[-1][0] for groups in hypers.seen]
    assert learn.recorder.moms == [groups[-1][1] for groups in hypers.seen]


def test_one_cycle_equals_torchs_with_its_ends_moved():
    """torch reaches both ends on a batch, we (as fastai) at batch i of n stand at i/n."""
    hypers = Hypers()
    learn = learner(hypers, opt_func=torch.optim.AdamW)
    learn.fit_one_cycle(4, 0.02, pct_start=0.3)
    n = 4 * len(learn.dls.train)
    opt = torch.optim.AdamW([nn.Parameter(torch.zeros(1))])
    sched = OneCycleLR(
        opt,
        0.02,
        total_steps=n + 1,
        pct_start=(0.3 * n + 1) / (n + 1),
        div_factor=25,
        final_div_factor=1e5 / 25,
    )
    for groups in hypers.seen:
        assert groups[0] == pytest.approx(
            (opt.param_groups[0]["lr"], opt.param_groups[0]["betas"][0]), rel=1e-6
        )
        opt.step()
        sched.step()


def test_a_schedule_leaves_the_optimizer_as_it_was():
    learn = learner()
    learn.fit_one_cycle(1, 0.02)
    assert optim.get_hyper(learn.opt, "mom") == [0.9]
    assert optim.get_hyper(learn.opt, "lr") == [1e-3]


def test_an_optimizer_without_momentum_stays_without():
    learn = learner(opt_func=torch.optim.SGD)
    seen = []
    learn.fit_one_cycle(
        1,
        0.02,
        cbs=on(before_step=lambda learn: seen.append(learn.opt.param_groups[0]["momentum"])),
    )
    assert set(seen) == {0}
    learn = learner(opt_func=torch.optim.Adagrad)
    learn.fit_one_cycle(1, 0.02)
    with pytest.raises(ValueError, match="`mom`"):
        learn.fit_one_cycle(1, 0.02, moms=(0.95, 0.85, 0.95))


def halves(model):
    return [list(model[:2].parameters()), list(model[2:].parameters())]


def test_a_slice_spreads_over_the_layer_groups():
    learn = learner(splitter=halves)
    peaks = []
    learn.fit(
        1,
        slice(1e-4, 1e-2),
        cbs=on(after_fit=lambda learn: peaks.append(optim.get_hyper(learn.opt, "lr"))),
    )
    assert peaks[-1] == pytest.approx([1e-4, 1e-2])
    learn.fit(
        1,
        slice(1e-2),
        cbs=on(after_fit=lambda learn: peaks.append(optim.get_hyper(learn.opt, "lr"))),
    )
    assert peaks[-1] == pytest.approx([1e-3, 1e-2])
    seen = []
    learn.fit_one_cycle(
        1,
        slice(1e-4, 1e-2),
        cbs=on(before_step=lambda learn: seen.append(optim.get_hyper(learn.opt, "lr"))),
    )
    assert all(b == pytest.approx(100 * a) for a, b in seen)


def test_a_slice_with_one_group_is_explained():
    with pytest.warns(UserWarning, match="spreads over layer groups, but there is one"):
        learner().fit(1, slice(1e-3, 1e-2))


def test_flat_cos_and_sgdr():
    hypers = Hypers()
    learn = learner(hypers)
    learn.fit_flat_cos(4, 0.01)
    lrs = learn.recorder.lrs
    n = len(lrs)
    assert lrs[: n * 3 // 4] == pytest.approx([0.01] * (n * 3 // 4))
    assert all(a > b for a, b in zip(lrs[n * 3 // 4 :], lrs[n * 3 // 4 + 1 :], strict=False))
    learn.fit_sgdr(2, 1, 0.01)
    assert len(learn.recorder.values) == 3
    per_epoch = len(learn.dls.train)
    assert learn.recorder.lrs[0] == learn.recorder.lrs[per_epoch] == pytest.approx(0.01)


def test_fine_tune_freezes_first_and_then_trains_all():
    learn = learner(splitter=halves)
    frozen = []

    class Watch(Callback):
        def before_fit(self):
            frozen.append((self.n_epoch, [p.requires_grad for p in self.model.parameters()]))

    learn.add_cb(Watch)
    before = weights(learn)
    learn.fine_tune(2, 1e-2, freeze_epochs=1)
    # Linear frozen, BatchNorm (weight, bias) trains on as `train_bn` says, the last group trains.
    assert frozen == [(1, [False, False, True, True, True, True]), (2, [True] * 6)]
    assert not equal(before, weights(learn))


def test_fine_tune_of_a_model_of_one_group_trains_all_of_it_twice_and_says_so(capsys):
    learn = learner()
    fits = []
    learn.add_cb(on(before_fit=lambda learn: fits.append(learn.n_epoch)))
    before = weights(learn)
    learn.fine_tune(2, 1e-2, freeze_epochs=3)
    assert fits == [3, 2] and all(p.requires_grad for p in learn.model.parameters())
    assert not any(torch.equal(*pair) for pair in zip(before, weights(learn), strict=True))
    assert "one layer group, so nothing is frozen" in capsys.readouterr().out


def test_freeze_needs_no_new_optimizer():
    learn = learner(splitter=halves)
    learn.fit(1)
    opt = learn.opt
    learn.freeze()
    body = learn.model[0].weight.detach().clone()
    learn.fit(1)
    assert learn.opt is opt and torch.equal(body, learn.model[0].weight)
    learn.unfreeze()
    learn.fit(1)
    assert not torch.equal(body, learn.model[0].weight)


def test_param_scheduler_drives_any_hyper_parameter_by_name():
    seen = []
    sched = ParamScheduler(
        {"wd": SchedLin(0.0, 1.0), "eps": SchedLin(1e-8, 1e-4), "beta2": SchedLin(0.9, 0.99)}
    )
    learn = learner()
    learn.fit(
        2, cbs=[sched, on(before_step=lambda learn: seen.append(dict(learn.opt.param_groups[0])))]
    )
    n = len(seen)
    for i, group in enumerate(seen):
        assert group["weight_decay"] == pytest.approx(i / n)
        assert group["eps"] == pytest.approx(1e-8 + (1e-4 - 1e-8) * i / n)
        assert group["betas"][1] == pytest.approx(0.9 + 0.09 * i / n)


def test_an_unknown_hyper_parameter_is_named_before_training():
    learn = learner()
    with pytest.raises(ValueError, match="`lrr`.*did you mean `lr`"):
        learn.fit(1, cbs=ParamScheduler({"lrr": SchedLin(0, 1)}))
    assert learn.recorder.values == []


def test_cosine_per_epoch_is_one_line_ours_and_torchs():
    ours, torchs = learner(), learner()
    ours.fit(4, cbs=ParamScheduler({"lr": SchedCos(0.1, 0.0)}, per="epoch"))
    torchs.fit(4, 0.1, cbs=TorchScheduler(partial(CosineAnnealingLR, T_max=4), per="epoch"))
    assert ours.recorder.lrs == pytest.approx(torchs.recorder.lrs)
    assert len(set(ours.recorder.lrs)) == 4
    assert equal(weights(ours), weights(torchs))


def test_a_torch_scheduler_starts_anew_at_each_fit_and_leaves_no_key():
    learn = learner()
    for lr in (0.1, 0.01):
        learn.fit(2, lr, cbs=TorchScheduler(partial(CosineAnnealingLR, T_max=2), per="epoch"))
        assert learn.recorder.lrs[0] == pytest.approx(lr)
    assert "initial_lr" not in learn.opt.param_groups[0]
    assert "step" not in vars(learn.opt)


def test_fitting_twice_goes_on_with_the_same_optimizer_unless_told():
    learn = learner()
    learn.fit(1)
    opt = learn.opt
    learn.fit(1)
    assert learn.opt is opt
    learn.fit(1, reset_opt=True)
    assert learn.opt is not opt


def test_two_learners_with_one_seed_are_equal_and_the_global_generator_is_untouched():
    first, second = learner(dropout=0.5), learner(dropout=0.5)
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    first.fit(2)
    assert torch.equal(expected, torch.rand(3))
    torch.manual_seed(99)
    second.fit(2)
    assert equal(weights(first), weights(second))
    assert first.recorder.raw_losses == second.recorder.raw_losses


def test_without_a_seed_torchs_generator_decides():
    def run():
        torch.manual_seed(42)
        learn = silent(Learner(digits_loaders(shuffle=True), net(0.5)))
        learn.fit(1)
        return weights(learn)

    assert equal(run(), run())


def test_a_fit_after_the_finder_equals_a_fit_without_it_bit_for_bit():
    """Fresh, after a fit, with dropout, BatchNorm, shuffling and a plain torch loader."""
    x, y = torch.randn(128, 8), torch.randint(4, (128,))
    torch_dl = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), 32, shuffle=True)
    for dls in (None, DataLoaders(torch_dl, torch_dl, device="cpu")):
        plain, found = (learner(GradientAccumulation(64), dropout=0.5, dls=dls) for _ in range(2))
        for _ in range(2):
            state, modes = torch.get_rng_state(), [m.training for m in found.model.modules()]
            opt_before, values = found.opt, found.recorder.values
            suggested = found.lr_find(show_plot=False)
            assert suggested.valley is None or suggested.valley > 0
            assert found.opt is opt_before and found.recorder.values is values
            assert torch.equal(state, torch.get_rng_state())
            assert modes == [m.training for m in found.model.modules()]
            assert all(p.grad is None for p in found.model.parameters()) or opt_before
            plain.fit_one_cycle(2, 0.01)
            found.fit_one_cycle(2, 0.01)
            assert equal(weights(plain), weights(found))
            assert plain.recorder.raw_losses == found.recorder.raw_losses
            assert plain.recorder.values == found.recorder.values


def test_the_finder_goes_over_the_rates_and_works_with_few_batches():
    learn = learner()
    rates = []

    class Spy(Callback):
        def before_step(self):
            rates.append(optim.get_hyper(self.learn.opt, "lr")[0])

    learn.add_cb(Spy)
    assert len(learn.dls.train) < 100
    learn.lr_find(1e-6, 1.0, num_it=40, stop_div=False, show_plot=False)
    assert rates == pytest.approx(list(np.geomspace(1e-6, 1.0, 40)))


def test_the_finder_takes_several_suggestions_also_partials():
    found = learner().lr_find(suggest_funcs=[valley, partial(slide, lr_diff=10)], show_plot=False)
    assert found._fields == ("valley", "slide")
    assert found.valley > 0 and found.slide > 0


def test_the_finder_says_when_the_loss_never_fell():
    x = torch.randn(64, 3)
    learn = linear_learner(n_train=8, loss_func=lambda pred, targ: (pred * 0).sum() + 1)
    with pytest.warns(UserWarning, match="suggests nothing"):
        suggested = learn.lr_find(num_it=20, show_plot=False)
    assert suggested.valley is None
    assert len(x) == 64


def test_the_finder_restores_everything_also_when_it_fails():
    learn = learner()
    before = weights(learn)

    def fail(learn):
        if learn.train_iter == 3:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), learn.added_cbs(on(before_batch=fail)):
        learn.lr_find(show_plot=False)
    assert equal(before, weights(learn)) and learn.opt is None


@pytest.mark.parametrize("sizes", [(16, 16, 16, 16), (10, 22, 16, 16), (24, 24, 16)])
def test_accumulated_batches_train_as_one_large_batch(sizes):
    torch.manual_seed(0)
    x, y = torch.randn(64, 3), torch.randn(64, 1)
    small = list(zip(x.split(sizes), y.split(sizes), strict=True))
    torch.manual_seed(1)
    parts = linear_learner(
        GradientAccumulation(64), loss_func=nn.MSELoss(), opt_func=torch.optim.SGD, lr=0.1
    )
    torch.manual_seed(1)
    whole = linear_learner(opt_func=torch.optim.SGD, lr=0.1)
    parts.model.load_state_dict(whole.model.state_dict())
    parts.dls = DataLoaders(small, device="cpu")
    whole.dls = DataLoaders([(x, y)], device="cpu")
    parts.fit(3)
    whole.fit(3)
    for a, b in zip(weights(parts), weights(whole), strict=True):
        torch.testing.assert_close(a, b)


def test_the_short_last_window_is_a_mean_over_its_own_samples():
    x, y = torch.randn(48, 3), torch.randn(48, 1)
    learn = linear_learner(GradientAccumulation(32), opt_func=torch.optim.SGD, lr=0.1)
    learn.dls = DataLoaders(list(zip(x.split(16), y.split(16), strict=True)), device="cpu")
    gradients = []
    learn.add_cb(
        on(
            before_step=lambda learn: gradients.append(learn.model.weight.grad.clone()),
            after_step=lambda learn: None,
        )
    )
    model = nn.Linear(3, 1)
    model.load_state_dict(learn.model.state_dict())
    learn.fit(1)
    assert len(gradients) == 2
    for part, gradient in zip((slice(0, 32), slice(32, 48)), gradients, strict=True):
        model.zero_grad()
        nn.functional.mse_loss(model(x[part]), y[part]).backward()
        torch.testing.assert_close(gradient, model.weight.grad)
        with torch.no_grad():
            for p in model.parameters():
                p -= 0.1 * p.grad


def test_dict_batches_go_to_the_model_by_keyword():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, *, features, mask):
            return self.layer(features) * mask

    batches = [
        {"features": torch.randn(4, 3), "mask": torch.ones(4, 1), "labels": torch.randint(2, (4,))}
        for _ in range(3)
    ]
    learn = silent(Learner(DataLoaders(batches, batches, device="cpu"), Model(), metrics=accuracy))
    learn.fit(2)
    assert learn.recorder.names == ["train_loss", "valid_loss", "accuracy"]
    assert isinstance(learn.loss_func, nn.Module)


def test_a_model_of_hugging_faces_manner_gives_its_logits():
    class Output(dict):
        pass

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, input_ids=None, labels=None):
            assert labels is None
            return Output(logits=self.layer(input_ids), hidden_states=None)

    batches = [{"input_ids": torch.randn(4, 3), "labels": torch.randint(2, (4,))} for _ in range(3)]
    learn = silent(Learner(DataLoaders(batches, batches, device="cpu"), Model(), metrics=accuracy))
    learn.fit(1)
    assert 0 <= learn.recorder.last("accuracy") <= 1


def test_an_interrupt_lets_the_step_end_and_leaves_everything_usable():
    steps = []

    class Slow(torch.optim.SGD):
        def step(self, closure=None):
            if len(steps) == 3:
                os.kill(os.getpid(), signal.SIGINT)
                sum(range(10000))  # bytecode during which Python would handle it
            super().step(closure)
            steps.append(1)

    learn = learner(opt_func=Slow, lr=0.1)
    with pytest.raises(KeyboardInterrupt):
        learn.fit(5)
    assert len(steps) == 4
    assert len(learn.recorder.losses) == 3  # the batch's own end did not come any more
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    learn.fit(1)
    assert len(learn.recorder.values) == 1


def test_nan_stops_with_batch_rate_and_advice():
    def poison(learn):
        if learn.training and learn.train_iter == 4:
            learn.loss = learn.loss * float("nan")

    learn = learner([TerminateOnNaN, on(after_loss=poison)])
    per_epoch = len(learn.dls.train)
    with pytest.warns(
        RuntimeWarning,
        match=f"nan at batch {4 % per_epoch} of epoch {4 // per_epoch}, at a learning rate of 0.05",
    ):
        learn.fit(3, 0.05)
    assert len(learn.recorder.values) < 3


def test_saving_and_loading_gives_the_same_training(tmp_path):
    learn = learner(path=tmp_path)
    learn.fit(1)
    path = learn.save("half")
    assert path == tmp_path / "models" / "half.pth"
    other = learner(path=tmp_path).load("half")
    assert equal(weights(learn), weights(other))
    learn.fit(1)
    other.progress = type(learn.progress)(past_epochs=1, past_batches=len(learn.dls.train))
    other.fit(1)
    assert equal(weights(learn), weights(other))
    torch.save(learn.model.state_dict(), tmp_path / "models" / "plain.pth")
    learner(path=tmp_path).load("plain")


def test_loading_what_does_not_fit_says_what_and_changes_nothing(tmp_path):
    learn = learner(path=tmp_path)
    learn.save("mine")
    other = linear_learner(path=tmp_path)
    before = weights(other)
    with pytest.raises(
        ValueError, match="does not fit the model:\n  .*missing in the file|not in the model"
    ):
        other.load("mine")
    assert equal(before, weights(other))
    with pytest.raises(
        FileNotFoundError, match="there is no file .*nothing.pth; in its folder: mine"
    ):
        other.load("nothing")
    (tmp_path / "models" / "torn.pth").write_bytes(
        (tmp_path / "models" / "mine.pth").read_bytes()[:500]
    )
    with pytest.raises(ValueError, match="torn.pth does not load"):
        other.load("torn")


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    learn = learner(path=tmp_path)
    path = learn.save("mine")
    old = path.read_bytes()

    def full(state, file):
        file.write(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left on device.*untouched"):
        learn.save("mine")
    assert path.read_bytes() == old
    assert [p.name for p in path.parent.iterdir()] == ["mine.pth"]


def test_loss_not_reduced_gives_a_loss_for_each_sample():
    learn = learner()
    xb, yb = learn.dls.split(learn.dls.one_batch())
    with learn.loss_not_reduced():
        assert learn.loss_func(learn.model(*xb), *yb).shape == yb[0].shape
    assert learn.loss_func(learn.model(*xb), *yb).shape == ()


def test_validate_gives_loss_and_metrics_without_an_optimizer():
    learn = learner()
    loss, acc = learn.validate()
    assert 0 <= acc <= 1 and loss > 0
    again = learn.validate(dl=learn.dls.valid)
    assert again == [loss, acc]
    assert learn.opt is None


def test_a_learner_without_validation_trains():
    learn = linear_learner(n_valid=0, default_cbs=True)
    with learn.no_logging():
        learn.fit(2)
    assert learn.recorder.names == ["train_loss"]


def test_a_loader_that_gives_fewer_batches_than_it_says_is_reported():
    class Liar(list):
        def __iter__(self):
            return iter(list(super().__iter__())[:2])

    learn = linear_learner(n_train=4)
    learn.dls = DataLoaders(Liar(learn.dls.train), device="cpu")
    with pytest.warns(UserWarning, match="gave 2 of 4 batches"):
        learn.fit(1)


def test_warnings_do_not_come_from_a_plain_fit():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner().fit_one_cycle(1, 0.01)


# What an attack found, and what holds since.


def test_an_optimizer_of_ones_own_is_zeroed_and_scheduled_like_ours():
    ours, theirs = learner(opt_func=partial(torch.optim.SGD, lr=0.01, momentum=0.9)), learner()
    theirs.opt = torch.optim.SGD(theirs.model.parameters(), lr=0.01, momentum=0.9)
    for learn in (ours, theirs):
        learn.fit(2)
        learn.fit_one_cycle(1, 0.02)
    assert equal(weights(ours), weights(theirs))


def test_a_layer_replaced_after_a_fit_is_not_left_untrained():
    learn = learner()
    learn.fit(1)
    learn.model[4] = nn.Linear(16, 4)
    with pytest.raises(
        ValueError, match="the optimizer does not know 2 .* `4.weight`.*reset_opt=True"
    ):
        learn.fit(1)
    before = learn.model[4].weight.detach().clone()
    learn.fit(1, reset_opt=True)
    assert not torch.equal(before, learn.model[4].weight)


def test_a_loss_with_parameters_that_nobody_trains_is_reported():
    class Loss(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, pred, targ):
            return self.scale * nn.functional.cross_entropy(pred, targ)

    with pytest.warns(UserWarning, match="the loss has parameters of its own"):
        learner(loss_func=Loss()).fit(1)


def test_the_finder_restores_replaced_buffers_frozen_layers_and_plain_attributes():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = net()
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x):
            self.seen = self.seen * 0.9 + x.mean().detach()
            return self.body(x)

    class Counter(Callback):
        def __init__(self):
            self.batches = 0

        def after_batch(self):
            self.batches += 1
            self.model.body[0].requires_grad_(True)

    torch.manual_seed(0)
    learn = silent(Learner(digits_loaders(seed=1), Net(), cbs=Counter, seed=1))
    learn.model.body[0].requires_grad_(False)
    seen = learn.model.seen
    learn.lr_find(show_plot=False)
    assert learn.model.seen is seen
    assert seen == 0
    assert not learn.model.body[0].weight.requires_grad
    assert learn.callbacks.find(Counter).batches == 0


def test_a_torch_loaders_own_generator_is_left_and_does_not_decide():
    def run(find):
        torch.manual_seed(0)
        x, y = torch.randn(96, 8), torch.randint(4, (96,))
        generator = torch.Generator().manual_seed(7)
        dl = torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(x, y), 32, shuffle=True, generator=generator
        )
        learn = silent(Learner(DataLoaders(dl, dl, device="cpu"), net(), seed=1))
        state = generator.get_state()
        if find:
            learn.lr_find(show_plot=False)
            assert torch.equal(state, generator.get_state())
        learn.fit(2, 0.01)
        return weights(learn)

    assert equal(run(find=False), run(find=True))


def test_the_recorded_rate_is_the_one_that_was_used():
    hypers = Hypers()
    sched = TorchScheduler(partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5))
    learn = learner([sched, hypers], opt_func=partial(torch.optim.SGD, momentum=0.9))
    learn.fit(1, 0.1)
    assert learn.recorder.lrs == [groups[-1][0] for groups in hypers.seen]
    assert learn.recorder.lrs[:3] == pytest.approx([0.1, 0.05, 0.025])


def test_a_callback_that_two_learners_share_works_for_the_one_that_runs():
    hypers = Hypers()
    first, second = learner(hypers), learner(hypers)
    first.fit(1, 0.01)
    assert [g[0][0] for g in hypers.seen] == [0.01] * len(first.dls.train)
    second.fit(1, 0.02)
    assert hypers.seen[0][0][0] == 0.02


def test_a_window_whose_last_batch_is_cancelled_still_makes_its_step():
    def cancel_last(learn):
        if learn.training and learn.iter == 5:
            raise CancelBatchException

    steps = []
    learn = linear_learner(
        [
            GradientAccumulation(8),
            on(before_batch=cancel_last, after_step=lambda learn: steps.append(1)),
        ],
        n_train=6,
    )
    learn.fit(1)
    assert len(steps) == 3


@pytest.mark.parametrize("accumulate", [False, True])
def test_without_a_backward_pass_there_is_no_step(accumulate):
    def cancel(learn):
        raise CancelBackwardException

    steps = []
    cbs = [on(before_backward=cancel, after_step=lambda learn: steps.append(1))]
    learn = linear_learner(cbs + [GradientAccumulation(8)] * accumulate)
    before = weights(learn)
    learn.fit(1)
    assert equal(before, weights(learn))
    assert not steps


def test_a_step_by_a_callbacks_own_backward_pass_is_made():
    def own(learn):
        learn.loss.backward()
        raise CancelBackwardException

    plain, other = linear_learner(seed=1), linear_learner(on(before_backward=own), seed=1)
    other.model.load_state_dict(plain.model.state_dict())
    other.dls = plain.dls
    plain.fit(1)
    other.fit(1)
    assert equal(weights(plain), weights(other))


@pytest.mark.parametrize("lr", [-0.1, float("nan")])
def test_a_rate_out_of_range_is_refused(lr):
    with pytest.raises(ValueError, match="`lr` must be at least 0"):
        learner().fit_one_cycle(1, lr)
    with pytest.raises(ValueError, match="`mom` must be at least 0 and below 1"):
        learner().fit_one_cycle(1, 0.1, moms=(1.5, 0.9, 0.9))


def test_a_new_optimizer_in_before_fit_is_scheduled():
    hypers = Hypers()
    learn = learner([on(before_fit=lambda learn: learn.create_opt()), hypers])
    learn.fit_one_cycle(1, 0.02)
    assert len({groups[0][0] for groups in hypers.seen}) == len(hypers.seen)


def test_modes_of_submodules_survive_a_validation_in_the_midst():
    def freeze_norm(learn):
        learn.model[1].eval()

    def look(learn):
        learn.validate()
        assert not learn.model[1].training
        assert learn.model[0].training

    learner(on(before_train=freeze_norm, after_step=look)).fit(1)


def test_a_fit_within_a_standalone_validation_works():
    inner = learner()
    learn = learner(on(after_validate=lambda learn: inner.fit(1)))
    assert learn.validate()[1] >= 0


def test_an_interrupt_during_a_step_that_fails_does_not_reach_the_next_fit():
    class Failing(torch.optim.SGD):
        def step(self, closure=None):
            os.kill(os.getpid(), signal.SIGINT)
            raise ZeroDivisionError

    learn = learner(opt_func=Failing)
    with pytest.raises(ZeroDivisionError):
        learn.fit(1)
    learn.opt_func = torch.optim.SGD
    learn.fit(1, reset_opt=True)


def test_labels_that_a_callback_changes_are_not_judged_before_it():
    def shift(learn):
        learn.yb = (learn.yb[0] % 2,)

    torch.manual_seed(0)
    model = nn.Linear(8, 2)
    learn = silent(
        Learner(digits_loaders(), model, nn.CrossEntropyLoss(), cbs=on(before_batch=shift))
    )
    learn.fit(1)


def test_the_optimizers_state_is_not_given_to_another_kind(tmp_path):
    learner(path=tmp_path, opt_func=torch.optim.RMSprop).save("first")
    other = learner(path=tmp_path, opt_func=partial(torch.optim.SGD, momentum=0.9))
    other_learn = learner(path=tmp_path, opt_func=torch.optim.RMSprop)
    other_learn.fit(1)
    other_learn.save("trained")
    with pytest.raises(
        ValueError, match="the state of `RMSprop`, but this learner trains with `SGD`"
    ):
        other.load("trained")
    other.load("trained", with_opt=False)
    assert equal(weights(other), weights(other_learn))


def test_a_plateau_scheduler_of_torchs_is_told_its_way():
    with pytest.raises(ValueError, match="steps on a measured value.*pass learnlite's callback"):
        learner().fit(1, cbs=TorchScheduler(torch.optim.lr_scheduler.ReduceLROnPlateau))


def test_validating_without_a_validation_loader_is_explained():
    with pytest.raises(ValueError, match=r"there is no loader 1 to validate on: `dls` has 1"):
        linear_learner(n_valid=0).validate()


def test_metrics_may_be_set_later():
    learn = learner(metrics=None)
    learn.metrics = [accuracy]
    learn.fit(1)
    assert learn.recorder.last("accuracy") >= 0


def test_a_learner_can_be_pickled_after_a_fit_with_plain_parts():
    learn = linear_learner(default_cbs=True)
    with learn.no_logging():
        learn.fit_one_cycle(1, 0.01)
    learn.dls.loss_func = None
    copy = pickle.loads(pickle.dumps(learn))
    assert equal(weights(learn), weights(copy))
    with copy.no_logging():
        copy.fit(1)


def test_a_cancelled_fit_keeps_no_batch_alive():
    def stop(learn):
        raise CancelFitException

    learn = linear_learner(on(after_pred=stop))
    learn.fit(1)
    assert isinstance(learn.cancelled, CancelFitException)
    assert learn.cancelled.__traceback__ is None


@pytest.mark.parametrize("part", ["whole", "part"])
def test_weights_of_a_compiled_model_load_into_a_plain_one_and_back(part, tmp_path):
    def made(compiled):
        model = nn.Sequential(nn.Linear(8, 8), nn.Sequential(nn.Linear(8, 4)))
        if compiled and part == "whole":
            model = torch.compile(model, backend="eager")
        elif compiled:
            model[1] = torch.compile(model[1], backend="eager")
        return silent(Learner(digits_loaders(), model, path=tmp_path))

    for first in (True, False):
        learn, other = made(first), made(not first)
        learn.save("weights")
        other.load("weights")
        saved = torch.load(tmp_path / "models" / "weights.pth")["model"]
        assert not any("_orig_mod" in name for name in saved)
        for a, b in zip(learn.model.parameters(), other.model.parameters(), strict=True):
            assert torch.equal(a, b)


def test_a_model_converted_between_two_fits_trains_on_as_if_it_had_not_been():
    def run(convert):
        torch.manual_seed(0)
        x, y = torch.randn(32, 3, 6, 6), torch.randint(4, (32,))
        layers = [nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 4)]
        dls = DataLoaders.from_tensors((x, y), bs=8, seed=1, device="cpu")
        learn = silent(Learner(dls, nn.Sequential(*layers), seed=1))
        learn.fit(1, 0.01)
        if convert:
            learn.model.to(memory_format=torch.channels_last)
        learn.fit(2, 0.01)
        return list(learn.model.parameters())

    for a, b in zip(run(False), run(True), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_the_finder_sees_all_its_batches_beside_a_short_epoch():
    learn = silent(Learner(digits_loaders(), net(), cbs=ShortEpoch(2)))
    seen = []
    with learn.added_cbs(on(after_step=lambda learn: seen.append(learn.train_iter))):
        learn.lr_find(num_it=20, stop_div=False, show_plot=False)
    assert len(seen) == 20
