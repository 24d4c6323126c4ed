"""Telling how training goes, while it does."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from learnlite.bars import Display, open_display
from learnlite.callback import Callback
from learnlite.events import Order

_INTERVAL = 0.2  # seconds between two drawings, each of which reads the loss from the device
_POINTS = 300  # of the training loss in the live graph


class ProgressBar(Callback):
    """Shows a table with a row an epoch, and bars with the loss, drawn about five times a second.

    Without `bars` the rows are plain lines, as in a log; without `rows` there are bars only.
    """

    order = Order.REPORT

    def __init__(self, bars: bool = True, rows: bool = True) -> None:
        self.bars = bars
        self.rows = rows

    @contextmanager
    def around_fit(self) -> Generator[None]:
        self.display: Display = open_display(bars=self.bars)
        self._next_draw = 0.0
        try:
            yield
        except BaseException:
            self.display.close(interrupted=True)
            raise
        self.display.close()

    def before_fit(self) -> None:
        recorder = self._recorder()
        names = recorder.metric_names if recorder is not None and self.rows else []
        self.display.start(names, self.learn.n_epoch)

    def before_train(self) -> None:
        self._draw()

    def before_validate(self) -> None:
        if self._in_fit():
            self._draw()

    def after_batch(self) -> None:
        if time.perf_counter() >= self._next_draw and self._in_fit():
            self._draw(1)

    def after_epoch(self) -> None:
        recorder = self._recorder()
        if recorder is not None and self.rows:
            self.display.row(recorder.log)

    def _draw(self, finished: int = 0) -> None:
        learn = self.learn
        recorder = self._recorder()
        comment = ""
        if finished and learn.training and recorder is not None:
            comment = f"{recorder.smooth_loss():.4f}"  # host sync: at most five times a second
        part = "train" if learn.training else "valid"
        self.display.step(learn.epoch, part, learn.iter + finished, learn.n_iter, comment)
        self._next_draw = time.perf_counter() + _INTERVAL

    def _in_fit(self) -> bool:
        """Whether this is the fit's own pass, and not a `validate` by itself or in its midst."""
        return "display" in vars(self) and self.learn.dl in (
            self.learn.dls.train,
            self.learn.dls.valid,
        )

    def _recorder(self) -> Any:
        return getattr(self.learn, "recorder", None)  # a learner may have been made without


class ShowGraph(Callback):
    """Draws the training and the validation loss after each epoch, in a notebook.

    It draws beside the `ProgressBar`, and needs no matplotlib.
    """

    order = Order.REPORT + 1

    def after_epoch(self) -> None:
        recorder, bar = self.learn.recorder, self.learn.callbacks.find(ProgressBar)
        if bar is None:
            return
        losses = recorder.losses
        stride = max(len(losses) // _POINTS, 1)
        lines: dict[str, Any] = {"train": [(i, losses[i]) for i in range(0, len(losses), stride)]}
        if "valid_loss" in recorder.names:
            lines["valid"] = list(zip(recorder.iters, recorder.column("valid_loss"), strict=True))
        bar.display.graph(lines)


ProgressCallback = ProgressBar
ShowGraphCallback = ShowGraph
