"""Telling how training goes, while it does."""

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from math import inf, isfinite
from typing import Any

from learnlite.bars import Display, Unfailing, open_display
from learnlite.callback import Callback
from learnlite.events import Order

_INTERVAL = 0.2  # seconds between two drawings, each of which reads the loss from the device
_POINTS = 300  # of the training loss in the live graph


class ProgressBar(Callback):
    """Shows a table with a row an epoch, and bars with the smoothed loss, five times a second.

    Without `bars` the rows are plain lines, as in a log; without `rows` there are bars only. With
    `batches` there is one bar, of so many training batches in all, for a run that epochs say
    nothing about. A validation by itself has a bar, too.

    >>> from torch import nn
    >>> from learnlite import DataLoaders, Learner
    >>> from learnlite.data import two_moons
    >>> dls = DataLoaders.from_tensors(*two_moons(200), bs=32)
    >>> learn = Learner(dls, nn.Linear(2, 2))
    >>> with learn.no_bar():
    ...     learn.fit(2)
    epoch   train_loss  valid_loss  time
    0       ...
    1       ...
    """

    order = Order.REPORT

    _display: Display | None = None
    _held: tuple[str, ...] = ()
    _dls: tuple[Any, ...] = ()
    _next_draw = inf
    _next_pass = inf

    def __init__(self, bars: bool = True, rows: bool = True, batches: int | None = None) -> None:
        self.bars = bars
        self.rows = rows
        self.batches = batches

    @contextmanager
    def around_fit(self) -> Generator[None]:
        with self._shown(self.learn.dls.train, self.learn.dls.valid):
            yield

    @contextmanager
    def around_validate(self) -> Generator[None]:
        if self._display is not None:
            yield
            return
        with self._shown(self.learn.dl) as display:
            display.start([], 0)
            yield

    @contextmanager
    def _shown(self, *dls: Any) -> Generator[Display]:
        """With a display for passes over these loaders; others in their midst are not shown."""
        display = self._display = Unfailing(open_display(bars=self.bars))
        self._dls = dls
        self._next_draw = self._next_pass = 0.0 if display.live else inf
        said, self.learn.say = self.learn.say, self._say
        try:
            yield display
        except BaseException:
            if 0.0 < self._next_pass < inf:  # a pass has begun: show where it was cut off
                self._draw(0)
            self._say_held()
            display.close(interrupted=True)
            raise
        else:
            self._say_held()
            display.close()
        finally:
            self.learn.say = said
            self._display, self._next_draw, self._next_pass = None, inf, inf

    def before_fit(self) -> None:
        if self._display is not None:
            recorder = self._recorder() if self.rows else None
            names = [] if recorder is None else recorder.metric_names
            self._display.start(names, 0 if self.batches else self.learn.n_epoch)

    def before_train(self) -> None:
        self._draw_pass()

    def before_validate(self) -> None:
        self._draw_pass()

    def after_batch(self) -> None:
        if time.perf_counter() >= self._next_draw:  # the whole cost of most batches: 0.1 µs
            self._draw(1)

    def after_epoch(self) -> None:
        if self._display is not None and self.rows:
            recorder = self._recorder()
            if recorder is not None and recorder.log:
                self._display.row(recorder.log)
        self._say_held()

    def _say(self, text: str) -> None:
        """Write a line; what is said of an epoch that has just ended comes below its row."""
        recorder = self._recorder() if self.rows else None
        self._held = (*self._held, text)
        if recorder is None or not recorder.log or recorder.log[0] != self.learn.epoch:
            self._say_held()

    def _say_held(self) -> None:
        held, self._held = self._held, ()
        if self._display is not None:
            for text in held:
                self._display.write(text)

    def draw_graph(self, lines: Mapping[str, Any]) -> None:
        """Draw lines of points beside the bars, where a picture can be shown."""
        if self._display is not None:
            self._display.graph(lines)

    def _draw_pass(self) -> None:
        """Show that a pass begins; where passes are short, not each of them."""
        now = time.perf_counter()
        if now >= self._next_pass:
            self._next_pass = now + _INTERVAL
            self._draw(0)

    def _draw(self, finished: int) -> None:
        learn = self.learn
        if self._display is None or not any(learn.dl is dl for dl in self._dls):
            return
        recorder, comment = self._recorder(), ""
        if finished and learn.training and recorder is not None:
            loss = recorder.smooth_loss()  # host sync: at most five times a second
            comment = f"{loss:.4f}" if isfinite(loss) else str(loss)
        epoch = min(learn.epoch, max(learn.n_epoch - 1, 0))  # a validation at the end of the fit
        done, total = learn.iter + finished, learn.n_iter
        if self.batches and learn.training:
            epoch, done, total = 0, learn.train_iter + finished, self.batches
        part = "train" if learn.training else "valid"
        self._display.step(epoch, part, done, total, comment)
        self._next_draw = time.perf_counter() + _INTERVAL

    def _recorder(self) -> Any:
        try:
            return self.learn.recorder
        except AttributeError:  # a learner may have been made without one
            return None


class ShowGraph(Callback):
    """Draws the training and the validation loss after each epoch, in a notebook.

    It draws beside the `ProgressBar`, and needs no matplotlib.

    >>> from torch import nn
    >>> from learnlite import DataLoaders, Learner
    >>> from learnlite.data import two_moons
    >>> dls = DataLoaders.from_tensors(*two_moons(200), bs=32)
    >>> learn = Learner(dls, nn.Linear(2, 2), cbs=ShowGraph)  # drawn while it trains
    >>> learn.show_training_loop()
    fit
    ...
        after_epoch: Recorder, ProgressBar, ShowGraph
    ...
    """

    order = Order.REPORT + 1

    def after_epoch(self) -> None:
        recorder, bar = self.learn.recorder, self.learn.callbacks.find(ProgressBar)
        if bar is None:
            return
        train = list(enumerate(recorder.losses, 1))
        thinned = train[:: max(len(train) // _POINTS, 1)]
        lines = {"train": thinned if thinned[-1:] == train[-1:] else [*thinned, train[-1]]}
        if "valid_loss" in recorder.names:
            lines["valid"] = list(zip(recorder.iters, recorder.column("valid_loss"), strict=False))
        bar.draw_graph(lines)


ProgressCallback = ProgressBar
ShowGraphCallback = ShowGraph
