"""Plateau, early stopping and the best model do what they say at exactly the right epoch."""

import math
import operator
import pickle
import random
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from tiny import digits_loaders, linear_learner, net, silent
from torch import nn
from torch.optim import lr_scheduler

from learnlite import (
    Callback,
    CancelFitException,
    DataLoaders,
    Learner,
    Order,
    ParamScheduler,
    Recorder,
    accuracy,
    error_rate,
    on,
)
from learnlite.callbacks.average import EMA
from learnlite.callbacks.best import SaveModel, SaveModelCallback
from learnlite.callbacks.track import (
    EarlyStopping,
    EarlyStoppingCallback,
    ReduceLROnPlateau,
    TerminateOnNaN,
)
from learnlite.tracking import Tracker, lower_is_better
from learnlite.types import listify

NAN = math.nan


def scripted(values, cbs=(), name="score", **kwargs):
    """A learner whose metric `name` has these values, one an epoch."""
    learn = linear_learner([Recorder, *listify(cbs)], **kwargs)

    def measure(pred, targ):
        return torch.tensor(values[learn.epoch], dtype=torch.float64)

    measure.__name__ = name
    learn.metrics = [measure]
    return learn


class Weights(Callback):
    """Keeps the weights of every epoch, after everything else has happened in it."""

    order = 1000

    def before_fit(self):
        self.kept = []

    def after_epoch(self):
        self.kept.append(copied(self.model.state_dict()))


def copied(state):
    return {name: value.clone() for name, value in state.items()}


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


class Rates(Callback):
    """Keeps the rates of the optimizer's groups at the end of every epoch."""

    order = 1000

    def __init__(self):
        self.kept = []

    def after_epoch(self):
        self.kept.append([group["lr"] for group in self.opt.param_groups])


class TakeUp(Callback):
    """Loads into `cb` what another has kept, as resuming does: once the fit has begun."""

    order = 1000

    def __init__(self, cb, state, lrs=None):
        self.cb, self.state, self.lrs = cb, state, lrs

    def before_fit(self):
        self.cb.load_state_dict(self.state)
        for group, lr in zip(self.opt.param_groups, self.lrs or [], strict=False):
            group["lr"] = lr


def plain(state, tmp_path):
    """The state through a file that holds plain values only."""
    torch.save(state, tmp_path / "state.pt")
    return torch.load(tmp_path / "state.pt", weights_only=True)


def states_after_epochs(cb):
    """A callback that copies the state of `cb` after every epoch, and the list it writes to."""
    states = []
    return states, on(after_epoch=lambda learn: states.append(dict(cb.state_dict())), order=1000)


# Which value is better


@pytest.mark.parametrize(
    ("name", "lower"),
    [
        ("valid_loss", True),
        ("error_rate", True),
        ("root_mean_squared_error", True),
        ("rmse", True),
        ("mae", True),
        ("valid_perplexity", True),
        ("mape", True),
        ("nll", True),
        ("loss_box", True),
        ("dice_loss", True),
        ("mad", True),
        ("hinge", True),
        ("edit_distance", True),
        ("valid_WER", True),
        ("cer", True),
        ("accuracy", False),
        ("dice", False),
        ("power", False),
        ("certainty", False),
        ("nomad_score", False),
    ],
)
def test_the_name_says_whether_lower_is_better(name, lower):
    assert lower_is_better(name) is lower


@pytest.mark.parametrize(
    ("down", "up"),
    [
        ("min", "max"),
        (np.less, np.greater),
        (torch.lt, torch.gt),
        (operator.lt, operator.gt),
        (operator.le, operator.ge),
        (lambda a, b: a < b, lambda a, b: a > b),
    ],
)
def test_comp_says_it_where_it_is_given(down, up):
    for name in ("valid_loss", "accuracy"):
        assert lower_is_better(name, down) is True
        assert lower_is_better(name, up) is False


@pytest.mark.parametrize(
    "comp",
    ["lowest", np.equal, np.not_equal, operator.sub, 3, lambda a, b: abs(a - 1) < abs(b - 1)],
)
def test_a_comp_that_orders_no_numbers_is_refused(comp):
    with pytest.raises(ValueError, match="`comp` says which of two values is better"):
        EarlyStopping(comp=comp)


def bests(values, **kwargs):
    """The epochs that were better than all before."""
    tracker = Tracker("score", **kwargs)
    found = []
    watch = on(after_epoch=lambda learn: tracker.new_best and found.append(learn.epoch), order=99)
    scripted(values, [tracker, watch]).fit(len(values))
    return found


def test_the_best_so_far_is_found_as_fastai_finds_it():
    values = [1.0, 1.0, 3.0, 2.0, 3.25, 4.0, NAN, math.inf, 4.5]
    assert bests(values) == [0, 2, 4, 5, 8]
    assert bests(values, min_delta=0.5) == [0, 2, 5]
    assert bests(values, comp=np.less) == [0]
    assert bests([-v for v in values], comp="min") == [0, 2, 4, 5, 8]
    assert bests([-v for v in values], comp="min", min_delta=0.5) == [0, 2, 5]


def test_the_best_lasts_over_fits_if_it_is_not_reset():
    for reset, best in ((True, 1.0), (False, 5.0)):
        learn = scripted([5.0, 1.0], tracker := Tracker("score", reset_on_fit=reset))
        learn.fit(2)
        learn.fit(2, start_epoch=1)
        assert tracker.best == best


TRACKERS = [Tracker, EarlyStopping, ReduceLROnPlateau, SaveModel]


@pytest.mark.parametrize("kind", TRACKERS)
def test_an_unknown_monitor_is_named_before_training(kind, tmp_path):
    ran = on(before_batch=lambda learn: pytest.fail("training has begun"))
    learn = silent(Learner(digits_loaders(), net(), metrics=accuracy, cbs=ran, path=tmp_path))
    with pytest.raises(ValueError, match="`acuracy` is not recorded; did you mean `accuracy`"):
        learn.fit(1, cbs=kind(monitor="acuracy"))
    with pytest.raises(
        ValueError, match="is not recorded; there are `train_loss`, `valid_loss`, `accuracy`"
    ):
        learn.fit(1, cbs=kind(monitor="f1"))


@pytest.mark.parametrize("kind", TRACKERS)
def test_what_cannot_be_monitored_is_told(kind, tmp_path):
    with pytest.raises(TypeError, match='`monitor` is the name of what is recorded, as "valid_lo'):
        kind(monitor=accuracy)
    with pytest.raises(ValueError, match="`min_delta` must be at least 0 and finite, got -1"):
        kind(min_delta=-1)
    with pytest.raises(AttributeError, match="this learner has no `Recorder`"):
        linear_learner(kind, path=tmp_path).fit(1)
    with pytest.raises(
        ValueError,
        match="`valid_loss` is not recorded, as there is no validation set; there is `train_l",
    ):
        linear_learner([Recorder, kind], n_valid=0, path=tmp_path).fit(1)
    linear_learner([Recorder, kind(monitor="train_loss")], n_valid=0, path=tmp_path).fit(2)


def test_a_metric_that_could_be_recorded_is_named_with_the_way_to_it():
    def message(monitor, dls):
        learn = silent(Learner(dls, net(), metrics=accuracy))
        with pytest.raises(ValueError, match="is not recorded") as error:
            learn.fit(1, cbs=Tracker(monitor))
        learn.recorder.train_metrics = True  # what the message advises
        learn.fit(1, cbs=Tracker(monitor.removeprefix("valid_")))
        return str(error.value)

    both = digits_loaders()
    train_only = DataLoaders(both.train, device="cpu")
    assert message("train_accuracy", both) == (
        "`train_accuracy` is not recorded; it is with `learn.recorder.train_metrics = True`"
    )
    for monitor in ("accuracy", "valid_accuracy"):
        assert message(monitor, train_only) == (
            f"`{monitor}` is not recorded, as there is no validation set; there is `train_loss`, "
            "and with `learn.recorder.train_metrics = True` `accuracy` of the training pass"
        )


@pytest.mark.parametrize("train_metrics", [False, True])
@pytest.mark.parametrize("monitor", ["accuracy", "valid_accuracy", "loss", "valid_loss"])
def test_a_column_is_found_with_and_without_its_prefix(monitor, train_metrics):
    tracker = Tracker(monitor)
    learn = silent(Learner(digits_loaders(), net(), metrics=[accuracy, error_rate], cbs=tracker))
    learn.recorder.train_metrics = train_metrics
    learn.fit(2)
    prefix = "valid_" if train_metrics or "loss" in monitor else ""
    column = learn.recorder.column(prefix + monitor.removeprefix("valid_"))
    assert tracker.best == (min(column) if "loss" in monitor else max(column))


# The plateau


def walk(seed, n=50):
    """Values that fall, jump and stand, above 0."""
    rng = random.Random(seed)
    value, values = 10.0, []
    for _ in range(n):
        value *= rng.choice([0.7, 0.99995, 1.0, 1.0, 1.1, 1.15])
        values.append(value)
    return values


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"patience": 0},
        {"patience": 2, "factor": 0.5},
        {"patience": 1, "cooldown": 3},
        {"patience": 1, "min_lr": 0.02, "factor": 0.5},
        {"patience": 2, "threshold": 0.2},
        {"patience": 2, "threshold": 0.5, "threshold_mode": "abs"},
        {"patience": 0, "eps": 0.03, "factor": 0.5},
    ],
    ids=str,
)
@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_rates_are_those_of_torchs_scheduler_stepped_by_hand(given, mode):
    for seed in range(3):
        values = walk(seed) if mode == "min" else [1 / v for v in walk(seed)]
        plateau = ReduceLROnPlateau("score", mode, **given)
        learn = scripted(values, [plateau, rates := Rates()], n_train=1)
        learn.fit(len(values), 0.1)
        opt = torch.optim.SGD([torch.zeros(1)], lr=0.1)
        scheduler = lr_scheduler.ReduceLROnPlateau(opt, mode, **given)
        expected = []
        for value in learn.recorder.column("score"):
            scheduler.step(value)
            expected.append(opt.param_groups[0]["lr"])
        assert [lrs[0] for lrs in rates.kept] == expected
        assert plateau.best == scheduler.best
        assert len(set(expected)) > 1


def test_a_min_delta_and_a_factor_above_1_are_fastais():
    values = walk(0)
    lrs = []
    for given in (
        {"min_delta": 0.25, "factor": 10.0},
        {"threshold": 0.25, "threshold_mode": "abs", "factor": 0.1},
    ):
        rates = Rates()
        plateau = ReduceLROnPlateau("score", "min", patience=1, **given)
        scripted(values, [plateau, rates], n_train=1).fit(len(values), 0.1)
        lrs.append(rates.kept)
    assert lrs[0] == lrs[1]
    assert lrs[0][0] != lrs[0][-1]


def grouped(cbs):
    """A learner of two layer groups, each of which is two of the optimizer's."""
    learn = scripted([1.0] * 9, cbs, wd=0.1, splitter=lambda m: [list(p.parameters()) for p in m])
    learn.model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    return learn


def test_each_layer_group_has_its_own_rate_and_floor():
    plateau = ReduceLROnPlateau("score", patience=0, factor=0.5, min_lr=[0.004, 0.02])
    grouped([plateau, rates := Rates()]).fit(9, [0.01, 0.1])
    opt = torch.optim.SGD([{"params": [torch.zeros(1)], "lr": lr} for lr in [0.01] * 2 + [0.1] * 2])
    floors = [0.004, 0.004, 0.02, 0.02]
    scheduler = lr_scheduler.ReduceLROnPlateau(opt, "max", patience=0, factor=0.5, min_lr=floors)
    for kept in rates.kept:
        scheduler.step(1.0)
        assert kept == [group["lr"] for group in opt.param_groups]
    assert rates.kept[-1] == floors


def test_a_floor_for_another_number_of_groups_is_refused_before_training():
    with pytest.raises(ValueError, match="got 3 values of `min_lr` for 2 layer groups"):
        grouped(ReduceLROnPlateau("score", min_lr=[0.1] * 3)).fit(1)
    with pytest.raises(ValueError, match="`min_lr` must be at least 0 and finite, got -1"):
        grouped(ReduceLROnPlateau("score", min_lr=-1)).fit(1)


def test_nan_neither_cuts_the_rate_nor_ends_the_wait():
    holes = [5.0, NAN, NAN, NAN, NAN, 6.0, math.inf, 6.0, 6.0]
    plateau = ReduceLROnPlateau("score", "min", patience=1)
    learn = scripted(holes, [plateau, rates := Rates()])
    with pytest.warns(UserWarning, match="`score` is nan in epoch 1; such epochs do not count"):
        learn.fit(len(holes), 0.1)
    assert [lrs[0] for lrs in rates.kept] == pytest.approx([0.1] * 7 + [0.01] * 2)


@pytest.mark.parametrize("stop", [None, RuntimeError, KeyboardInterrupt])
def test_after_the_plateau_the_optimizer_is_as_it_was(stop):
    def bomb(learn):
        if learn.epoch == 5 and stop:
            raise stop

    learn = grouped(cbs=[])
    learn.create_opt()
    before = [{k: v for k, v in g.items() if k != "params"} for g in learn.opt.param_groups]
    own = set(vars(learn.opt))
    learn.add_cb([ReduceLROnPlateau("score", patience=0), on(after_epoch=bomb, order=99)])
    if stop:
        with pytest.raises(stop):
            learn.fit(9)
    else:
        learn.fit(9)
    after = [{k: v for k, v in g.items() if k != "params"} for g in learn.opt.param_groups]
    assert before == after
    assert set(vars(learn.opt)) == own
    assert learn.recorder.lrs[0] > learn.recorder.lrs[-1]


def test_a_cut_is_told_with_what_was_measured(capsys):
    plateau = ReduceLROnPlateau("score", patience=1, factor=0.5)
    scripted([0.25, 0.5, 0.25, 0.125, 0.125], plateau).fit(5, 0.1)
    assert capsys.readouterr().out.splitlines() == [
        "epoch 3: the learning rate goes from 0.1 to 0.05, as `score` is 0.125; "
        "its highest was 0.5 in epoch 1"
    ]


def test_two_drivers_of_the_rate_are_refused():
    cbs = [ReduceLROnPlateau(), ParamScheduler({"lr": lambda t: 0.1})]
    with pytest.raises(ValueError, match="both drive `lr`"):
        linear_learner([Recorder, *cbs]).fit(1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"factor": 1.0}, "`factor` multiplies the rate .*; got 1.0, which does not lower it"),
        ({"factor": 0.0}, "got 0.0, which does not lower it"),
        ({"patience": -1}, "`patience` counts epochs and must be at least 0, got -1"),
        ({"cooldown": -1}, "`cooldown` counts epochs and must be at least 0, got -1"),
        ({"threshold": 1.0}, "below 1; got 1.0"),
        ({"threshold_mode": "relative"}, '`threshold_mode` is "rel" or "abs", got \'relative\''),
    ],
)
def test_a_plateau_that_makes_no_sense_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        ReduceLROnPlateau(**given)


@pytest.mark.parametrize("taken_up", range(0, 24, 5))
def test_a_plateau_goes_on_where_it_was(taken_up, tmp_path):
    def plateau():
        return ReduceLROnPlateau("score", "min", patience=1, cooldown=2, factor=0.5)

    values = walk(1, 25)
    states, keep = states_after_epochs(cb := plateau())
    scripted(values, [cb, keep, whole := Rates()]).fit(25, 0.1)
    fresh = plateau()
    take_up = TakeUp(fresh, plain(states[taken_up], tmp_path), whole.kept[taken_up])
    scripted(values, [fresh, take_up, rest := Rates()]).fit(25, 0.1, start_epoch=taken_up + 1)
    assert rest.kept == whole.kept[taken_up + 1 :]
    assert fresh.state_dict() == cb.state_dict()


# Stopping at NaN


def test_the_memory_of_losses_that_were_looked_at_is_given_back():
    """A long fit is watched in the room of a short one."""
    watch, rooms = TerminateOnNaN(), []
    learn = linear_learner(watch, n_train=700, n_valid=0)

    def measure(learn):
        if learn.iter in (9, 599):
            watch._look()
            rooms.append(len(pickle.dumps((watch._losses, watch._batches))))

    learn.fit(2, cbs=on(after_batch=measure, order=999))
    assert len(set(rooms)) == 1


# Stopping early


@pytest.mark.parametrize(
    ("patience", "values", "last"),
    [
        (1, [1.0, 2.0, 2.0, 3.0], 2),
        (2, [1.0, 2.0, 1.0, 3.0, 1.0, 2.0, 9.0], 5),
        (3, [1.0, 2.0, 1.0, 3.0, 1.0, 2.0, 9.0], 6),
        (2, [1.0, NAN, NAN, 9.0], 2),
        (2, [NAN, NAN, 1.0], 1),
    ],
)
def test_training_stops_after_so_many_epochs_without_improvement(patience, values, last):
    learn = scripted(values, EarlyStopping("score", patience=patience))
    learn.fit(len(values))
    assert len(learn.recorder.values) == last + 1


def test_stopping_tells_where_the_best_was(capsys):
    ended = []
    learn = scripted(
        [0.5, 0.75, 0.25, 0.75, 0.0],
        [
            EarlyStoppingCallback(monitor="score", patience=2),
            on(after_fit=lambda learn: ended.append(learn.cancelled)),
        ],
    )
    learn.fit(5)
    said = capsys.readouterr().out.strip()
    assert said == (
        "epoch 3: training stops, as `score` is 0.75 and has not improved for 2 epochs; "
        "its highest was 0.75 in epoch 1"
    )
    assert isinstance(ended[0], CancelFitException) and str(ended[0]) == said


def test_one_epoch_is_one_and_a_value_is_rounded(capsys):
    value = torch.tensor(0.9875).item()  # 0.987500011920929
    scripted([value, 0.5], EarlyStopping("score_loss", "max"), name="score_loss").fit(2)
    assert capsys.readouterr().out.strip() == (
        "epoch 1: training stops, as `score_loss` is 0.5 and has not improved for 1 epoch; "
        "its highest was 0.9875 in epoch 0"
    )


def test_without_logging_nothing_is_said(capsys, tmp_path):
    cbs = [ReduceLROnPlateau("score", patience=0), SaveModel("score"), EarlyStopping("score")]
    learn = scripted([0.5, 0.25, 0.5], cbs, path=tmp_path)
    with learn.no_logging():
        learn.fit(3)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("taken_up", range(5))
def test_early_stopping_goes_on_where_it_was(taken_up, tmp_path):
    values = [1.0, 2.0, 1.0, 1.5, 1.0, 1.0, 9.0]
    states, keep = states_after_epochs(cb := EarlyStopping("score", patience=4))
    learn = scripted(values, [cb, keep])
    learn.fit(7)
    assert len(learn.recorder.values) == 6
    fresh = EarlyStopping("score", patience=4)
    rest = scripted(values, [fresh, TakeUp(fresh, plain(states[taken_up], tmp_path))])
    rest.fit(7, start_epoch=taken_up + 1)
    assert len(rest.recorder.values) == 6 - taken_up - 1
    assert fresh.state_dict() == cb.state_dict()


def test_patience_counts_epochs():
    with pytest.raises(ValueError, match="`patience` counts epochs and must be at least 1, got 0"):
        EarlyStopping(patience=0)


# Saving the best


def saved(learn, name="model"):
    return torch.load(learn.path / learn.model_dir / f"{name}.pth", weights_only=True)


VALUES = [0.25, 0.75, 0.5, 0.75, 0.125]  # the best is in epoch 1


def test_the_best_epochs_weights_are_in_the_file_and_in_the_model(tmp_path):
    learn = scripted(VALUES, [SaveModel("score"), weights := Weights()], path=tmp_path)
    learn.fit(5)
    assert equal(saved(learn)["model"], weights.kept[1])
    assert equal(learn.model.state_dict(), weights.kept[1])
    assert not equal(weights.kept[1], weights.kept[4])


@pytest.mark.parametrize("with_opt", [True, False])
def test_the_optimizers_state_goes_with_them_if_asked_for(with_opt, tmp_path):
    cb = SaveModelCallback("score", fname="sub/best", with_opt=with_opt)
    learn = scripted(VALUES, cb, path=tmp_path, opt_func=torch.optim.Adam)
    learn.fit(5)
    assert (saved(learn, "sub/best")["opt"] is not None) is with_opt
    steps = {int(state["step"]) for state in learn.opt.state.values()}
    assert steps == {2 * (2 if with_opt else 5)}
    assert cb.last_saved_path == tmp_path / "models" / "sub" / "best.pth"


def test_it_goes_with_early_stopping_in_any_order(tmp_path):
    for cbs in ([SaveModel, EarlyStopping], [EarlyStopping, SaveModel]):
        made = [cb("score") for cb in cbs]
        learn = scripted([0.5, 0.75, 0.25, 1.0], [*made, weights := Weights()], path=tmp_path)
        learn.fit(4)
        assert len(weights.kept) == 3
        assert equal(learn.model.state_dict(), weights.kept[1])


@pytest.mark.parametrize(
    ("every", "epochs"), [(True, [0, 1, 2, 3, 4]), (2, [0, 2, 4]), (3, [0, 3])]
)
def test_every_epoch_has_its_file_and_the_model_stays(every, epochs, tmp_path):
    cb = SaveModel(every_epoch=every, fname="net.pth")
    learn = linear_learner([cb, weights := Weights()], n_valid=0, path=tmp_path)
    learn.fit(5)
    files = sorted(path.stem for path in (tmp_path / "models").iterdir())
    assert files == [f"net_{epoch}" for epoch in epochs]
    for epoch in epochs:
        assert equal(saved(learn, f"net_{epoch}")["model"], weights.kept[epoch])
    assert equal(learn.model.state_dict(), weights.kept[-1])


def test_at_the_end_the_last_weights_are_saved_and_stay(tmp_path):
    learn = scripted(VALUES, [SaveModel("score", at_end=True), weights := Weights()], path=tmp_path)
    learn.fit(5)
    assert equal(saved(learn)["model"], weights.kept[4])
    assert equal(learn.model.state_dict(), weights.kept[4])


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_loaded_back_when_training_raised(error, tmp_path):
    def bomb(learn):
        if learn.epoch == 3:
            raise error

    cbs = [SaveModel("score"), weights := Weights(), on(before_epoch=bomb)]
    learn = scripted(VALUES, cbs, path=tmp_path)
    with pytest.raises(error):
        learn.fit(5)
    assert equal(learn.model.state_dict(), weights.kept[2])
    assert equal(saved(learn)["model"], weights.kept[1])


def test_where_nothing_was_finite_the_weights_stay_and_it_is_said(tmp_path):
    learn = scripted([NAN] * 3, [SaveModel("score"), weights := Weights()], path=tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "model.pth").write_bytes(b"of another day")
    with pytest.warns(UserWarning, match="`score` was finite in no epoch"):
        learn.fit(3)
    assert equal(learn.model.state_dict(), weights.kept[-1])


def test_the_best_of_an_earlier_fit_does_not_come_back_unasked(tmp_path):
    values = [*VALUES, NAN]
    learn = scripted(values, [SaveModel("score"), weights := Weights()], path=tmp_path)
    learn.fit(5)
    with pytest.warns(UserWarning, match="so `SaveModel` saved nothing"):
        learn.fit(6, start_epoch=5)
    assert equal(learn.model.state_dict(), weights.kept[-1])
    assert not equal(learn.model.state_dict(), saved(learn)["model"])


def test_a_fit_that_is_cancelled_at_its_start_loads_nothing(tmp_path):
    def stop(learn):
        raise CancelFitException

    learn = scripted(VALUES, SaveModel("score"), path=tmp_path)
    learn.fit(5)
    nn.init.zeros_(learn.model.weight)
    learn.fit(5, cbs=on(before_fit=stop))
    assert not learn.model.weight.any()


def test_the_best_of_an_earlier_fit_comes_back_if_it_is_not_reset(tmp_path):
    for reset in (True, False):
        cbs = [SaveModel("score", reset_on_fit=reset), weights := Weights()]
        learn = scripted(VALUES, cbs, path=tmp_path)
        learn.fit(2)
        best = weights.kept[1]
        learn.fit(5, start_epoch=4)
        assert equal(learn.model.state_dict(), weights.kept[0] if reset else best)


def test_what_the_save_was_given_stays_in_the_model(tmp_path):
    class Halved(Callback):
        """Saves other weights than those that are trained, as an average does."""

        @contextmanager
        def around_save(self):
            with torch.no_grad():
                self.model.weight.mul_(0.5)
                yield
                self.model.weight.mul_(2)

    learn = scripted(VALUES, [Halved, SaveModel("score"), weights := Weights()], path=tmp_path)
    learn.fit(5)
    assert torch.equal(learn.model.weight, weights.kept[1]["weight"] * 0.5)


def test_the_average_of_the_best_epoch_is_saved_and_stays(tmp_path):
    averages = []
    keep = on(before_validate=lambda learn: averages.append(copied(learn.model.state_dict())))
    learn = scripted(VALUES, [SaveModel("score"), EMA(0.5), keep], path=tmp_path)
    learn.fit(5)
    assert equal(saved(learn)["model"], averages[1])
    assert equal(learn.model.state_dict(), averages[1])


def test_a_folder_that_cannot_be_written_is_told_before_training(tmp_path):
    (tmp_path / "models").write_text("a file where the folder should be")
    ran = on(before_batch=lambda learn: pytest.fail("training has begun"))
    learn = scripted(VALUES, [SaveModel("score"), ran], path=tmp_path)
    with pytest.raises(OSError, match=r"`SaveModel` cannot write to .*models \("):
        learn.fit(5)


def test_only_one_may_decide_on_the_final_weights(tmp_path):
    every = SaveModel(every_epoch=True, fname="each")
    learn = scripted(VALUES, [SaveModel("score"), every], path=tmp_path)
    learn.fit(2)
    with pytest.raises(ValueError, match="both drive `final weights`"):
        learn.fit(1, cbs=SaveModel("valid_loss", fname="other"))


def test_two_keep_the_best_of_two_columns_in_files_of_their_own(tmp_path):
    def two(fname):
        second = SaveModel("train_loss", fname=fname, load_best=False)
        learn = scripted(VALUES, [SaveModel("score"), second, weights := Weights()], path=tmp_path)
        learn.fit(5)
        return learn, weights.kept, learn.recorder.column("train_loss")

    learn, kept, losses = two("by_loss")
    assert equal(learn.model.state_dict(), kept[1]) and equal(saved(learn)["model"], kept[1])
    assert equal(saved(learn, "by_loss")["model"], kept[losses.index(min(losses))])
    with pytest.raises(ValueError, match="both drive `the file model.pth`"):
        two("model.pth")


def test_the_model_stays_as_trained_if_the_best_is_not_to_be_loaded(tmp_path):
    cbs = [SaveModel("score", load_best=False), weights := Weights()]
    learn = scripted(VALUES, cbs, path=tmp_path)
    learn.fit(5)
    assert equal(learn.model.state_dict(), weights.kept[4])
    assert equal(saved(learn)["model"], weights.kept[1])


def test_saving_every_epoch_and_at_the_end_are_one_too_many():
    with pytest.raises(ValueError, match="`every_epoch` saves the last epoch too"):
        SaveModel(every_epoch=True, at_end=True)
    with pytest.raises(ValueError, match="`every_epoch` is true, false or a number of epochs"):
        SaveModel(every_epoch=-1)


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        (
            {},
            [
                "epoch 0: `score` is 0.5, the highest so far; saved as FILE",
                "epoch 2: `score` is 0.75, the highest so far; saved as FILE",
                "the model has its best weights: `score` 0.75 in epoch 2",
            ],
        ),
        (
            {"comp": "min", "load_best": False},
            [
                "epoch 0: `score` is 0.5, the lowest so far; saved as FILE",
                "epoch 1: `score` is 0.25, the lowest so far; saved as FILE",
                "the best weights are in FILE: `score` 0.25 in epoch 1",
            ],
        ),
        (
            {"at_end": True},
            [
                "epoch 0: `score` is 0.5, the highest so far; in FILE until the fit ends",
                "epoch 2: `score` is 0.75, the highest so far; in FILE until the fit ends",
                "the last weights are saved as FILE",
            ],
        ),
        ({"every_epoch": 2}, ["epoch 0: saved as FILE_0", "epoch 2: saved as FILE_2"]),
    ],
    ids=str,
)
def test_what_is_saved_is_told(given, lines, capsys, tmp_path):
    scripted([0.5, 0.25, 0.75], SaveModel("score", **given), path=tmp_path).fit(3)
    file = str(tmp_path / "models" / "model")
    said = capsys.readouterr().out.replace(file, "FILE").replace(".pth", "")
    assert said.splitlines() == lines


@pytest.mark.parametrize("taken_up", range(4))
def test_the_best_model_is_still_known_when_training_goes_on(taken_up, tmp_path):
    states, keep = states_after_epochs(cb := SaveModel("score"))
    learn = scripted(VALUES, [cb, keep, weights := Weights()], path=tmp_path)
    learn.fit(5)
    fresh = SaveModel("score")
    take_up = TakeUp(fresh, plain(states[taken_up], tmp_path))
    rest = scripted(VALUES, [fresh, take_up, others := Weights()], path=tmp_path)
    rest.fit(5, start_epoch=taken_up + 1)
    best = others.kept[0] if taken_up == 0 else weights.kept[1]  # epoch 1 is run anew, or not
    assert equal(rest.model.state_dict(), best)
    assert fresh.state_dict() == cb.state_dict()


def test_a_resumed_fit_whose_best_weights_are_gone_says_so_before_training(tmp_path):
    states, started = [], []
    keep = on(after_epoch=lambda learn: states.append(learn.state_dict()), order=Order.REPORT + 1)
    learn = scripted(VALUES, [SaveModel("score"), keep], path=tmp_path)
    learn.fit(5)
    (file := tmp_path / "models" / "model.pth").unlink()
    look = on(before_epoch=started.append, order=Order.REPORT)
    with pytest.raises(FileNotFoundError, match=f"best weights in {file}, which is not there"):
        scripted(VALUES, [SaveModel("score"), look], path=tmp_path).fit(5, resume=states[2])
    assert not started
    kept = SaveModel("score", load_best=False)  # that wants nothing back
    scripted(VALUES, [kept, look], path=tmp_path).fit(5, resume=states[2])
    assert len(started) == 2
    learn.check()  # which gives the callback its state back, outside of a fit


def test_the_reprs_show_the_arguments():
    assert repr(EarlyStopping(patience=3)) == (
        "EarlyStopping(monitor='valid_loss', comp=None, min_delta=0.0, patience=3, "
        "reset_on_fit=True)"
    )
    assert "factor=10.0" in repr(ReduceLROnPlateau(factor=10.0))
    assert "fname='model'" in repr(SaveModel())
