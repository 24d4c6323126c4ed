"""The table in a file: whole rows, flushed, and never mixed with another's columns."""

import csv

import pytest
from tiny import digits_loaders, net, silent

from learnlite import CSVLogger, Learner, accuracy, error_rate, on


def learner(tmp_path, **kwargs):
    kwargs = {"metrics": accuracy} | kwargs
    return silent(Learner(digits_loaders(seed=1), net(), path=tmp_path, seed=2, **kwargs))


def rows(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_a_row_an_epoch_below_a_header(tmp_path):
    learn = learner(tmp_path, cbs=CSVLogger)
    learn.fit(2)
    table = rows(tmp_path / "history.csv")
    assert table[0] == ["epoch", "train_loss", "valid_loss", "accuracy", "time"]
    assert [float(v) for v in table[2][1:4]] == learn.recorder.values[1]
    assert learn.cbs[-1].read_log()[1]["epoch"] == "1"


def test_a_row_is_in_the_file_as_soon_as_its_epoch_is_over(tmp_path):
    seen = []
    learn = learner(tmp_path, cbs=CSVLogger)
    watch = on(after_epoch=lambda learn: seen.append(len(rows(tmp_path / "history.csv"))), order=99)
    learn.fit(3, cbs=watch)
    assert seen == [2, 3, 4]


def test_appending_goes_on_below_one_header(tmp_path):
    learn = learner(tmp_path, cbs=CSVLogger("logs/run.csv", append=True))
    learn.fit(1)
    learn.fit(2)
    assert [row[0] for row in rows(tmp_path / "logs" / "run.csv")] == ["epoch", "0", "0", "1"]


def test_without_append_a_fit_begins_anew(tmp_path):
    learn = learner(tmp_path, cbs=CSVLogger)
    learn.fit(3)
    learn.fit(1)
    assert len(rows(tmp_path / "history.csv")) == 2


def test_other_columns_are_refused(tmp_path):
    learner(tmp_path, cbs=CSVLogger).fit(1)
    other = learner(tmp_path, cbs=CSVLogger(append=True), metrics=error_rate)
    with pytest.raises(ValueError, match=r"history.csv has the columns .*accuracy.* error_rate"):
        other.fit(1)


def test_an_error_closes_the_file_and_keeps_the_rows(tmp_path):
    def fail(learn):
        if learn.epoch == 1:
            raise ZeroDivisionError

    logger = CSVLogger()
    with pytest.raises(ZeroDivisionError):
        learner(tmp_path, cbs=[logger, on(before_train=fail)]).fit(3)
    assert logger._file.closed
    assert len(rows(tmp_path / "history.csv")) == 2


def test_the_finder_writes_nothing(tmp_path):
    learner(tmp_path, cbs=CSVLogger).lr_find(show_plot=False)
    assert not (tmp_path / "history.csv").exists()
