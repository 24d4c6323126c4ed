"""A fit that goes on from a state is the fit that was never cut off."""

from functools import partial

import pytest
import torch
from tiny import digits_loaders, net, silent
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, Dataset, TensorDataset

from learnlite import (
    EMA,
    SWA,
    Callback,
    DataLoaders,
    EarlyStopping,
    GradientAccumulation,
    Learner,
    MixUp,
    Order,
    Recorder,
    SaveModel,
    TorchScheduler,
    accuracy,
    error_rate,
    mse,
    on,
)
from learnlite.data import Stream

LAST = Order.REPORT + 1


def learner(cbs=None, dls=None, *, seed=0, **kwargs):
    torch.manual_seed(seed)
    dls = digits_loaders(seed=2) if dls is None else dls
    kwargs = {"metrics": accuracy, "lr": 0.02} | kwargs
    return silent(Learner(dls, net(0.3), seed=1, cbs=cbs, **kwargs))


def states_of(learn, n_epoch=3, event="after_batch", **fit):
    """The states after every batch, or every epoch."""
    states = []

    def keep(learn):
        if learn.training or event == "after_epoch":
            states.append(learn.state_dict())

    learn.fit(n_epoch, cbs=[*fit.pop("cbs", []), on(**{event: keep}, order=LAST)], **fit)
    return states


def same(a, b):
    weights = zip(a.model.state_dict().values(), b.model.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in weights) and str(a.recorder.values) == str(
        b.recorder.values
    )


@pytest.mark.parametrize("event", ["after_batch", "after_epoch"])
@pytest.mark.parametrize(
    "factory",
    [
        partial(lr_scheduler.StepLR, step_size=1, gamma=0.5),
        partial(lr_scheduler.CosineAnnealingLR, T_max=3),
        partial(lr_scheduler.ExponentialLR, gamma=0.7),
    ],
    ids=["step", "cosine", "exponential"],
)
def test_torchs_schedulers_of_epochs_go_on_at_the_right_rate(factory, event):
    whole = learner(TorchScheduler(factory, per="epoch"))
    states = states_of(whole, event=event)
    for state in states[::5]:
        fresh = learner(TorchScheduler(factory, per="epoch"), seed=9)
        fresh.fit(3, resume=state)
        assert same(whole, fresh)
        assert whole.recorder.lrs == fresh.recorder.lrs


@pytest.mark.parametrize("mode", ["row", "batch"])
def test_a_net_that_leaves_out_layers_by_chance_goes_on_with_the_same_ones(mode):
    depth = pytest.importorskip("torchvision.ops").StochasticDepth

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.drop = nn.Linear(16, 16), depth(0.5, mode)

        def forward(self, x):
            return x + self.drop(self.body(x).relu())

    def made(seed=0):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(8, 16), Residual(), Residual(), nn.Linear(16, 4))
        return silent(Learner(digits_loaders(seed=2), model, metrics=accuracy, lr=0.02, seed=1))

    whole = made()
    for state in states_of(whole)[1::4]:
        fresh = made(9)
        fresh.fit(3, resume=state)
        assert same(whole, fresh)
    with_all = made()
    for layer in with_all.model.modules():
        if isinstance(layer, depth):
            layer.p = 0.0
    with_all.fit(3)
    assert not same(whole, with_all), "layers are left out"


def test_what_the_events_of_an_epoch_do_is_done_once_whether_it_was_cut_or_not():
    class Counts(Callback):
        persist = ("epochs", "passes")

        def __init__(self):
            self.epochs = self.passes = 0

        def before_epoch(self):
            self.epochs += 1

        def before_train(self):
            self.passes += 1

    for event in ("after_batch", "after_epoch"):
        for state in states_of(learner(Counts()), event=event):
            fresh = learner(count := Counts(), seed=9)
            fresh.fit(3, resume=state)
            assert (count.epochs, count.passes) == (3, 3)


def test_measures_over_a_training_pass_go_on_in_its_middle():
    def made(seed=0):
        metrics = [accuracy, error_rate, mse_of_first]
        return learner(Recorder(train_metrics=True), metrics=metrics, seed=seed)

    def mse_of_first(pred, targ):
        return mse(pred[:, 0], targ.float())

    whole = made()
    for state in states_of(whole)[1::4]:
        fresh = made(9)
        fresh.fit(3, resume=state)
        assert same(whole, fresh)


def test_the_state_of_a_fit_that_is_over_gives_its_result(capsys):
    for cbs in (EMA(0.9), SWA(0.3)):
        whole = learner(cbs)
        whole.fit(2)
        fresh = learner(type(cbs)(0.9) if isinstance(cbs, EMA) else SWA(0.3), seed=9)
        fresh.fit(2, resume=whole.state_dict())
        assert same(whole, fresh)
        assert "the fit of this state is done: 2 of 2 epochs" in capsys.readouterr().out


def test_asked_for_before_all_had_their_turn_a_state_is_refused():
    early = on(after_batch=lambda learn: learn.state_dict())
    with pytest.raises(RuntimeError, match="before `Recorder` had its turn, .* later place"):
        learner().fit(1, cbs=early)
    early = on(after_epoch=lambda learn: learn.state_dict())
    with pytest.raises(RuntimeError, match="before `Recorder` had its turn"):
        learner(EarlyStopping(patience=3)).fit(1, cbs=early)


def test_in_the_midst_of_a_batch_there_is_no_state():
    with pytest.raises(RuntimeError, match="the state is whole only between batches"):
        learner().fit(1, cbs=on(before_step=lambda learn: learn.state_dict()))


def test_a_validation_in_between_changes_nothing_of_that():
    def keep(learn):
        learn.validate()
        states.append(learn.state_dict())

    states, whole = [], learner()
    whole.fit(2, cbs=on(after_epoch=keep, order=LAST))
    fresh = learner(seed=9)
    fresh.fit(2, resume=states[0])
    assert same(whole, fresh)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
def test_in_the_midst_of_a_window_with_everything_at_once(n, tmp_path):
    def cbs():
        return [
            MixUp(),
            EMA(0.9),
            SaveModel("accuracy"),
            EarlyStopping(patience=9),
            GradientAccumulation(96),
        ]

    whole = learner(cbs(), path=tmp_path)
    state = states_of(whole, 2)[n]
    fresh = learner(cbs(), seed=9, path=tmp_path)
    fresh.fit(2, resume=state)
    assert same(whole, fresh)


@pytest.mark.parametrize("workers", [{}, {"num_workers": 1, "persistent_workers": True}])
def test_torchs_loaders_go_on_in_the_same_order(workers):
    def loaders():
        x, y = torch.randn(96, 8, generator=torch.Generator().manual_seed(3)), torch.arange(96) % 4
        made.append(DataLoader(TensorDataset(x, y), 16, shuffle=True, **workers))
        return DataLoaders(made[-1], device="cpu")

    made = []
    whole = learner(dls=loaders(), metrics=None)
    states = states_of(whole, 2)
    for state in states[2::5]:
        fresh = learner(dls=loaders(), seed=9, metrics=None)
        fresh.fit(2, resume=state)
        assert same(whole, fresh)
    for loader in made if workers else ():
        loader._iterator._shutdown_workers()  # left to the garbage collection, each takes 5 s


class Noisy(Dataset):
    """Draws from a generator of the user's own, or torch's."""

    def __init__(self, generator=None):
        self.generator = generator
        self.read = 0

    def __len__(self):
        return 96

    def __getitem__(self, i):
        self.read += 1
        return torch.rand(8, generator=self.generator) + i / 96, i % 4


class Keeps(Callback):
    def __init__(self, generator):
        self.generator = generator

    def state_dict(self):
        return {"state": self.generator.get_state()}

    def load_state_dict(self, state):
        self.generator.set_state(state["state"])


@pytest.mark.parametrize("n", [2, 4, 5, 8])  # batches; 6 are an epoch
def test_a_generator_that_the_data_draw_from_is_where_it_was_after_batches_were_read_again(n):
    def made(seed):
        draws = torch.Generator().manual_seed(seed)
        dls = DataLoaders(DataLoader(Noisy(draws), 16, shuffle=True), device="cpu")
        return learner(Keeps(draws), dls=dls, metrics=None, seed=seed)

    whole = made(1)
    state = states_of(whole, 2)[n]
    fresh = made(9)
    fresh.fit(2, resume=state)
    assert same(whole, fresh)


def test_of_a_pass_that_is_over_nothing_is_read_again():
    def made():
        return DataLoaders(DataLoader(Noisy(), 16, shuffle=True), device="cpu")

    state = states_of(learner(dls=made(), metrics=None), 1)[-1]
    fresh = learner(dls=made(), metrics=None, seed=9)
    fresh.say = (said := []).append
    fresh.fit(1, resume=state)
    assert fresh.dls.train.dataset.read <= 16, "the first batch, to be looked at"
    assert not said


def test_what_cannot_be_put_where_it_was_is_told():
    def batches():
        while True:
            yield torch.rand(16, 8), torch.arange(16) % 4

    def told(train):
        learn = learner(dls=DataLoaders(train(), device="cpu"), metrics=None)
        state = states_of(learn, 2, "after_epoch")[0]
        fresh = learner(dls=DataLoaders(train(), device="cpu"), metrics=None, seed=9)
        fresh.say = (said := []).append
        fresh.fit(2, resume=state)
        for each in (learn, fresh):
            if getattr(each.dls.train, "persistent_workers", False):
                each.dls.train._iterator._shutdown_workers()
        return " ".join(said)

    assert "of a generator that runs already cannot be put where" in told(
        lambda: Stream(batches(), 4)
    )
    assert not told(lambda: Stream(batches, 4))
    assert "what they draw at random is no longer that of one run" in told(
        lambda: DataLoader(Noisy(), 16, num_workers=1, persistent_workers=True)
    )
    assert not told(lambda: DataLoader(Noisy(), 16, num_workers=1))


def test_other_metrics_are_refused_in_the_midst_of_a_pass_that_they_measure():
    def made(*metrics):
        return learner(Recorder(train_metrics=True), metrics=list(metrics))

    state = states_of(made(accuracy))[3]
    with pytest.raises(ValueError, match="sums of 1 metric of the running pass, there are 2"):
        made(accuracy, error_rate).fit(3, resume=state)


def test_other_callbacks_or_another_length_are_refused():
    state = states_of(learner())[3]
    with pytest.raises(ValueError, match="here and not in the state: EMA"):
        learner(EMA).fit(3, resume=state)
    with pytest.raises(ValueError, match="a fit of 3 epochs, this one has 4"):
        learner().fit(4, resume=state)
    state = states_of(learner(EMA()))[3]
    with pytest.raises(ValueError, match="in the state and not here: EMA"):
        learner().fit(3, resume=state)
    with pytest.raises(ValueError, match="but this learner trains with `SGD`"):
        learner(EMA(), opt_func=partial(torch.optim.SGD, lr=0.1)).fit(3, resume=state)
