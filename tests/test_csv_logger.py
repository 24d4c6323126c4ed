"""The table in a file: whole rows, flushed, and never mixed with another's columns."""

import csv

import pytest
from tiny import digits_loaders, net, silent

from learnlite import AccumMetric, CSVLogger, Learner, accuracy, error_rate, on


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
    files = []

    def fail(learn):
        files.append(logger._file)
        if learn.epoch == 1:
            raise ZeroDivisionError

    logger = CSVLogger()
    with pytest.raises(ZeroDivisionError):
        learner(tmp_path, cbs=[logger, on(before_train=fail)]).fit(3)
    assert files[0].closed
    assert len(rows(tmp_path / "history.csv")) == 2


def test_a_fit_that_is_refused_leaves_the_file_as_it_was(tmp_path):
    learner(tmp_path, cbs=CSVLogger).fit(2)
    before = (tmp_path / "history.csv").read_bytes()

    def refuse(learn):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        learner(tmp_path, cbs=[CSVLogger, on(before_fit=refuse)]).fit(2)
    assert (tmp_path / "history.csv").read_bytes() == before


def test_a_row_that_a_kill_cut_off_does_not_run_into_the_next(tmp_path):
    learn = learner(tmp_path, cbs=CSVLogger(append=True))
    learn.fit(1)
    with (tmp_path / "history.csv").open("a") as file:
        file.write("1,0.53")
    learn.fit(1)
    assert [len(row) for row in rows(tmp_path / "history.csv")] == [5, 5, 2, 5]


def test_text_that_a_spreadsheet_would_run_is_defused_and_numbers_are_not(tmp_path):
    negative = AccumMetric(lambda pred, targ: -1.0, dim_argmax=-1, name="=1+1")
    learn = learner(tmp_path, metrics=negative, cbs=CSVLogger(append=True))
    learn.fit(1)
    learn.fit(1)  # the columns are known again
    table = rows(tmp_path / "history.csv")
    assert table[0][3] == "'=1+1"
    assert [row[3] for row in table[1:]] == ["-1.0", "-1.0"]


def test_the_finder_writes_nothing(tmp_path):
    learner(tmp_path, cbs=CSVLogger).lr_find(show_plot=False)
    assert not (tmp_path / "history.csv").exists()
