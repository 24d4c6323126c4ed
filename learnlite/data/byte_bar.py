"""A bar for bytes that come in: of a download, of an archive."""

import time

from learnlite.bars import Display, Unfailing, open_display

_INTERVAL = 0.2  # seconds between two drawings


class ByteBar:
    """Shows how many of so many bytes are done; where no bar can be drawn, it says so in a line.

    >>> with ByteBar("photos.tgz", 3_000_000, "downloading photos.tgz") as bar:
    ...     bar.show(1_000_000)
    downloading photos.tgz (3.0 MB)
    """

    def __init__(
        self, name: str, total: int | None = None, words: str = "", *, bar: bool = True
    ) -> None:
        self.total = total
        self._name = name
        self._words = words
        self._bar = bar
        self._display: Display | None = None
        self._next = 0.0
        self._last: tuple[float, int] | None = None

    def __enter__(self) -> "ByteBar":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._display is not None:
            self._display.close(interrupted=kind is not None)

    def show(self, done: int) -> None:
        """So many bytes are done; drawn five times a second at most."""
        if not self._bar:
            return
        now = time.perf_counter()
        if now < self._next:
            return
        display = self._display or self._open()
        self._next = now + _INTERVAL if display.live else float("inf")
        if not display.live:
            return
        if self._last is None:
            self._last = now, done
        began, start = self._last
        rate = (done - start) / max(now - began, 1e-3)
        speed = f"{size_text(rate)}/s" if rate else ""
        if self.total is None:
            display.step(0, self._name, 0, 1, f"{size_text(done)} {speed}".rstrip())
        else:
            unit, word = (1e6, "MB") if self.total >= 1e7 else (1e3, "kB")
            whole = max(round(self.total / unit), 1)
            shown = min(int(done / unit), whole)
            display.step(0, f"{self._name} ({word})", shown, whole, speed)

    def _open(self) -> Display:
        display = self._display = Unfailing(open_display())
        display.start((), 0)
        if self._words and not display.live:
            size = "" if self.total is None else f" ({size_text(self.total)})"
            display.write(f"{self._words}{size}")
        return display


def size_text(n_bytes: float) -> str:
    """A number of bytes as people say it.

    >>> size_text(99_003_388), size_text(1200), size_text(3_245_877_008)
    ('99.0 MB', '1.2 kB', '3.2 GB')
    """
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if n_bytes >= factor:
            return f"{n_bytes / factor:,.1f} {unit}"
    return f"{int(n_bytes)} bytes"
