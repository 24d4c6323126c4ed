"""A terminal, a pipe or a front end that is gone: the training is not."""

import contextlib
import io
import os
import pty
import subprocess
import sys
import types
import warnings

import pytest
from tiny import linear_learner

from learnlite import bars, on
from learnlite.callbacks import show


def closed_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w", encoding="utf-8")


def terminal_that_is_gone():
    main, child = pty.openpty()
    stream = os.fdopen(child, "w", encoding="utf-8")
    assert stream.isatty()
    os.close(main)
    return stream


def closed_stream():
    stream = io.StringIO()
    stream.close()
    return stream


def fit_and_say(learn, lose):
    learn.fit(4, cbs=on(before_epoch=lose))
    learn.say("after it")


@pytest.mark.parametrize("gone", [closed_pipe, terminal_that_is_gone, closed_stream])
@pytest.mark.parametrize("begun", [False, True], ids=["from the start", "in the midst"])
def test_output_that_is_lost_does_not_end_a_fit(gone, begun):
    learn = linear_learner(default_cbs=True)
    shown = warnings.showwarning
    lost = gone()

    def lose(learn):
        learn.say("said")
        if learn.epoch == 1:
            sys.stdout = lost

    with (
        pytest.warns(RuntimeWarning, match="progress cannot be shown any more") as told,
        contextlib.redirect_stdout(io.StringIO() if begun else lost),
    ):
        fit_and_say(learn, lose)
    assert len(learn.recorder.values) == 4
    assert len(told) == 2  # once in the fit, once for what came after it
    assert warnings.showwarning is shown
    with contextlib.redirect_stdout(io.StringIO()) as out:
        learn.fit(1)
    assert out.getvalue().count("\n") == 2
    with contextlib.suppress(OSError):
        lost.close()


def test_a_terminal_that_goes_in_the_midst_of_a_fit_is_missed_by_nobody(monkeypatch):
    monkeypatch.setattr(show, "_INTERVAL", 0.0)
    learn = linear_learner(default_cbs=True)
    main, child = pty.openpty()
    stream = os.fdopen(child, "w", encoding="utf-8")

    def hang_up(learn):
        if learn.train_iter == 5:
            os.close(main)

    with (
        pytest.warns(RuntimeWarning, match="Input/output error"),
        contextlib.redirect_stdout(stream),
    ):
        learn.fit(4, cbs=on(before_batch=hang_up))
    assert len(learn.recorder.values) == 4
    with contextlib.suppress(OSError):
        stream.close()


def test_a_front_end_that_fails_is_told_once_and_then_left_alone(monkeypatch):
    def display(*args, **kwargs):
        raise RuntimeError("no comm")

    module = types.ModuleType("IPython.display")
    module.display = display
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setattr(bars.choose, "in_notebook", lambda: True)
    learn = linear_learner(default_cbs=True)
    with pytest.warns(RuntimeWarning, match="no comm") as told:
        learn.fit(2)
    assert len(told) == 1 and len(learn.recorder.values) == 2


SCRIPT = """
import sys, torch
from torch import nn
from learnlite import DataLoaders, Learner, on
from learnlite.data import two_moons

dls = DataLoaders.from_tensors(*two_moons(100), bs=20, device="cpu")
learn = Learner(dls, nn.Linear(2, 2))
learn.fit(3, cbs=on(before_epoch=lambda learn: sys.stdin.readline()))
open(sys.argv[1], "w").write(str(len(learn.recorder.values)))
"""


def test_a_script_whose_reader_and_errors_are_gone_trains_to_its_end(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "epochs")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline().startswith("epoch")
    process.stdout.close()
    process.stderr.close()
    process.stdin.write("\n\n\n")
    process.stdin.close()
    process.wait(timeout=60)
    assert (tmp_path / "epochs").read_text() == "3"
