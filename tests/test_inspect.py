"""What is recorded of layers and gradients is what they were, and costs one read an epoch."""

import pytest
import torch
from reads import Reads
from test_hooks import hooks_on
from tiny import digits_loaders, linear_learner, net, silent
from torch import nn

from learnlite import (
    CancelBatchException,
    CancelTrainException,
    DataLoaders,
    GradientAccumulation,
    Learner,
    Order,
    on,
)
from learnlite.callbacks.gradient_stats import GradientStats
from learnlite.callbacks.inspect import ActivationStats, HookCallback


def learner(cbs=(), model=None, **kwargs):
    model = net() if model is None else model
    return silent(Learner(digits_loaders(n=128, bs=16), model, lr=0.1, cbs=cbs, **kwargs))


class Keep(HookCallback):
    """Keeps the outputs of every batch."""

    def before_fit(self):
        self.kept = []

    def hook(self, m, i, o):
        return o.clone()

    def after_batch(self):
        self.kept.append(self.hooks.stored)
        super().after_batch()


def hooked(**kwargs):
    return HookCallback(hook=lambda m, i, o: None, **kwargs)


class Shared(nn.Module):
    """Calls one layer twice, one only when asked, and gives a dict."""

    def __init__(self):
        super().__init__()
        self.twice, self.head, self.never = nn.Linear(8, 8), nn.Linear(8, 4), nn.Linear(1, 1)
        self.lstm = nn.LSTM(8, 8)

    def forward(self, x, scale=None):
        x = self.twice(self.twice(x) if scale is None else self.twice(x) * scale)
        return {"logits": self.head(self.lstm(x)[0])}


def dict_loaders():
    x, y = torch.randn(64, 8), torch.randint(4, (64,))
    rows = zip(x.split(16), y.split(16), strict=True)
    batches = [{"x": a, "scale": a[:, :1], "labels": b} for a, b in rows]
    return DataLoaders(batches, batches[:1], device="cpu")


# HookCallback


def test_hooks_are_there_in_training_and_nowhere_else():
    seen = []

    def look(learn):
        seen.append((learn.training, hooks_on(learn.model)))

    learn = learner(on(after_pred=look))
    learn.fit(1, cbs=hooked())
    learn.validate()
    assert set(seen) == {(True, 3), (False, 0)}
    assert hooks_on(learn.model) == 0


def test_every_other_batch_has_hooks():
    seen = []
    learn = learner(on(after_pred=lambda learn: seen.append(hooks_on(learn.model)), order=0))
    learn.fit(1, cbs=hooked(every=3))
    assert seen[:6] == [3, 0, 0, 3, 0, 0]


@pytest.mark.parametrize("every", [None, 1])
@pytest.mark.parametrize("event", ["before_train", "after_pred", "after_backward", "after_batch"])
def test_after_an_error_no_hook_stays(every, event):
    def fail(learn):
        raise KeyError

    learn = learner(on(**{event: fail}))
    with pytest.raises(KeyError):
        learn.fit(1, cbs=hooked(every=every, remove_end=False))
    assert hooks_on(learn.model) == 0


def test_hooks_may_stay_after_the_fit_until_removed():
    cb = Keep(remove_end=False)
    learn = learner()
    learn.fit(1, cbs=cb)
    x = torch.randn(2, 8)
    out = learn.model.eval()(x)
    assert torch.equal(cb.hooks.stored[-1], out)
    learn.fit(1, cbs=cb)
    cb.hooks.remove()
    assert hooks_on(learn.model) == 0


def test_modules_are_given_as_modules_or_names():
    learn = learner()
    cb = hooked(modules=[learn.model[2], "4"])
    learn.fit(1, cbs=cb)
    assert cb.names == ["2", "4"]
    with pytest.raises(ValueError, match="`modules` has `head`, which is not a part of the model"):
        learn.fit(1, cbs=hooked(modules=["head"]))
    with pytest.raises(ValueError, match="take them from `learn.model`"):
        learn.fit(1, cbs=hooked(modules=[nn.Linear(1, 1)]))
    with pytest.raises(ValueError, match="`every` counts batches and must be at least 1, got 0"):
        hooked(every=0)


def test_a_hook_callback_without_a_hook_is_refused():
    class Nothing(HookCallback):
        pass

    for cls in (HookCallback, Nothing):
        with pytest.raises(TypeError, match="does nothing yet: give your subclass a method `hook"):
            cls()
    with pytest.raises(TypeError, match="`every` must be a whole number, got 2.0"):
        hooked(every=2.0)


def test_the_layers_without_parameters_are_hooked_on_demand():
    cb = hooked(include_paramless=True)
    learner().fit(1, cbs=cb)
    assert cb.names == ["0", "1", "2", "3", "4"]


def test_hooks_on_gradients():
    seen = []
    see = lambda m, i, o: seen.append(o[0].shape)  # noqa: E731
    cb = HookCallback(modules=["4"], is_forward=False, hook=see)
    learner().fit(1, cbs=cb)
    assert set(seen) == {torch.Size([16, 4])}


def test_a_compiled_model_is_refused():
    learn = learner()
    learn.model.compile()
    with pytest.raises(ValueError, match="hooks are not called inside a compiled model"):
        learn.fit(1, cbs=ActivationStats())


# ActivationStats


def test_statistics_are_those_of_the_outputs():
    stats, keep = ActivationStats(with_hist=True), Keep()
    learner().fit(2, cbs=[stats, keep])
    assert stats.names == ["0", "1", "4"] and stats.iters == list(range(12))
    for i, name in enumerate(stats.names):
        mean, std, near_zero = stats.layer_stats(name)
        for batch, outputs in enumerate(keep.kept):
            a = outputs[i].double()
            assert mean[batch] == pytest.approx(a.mean().item(), abs=1e-6)
            assert std[batch] == pytest.approx(a.std(correction=0).item(), rel=1e-5)
            assert near_zero[batch] == pytest.approx((a.abs() < 0.05).double().mean().item())
            counts = torch.histc(a.float().abs().clamp(max=10), 40, 0, 10)
            assert torch.equal(stats.hist(i)[:, batch], counts)
    assert stats.layer_stats(-1) == stats.layer_stats("4")


def test_the_last_bin_has_all_that_is_larger():
    stats = ActivationStats(with_hist=True)
    learn = linear_learner(stats)
    with torch.no_grad():
        learn.model.bias.fill_(1e6)
    learn.fit(1)
    assert stats.hist("model")[-1].tolist() == [4, 4] and stats.hist(0)[:-1].sum() == 0


def test_a_layer_called_twice_has_the_statistics_of_all_its_values():
    seen = []
    model = Shared()
    learn = silent(Learner(dict_loaders(), model, lr=0.1, seed=0))

    def see(m, i, o):
        if learn.training:
            seen.append(o.detach())

    model.twice.register_forward_hook(see)
    stats = ActivationStats(with_hist=True)
    learn.fit(1, cbs=stats)
    both = [torch.cat(pair) for pair in zip(seen[::2], seen[1::2], strict=True)]
    mean, std, near_zero = stats.layer_stats("twice")
    assert len(both) == 4
    for batch, a in enumerate(both):
        assert mean[batch] == pytest.approx(a.mean().item(), abs=1e-6)
        assert std[batch] == pytest.approx(a.std(correction=0).item(), rel=1e-5)
        assert near_zero[batch] == pytest.approx((a.abs() < 0.05).float().mean().item())
        assert torch.equal(
            stats.hist("twice")[:, batch], torch.histc(a.abs().clamp(max=10), 40, 0, 10)
        )


def test_a_layer_that_is_not_called_has_nan_and_an_empty_histogram():
    stats = ActivationStats(with_hist=True)
    silent(Learner(dict_loaders(), Shared(), lr=0.1)).fit(1, cbs=stats)
    assert stats.names == ["twice", "head", "never", "lstm"]
    assert all(value != value for value in stats.layer_stats("never").mean)
    assert stats.hist("never").sum() == 0 and stats.hist("never").shape == (40, 4)


def test_of_a_tuple_the_first_tensor_counts():
    stats, model = ActivationStats(), Shared()
    silent(Learner(dict_loaders(), model, lr=0.0)).fit(1, cbs=stats)
    with torch.no_grad():
        batch = dict_loaders().one_batch()
    assert all(0 < std < 1 for std in stats.layer_stats("lstm").std) and len(batch) == 3


def test_every_tenth_of_the_batches():
    often, seldom = ActivationStats(), ActivationStats(every=5)
    learn = learner()
    learn.fit(2, cbs=[often, seldom])
    assert seldom.iters == [0, 5, 10]
    assert seldom.layer_stats(0).mean == often.layer_stats(0).mean[::5]


def test_training_is_not_changed():
    weights = []
    for cbs in ([], [ActivationStats(with_hist=True), GradientStats(with_updates=True)]):
        torch.manual_seed(0)
        learn = learner(model=net(0.5), seed=1)
        learn.fit(2, cbs=cbs)
        weights.append(learn.model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("make", [lambda: ActivationStats(with_hist=True), GradientStats])
def test_the_device_is_read_as_often_for_a_hundred_batches_as_for_ten(make):
    counts = []
    for n in (10, 100):
        x, y = torch.randn(n * 4, 8), torch.randint(4, (n * 4,))
        dls = DataLoaders(list(zip(x.split(4), y.split(4), strict=True)), device="cpu")
        learn = Learner(dls, net(0.5), default_cbs=False, cbs=make())
        with Reads() as reads:
            learn.fit(2)
        counts.append(reads.count)
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    "make",
    [
        lambda: ActivationStats(every=2, with_hist=True),
        GradientStats,
        lambda: GradientStats(with_updates=True),
    ],
)
@pytest.mark.parametrize("n_acc", [1, 40])
def test_a_fit_that_goes_on_in_mid_epoch_has_the_same_statistics(make, n_acc):
    def fresh(cbs=()):
        torch.manual_seed(0)
        return learner([GradientAccumulation(n_acc), *cbs], seed=1)

    states = []

    def keep(learn):
        if learn.training and learn.iter == 3:
            states.append(learn.state_dict())

    whole, rest = make(), make()
    fresh([whole]).fit(2, cbs=on(after_batch=keep, order=60))
    for state in states:
        fresh([rest]).fit(2, resume=state)
        assert rest.iters == whole.iters
        rows, wanted = rest.state_dict()["rows"], whole.state_dict()["rows"]
        assert torch.equal(rows.nan_to_num(-1), wanted.nan_to_num(-1))


def test_a_fit_that_was_saved_without_statistics_goes_on_with_them():
    states, stats = [], ActivationStats()
    keep = on(after_epoch=lambda learn: states.append(learn.state_dict()), order=Order.REPORT + 1)
    learner().fit(2, cbs=keep)
    learner().fit(2, cbs=stats, resume=states[0])
    assert stats.iters == list(range(6, 12))


def test_bfloat16_under_autocast_is_measured_in_float32():
    stats, dtypes = ActivationStats(with_hist=True), []

    def see(m, i, o):
        dtypes.append(o.dtype)

    learn = learner().to_bf16()
    learn.model[0].register_forward_hook(see)
    learn.fit(1, cbs=stats)
    assert set(dtypes) == {torch.bfloat16}
    assert all(0 < std < 100 for std in stats.layer_stats("0").std)
    assert stats.hist(0).sum(0).tolist() == [16 * 16] * 6


def test_a_batch_cancelled_before_its_prediction_has_no_row():
    def skip(learn):
        if learn.training and learn.iter == 2:
            raise CancelBatchException

    stats, grads = ActivationStats(), GradientStats()
    learner(on(before_batch=skip)).fit(1, cbs=[stats, grads])
    assert stats.iters == grads.iters == [0, 1, 3, 4, 5]


def test_a_training_pass_that_is_skipped_leaves_nothing():
    def skip(learn):
        raise CancelTrainException

    stats, grads = ActivationStats(), GradientStats()
    learner(on(before_train=skip)).fit(1, cbs=[stats, grads])
    with pytest.raises(ValueError, match="no layers are recorded yet; give this callback to a fit"):
        stats.layer_stats(0)
    with pytest.raises(ValueError, match="no parameters are recorded yet"):
        grads.param_stats(0)


def test_what_is_not_there_is_said():
    stats = ActivationStats()
    learner().fit(1, cbs=stats)
    with pytest.raises(ValueError, match="`5` is not recorded; there are `0`, `1`, `4`"):
        stats.layer_stats("5")
    with pytest.raises(IndexError, match="there are 3 layers, got the index 3"):
        stats.layer_stats(3)
    with pytest.raises(ValueError, match="no histograms are recorded; use"):
        stats.hist(0)
    assert repr(ActivationStats(every=2)) == (
        "ActivationStats(with_hist=False, modules=None, every=2, include_paramless=False)"
    )


# GradientStats


@pytest.mark.parametrize("n_acc", [1, 40])
def test_gradients_are_those_of_the_step(n_acc):
    seen, before, changes = [], [], []

    def keep(learn):
        seen.append([p.grad.clone() for p in learn.model.parameters()])
        before.append([p.detach().clone() for p in learn.model.parameters()])

    def change(learn):
        now = learn.model.parameters()
        changes.append(
            [(p - old).norm() / old.norm() for p, old in zip(now, before[-1], strict=True)]
        )

    stats = GradientStats(with_updates=True)
    learn = learner([GradientAccumulation(n_acc), on(before_step=keep, after_step=change)])
    learn.fit(1, cbs=stats)
    assert stats.names == [name for name, _ in learn.model.named_parameters()]
    assert len(stats.iters) == len(seen) == (6 if n_acc == 1 else 2)
    for i, name in enumerate(stats.names):
        norm, mean, zeros, update = stats.param_stats(name)
        for step, grads in enumerate(seen):
            assert norm[step] == pytest.approx(grads[i].norm().item(), rel=1e-5)
            assert mean[step] == pytest.approx(grads[i].abs().mean().item(), rel=1e-5)
            assert zeros[step] == pytest.approx((grads[i] == 0).float().mean().item(), abs=1e-6)
            if changes[step][i].isfinite():  # not where the weights were all zero
                assert update[step] == pytest.approx(changes[step][i].item(), rel=1e-4)


def test_a_frozen_weight_is_not_recorded_and_an_unused_one_has_nan():
    model = Shared()
    model.head.weight.requires_grad_(False)
    stats = GradientStats()
    silent(Learner(dict_loaders(), model, lr=0.1)).fit(1, cbs=stats)
    assert "head.weight" not in stats.names
    assert all(value != value for value in stats.param_stats("never.weight").norm)
    assert all(value > 0 for value in stats.param_stats("twice.weight").norm)
    assert stats.param_stats(0).update == []


def test_sparse_gradients_count_their_zeros():
    model = nn.Sequential(nn.Embedding(10, 3, sparse=True), nn.Flatten(), nn.Linear(3, 2))
    x, y = torch.zeros(4, 1, dtype=torch.int64), torch.tensor([0, 1, 0, 1])
    dls = DataLoaders([(x, y)], device="cpu")
    stats = GradientStats()
    learn = Learner(dls, model, opt_func=torch.optim.SGD, lr=0.1, default_cbs=False)
    learn.fit(1, cbs=stats)
    assert stats.param_stats("0.weight").zeros == pytest.approx([0.9])


def test_complex_gradients_are_measured_by_their_sizes():
    class Waves(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 2, dtype=torch.complex64))

        def forward(self, x):
            return (x.to(torch.complex64) @ self.weight).abs()

    x = torch.randn(4, 3)
    x[:, 0] = 0
    dls = DataLoaders([(x, torch.randn(4, 2))], device="cpu")
    stats, model = GradientStats(with_updates=True), Waves()
    before = model.weight.detach().clone()
    learn = Learner(dls, model, nn.MSELoss(), torch.optim.SGD, lr=0.1, default_cbs=False)
    learn.fit(1, cbs=stats)
    sizes = model.weight.grad.abs()
    got = stats.param_stats("weight")
    assert got.norm == pytest.approx([sizes.norm().item()])
    assert got.mean == pytest.approx([sizes.mean().item()])
    assert got.zeros == pytest.approx([1 / 3])
    assert got.update == pytest.approx([(0.1 * sizes.norm() / before.abs().norm()).item()])


# The plots


def test_plots_show_what_was_recorded():
    pytest.importorskip("matplotlib")
    import matplotlib.pyplot as plt

    stats, grads = ActivationStats(with_hist=True), GradientStats()
    learner().fit(1, cbs=[stats, grads])
    panels = stats.plot_layer_stats("4")
    assert [list(ax.lines[0].get_ydata()) for ax in panels] == list(stats.layer_stats("4"))
    assert [len(ax.lines) for ax in stats.plot_layer_stats()] == [3, 3, 3]
    _, ax = plt.subplots()
    assert stats.color_dim(0, ax=ax) is ax
    assert torch.allclose(torch.tensor(ax.images[0].get_array()), stats.hist(0).log1p())
    last, first = stats.plot_hist(-1).patches
    assert first.get_data().values.sum() == pytest.approx(1)
    assert last.get_label() == "batch 5"
    image = grads.plot().images[0].get_array()
    norms = [grads.param_stats(i).norm for i in range(len(grads.names))]
    assert torch.allclose(torch.tensor(image), torch.tensor(norms).log10())
    grads.plot("zeros")
    with pytest.raises(ValueError, match="`what='update'` is not recorded"):
        grads.plot("update")
    assert stats.color_dim("1", figsize=(5, 2)).get_title() == "`1` BatchNorm1d"
    assert plt.gcf().get_size_inches().tolist() == [5, 2]
    for drawn in (*panels, ax, grads.plot()):
        assert drawn.get_xlabel() == "batch"
        assert all(tick == int(tick) for tick in drawn.get_xticks())
    plt.close("all")


def test_plots_before_a_fit_say_that_one_is_needed():
    pytest.importorskip("matplotlib")
    stats = ActivationStats(True)
    for draw in (
        stats.plot_layer_stats,
        lambda: stats.color_dim(0),
        lambda: stats.plot_hist(0),
        GradientStats().plot,
    ):
        with pytest.raises(ValueError, match="recorded yet; give this callback to a fit first"):
            draw()
