"""Showing progress: one small protocol, and a display for notebooks, terminals and logs.

A display is chosen at each fit, by where the output goes then. In a notebook it is a table and two
bars in HTML with inline styles only: it works in dark themes, when a cell is run again, and without
matplotlib. In a terminal it is fastprogress's bar, drawn by us. Elsewhere, a line an epoch.
"""

import sys
import time
from collections.abc import Sequence
from html import escape
from typing import Any, Protocol

_BLUE, _RED, _GREY = "#2196F3", "#F44336", "rgba(128,128,128,.4)"
_WIDTH = 10  # of a column in plain text, if its name is not longer


class Display(Protocol):
    """Where a fit shows how far it has come."""

    def start(self, names: Sequence[str], n_epoch: int) -> None:
        """The columns of the table, and how many epochs there will be."""
        ...

    def step(self, epoch: int, part: str, done: int, total: int, comment: str = "") -> None:
        """`done` of `total` batches of `part` ("train" or "valid") of `epoch` are done."""
        ...

    def row(self, values: Sequence[Any]) -> None:
        """The values of an epoch."""
        ...

    def graph(self, lines: dict[str, Sequence[tuple[float, float]]]) -> None:
        """Named lines of points, drawn anew; where nothing can be drawn, nothing is."""
        ...

    def close(self, *, interrupted: bool = False) -> None:
        """The fit is over, or was cut off by an error or an interrupt."""
        ...


def open_display(*, bars: bool = True) -> Display:
    """The display for where `sys.stdout` goes now; without `bars` the plain one."""
    if not bars:
        return Lines()
    if _in_notebook():
        return Notebook()
    return Terminal() if sys.stdout is not None and sys.stdout.isatty() else Lines()


def formatted(value: Any) -> str:
    """A value as a cell of the table.

    >>> formatted(3), formatted(0.25), formatted("00:07")
    ('3', '0.250000', '00:07')
    """
    return f"{value:.6f}" if isinstance(value, float) else str(value)


def clock(seconds: float) -> str:
    """A time as `mm:ss`, or `h:mm:ss`.

    >>> clock(75), clock(3675)
    ('01:15', '1:01:15')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


class Timer:
    """How long a bar has run, and how long it will.

    >>> Timer().left(0, 10)
    '?'
    """

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._of = ("", -1)

    def of(self, part: str, epoch: int) -> "Timer":
        """Begin anew when another pass begins."""
        if (part, epoch) != self._of:
            self._of, self._start = (part, epoch), time.perf_counter()
        return self

    def elapsed(self) -> float:
        return time.perf_counter() - self._start

    def left(self, done: int, total: int) -> str:
        return clock(self.elapsed() / done * (total - done)) if done else "?"


class Lines:
    """The table as plain lines: for logs, pipes, and `no_bar`."""

    def start(self, names: Sequence[str], n_epoch: int) -> None:
        self._widths = [max(len(name), _WIDTH) for name in names]
        if names:
            self._print(names)

    def step(self, epoch: int, part: str, done: int, total: int, comment: str = "") -> None:
        pass

    def row(self, values: Sequence[Any]) -> None:
        self._print(values)

    def graph(self, lines: dict[str, Sequence[tuple[float, float]]]) -> None:
        pass

    def close(self, *, interrupted: bool = False) -> None:
        pass

    def _print(self, values: Sequence[Any]) -> None:
        print(_line(values, self._widths), flush=True)


class Terminal(Lines):
    """The table as lines, and below it fastprogress's bar, gone when the fit is over."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._timer = Timer()
        self._shown = False

    def start(self, names: Sequence[str], n_epoch: int) -> None:
        self._n_epoch = n_epoch
        super().start(names, n_epoch)

    def step(self, epoch: int, part: str, done: int, total: int, comment: str = "") -> None:
        bar = self._bar = self._bar or _console_bar()
        if bar is None or not total:
            return
        timer = self._timer.of(part, epoch)
        now = time.time()
        bar.total, bar.prefix = total, f"epoch {epoch + 1}/{self._n_epoch} {part}"
        bar.comment = comment
        bar.start_t, bar.last_t = now - timer.elapsed(), now
        bar.pred_t = timer.elapsed() / done * total if done else None
        bar.length = max(bar.cols - 60, 10)
        self._clear()
        bar.update_bar(done)
        sys.stdout.flush()
        self._shown = True

    def row(self, values: Sequence[Any]) -> None:
        self._clear()
        super().row(values)

    def close(self, *, interrupted: bool = False) -> None:
        if interrupted and self._shown:
            print(" interrupted", flush=True)
            self._shown = False
        self._clear()

    def _clear(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", flush=True)  # also what another display has drawn there
        self._shown = False


class Notebook:
    """A table and two bars in HTML, replaced in place; the text of the table beside it."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._rows: list[list[str]] = []
        self._bars: list[str] = []
        self._graph = ""
        self._timer, self._whole = Timer(), Timer()
        self._handle: Any = None
        self._last: tuple[int, str, int, int, str] | None = None

    def start(self, names: Sequence[str], n_epoch: int) -> None:
        self._names, self._n_epoch = list(names), n_epoch
        self._show()

    def step(self, epoch: int, part: str, done: int, total: int, comment: str = "") -> None:
        self._last = epoch, part, done, total, comment
        self._bars = self._drawn(*self._last, _BLUE)
        self._show()

    def row(self, values: Sequence[Any]) -> None:
        self._rows.append([formatted(value) for value in values])
        self._show()

    def graph(self, lines: dict[str, Sequence[tuple[float, float]]]) -> None:
        self._graph = _svg(lines)
        self._show()

    def close(self, *, interrupted: bool = False) -> None:
        self._bars = self._drawn(*self._last, _RED) if interrupted and self._last else []
        self._show()

    def _drawn(
        self, epoch: int, part: str, done: int, total: int, comment: str, color: str
    ) -> list[str]:
        timer = self._timer.of(part, epoch)
        share = done / total if total and part == "train" else 1.0 if part == "valid" else 0.0
        whole = self._whole
        left = whole.left(1, 1) if epoch + share >= self._n_epoch else "?"
        if epoch + share > 0:
            left = clock(whole.elapsed() / (epoch + share) * (self._n_epoch - epoch - share))
        stopped = "" if color == _BLUE else "interrupted"
        return [
            _html_bar(epoch, self._n_epoch, f"{clock(whole.elapsed())}<{left}", stopped, color),
            _html_bar(
                done,
                total,
                f"{clock(timer.elapsed())}<{timer.left(done, total)}",
                " ".join(filter(None, (part, comment))),
                color,
            ),
        ]

    def _show(self) -> None:
        from IPython.display import display

        data = {
            "text/html": f"<div>{''.join((self._table(), *self._bars, self._graph))}</div>",
            "text/plain": self._text(),
        }
        if self._handle is None:
            self._handle = display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)

    def _table(self) -> str:
        if not self._names:
            return ""
        cell = f"padding:2px 12px 2px 0;border:0;border-bottom:1px solid {_GREY};text-align:left;"
        plain = "background:transparent;color:inherit;"
        head = "".join(
            f'<th style="{cell}font-weight:600">{escape(name)}</th>' for name in self._names
        )
        rows = "".join(
            f'<tr style="{plain}">'
            + "".join(f'<td style="{cell}">{escape(value)}</td>' for value in row)
            + "</tr>"
            for row in self._rows
        )
        return (
            f'<table style="border-collapse:collapse;border:0;margin:4px 0;{plain}">'
            f'<thead><tr style="{plain}">{head}</tr></thead><tbody>{rows}</tbody></table>'
        )

    def _text(self) -> str:
        widths = [max(len(name), _WIDTH) for name in self._names]
        return "\n".join(
            _line(row, widths) for row in ([self._names] if widths else []) + self._rows
        )


def _line(values: Sequence[Any], widths: Sequence[int]) -> str:
    cells = (formatted(v).ljust(w) for v, w in zip(values, widths, strict=True))
    return "  ".join(cells).rstrip()


def _html_bar(done: int, total: int, times: str, comment: str, color: str) -> str:
    style = f"width:300px;height:14px;vertical-align:middle;accent-color:{color}"
    percent = f"{100 * done / total:.0f}% " if total else ""
    return (
        f'<div style="margin:2px 0"><progress value="{done}" max="{total or 1}" style="{style}">'
        f"</progress> {percent}[{done}/{total} {escape(times)}] {escape(comment)}</div>"
    )


def _svg(
    lines: dict[str, Sequence[tuple[float, float]]], width: int = 420, height: int = 240
) -> str:
    """Lines of points as a picture in the colours of the page."""
    points = [point for line in lines.values() for point in line]
    if len(points) < 2:
        return ""
    xs, ys = zip(*points, strict=True)
    (left, right), (low, high) = (min(xs), max(xs)), (min(ys), max(ys))
    scale_x, scale_y = (width - 60) / ((right - left) or 1), (height - 40) / ((high - low) or 1)

    def place(x: float, y: float) -> str:
        return f"{50 + (x - left) * scale_x:.1f},{height - 25 - (y - low) * scale_y:.1f}"

    colors = (_BLUE, "#FF9800", "#4CAF50", _RED)
    drawn: list[str] = []
    for i, (name, line) in enumerate(lines.items()):
        color = colors[i % len(colors)]
        path = " ".join(place(x, y) for x, y in line)
        drawn.append(f'<polyline fill="none" stroke="{color}" stroke-width="1.5" points="{path}"/>')
        drawn.append(f'<text x="{60 + 70 * i}" y="12" fill="{color}">{escape(name)}</text>')
    frame = f'<path fill="none" stroke="currentColor" d="M50,15 V{height - 25} H{width - 10}"/>'
    ticks = (
        f'<text x="2" y="22">{high:.3g}</text><text x="2" y="{height - 25}">{low:.3g}</text>'
        f'<text x="50" y="{height - 8}">{left:g}</text>'
        f'<text x="{width - 50}" y="{height - 8}">{right:g}</text>'
    )
    return (
        f'<svg width="{width}" height="{height}" font-size="11" fill="currentColor" '
        f'style="display:block">{frame}{ticks}{"".join(drawn)}</svg>'
    )


def _in_notebook() -> bool:
    """Whether output goes to a kernel's front end: not if it was redirected, nor in `ipython`."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return hasattr(shell, "kernel") and type(sys.stdout).__module__.startswith("ipykernel")


def _console_bar() -> Any:
    """The bar of fastprogress, drawn when we want it; None if it cannot be had."""
    try:
        from fastprogress.fastprogress import ConsoleProgressBar

        return ConsoleProgressBar(None, total=1, leave=False)
    except Exception:  # whatever is wrong with a bar, training goes on without it
        return None
