"""The display in a notebook: HTML that is replaced in place, and the same as text beside it.

Styles are inline, and colours the page's own or transparent: nothing depends on a style sheet
in another cell, on scripts, or on the theme. Every text is escaped.
"""

import time
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from learnlite.bars import text
from learnlite.bars.graph import svg
from learnlite.bars.lines import say
from learnlite.bars.protocol import Points
from learnlite.bars.text import Pace

# Dark enough that browsers draw the rest of the bar light on a light page.
BLUE, RED = "#1E88E5", "#F44336"
_LINE = "rgba(128,128,128,.4)"  # grey enough on white and on black
_CELL = 'style="border:0;padding:3px 16px 3px 0;text-align:left"'
_ROW = f'style="border:0;border-bottom:1px solid {_LINE};background:transparent;color:inherit"'
_TABLE = 'style="border:0;border-collapse:collapse;margin:4px 0;background:transparent"'
_BAR = "width:300px;height:14px;vertical-align:middle"

_INTERVAL = 0.2  # seconds between two drawings of the table
_BYTES = 200_000  # of table a second: a notebook server drops output beyond a few times that


class Notebook:
    """A table with a row an epoch, and below it the bars; they are gone when the fit is over."""

    live = True

    def __init__(self) -> None:
        self._names: list[str] = []
        self._rows: list[list[str]] = []
        self._html_rows: list[str] = []
        self._unseen = False
        self._next_table = 0.0
        self._graph = ""
        self._table, self._bars = _Area(), _Area()
        self._pass: tuple[int, str] | None = None
        self._last: tuple[int, int, str] | None = None

    def start(self, names: Sequence[str], n_epoch: int) -> None:
        self._names, self._n_epoch = [text.cell(name) for name in names], n_epoch
        if names:
            self._show_table()
        self._show_bars()  # empty, but in its place: right below the table

    def step(self, epoch: int, part: str, done: int, total: int, comment: str = "") -> None:
        if self._pass is None:
            self._whole = Pace(epoch + self._share(part, done, total))
        if self._pass != (epoch, part):
            self._pass, self._pace = (epoch, part), Pace(done)
        self._last = done, total, comment
        self._show_bars()
        self._show_rows()

    def row(self, values: Sequence[Any]) -> None:
        cells = [text.cell(value) for value in values]
        self._rows.append(cells)
        self._html_rows.append(_html_row("td", cells))
        self._unseen = True
        self._show_rows()

    def write(self, words: str) -> None:
        say(words)

    def graph(self, lines: Mapping[str, Points]) -> None:
        self._graph = svg(lines)
        self._show_bars()

    def close(self, *, interrupted: bool = False) -> None:
        if self._unseen:
            self._show_table()
        if not interrupted:
            self._last = None
        if self._bars.shown:
            self._show_bars(RED, "interrupted")

    @staticmethod
    def _share(part: str, done: int, total: int) -> float:
        """The part of an epoch that is done: its training batches."""
        return 1.0 if part == "valid" or not total else done / total

    def _show_rows(self) -> None:
        if self._unseen and time.perf_counter() >= self._next_table:
            self._show_table()

    def _show_table(self) -> None:
        head = _html_row("th", self._names)
        body = "".join(self._html_rows)
        html = f"<table {_TABLE}><thead>{head}</thead><tbody>{body}</tbody></table>"
        columns = text.widths(self._names)
        self._table.show(
            html, "\n".join(text.line(cells, columns) for cells in (self._names, *self._rows))
        )
        self._unseen = False
        self._next_table = time.perf_counter() + max(_INTERVAL, len(html) / _BYTES)

    def _show_bars(self, color: str = BLUE, word: str = "") -> None:
        bars: list[str] = []
        words: list[str] = []
        if self._pass is not None and self._last is not None:
            (epoch, part), (done, total, comment) = self._pass, self._last
            position = epoch + self._share(part, done, total)
            if self._n_epoch:
                times = self._whole.times(position, self._n_epoch)
                words.append(f"[{epoch}/{self._n_epoch} {times}] {word or 'epochs'}")
                bars.append(_html_bar(epoch, self._n_epoch, words[-1], color))
            words.append(
                f"[{done}/{total} {self._pace.times(done, total)}] {part} {word or comment}"
            )
            bars.append(_html_bar(done, total, words[-1], color))
        self._bars.show("".join((*bars, self._graph)), "\n".join(words))


class _Area:
    """A piece of a cell's output, put there at its first content and then replaced."""

    def __init__(self) -> None:
        self._handle: Any = None

    @property
    def shown(self) -> bool:
        return self._handle is not None

    def show(self, html: str, plain: str) -> None:
        from IPython.display import display

        data = {"text/html": f"<div>{html}</div>", "text/plain": plain}
        if self._handle is None:
            self._handle = display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)


def _html_row(tag: str, cells: Sequence[str]) -> str:
    return f"<tr {_ROW}>{''.join(f'<{tag} {_CELL}>{escape(c)}</{tag}>' for c in cells)}</tr>"


def _html_bar(done: int, total: int, words: str, color: str) -> str:
    style = f"{_BAR};accent-color:{color}"
    bar = f'<progress value="{done}" max="{total or 1}" style="{style}"></progress>'
    percent = f"{100 * done // total}% " if total else ""
    return f'<div style="margin:2px 0">{bar} {percent}{escape(words)}</div>'
