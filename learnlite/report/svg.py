"""Small charts as SVG, in the colours of the page that they stand in."""

import math
from collections.abc import Mapping, Sequence

from learnlite.report.text import escaped

Line = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 460, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 12, 14, 44  # of the frame, for the numbers beside it
_MOST_LABELS = 12
_MOST_POINTS = 400  # a line is drawn through no more: the file stays small


def line_chart(
    lines: Mapping[str, Line],
    *,
    x: str,
    y: str,
    dots: bool = False,
    labels: Sequence[str] = (),
    shaded: float = 0,
) -> str:
    """A chart of named lines over an axis `x`; points that are not finite are left out.

    `labels` stand below 0, 1, …; what lies before `shaded` has another ground.

    >>> "<polyline" in line_chart({"train": [(0, 1.0), (1, 0.5)]}, x="epoch", y="loss")
    True
    """
    kept = {name: _thinned([p for p in line if _finite(p)]) for name, line in lines.items()}
    points = [point for line in kept.values() for point in line]
    if not points:
        return ""
    frame = _Frame([p[0] for p in points], [p[1] for p in points])
    parts = [frame.shade(shaded), frame.drawn(x, y, labels)]
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


def calibration_chart(accuracy: Sequence[float], counts: Sequence[int]) -> str:
    """A bar for each bin that holds something, how much that is above it, and the diagonal.

    >>> chart = calibration_chart([float("nan"), 0.0, 0.9], [0, 1, 9])
    >>> chart.count('class="slot"'), chart.count('class="bar"')
    (2, 2)
    """
    n = len(counts)
    frame = _Frame([0, 1], [0, 1])
    parts = [frame.drawn("how sure the model is", "how often it is right")]
    for i, (height, count) in enumerate(zip(accuracy, counts, strict=True)):
        if not count:
            continue
        left, top = frame.place((i + 0.06) / n, height)
        right, bottom = frame.place((i + 0.94) / n, 0)
        _, ceiling = frame.place(0, 1)
        parts += [
            _rect("slot", left, ceiling, right, bottom),
            _rect("bar", left, min(top, bottom - 2), right, bottom),  # none right is a bar too
            f'<text class="count" x="{(left + right) / 2:.1f}" y="{ceiling - 4:.1f}" '
            f'text-anchor="middle">{count:,}</text>',
        ]
    (x0, y0), (x1, y1) = frame.place(0, 0), frame.place(1, 1)
    parts.append(f'<line class="diagonal" x1="{x0}" y1="{y0}" x2="{x1}" y2="{y1}"/>')
    return _svg(parts, "how often it is right over how sure the model is")


def _rect(kind: str, left: float, top: float, right: float, bottom: float) -> str:
    return (
        f'<rect class="{kind}" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
        f'height="{bottom - top:.1f}"/>'
    )


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

    def shade(self, end: float) -> str:
        """The ground of all that lies before `end`."""
        if end <= self.x0:
            return ""
        left, top = self.place(self.x0, self.y1)
        right, bottom = self.place(min(end, self.x1), self.y0)
        return _rect("shade", left, top, right, bottom)

    def drawn(self, x: str, y: str, labels: Sequence[str] = ()) -> str:
        """Lines and numbers on both sides, or `labels` below."""
        parts: list[str] = []
        for tick in self.ys:
            _, py = self.place(self.x0, tick)
            parts.append(
                f'<line class="grid" x1="{_LEFT}" y1="{py:.1f}" x2="{_WIDTH - _RIGHT}" '
                f'y2="{py:.1f}"/><text x="{_LEFT - 6}" y="{py + 4:.1f}" '
                f'text-anchor="end">{_number(tick)}</text>'
            )
        for tick, label in self._below(labels):
            px, py = self.place(tick, self.y0)
            parts.append(
                f'<text x="{px:.1f}" y="{py + 16:.1f}" text-anchor="middle">{label}</text>'
            )
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        parts.append(
            f'<text x="{middle:.0f}" y="{_HEIGHT - 8}" text-anchor="middle">{escaped(x)}</text>'
            f'<text transform="translate(13 {(_HEIGHT - _BOTTOM + _TOP) / 2:.0f}) rotate(-90)" '
            f'text-anchor="middle">{escaped(y)}</text>'
        )
        return "".join(parts)

    def _below(self, labels: Sequence[str]) -> list[tuple[float, str]]:
        if labels:
            stride = -(-len(labels) // _MOST_LABELS)
            return [(float(i), escaped(labels[i])) for i in range(0, len(labels), stride)]
        counted = all(float(value).is_integer() for value in (self.x0, self.x1))
        return [
            (tick, _number(tick))
            for tick in self.xs
            if self.x0 <= tick <= self.x1
            and not (counted and self.x1 > 1 and not float(tick).is_integer())  # no half of a batch
        ]


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
    return f"{value:.6g}" if value == 0 or 1e-4 <= abs(value) < 1e6 else f"{value:.0e}"


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
