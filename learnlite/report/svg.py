"""Small charts as SVG, in the colours of the page that they stand in."""

import math
from collections.abc import Mapping, Sequence

from learnlite.report.text import escaped

Line = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 460, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 12, 14, 44  # of the frame, for the numbers beside it
_MOST_POINTS = 400  # a line is drawn through no more: the file stays small


def line_chart(lines: Mapping[str, Line], *, x: str, y: str, dots: bool = False) -> str:
    """A chart of named lines over an axis `x`; points that are not finite are left out.

    >>> "<polyline" in line_chart({"train": [(0, 1.0), (1, 0.5)]}, x="epoch", y="loss")
    True
    """
    kept = {name: _thinned([p for p in line if _finite(p)]) for name, line in lines.items()}
    points = [point for line in kept.values() for point in line]
    if not points:
        return ""
    frame = _Frame([p[0] for p in points], [p[1] for p in points])
    parts = [frame.drawn(x, y)]
    for i, (name, line) in enumerate(kept.items()):
        places = [frame.place(*point) for point in line]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in places)
        parts.append(f'<polyline class="line c{i % 6}" points="{path}"/>')
        if dots or len(places) == 1:
            parts += [
                f'<circle class="dot c{i % 6}" cx="{px:.1f}" cy="{py:.1f}" r="2.5"/>'
                for px, py in places
            ]
        parts.append(_named(i, name))
    return _svg(parts, f"{y} over {x}")


def bar_chart(
    bars: Sequence[tuple[float, float]], width: float, *, x: str, y: str, diagonal: bool
) -> str:
    """Bars from 0 to 1 over an axis from 0 to 1, with the diagonal where both agree."""
    frame = _Frame([0, 1], [0, 1])
    parts = [frame.drawn(x, y)]
    for centre, height in bars:
        left, top = frame.place(centre - 0.45 * width, height)
        right, bottom = frame.place(centre + 0.45 * width, 0)
        parts.append(
            f'<rect class="bar" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
            f'height="{bottom - top:.1f}"/>'
        )
    if diagonal:
        (x0, y0), (x1, y1) = frame.place(0, 0), frame.place(1, 1)
        parts.append(f'<line class="diagonal" x1="{x0}" y1="{y0}" x2="{x1}" y2="{y1}"/>')
    return _svg(parts, f"{y} over {x}")


class _Frame:
    """Where numbers lie on the page."""

    def __init__(self, xs: Sequence[float], ys: Sequence[float]) -> None:
        self.xs = _ticks(min(xs), max(xs))
        self.ys = _ticks(min(ys), max(ys))
        self.x0, self.x1 = min(xs), max(xs)
        self.y0, self.y1 = min(self.ys[0], min(ys)), max(self.ys[-1], max(ys))

    def place(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x0) / ((self.x1 - self.x0) or 1)
        up = (y - self.y0) / ((self.y1 - self.y0) or 1)
        return (
            _LEFT + across * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM),
        )

    def drawn(self, x: str, y: str) -> str:
        parts: list[str] = []
        for tick in self.ys:
            _, py = self.place(self.x0, tick)
            parts.append(
                f'<line class="grid" x1="{_LEFT}" y1="{py:.1f}" x2="{_WIDTH - _RIGHT}" '
                f'y2="{py:.1f}"/><text x="{_LEFT - 6}" y="{py + 4:.1f}" '
                f'text-anchor="end">{_number(tick)}</text>'
            )
        counted = all(float(value).is_integer() for value in (self.x0, self.x1))
        inside = [tick for tick in self.xs if self.x0 <= tick <= self.x1]
        for tick in inside:
            if counted and self.x1 > 1 and not float(tick).is_integer():
                continue  # there is no half of an epoch
            px, py = self.place(tick, self.y0)
            parts.append(
                f'<text x="{px:.1f}" y="{py + 16:.1f}" text-anchor="middle">{_number(tick)}</text>'
            )
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        parts.append(
            f'<text x="{middle:.0f}" y="{_HEIGHT - 8}" text-anchor="middle">{escaped(x)}</text>'
            f'<text transform="translate(13 {(_HEIGHT - _BOTTOM + _TOP) / 2:.0f}) rotate(-90)" '
            f'text-anchor="middle">{escaped(y)}</text>'
        )
        return "".join(parts)


def _ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers from below `low` to above `high`."""
    if low == high:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    rough = (high - low) / 5
    unit = 10 ** math.floor(math.log10(rough))
    step = next(unit * times for times in (1, 2, 5, 10) if unit * times >= rough)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def _number(value: float) -> str:
    return f"{value:.6g}" if value == 0 or 1e-3 <= abs(value) < 1e6 else f"{value:.0e}"


def _thinned(line: Line) -> Line:
    """Every n-th point of a long line, and the last."""
    stride = -(-len(line) // _MOST_POINTS)
    return line if stride <= 1 else [*line[:-1:stride], line[-1]]


def _finite(point: tuple[float, float]) -> bool:
    return math.isfinite(point[0]) and math.isfinite(point[1])


def _named(i: int, name: str) -> str:
    y = _TOP + 14 + 15 * i
    x = _WIDTH - _RIGHT - 8
    return f'<text class="name c{i % 6}" x="{x}" y="{y}" text-anchor="end">{escaped(name)}</text>'


def _svg(parts: Sequence[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"><title>{escaped(title)}</title>'
        + "".join(parts)
        + "</svg>"
    )
