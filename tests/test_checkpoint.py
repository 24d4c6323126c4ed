"""Checkpoints in a folder: what is written, what is taken up, what is told."""

import re
from functools import partial
from pathlib import Path

import pytest
import torch
from going_on import AFTER_ALL, KilledError, at_batch, learner, result, same, until_done
from tiny import digits_loaders, net, silent
from torch.utils.data import DataLoader, Dataset

from learnlite import (
    EMA,
    Callback,
    CancelFitException,
    CancelTrainException,
    Checkpoint,
    CSVLogger,
    DataLoaders,
    EarlyStopping,
    GradientAccumulation,
    GradientClip,
    Learner,
    MixUp,
    Order,
    OverfitBatch,
    SaveModel,
    on,
    state_file,
)
from learnlite.state_folder import StateFolder


@pytest.mark.parametrize("every", [1, 3, 4])
def test_the_two_fits_of_fine_tune_go_on_in_the_right_one_of_them(every, tmp_path):
    def make(folder="run", seed=0):
        def halves(model):
            return [list(model[:2].parameters()), list(model[2:].parameters())]

        return learner(tmp_path / folder, seed=seed, splitter=halves)

    def train(learn, *cbs):
        ours = [MixUp(), EMA(0.9), GradientAccumulation(64), Checkpoint(every=every)]
        learn.fine_tune(2, 0.02, freeze_epochs=1, cbs=[*ours, *cbs], resume=True)

    whole = make("whole")
    train(whole)
    for killed_after in (every + 1, 7, 8):
        found = until_done(partial(make, f"run{killed_after}"), train, killed_after)
        assert same(result(found), result(whole))
    again = make("whole", seed=9)
    train(again)
    assert same(result(again), result(whole)), "of a run that is done"


def test_a_fit_that_a_callback_ends_early_ends_there_too_if_it_was_killed(tmp_path):
    class Ends(Callback):
        def __init__(self, event, error):
            setattr(self, event, self.end)
            self.error = error

        def end(self):
            if self.learn.training and self.learn.epoch == 1 and self.learn.iter == 3:
                raise self.error

    for i, end in enumerate(
        [
            lambda: EarlyStopping("train_loss", min_delta=9.0, patience=1),
            lambda: Ends("after_batch", CancelFitException()),
            lambda: Ends("after_batch", CancelTrainException()),
        ]
    ):

        def train(learn, *cbs, end=end):
            ours = [end(), SaveModel(), Checkpoint(every=2, every_epochs=1)]
            learn.fit(4, cbs=[*ours, *cbs], resume=True)
            learn.fit(1, cbs=[Checkpoint(every=2), *cbs], resume=True)

        whole = learner(tmp_path / f"whole{i}")
        train(whole)
        for n in (3, 4, 6):
            path = tmp_path / f"run{i}-{n}"
            found = until_done(lambda seed, path=path: learner(path, seed=seed), train, n)
            assert same(result(found), result(whole))


def test_no_seed_need_be_told(tmp_path):
    """They are drawn for the first process, and the others take them up."""

    def learner_of(seed):
        torch.manual_seed(seed)
        x, y = torch.arange(96.0).view(-1, 1).sin(), torch.arange(96) % 4
        dls = DataLoaders.from_tensors((x.repeat(1, 8), y), (x[:9].repeat(1, 8), y[:9]), bs=16)
        return silent(Learner(dls, net(0.3), path=tmp_path, lr=0.1))

    first = learner_of(1)
    states = []
    keep = on(after_epoch=lambda learn: states.append(learn.state_dict()), order=AFTER_ALL)
    first.fit(3, cbs=[Checkpoint(every=3, keep=99), keep])
    middle = StateFolder(tmp_path / "checkpoints").files()[2]
    second = learner_of(2)
    second.say = (said := []).append
    second.fit(3, resume=middle)
    assert same(result(first), result(second))
    assert any("made with another seed" in line for line in said)


def test_a_fit_that_was_killed_at_its_first_batch_has_its_first_weights(tmp_path):
    whole = learner(tmp_path / "a", seed=1)
    whole.fit(1, cbs=Checkpoint())
    with pytest.raises(KilledError):
        learner(tmp_path / "b", seed=1).fit(1, cbs=[Checkpoint(), at_batch(1)])
    other = learner(tmp_path / "b", seed=2)
    other.fit(1, cbs=Checkpoint(), resume=True)
    assert same(result(other), result(whole))


def test_a_row_that_was_written_just_before_the_kill_comes_once(tmp_path):
    """The rows of the fit before it, which look alike, stay."""

    def train(learn, *cbs):
        for n_epoch in (1, 2):
            ours = [CSVLogger(append=True), Checkpoint(every_epochs=9)]
            learn.fit(n_epoch, cbs=[*ours, *cbs], resume=True)

    def rows(path):
        return [row.rsplit(",", 1)[0] for row in (path / "history.csv").read_text().split()]

    whole = learner(tmp_path / "a")
    train(whole)
    for n in (6, 7, 12, 13, 18):
        path = tmp_path / str(n)
        kill = at_batch(n)
        with pytest.raises(KilledError):
            train(learner(path), kill)
        train(learner(path, seed=9))
        assert rows(path) == rows(tmp_path / "a"), n


def test_a_finder_before_it_changes_nothing(tmp_path):
    whole = learner(tmp_path / "a")
    whole.fit_one_cycle(2, 0.02, cbs=Checkpoint(every=4))
    with pytest.raises(KilledError):
        learner(tmp_path / "b").fit_one_cycle(2, 0.02, cbs=[Checkpoint(every=4), at_batch(6)])
    other = learner(tmp_path / "b", seed=5)
    other.lr_find(num_it=5, show_plot=False, stop_div=False, suggest_funcs=())
    other.fit_one_cycle(2, 0.02, cbs=Checkpoint(every=4), resume=True)
    assert same(result(other), result(whole))


class Noisy(Dataset):
    """Draws from torch's global generator, as torchvision's random transforms do."""

    def __len__(self):
        return 64

    def __getitem__(self, i):
        return torch.full((8,), i / 64) + torch.rand(8), i % 4


def test_torchs_loader_reads_again_what_was_and_that_is_said(tmp_path):
    def make(path, seed=0):
        loader = DataLoader(Noisy(), 8, shuffle=True)
        return learner(path, seed=seed, dls=DataLoaders(loader, device="cpu"), metrics=None)

    whole = make(tmp_path / "a")
    whole.fit(2, cbs=Checkpoint(every=5))
    with pytest.raises(KilledError):
        make(tmp_path / "b").fit(2, cbs=[Checkpoint(every=5), at_batch(6)])
    other = make(tmp_path / "b", 9)
    other.say = (said := []).append
    other.fit(2, cbs=Checkpoint(every=5), resume=True)
    assert same(result(other), result(whole))
    assert any(
        "`DataLoader` cannot begin in the middle: it reads 5 of its batches" in s for s in said
    )


# --- what is kept


def test_the_newest_are_kept_the_ends_of_the_fits_and_the_best(tmp_path):
    learn = learner(tmp_path)
    keeper = Checkpoint("run", every_epochs=1, keep=2, best="accuracy")
    learn.fit(3, cbs=keeper)
    learn.fit(3, cbs=keeper)
    heads = [kept.head for kept in StateFolder(tmp_path / "run").kept()]
    assert sum(head["over"] for head in heads) == 2
    assert len(heads) <= 4
    keeper.learn = learn
    assert keeper.best_path is not None and keeper.newest_path is not None
    best = state_file.head(keeper.best_path)["value"]
    assert best >= max(learn.recorder.column("accuracy"))


def test_another_run_in_the_folder_loses_all_but_its_newest_and_is_told_of(tmp_path):
    learner(tmp_path).fit(3, cbs=Checkpoint("run", keep=5))
    other = learner(tmp_path)
    other.say = (said := []).append
    other.fit(3, cbs=Checkpoint("run", keep=1))
    assert re.search(
        "checkpoints of another run, the newest of which is kept: state-000005", said[0]
    )
    runs = [kept.head["run"] for kept in StateFolder(tmp_path / "run").kept()]
    assert runs.count(other.run) == 1 and len(runs) == 2


def test_trial_runs_leave_no_checkpoint(tmp_path):
    learn = learner(tmp_path)
    learn.check(cbs=Checkpoint("run"))
    learn.fit(1, cbs=[OverfitBatch(3), Checkpoint("run")])
    learn.lr_find(num_it=3, show_plot=False, suggest_funcs=())
    assert not (tmp_path / "run").exists()


def test_a_thread_writes_what_training_does_not_change_meanwhile(tmp_path):
    for background in (False, True):
        path = tmp_path / str(background)
        learner(path).fit(2, cbs=Checkpoint(every=1, keep=99, background=background))
    written = [
        [
            {**state_file.read(path), "run": ""}
            for path in StateFolder(tmp_path / n / "checkpoints").files()
        ]
        for n in ("False", "True")
    ]
    by_place = {str(state["progress"]): state for state in written[0]}
    assert len(written[1]) >= 2
    assert all(same(state, by_place[str(state["progress"])]) for state in written[1])


# --- what is said and refused


def test_what_is_there_is_said(tmp_path):
    def said_by(*, resume=True, n=2, cbs=()):
        learn = learner(tmp_path)
        learn.say = (said := []).append
        learn.fit(n, cbs=[Checkpoint("run", every=2), *cbs], resume=resume)
        return said

    with pytest.raises(KilledError):
        said_by(cbs=[at_batch(8)], resume=False)
    (line,) = said_by()
    assert re.fullmatch(
        "resuming from .*state-000005.safetensors: epoch 1 of 2, batch 2 of 6", line
    )
    assert said_by() == ["nothing to train: the fit of this state is done: 2 of 2 epochs"]


def test_other_arguments_are_refused_by_name_unless_extended(tmp_path):
    learn = learner(tmp_path)
    with pytest.raises(KilledError):
        learn.fit_one_cycle(2, 0.02, cbs=[Checkpoint("run", every=2), at_batch(8)])

    def go_on(*args, **kwargs):
        other = learner(tmp_path)
        other.say = (said := []).append
        other.fit_one_cycle(*args, cbs=Checkpoint("run", every=2), resume=True, **kwargs)
        return other, said

    with pytest.raises(ValueError, match=r"other arguments:\n  `lr_max`: 0.02 there, 0.03 here"):
        go_on(2, 0.03)
    with pytest.raises(ValueError, match="a fit of 2 epochs, this one has 3; .*`extend=True`"):
        go_on(3, 0.02)
    other, said = go_on(3, 0.02, extend=True)
    assert len(other.recorder.values) == 3
    assert "the fit of 2 epochs goes on to 3" in " ".join(said)
    longer, _ = go_on(4, 0.02, extend=True)  # one that was over
    assert len(longer.recorder.values) == 4


def test_other_data_and_another_loss_are_refused_though_the_epoch_is_as_long(tmp_path):
    with pytest.raises(KilledError):
        learner(tmp_path).fit(2, cbs=[Checkpoint("run", every=2), at_batch(3)])
    told = "`the training set`: 192 items in batches of 32 there, 192 items in batches of 33 here"
    with pytest.raises(ValueError, match=told):
        learner(tmp_path, dls=digits_loaders(bs=33)).fit(2, cbs=Checkpoint("run"), resume=True)
    with pytest.raises(ValueError, match=r"`loss_func`: CrossEntropyLossFlat.* there, MultiMargin"):
        learner(tmp_path, loss_func=torch.nn.MultiMarginLoss()).fit(
            2, cbs=Checkpoint("run"), resume=True
        )


def test_another_order_of_the_tricks_is_told(tmp_path):
    def cbs():
        return GradientClip(0.1), on(before_step=lambda learn: None, order=Order.OPTIM)

    with pytest.raises(KilledError):
        learner(tmp_path).fit(2, cbs=[*cbs(), Checkpoint("run", every=2), at_batch(8)])
    first, second = cbs()
    with pytest.warns(UserWarning, match="the order: .*GradientClip, on.* there, .*on, GradientC"):
        learner(tmp_path).fit(2, cbs=[second, first, Checkpoint("run")], resume=True)


def test_a_changed_or_missing_trick_is_told(tmp_path):
    with pytest.raises(KilledError):
        learner(tmp_path).fit(2, cbs=[MixUp(0.4), Checkpoint("run", every=2), at_batch(8)])
    with pytest.warns(UserWarning, match=r"`MixUp`: MixUp\(alpha=0.4.* there, MixUp\(alpha=0.1"):
        learner(tmp_path).fit(2, cbs=[MixUp(0.1), Checkpoint("run")], resume=True)


def test_parts_that_are_missing_or_unknown_are_listed(tmp_path):
    learn = learner(tmp_path)
    learn.fit(1)
    state = learn.state_dict()
    with pytest.raises(ValueError, match="missing: `model`; unknown: `fashion`"):
        learner(tmp_path).fit(
            1, resume={n: v for n, v in state.items() if n != "model"} | {"fashion": 1}
        )
    with pytest.raises(ValueError, match="of format 99"):
        learner(tmp_path).fit(1, resume=state | {"format": 99})
    with pytest.raises(ValueError, match="weights alone are for"):
        learner(tmp_path).fit(1, resume=learn.model.state_dict())


def test_another_device_is_allowed_and_said(tmp_path):
    states = []
    keep = on(after_epoch=lambda learn: states.append(learn.state_dict()), order=AFTER_ALL)
    learner(tmp_path).fit(2, cbs=keep)
    other = learner(tmp_path)
    other.say = (said := []).append
    other.fit(2, resume=states[0] | {"device": "cuda"})
    assert "trained on cuda and goes on on cpu" in said[0]


def test_resume_needs_something_to_resume(tmp_path):
    with pytest.raises(ValueError, match="there is none among the callbacks"):
        learner(tmp_path).fit(1, resume=True)
    with pytest.raises(TypeError, match="`resume` is True, a state .*; got 3"):
        learner(tmp_path).fit(1, resume=3)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        learner(tmp_path).fit(1, resume=tmp_path / "nowhere")


@pytest.mark.parametrize("late", [False, True])
def test_what_cannot_be_saved_is_told_at_the_first_batch(late, tmp_path):
    class Collects(Callback):
        persist = ("seen",)
        seen = None

        def before_fit(self):
            self.seen = None if late else {1, 2}

        def before_batch(self):
            self.seen = {1, 2}

    learn = learner(tmp_path)
    with pytest.raises(TypeError, match="`callbacks.*seen` is a `set`, which cannot be saved"):
        learn.fit(1, cbs=[Collects(), Checkpoint("run")])
    assert len(learn.recorder.losses) == late


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"every": 0}, "`every` counts batches, from 1 on, got 0"),
        ({"every_epochs": 1.5}, "`every_epochs` counts epochs"),
        ({"every_minutes": 0}, "`every_minutes` must be above 0"),
        ({"keep": True}, "`keep` counts files"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(given, told):
    with pytest.raises(ValueError, match=told):
        Checkpoint(**given)


def test_the_folder_is_below_the_learners_path(tmp_path):
    learner(tmp_path / "a").fit(1, cbs=Checkpoint(Path("b", "c")))
    assert [path.name for path in (tmp_path / "a" / "b" / "c").iterdir()] != []
