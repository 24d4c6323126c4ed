"""A few lines of points as a small picture, without a plotting library."""

from collections.abc import Mapping
from html import escape
from math import isfinite

from learnlite.bars.protocol import Points

_COLORS = ("#2196F3", "#FF9800", "#4CAF50", "#9C27B0")
_WIDTH, _HEIGHT = 420, 240
_LEFT, _TOP, _RIGHT, _BOTTOM = 52, 22, 12, 24  # margins, for numbers and names


def svg(lines: Mapping[str, Points]) -> str:
    """Lines of points in the colours of the page; nothing, as long as no two points are finite.

    >>> svg({"train": [(0, 1.0)]})
    ''
    >>> svg({"train": [(0, 1.0), (1, 0.5)]}).count("<polyline")
    1
    """
    finite = {
        name: [(x, y) for x, y in line if isfinite(x) and isfinite(y)]
        for name, line in lines.items()
    }
    points = [point for line in finite.values() for point in line]
    if len(points) < 2:
        return ""
    xs, ys = zip(*points, strict=True)
    (first, last), (low, high) = (min(xs), max(xs)), (min(ys), max(ys))
    across, up = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    floor, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT

    def place(x: float, y: float) -> str:
        left = _LEFT + (x - first) / ((last - first) or 1) * across
        return f"{left:.1f},{floor - (y - low) / ((high - low) or 1) * up:.1f}"

    drawn = [f'<path fill="none" stroke="currentColor" d="M{_LEFT},{_TOP} V{floor} H{right}"/>']
    for x, y, anchor, value in (
        (_LEFT - 4, _TOP + 8, "end", high),
        (_LEFT - 4, floor, "end", low),
        (_LEFT, _HEIGHT - 8, "start", first),
        (right, _HEIGHT - 8, "end", last),
    ):
        drawn.append(f'<text x="{x}" y="{y}" text-anchor="{anchor}">{value:.4g}</text>')
    for i, (name, line) in enumerate(finite.items()):
        color = _COLORS[i % len(_COLORS)]
        path = " ".join(place(x, y) for x, y in line)
        drawn.append(f'<polyline fill="none" stroke="{color}" stroke-width="1.5" points="{path}"/>')
        if len(line) == 1:  # a line of one point cannot be seen
            x, y = place(*line[0]).split(",")
            drawn.append(f'<circle fill="{color}" r="3" cx="{x}" cy="{y}"/>')
        drawn.append(f'<text x="{_LEFT + 8 + 80 * i}" y="14" fill="{color}">{escape(name)}</text>')
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" font-size="11" fill="currentColor" '
        f'style="display:block">{"".join(drawn)}</svg>'
    )
