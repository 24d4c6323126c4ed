"""The guard names the place where the first NaN or infinite value came from."""

import pytest
import torch
from reads import Reads
from test_hooks import hooks_on
from tiny import silent
from torch import nn

from learnlite import (
    CancelBatchException,
    CSVLogger,
    DataLoaders,
    GradientAccumulation,
    GradientClip,
    Learner,
    TerminateOnNaN,
    on,
)
from learnlite.callbacks.guard import NaNGuard


class Call(nn.Module):
    """A layer out of a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Residual(nn.Module):
    """Two layers, and code of its own between them, behind them, and in place."""

    def __init__(self, between=lambda x: x, after=lambda x: x):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 1)
        self.between, self.after = between, after

    def forward(self, x):
        x = self.first(x)
        x += 1
        return self.after(self.second(self.between(x)))


def batches(n=6, bs=4):
    x = torch.randn(n * bs, 3)
    return [list(pair) for pair in zip(x.split(bs), x.sum(1, keepdim=True).split(bs), strict=True)]


def fault(model, data=None, cbs=(), match=None, loss=nn.functional.mse_loss, n_epoch=2, **kwargs):
    """The message of the guard; no hook is left."""
    data = batches() if data is None else data
    kwargs = {"opt_func": torch.optim.SGD, "lr": 0.01} | kwargs
    learn = silent(Learner(DataLoaders(data, device="cpu"), model, loss, cbs=cbs, **kwargs))
    with pytest.raises(FloatingPointError, match=match) as info:
        learn.fit(n_epoch, cbs=NaNGuard())
    assert hooks_on(learn.model) == 0
    return str(info.value)


def layers(*inside):
    return nn.Sequential(nn.Linear(3, 3), nn.ReLU(), *inside, nn.Linear(3, 1))


def test_a_layer_is_named_with_batch_epoch_and_rate():
    def root(x):
        return (x - 0.5).sqrt()

    message = fault(layers(Call(root)))
    assert message.startswith(
        "the layer `2` (Call) gave NaN values at batch 0 of epoch 0, at a learning rate of 0.01, "
        "out of an input that was finite: look in its code for a division or a logarithm of 0, or "
        "the root of a negative number; no step was made yet"
    )
    assert "lower rate" not in message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", [0, 3, 5])
def test_the_batch_is_the_right_one(where, value):
    calls = []

    def plant(x):
        calls.append(x)
        return x + value if len(calls) == 6 + where + 1 else x

    what = "NaN" if value != value else "infinite"
    fault(layers(Call(plant)), match=rf"\(Call\) gave {what} values at batch {where} of epoch 1")


def test_a_layer_of_torchs_is_not_blamed_for_its_code_but_the_rate_is_once_a_step_was_made():
    model = layers()
    linear, calls = model[2].forward, []

    def plant(x):
        calls.append(x)
        return linear(x) * float("inf") if len(calls) == 4 else linear(x)

    model[2].forward = plant
    message = fault(model, match="batch 3 of epoch 0")
    assert message.endswith(
        "finite: try a lower rate, or clip the gradients; in float16 values end at 65504, in "
        "bfloat16 they do not"
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_input_is_named(value):
    data = batches()
    data[2][0][1, 1] = value
    fault(layers(), data, match="the input `0` held .* at batch 2 of epoch 0, before the model")


def test_an_input_of_a_dict_is_named():
    class Model(nn.Linear):
        def forward(self, x, mask):
            return super().forward(x * mask)

    data = [{"x": x, "mask": torch.ones(4, 1), "labels": y} for x, y in batches()]
    data[1]["mask"][0] = float("nan")
    fault(Model(3, 1), data, match="the input `mask` held NaN values at batch 1")


def test_a_target_is_named():
    data = batches()
    data[3][1][0] = float("nan")
    fault(layers(), data, match="the target held NaN values at batch 3")


def test_weights_that_were_so_before_are_named():
    model = layers()
    model[0].weight.data[1, 1] = float("nan")
    fault(model, match="the weight `0.weight` was NaN already before batch 0 of epoch 0: load")


def test_code_between_layers_is_not_blamed_on_a_layer():
    message = fault(Residual(between=lambda x: x / 0))
    assert message.startswith("the layer `second` (Linear) was given infinite values")
    assert "the model's own code made them after the layer `first` (Linear)" in message


def test_code_behind_the_last_layer_is_named():
    fault(Residual(after=lambda x: x * float("nan")), match="the prediction held NaN values")


def test_the_loss_is_named():
    def loss(pred, targ):
        return ((pred - targ).square() / 0).mean()

    fault(layers(), loss=loss, match="the loss was infinite at batch 0 .* prediction that was fin")


@pytest.mark.parametrize("cbs", [(), GradientClip(1.0), GradientAccumulation(24)])
def test_the_gradient_of_a_root_of_zero_is_named(cbs):
    model = nn.Sequential(
        nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3), Call(lambda x: x.abs().sqrt()), nn.Linear(3, 1)
    )
    nn.init.zeros_(model[2].weight)
    nn.init.zeros_(model[2].bias)
    message = fault(model, cbs=cbs)
    assert "the gradient of `2.bias` was NaN at batch 0 of epoch 0" in message
    assert "That of `4.weight`, later in the model, was finite too: look between the two" in message
    assert "`(x + 1e-8).sqrt()`" in message


@pytest.mark.parametrize("now", [True, False], ids=["looks at once", "looks at the end"])
@pytest.mark.parametrize("batch", range(6))
def test_the_batch_of_a_window_is_the_one_whose_gradient_was_bad(batch, now):
    model = layers()

    def plant(learn):
        guard = next(cb for cb in learn.cbs if isinstance(cb, NaNGuard))
        guard._clock.interval = 0.0 if now else 1e9
        if learn.iter == batch:
            model[0].weight.grad[1] = float("nan")

    cbs = [GradientAccumulation(12), on(after_backward=plant)]
    fault(model, cbs=cbs, match=f"the gradient of `0.weight` was NaN at batch {batch} of epoch 0")


def test_a_bad_gradient_that_never_reaches_a_step_is_no_fault():
    def plant(learn):
        if learn.iter == 1:
            learn.model[0].weight.grad[1] = float("nan")

    def drop(learn):
        if learn.iter == 2:
            learn.model[0].weight.grad.zero_()

    learn = silent(Learner(DataLoaders(batches(), device="cpu"), layers(), nn.MSELoss(), lr=0.01))
    learn.fit(
        2, cbs=[GradientAccumulation(12), on(after_backward=plant, before_step=drop), NaNGuard()]
    )


@pytest.mark.parametrize("n_acc", [None, 8])
def test_a_callback_that_spoils_the_gradient_is_told(n_acc):
    def spoil(learn):
        if learn.iter == 3:
            learn.model[0].weight.grad[1] = float("nan")

    window = [] if n_acc is None else [GradientAccumulation(n_acc)]
    message = fault(layers(), cbs=[GradientClip(), on(before_step=spoil), *window])
    assert message.startswith("the gradient of `0.weight` was NaN when the step came at batch 3")
    assert message.endswith("GradientClip(max_norm=1.0, norm_type=2.0, value=None)`")
    assert "`on(before_step)`" in message


def test_statistics_that_validation_goes_by_are_looked_at():
    def plant(learn):
        if learn.iter == 2:
            learn.model[2].running_var[1] = float("nan")

    message = fault(layers(nn.BatchNorm1d(3)), cbs=on(after_backward=plant))
    assert message.startswith("the statistic `2.running_var` became NaN at batch 2 of epoch 0")
    model = layers(nn.BatchNorm1d(3))
    model[2].running_mean[0] = float("inf")
    fault(model, match="the statistic `2.running_mean` was infinite already before batch 0")


def test_a_batch_that_was_cancelled_has_spoilt_the_statistics_all_the_same():
    data = batches()
    data[4][0][0, 0] = float("nan")

    def cancel(learn):
        if learn.iter == 4:
            raise CancelBatchException

    fault(
        layers(nn.BatchNorm1d(3)),
        data,
        on(after_pred=cancel),
        "the input `0` held NaN values at batch 4",
    )


def test_a_gradient_behind_all_parameters_points_to_the_loss():
    model = nn.Linear(3, 1)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    message = fault(model, loss=lambda pred, targ: (pred.abs().sqrt() - targ).square().mean())
    assert "the gradient of `bias` was NaN" in message and "and at the loss itself" in message


def test_a_step_is_named():
    class Breaks(torch.optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            self.param_groups[0]["params"][-1].data.fill_(float("nan"))

    fault(
        layers(),
        opt_func=Breaks,
        match="the step made the weight `2.bias` NaN at batch 0 .* out of finite gradients",
    )


def test_a_rate_that_is_too_high_ends_with_the_batch_where_it_overflows():
    seen = []
    see = on(after_loss=lambda learn: seen.append(learn.loss.item()))
    message = fault(layers(), lr=1e9, cbs=see, n_epoch=20)
    first = next(i for i, loss in enumerate(seen) if not loss < float("inf"))
    assert f"at batch {first % 6} of epoch {first // 6}" in message


def test_an_infinite_mask_that_reaches_nothing_is_no_fault():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.mask = Call(lambda x: x.masked_fill(torch.eye(3, dtype=torch.bool), -torch.inf))
            self.head, self.plant = nn.Linear(3, 1), Call(lambda x: x)

        def forward(self, x):
            scores = self.mask(x.unsqueeze(1) * x.unsqueeze(2))
            return self.head(self.plant(torch.einsum("bij,bj->bi", scores.softmax(2), x)))

    model = Attention()
    learn = silent(Learner(DataLoaders(batches(), device="cpu"), model, nn.MSELoss(), lr=0.01))
    learn.fit(2, cbs=NaNGuard())
    calls = []

    def plant(x):
        calls.append(x)
        return x * float("nan") if len(calls) == 5 else x

    model.plant.function = plant
    fault(model, match="the layer `plant` .* at batch 4 of epoch 0")


def test_a_sound_fit_is_not_changed():
    weights = []
    for cbs in ([], NaNGuard()):
        torch.manual_seed(0)
        model = layers(nn.Dropout(), Residual(after=lambda x: x.expand(-1, 3)))
        learn = silent(
            Learner(DataLoaders(batches(), device="cpu"), model, nn.MSELoss(), cbs=cbs, seed=1)
        )
        learn.fit(2, 0.01)
        weights.append(learn.model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_the_device_is_read_as_often_for_a_hundred_batches_as_for_ten():
    counts = []
    for n in (10, 100):
        guard = NaNGuard()
        learn = Learner(
            DataLoaders(batches(n), device="cpu"), layers(), nn.MSELoss(), default_cbs=False
        )
        still = on(before_train=lambda _, g=guard: setattr(g._clock, "interval", 1e9))
        with Reads() as reads:
            learn.fit(2, 0.01, cbs=[still, guard])
        counts.append(reads.count)
    assert counts[0] == counts[1]


def test_it_comes_before_what_ends_the_fit_without_a_name(tmp_path):
    data = batches()
    data[5][0][1, 1] = float("nan")
    fault(layers(), data, [TerminateOnNaN(), CSVLogger(tmp_path / "log.csv")], match="input `0`")


def test_the_finder_may_go_to_where_the_loss_explodes():
    learn = silent(Learner(DataLoaders(batches(), device="cpu"), layers(), nn.MSELoss()))
    learn.add_cb(NaNGuard())
    with pytest.warns(UserWarning, match="the loss is inf since batch"):
        learn.lr_find(end_lr=1e30, stop_div=False, show_plot=False, suggest_funcs=())


def test_bfloat16_and_float64_are_looked_at():
    def plant(x):
        return x * float("inf")

    fault(layers(Call(plant)).double(), [[x.double(), y.double()] for x, y in batches()])
    learn = Learner(DataLoaders(batches(), device="cpu"), layers(Call(plant)), nn.MSELoss())
    with pytest.raises(FloatingPointError, match="the layer `2` "):
        silent(learn).to_bf16().fit(1, 0.01, cbs=NaNGuard())


def test_a_fit_that_was_saved_without_a_guard_goes_on_with_one():
    def make():
        torch.manual_seed(0)
        dls = DataLoaders(batches(), device="cpu")
        return Learner(dls, layers(), nn.MSELoss(), lr=0.01, default_cbs=False)

    states = []
    make().fit(2, cbs=on(after_epoch=lambda learn: states.append(learn.state_dict())))
    learn = make()
    learn.model[0].register_forward_hook(lambda m, i, o: o * float("nan"))
    told = pytest.warns(UserWarning, match="not those of the saved fit")
    with told, pytest.raises(FloatingPointError, match="batch 0 of epoch 1"):
        learn.fit(2, cbs=NaNGuard(), resume=states[0])
