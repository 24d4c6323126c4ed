"""The table in a file: whole rows, flushed, and never mixed with another's columns."""

import csv

import pytest
from tiny import digits_loaders, net, silent

from learnlite import AccumMetric, CSVLogger, Learner, Order, accuracy, error_rate, on


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


def test_a_last_column_tells_what_was_trained(tmp_path):
    logger = CSVLogger(append=True, trained=True)
    learn = learner(tmp_path, splitter=lambda model: [*model.children()], cbs=logger)
    learn.fine_tune(2)
    table = [(row["epoch"], row["trained"]) for row in logger.read_log()]
    assert table == [("0", "the head"), ("0", "all layers"), ("1", "all layers")]


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


class Killed(Exception):
    pass


def cut_fit(tmp_path, *, saved_after, killed_in, n_epoch=5, **kwargs):
    """The state that a fit saved after so many batches, before it was killed in that epoch."""
    states = []

    def look(learn):
        if learn.training and learn.progress.epochs == killed_in:
            raise Killed
        if learn.training and learn.train_iter + 1 == saved_after:
            states.append(learn.state_dict())

    with pytest.raises(Killed):
        learner(tmp_path).fit(n_epoch, cbs=[CSVLogger(**kwargs), on(after_batch=look, order=999)])
    return states[0]


@pytest.mark.parametrize("saved_after", [1, 6, 7, 11, 17])  # an epoch has 6 batches
@pytest.mark.parametrize("append", [False, True])
@pytest.mark.parametrize("before", [0, 2])
def test_a_fit_that_is_resumed_has_every_epoch_once(saved_after, append, before, tmp_path):
    first = learner(tmp_path)
    if before:
        first.fit(before, cbs=CSVLogger())
    state = cut_fit(tmp_path, saved_after=saved_after, killed_in=3, append=append)
    done = rows(tmp_path / "history.csv")
    learn = learner(tmp_path)
    learn.fit(5, cbs=CSVLogger(append=append), resume=state)
    table = rows(tmp_path / "history.csv")
    earlier = list(range(before)) if append else []
    assert [row[0] for row in table] == ["epoch", *map(str, [*earlier, *range(5)])]
    kept = 1 + len(earlier) + (saved_after - 1) // 6
    assert table[:kept] == done[:kept]
    assert [[float(v) for v in row[1:4]] for row in table[-5:]] == learn.recorder.values


def test_a_resumed_fit_whose_table_is_gone_begins_one(tmp_path):
    state = cut_fit(tmp_path, saved_after=13, killed_in=3)
    (tmp_path / "history.csv").unlink()
    learner(tmp_path).fit(5, cbs=CSVLogger(), resume=state)
    assert [row[0] for row in rows(tmp_path / "history.csv")] == ["epoch", "2", "3", "4"]


@pytest.mark.parametrize("end", ["", "2,0.5", "2", "2,0.5,0.5,0.5,00:00"])
def test_a_row_of_an_epoch_that_comes_again_is_dropped_though_a_kill_cut_it_off(end, tmp_path):
    state = cut_fit(tmp_path, saved_after=12, killed_in=2)
    with (tmp_path / "history.csv").open("a") as file:
        file.write(end)
    learner(tmp_path).fit(5, cbs=CSVLogger(), resume=state)
    table = rows(tmp_path / "history.csv")
    assert [row[0] for row in table] == ["epoch", "0", "1", "2", "3", "4"]
    assert {len(row) for row in table} == {5}


def test_a_state_saved_in_the_end_of_an_epoch_knows_its_row(tmp_path):
    def keep(learn):
        states.append(learn.state_dict())
        if learn.epoch == 1:
            raise Killed

    states = []
    with pytest.raises(Killed):
        learner(tmp_path).fit(3, cbs=[CSVLogger(), on(after_epoch=keep, order=Order.SAVE)])
    learner(tmp_path).fit(3, cbs=CSVLogger(), resume=states[-1])
    assert [row[0] for row in rows(tmp_path / "history.csv")] == ["epoch", "0", "1", "2"]


def test_a_resumed_fit_does_not_write_into_another_table(tmp_path):
    state = cut_fit(tmp_path, saved_after=13, killed_in=3)
    other = "a,b\n1,2\n"
    (tmp_path / "history.csv").write_text(other)
    with pytest.raises(ValueError, match="has the columns a, b, but .* give another `fname`$"):
        learner(tmp_path).fit(5, cbs=CSVLogger(), resume=state)
    assert (tmp_path / "history.csv").read_text() == other


def test_a_fit_that_was_saved_without_a_table_is_resumed_with_one(tmp_path):
    states = []
    keep = on(after_epoch=lambda learn: states.append(learn.state_dict()), order=999)
    learner(tmp_path).fit(2, cbs=keep)
    learner(tmp_path).fit(2, cbs=CSVLogger(append=True), resume=states[0])
    assert [row[0] for row in rows(tmp_path / "history.csv")] == ["epoch", "1"]


def test_appending_keeps_both_stages_of_fine_tune(tmp_path):
    learn = learner(tmp_path, splitter=lambda model: [model[:2], model[2:]])
    learn.fine_tune(2, cbs=CSVLogger(append=True))
    assert [row[0] for row in rows(tmp_path / "history.csv")] == ["epoch", "0", "0", "1"]


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
