"""What people see while a learner trains."""

import contextlib
import io
import sys
import types

import pytest
import torch
from screens import Notebook, Terminal, lines_left
from tiny import digits_loaders, linear_learner, net

from learnlite import CancelFitException, Learner, ProgressBar, ShowGraph, accuracy, bars, on


@pytest.fixture
def front(monkeypatch):
    """A notebook around the test; only the surface that is drawn on is replaced."""
    made = Notebook()
    module = types.ModuleType("IPython.display")
    module.display = made.display
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setattr(bars.choose, "in_notebook", lambda: True)
    return made


def learner(**kwargs):
    torch.manual_seed(0)
    return Learner(digits_loaders(seed=1), net(), metrics=accuracy, seed=2, **kwargs)


def printed(function, *args, **kwargs):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        function(*args, **kwargs)
    return out.getvalue()


def test_a_log_gets_a_header_and_a_line_an_epoch():
    learn = learner()
    lines = printed(learn.fit, 2, 0.01).splitlines()
    assert lines[0].split() == ["epoch", "train_loss", "valid_loss", "accuracy", "time"]
    assert len(lines) == 3
    assert lines[2].split()[:4] == ["1", *(f"{v:.6f}" for v in learn.recorder.values[1])]


def test_no_bar_gives_the_plain_rows_and_no_logging_nothing(front):
    learn = learner()
    with learn.no_bar():
        assert len(printed(learn.fit, 1).splitlines()) == 2
    with learn.no_logging():
        assert printed(learn.fit, 1) == ""
    assert front.contents == []
    assert [type(cb) for cb in learn.cbs].count(ProgressBar) == 1


def test_a_notebook_shows_bars_while_it_trains_and_the_table_after(front):
    seen = {}

    def look(learn):
        seen["training" if learn.training else "validation"] = front.html

    learn = learner(cbs=on(after_batch=look, order=99))
    learn.fit(2, 0.01)
    assert seen["training"].count("<progress") == 2
    assert "train" in seen["training"]
    assert "<progress" not in front.html
    assert front.html.count("<tr") == 3
    assert front.text.splitlines()[2].split()[0] == "1"


def test_the_bar_tells_the_smoothed_loss_and_the_validation_pass(front, monkeypatch):
    monkeypatch.setattr("learnlite.callbacks.show._INTERVAL", 0.0)  # draws at every batch
    seen = []
    look = on(after_batch=lambda learn: seen.append((front.text, learn.training)), order=99)
    learn = learner(cbs=look)
    learn.fit(1)
    trained = [text for text, training in seen if training]
    validated = [text for text, training in seen if not training]
    assert all(
        f"[{i + 1}/6 " in text and f"train {learn.recorder.losses[i]:.4f}" in text
        for i, text in enumerate(trained)
    )
    assert all(f"[{i + 1}/2 " in text and "] valid" in text for i, text in enumerate(validated))


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interrupt_leaves_red_bars_and_the_rows_so_far(front, error):
    def stop(learn):
        if learn.epoch == 1:
            raise error

    learn = learner(cbs=on(before_batch=stop))
    with pytest.raises(error):
        learn.fit(3)
    assert bars.notebook.RED in front.html
    assert bars.notebook.BLUE not in front.html
    assert front.html.count("<tr") == 2  # the header and the whole epoch
    learn.remove_cb(next(cb for cb in learn.cbs if cb.name == "on"))
    learn.fit(1)
    assert front.contents[2]["text/html"].count("<tr") == 2
    assert "<progress" not in front.contents[3]["text/html"]


def test_an_interrupt_shows_how_far_the_fit_came(front):
    def stop(learn):
        if learn.train_iter == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learner(cbs=on(before_batch=stop)).fit(3)
    assert "[1/3 " in front.text and "[3/6 " in front.text


@pytest.mark.parametrize("event", ["before_fit", "before_epoch"])
def test_an_error_before_training_leaves_no_bar_even_after_an_interrupted_fit(front, event):
    learn = learner()
    for where in ("after_loss", event):
        with pytest.raises(ZeroDivisionError):
            learn.fit(1, cbs=on(**{where: lambda learn: 1 / 0}))
    assert "<progress" in front.contents[1]["text/html"]
    assert not any("<progress" in data["text/html"] for data in front.contents[2:])


@pytest.mark.parametrize("event", ["after_epoch", "before_batch", "before_validate", "before_fit"])
def test_a_cancel_is_no_interrupt(front, event):
    def stop(learn):
        raise CancelFitException

    learner(cbs=on(**{event: stop})).fit(3)
    assert "<progress" not in front.html
    assert "interrupted" not in front.html


def test_two_fits_at_once_have_a_display_each(front):
    inner = learner()

    def fit_inner(learn):
        if learn.epoch == 0:
            inner.fit(1)

    learner(cbs=on(before_train=fit_inner)).fit(2)
    assert [data["text/html"].count("<tr") for data in front.contents] == [3, 0, 2, 0]


def test_the_finder_shows_a_bar_and_no_rows(front):
    learner().lr_find(show_plot=False)
    assert len(front.contents) == 1
    assert "<table" not in front.html and "<progress" not in front.html


def test_a_run_counted_in_batches_has_one_bar_over_its_epochs(front, monkeypatch):
    monkeypatch.setattr("learnlite.callbacks.show._INTERVAL", 0.0)
    seen = []
    learn = linear_learner(ProgressBar(batches=5), n_train=3, n_valid=0)
    learn.fit(2, cbs=on(after_batch=lambda learn: seen.append(front.text), order=99))
    assert ["[4/5 " in text for text in seen] == [False, False, False, True, False, False]


def test_a_validation_by_itself_has_a_bar_of_its_own(front):
    seen = []
    learn = learner(cbs=on(after_batch=lambda learn: seen.append(front.html), order=99))
    learn.validate()
    assert seen[0].count("<progress") == 1
    assert "<progress" not in front.html
    assert printed(learn.validate) == ""


def test_a_validation_of_other_data_in_a_fit_is_not_shown_as_the_fits_own(front):
    other = [learner().dls.one_batch()] * 3
    inner = on(after_train=lambda learn: learn.validate(dl=other))
    seen = []
    learn = learner(cbs=[inner, on(after_batch=lambda learn: seen.append(front.text), order=99)])
    learn.fit(1)
    assert len(front.contents) == 2
    assert not any("/3 " in text for text in seen)


def test_a_log_reads_no_loss_for_bars_that_it_does_not_have(monkeypatch):
    monkeypatch.setattr(ProgressBar, "_draw", None)  # which would read the loss
    assert printed(linear_learner(default_cbs=True, n_train=50).fit, 2)


def test_drawing_is_rare(front):
    learn = linear_learner(default_cbs=True, n_train=3000, n_valid=0)
    learn.fit(1)
    assert front.updates < 300  # 3,000 batches: a draw is by the clock, not by the batch


def test_a_learner_without_recorder_shows_its_bars(front):
    seen = []
    look = on(after_batch=lambda learn: seen.append(front.html), order=99)
    linear_learner([ProgressBar, look]).fit(1)
    assert "<progress" in seen[0]


def test_the_graph_is_drawn_without_matplotlib(front, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    learner(cbs=ShowGraph).fit(2)
    assert front.html.count("<polyline") == 2
    assert "<progress" not in front.html


def test_the_graph_shows_nothing_where_it_cannot():
    learn = learner(cbs=ShowGraph)
    assert "<" not in printed(learn.fit, 1)
    with learn.no_bar():
        assert "<" not in printed(learn.fit, 1)
    with learn.no_logging():
        assert printed(learn.fit, 1) == ""


def test_a_terminal_shows_a_bar_and_keeps_only_the_rows():
    with Terminal() as terminal:
        learner().fit(2)
    assert "epoch 1/2 train" in terminal.output
    assert [line.split()[0] for line in lines_left(terminal.output) if line] == ["epoch", "0", "1"]


def test_an_interrupt_in_a_terminal_leaves_the_bar_where_it_was():
    def stop(learn):
        if learn.iter == 3:
            raise KeyboardInterrupt

    with Terminal() as terminal, pytest.raises(KeyboardInterrupt):
        learner(cbs=on(after_batch=stop)).fit(2)
    header, bar = [line for line in lines_left(terminal.output) if line]
    assert header.startswith("epoch ")
    assert bar.startswith("epoch 1/2 train |") and bar.endswith("interrupted]")
