"""What people see while a fit runs: in a notebook, in a terminal, in a log."""

import contextlib
import io
import os
import pty
import subprocess
import sys
import threading

import pytest
import torch
from tiny import digits_loaders, linear_learner, net

from learnlite import CancelFitException, Learner, ProgressBar, ShowGraph, accuracy, bars, on


class Screen:
    """What a notebook's front end would hold: the newest content of each display."""

    def __init__(self):
        self.contents = []
        self.updates = 0

    def display(self, data, *, raw, display_id):
        assert raw and display_id
        self.contents.append(data)
        screen, i = self, len(self.contents) - 1

        class Handle:
            def update(self, data, *, raw):
                screen.contents[i] = data
                screen.updates += 1

        return Handle()

    @property
    def html(self):
        return self.contents[-1]["text/html"]

    @property
    def text(self):
        return self.contents[-1]["text/plain"]


@pytest.fixture
def screen(monkeypatch):
    """A notebook around the test: only the drawing surface is replaced."""
    made = Screen()
    module = type(sys)("IPython.display")
    module.display = made.display
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setitem(sys.modules, "IPython", type(sys)("IPython"))
    monkeypatch.setattr(bars, "_in_notebook", lambda: True)
    return made


def learner(**kwargs):
    torch.manual_seed(0)
    return Learner(digits_loaders(seed=1), net(), metrics=accuracy, seed=2, **kwargs)


def printed(learn, *args, **kwargs):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        learn.fit(*args, **kwargs)
    return out.getvalue()


def test_a_log_gets_a_header_and_a_line_an_epoch():
    learn = learner()
    lines = printed(learn, 2, 0.01).splitlines()
    assert lines[0].split() == ["epoch", "train_loss", "valid_loss", "accuracy", "time"]
    assert len(lines) == 3
    assert lines[2].split()[:4] == ["1", *(f"{v:.6f}" for v in learn.recorder.values[1])]


def test_no_bar_gives_the_plain_rows_and_no_logging_nothing(screen):
    learn = learner()
    with learn.no_bar():
        assert len(printed(learn, 1).splitlines()) == 2
    with learn.no_logging():
        assert printed(learn, 1) == ""
    assert screen.contents == []
    assert [type(cb) for cb in learn.cbs].count(ProgressBar) == 1


def test_a_notebook_keeps_the_table_and_drops_the_bars(screen):
    learn = learner()
    learn.fit(2, 0.01)
    assert len(screen.contents) == 1  # one display, replaced in place
    assert "<progress" not in screen.html
    assert screen.html.count("<tr") == 3
    assert screen.text.splitlines()[2].split()[0] == "1"
    for loud in ("<script", "<style", "http", "class="):
        assert loud not in screen.html


def test_bars_are_there_while_it_runs(screen):
    seen = []
    learn = learner(cbs=on(after_train=lambda learn: seen.append(screen.html)))
    learn.fit(1)
    assert seen[0].count("<progress") == 2
    assert "train" in seen[0]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interrupt_leaves_red_bars_and_the_rows_so_far(screen, error):
    def stop(learn):
        if learn.epoch == 1:
            raise error

    learn = learner(cbs=on(before_batch=stop))
    with pytest.raises(error):
        learn.fit(3)
    assert bars._RED in screen.html
    assert bars._BLUE not in screen.html
    assert "interrupted" in screen.html
    assert screen.html.count("<tr") == 2  # the header and the whole epoch


def test_a_cancel_is_no_interrupt(screen):
    def stop(learn):
        raise CancelFitException

    learner(cbs=on(after_epoch=stop)).fit(3)
    assert "<progress" not in screen.html
    assert screen.html.count("<tr") == 2


def test_two_fits_at_once_have_a_display_each(screen):
    inner = learner()

    def fit_inner(learn):
        if learn.epoch == 0:
            inner.fit(1)

    learner(cbs=on(before_train=fit_inner)).fit(2)
    assert [data["text/html"].count("<tr") for data in screen.contents] == [3, 2]


def test_the_finder_shows_a_bar_and_no_rows(screen):
    learner().lr_find(show_plot=False)
    assert len(screen.contents) == 1
    assert "<table" not in screen.html


def test_names_from_data_are_text_and_not_markup(screen):
    display = bars.Notebook()
    display.start(["<img src=x onerror=alert(1)>"], 1)
    display.row(["<b>"])
    display.step(0, "<i>", 1, 2, "<u>")
    display.graph({"<s>": [(0, 1), (1, 2)]})
    for tag in ("<img", "<b>", "<i>", "<u>", "<s>"):
        assert tag not in screen.html


def test_the_graph_is_drawn_without_matplotlib(screen, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    learner(cbs=ShowGraph).fit(2)
    assert screen.html.count("<polyline") == 2


def test_drawing_is_rare(screen):
    learn = linear_learner(default_cbs=True, n_train=3000, n_valid=0)
    before = screen.updates
    learn.fit(1)
    assert screen.updates - before < 300  # 3,000 batches: a draw is by the clock, not by the batch


def test_a_learner_without_recorder_shows_its_bars(screen):
    linear_learner(ProgressBar).fit(1)
    assert screen.contents


def in_terminal(code):
    """The output of a program that runs in a terminal."""
    main, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=child,
        stderr=subprocess.STDOUT,
        env=os.environ | {"COLUMNS": "100", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    os.close(child)
    chunks = []

    def read():
        with contextlib.suppress(OSError):
            while chunk := os.read(main, 4096):
                chunks.append(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    assert process.wait(60) == 0, b"".join(chunks).decode()
    reader.join(10)
    os.close(main)
    return b"".join(chunks).decode()


def shown(output):
    """The lines as they stand in the end: what follows the last return and the last clearing."""
    lines = (line.rsplit("\x1b[K", 1)[-1] for line in output.replace("\r\n", "\n").split("\n"))
    return [line.rsplit("\r", 1)[-1] for line in lines]


def test_a_terminal_shows_a_bar_and_keeps_only_the_rows():
    output = in_terminal(
        "from tiny import *; learn = Learner(digits_loaders(seed=1), net()); learn.fit(2)"
    )
    assert "epoch 1/2 train" in output
    assert "epoch 2/2 valid" in output
    assert [line.split()[0] for line in shown(output) if line] == ["epoch", "0", "1"]


def test_a_terminal_without_fastprogress_still_trains():
    output = in_terminal(
        "import sys; sys.modules['fastprogress'] = None\n"
        "from tiny import *; learn = Learner(digits_loaders(seed=1), net()); learn.fit(1)"
    )
    assert [line.split()[0] for line in shown(output) if line] == ["epoch", "0"]
