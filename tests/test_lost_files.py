"""Disks that fill and folders that go in the midst of a fit: nothing ends, nothing is lost."""

import contextlib
import csv
import resource
import shutil

import pytest
import torch
from tiny import digits_loaders, net, silent

from learnlite import CSVLogger, Learner, Order, SaveModel, on


def learner(path, cbs):
    torch.manual_seed(0)
    learn = silent(Learner(digits_loaders(seed=1), net(), lr=0.01, seed=2, path=path, cbs=cbs))
    learn.say = lambda text: None
    return learn


@contextlib.contextmanager
def full_in(epochs, spare, *, for_good=False):
    """Callbacks that fill the disk while the files of these epochs are written.

    No file grows beyond `spare` bytes more than the table has: a write is cut off in its midst.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(learn):
        if learn.epoch in epochs:
            path = learn.path / "history.csv"
            n_bytes = (path.stat().st_size if path.exists() else 0) + spare
            resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))

    def clear(learn):
        if not for_good:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    try:
        yield [
            on(after_epoch=fill, order=Order.SAVE - 2),
            on(after_epoch=clear, order=Order.SAVE + 1),
        ]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def epochs_in(path):
    with path.open(newline="") as file:
        return [row["epoch"] for row in csv.DictReader(file)]


@pytest.mark.parametrize("spare", [0, 3, 20])
def test_rows_wait_until_the_disk_has_room(spare, tmp_path):
    learn = learner(tmp_path, [CSVLogger()])
    words = r"cannot write to .*history\.csv \(File too large"
    with full_in({1, 2}, spare) as full, pytest.warns(RuntimeWarning, match=words) as told:
        learn.fit(5, cbs=full)
    assert len(told) == 1
    assert epochs_in(tmp_path / "history.csv") == ["0", "1", "2", "3", "4"]
    plain = learner(tmp_path / "plain", [CSVLogger()])
    plain.fit(5)
    ours, theirs = [(path / "history.csv").read_text() for path in (tmp_path, tmp_path / "plain")]
    assert [row.rpartition(",")[0] for row in ours.splitlines()] == [
        row.rpartition(",")[0] for row in theirs.splitlines()
    ]


def test_rows_that_never_get_room_are_told_at_the_end(tmp_path):
    learn = learner(tmp_path, [CSVLogger()])
    with full_in({3, 4}, 0, for_good=True) as full, pytest.warns(RuntimeWarning) as told:
        learn.fit(5, cbs=full)
    assert "lacks the last 2 rows of this fit" in str(told[-1].message)
    assert epochs_in(tmp_path / "history.csv") == ["0", "1", "2"]
    assert len(learn.recorder.values) == 5


def test_a_folder_that_is_taken_away_is_made_anew_with_all_rows(tmp_path):
    folder = tmp_path / "run"
    cbs = [CSVLogger(), SaveModel("train_loss")]
    learn = learner(folder, cbs)

    def remove(learn):
        if learn.epoch == 2:
            shutil.rmtree(folder)

    with pytest.warns(RuntimeWarning, match="taken away in the midst of the fit"):
        learn.fit(5, cbs=on(after_train=remove))
    assert epochs_in(folder / "history.csv") == ["0", "1", "2", "3", "4"]
    assert (folder / "models" / "model.pth").exists()


def test_a_folder_that_cannot_come_back_is_named_and_the_best_weights_are_kept(tmp_path):
    folder = tmp_path / "run"
    learn, plain = (
        learner(path, [CSVLogger(), SaveModel("train_loss")]) for path in (folder, tmp_path / "b")
    )

    def block(learn):
        if learn.epoch == 1:
            shutil.rmtree(folder)
            folder.touch()

    with pytest.warns(RuntimeWarning) as told:
        learn.fit(4, cbs=on(after_train=block))
    words = "\n".join(str(warning.message) for warning in told)
    assert f"`CSVLogger` cannot write to {folder / 'history.csv'}" in words
    assert "`SaveModel`" in words and str(folder / "models") in words
    assert "the best weights are kept in memory" in words
    plain.fit(4)
    same_weights(learn, plain)


def test_another_file_in_the_place_of_the_table_is_left_alone(tmp_path):
    learn = learner(tmp_path, [CSVLogger()])

    def replace(learn):
        if learn.epoch == 1:
            (tmp_path / "history.csv").unlink()
            (tmp_path / "history.csv").write_text("mine\n")

    with pytest.warns(RuntimeWarning) as told:
        learn.fit(3, cbs=on(after_train=replace))
    assert "another file has come in its place" in str(told[0].message)
    assert "lacks the last 2 rows" in str(told[-1].message)
    assert (tmp_path / "history.csv").read_text() == "mine\n"


@pytest.mark.parametrize("with_opt", [False, True])
@pytest.mark.parametrize("epochs", [{1}, {1, 2, 3, 4}, {4}], ids=str)
def test_the_best_weights_end_in_the_model_though_the_disk_was_full(epochs, with_opt, tmp_path):
    learn, plain = (
        learner(path, SaveModel("train_loss", with_opt=with_opt))
        for path in (tmp_path / "a", tmp_path / "b")
    )
    words = "could not write .*the best weights are kept"
    with full_in(epochs, 100) as full, pytest.warns(RuntimeWarning, match=words):
        learn.fit(5, cbs=full)
    plain.fit(5)
    same_weights(learn, plain)
    saved = learner(tmp_path / "a", []).load("model", with_opt=with_opt)  # there was room at last
    same_weights(saved, plain)


def test_a_fit_is_resumed_with_best_weights_that_no_file_holds(tmp_path):
    def stop(learn):
        if learn.epoch == 2:
            states.append(learn.state_dict())
            raise KeyboardInterrupt

    states = []
    cut = learner(tmp_path / "a", [SaveModel("train_loss")])
    worse = on(after_loss=lambda learn: setattr(learn, "loss", learn.loss + learn.epoch * 10))
    late = on(after_epoch=stop, order=1000)
    with (
        full_in({0, 1, 2}, 100) as full,
        pytest.warns(RuntimeWarning),
        pytest.raises(KeyboardInterrupt),
    ):
        cut.fit(4, cbs=[worse, late, *full])
    fresh, whole = (learner(tmp_path / name, [SaveModel("train_loss")]) for name in "ab")
    fresh.fit(4, cbs=worse, resume=states[0])
    whole.fit(4, cbs=worse)
    same_weights(fresh, whole)


def test_a_place_that_cannot_be_written_is_found_before_training(tmp_path):
    (tmp_path / "file").touch()
    steps = []
    learn = learner(tmp_path / "file" / "run", [CSVLogger()])
    with pytest.raises(OSError, match=r"`CSVLogger` cannot write to .*give the learner another"):
        learn.fit(1, cbs=on(after_step=lambda learn: steps.append(1)))
    assert not steps


def same_weights(one, other):
    a, b = one.model.state_dict(), other.model.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
