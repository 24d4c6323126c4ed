"""One picture of the *shapes* set: a pure function of (seed, split, class, number).

A picture is built as a photo is seen, from the back to the front: a background with a texture,
clutter, the shadow of the shape, the shape, what hides a part of it, the light, the camera.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from learnlite.seeds import mix

if TYPE_CHECKING:
    from PIL import Image

Points: TypeAlias = NDArray[np.floating[Any]]
"""A closed line, (corners, 2), about as large as the unit circle."""

Pixels: TypeAlias = NDArray[np.floating[Any]]
"""(3, height, width) colours or (height, width) coverage, from 0 to 1."""

_FINE = 3  # outlines are drawn this many times larger, then averaged down: smooth edges


def draw_shape(seed: int, split: str, label: str, i: int, *, size: int = 64) -> Image.Image:
    """Picture number `i` of the class `label` in `split`, `size` pixels wide and high.

    >>> picture = draw_shape(0, "train", "star", 7, size=48)
    >>> picture.size, picture.tobytes() == draw_shape(0, "train", "star", 7, size=48).tobytes()
    ((48, 48), True)
    """
    from PIL import Image

    # The name of the class and not its place in a list: a new class leaves the others as they are.
    rng = np.random.default_rng(mix(seed, *f"{split}/{label}".encode(), i))
    canvas = _background(rng, size)
    ground = canvas.mean((1, 2))
    for _ in range(rng.integers(1, 5)):
        cover = _coverage(_clutter(rng, size), size)
        canvas = _paint(canvas, cover, _muted(rng)[:, None, None], rng.uniform(0.4, 1.0))

    radius = size * rng.uniform(0.28, 0.42)
    centre = size / 2 + (size / 2 - 0.95 * radius) * rng.uniform(-1.0, 1.0, 2)
    place = radius * _turn_and_lean(rng)
    lines = [line @ place + centre for line in OUTLINES[label](rng)]
    shape = _coverage(lines, size)

    canvas = _paint(canvas, _shadow(rng, shape), np.zeros((3, 1, 1)), rng.uniform(0.0, 0.5))
    colour = _colour_that_differs(rng, ground)
    shades = (_ramp(rng, size), *(_cloud(rng, size, int(rng.integers(2, 9))) for _ in range(2)))
    texture = sum(rng.uniform(0.0, 0.22) * (shade - 0.5) for shade in shades)
    canvas = _paint(canvas, shape, colour[:, None, None] + texture, rng.uniform(0.9, 1.0))

    for _ in range(rng.integers(0, 2)):
        cover = _coverage(_hiding_part_of(rng, centre, radius, size), size)
        canvas = _paint(canvas, cover, _muted(rng)[:, None, None], rng.uniform(0.8, 1.0))
    return Image.fromarray(_photograph(rng, canvas))


# ── the classes: outlines; the first is filled, the others are holes in it ──


def _circle(rng: np.random.Generator) -> list[Points]:
    return [_round()]


def _ring(rng: np.random.Generator) -> list[Points]:
    return [_round(), _round() * rng.uniform(0.45, 0.7)]


def _triangle(rng: np.random.Generator) -> list[Points]:
    return [_corners(3)]


def _square(rng: np.random.Generator) -> list[Points]:
    return [_corners(4)]


def _star(rng: np.random.Generator) -> list[Points]:
    star = _corners(10)
    star[1::2] *= rng.uniform(0.38, 0.5)
    return [star]


def _cross(rng: np.random.Generator) -> list[Points]:
    arm = rng.uniform(0.24, 0.36)
    quarter = np.array([(1.0, -arm), (1.0, arm), (arm, arm)])
    return [np.concatenate([quarter @ _rotation(k * np.pi / 2) for k in range(4)])]


def _heart(rng: np.random.Generator) -> list[Points]:
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    lobes = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return [np.stack([16 * np.sin(t) ** 3, -lobes - 2], 1) / 16]


def _drop(rng: np.random.Generator) -> list[Points]:
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    return [np.stack([np.sin(t) * np.sin(t / 2) ** rng.uniform(1.0, 2.0), -np.cos(t)], 1)]


def _crescent(rng: np.random.Generator) -> list[Points]:
    tip = rng.uniform(0.9, 1.2)  # the angle at which the inner arc meets the outer one
    depth = rng.uniform(-0.15, 0.25)  # how far to the tips' side the inner arc reaches
    outer = np.linspace(tip, 2 * np.pi - tip, 40)
    inner = np.linspace(-1, 1, 24)
    bay = np.stack([np.cos(tip) - (np.cos(tip) + depth) * (1 - inner**2), inner * np.sin(tip)], 1)
    return [np.concatenate([np.stack([np.cos(outer), np.sin(outer)], 1), bay])]


def _arrow(rng: np.random.Generator) -> list[Points]:
    neck, shaft = rng.uniform(-0.1, 0.25), rng.uniform(0.16, 0.28)
    half = np.array([(1.0, 0.0), (neck, 0.75), (neck, shaft), (-1.0, shaft)])
    return [np.concatenate([half, half[:0:-1] * (1, -1)])]


OUTLINES: dict[str, Callable[[np.random.Generator], list[Points]]] = {
    "arrow": _arrow,
    "circle": _circle,
    "crescent": _crescent,
    "cross": _cross,
    "drop": _drop,
    "heart": _heart,
    "ring": _ring,
    "square": _square,
    "star": _star,
    "triangle": _triangle,
}


# ── geometry ──


def _corners(n: int) -> Points:
    angle = np.arange(n) * (2 * np.pi / n)
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def _round() -> Points:
    return _corners(48)


def _rotation(angle: float) -> Points:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([(cos, sin), (-sin, cos)])


def _turn_and_lean(rng: np.random.Generator) -> Points:
    """As an object is seen that lies turned and is looked at a little from the side."""
    flat = np.diag([rng.uniform(0.9, 1.0), 1.0])
    lean = rng.uniform(0, np.pi)
    return _rotation(lean) @ flat @ _rotation(rng.uniform(-0.5, 0.5) - lean)


def _blob(rng: np.random.Generator) -> Points:
    """A smooth lump that is none of the classes: a circle with random waves in its radius."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    k = np.array([1, 2, 3, 4])
    waves = rng.normal(0, 0.3 / k) @ np.cos(np.outer(k, angle) + rng.uniform(0, 2 * np.pi, (4, 1)))
    return np.maximum(1 + waves, 0.2)[:, None] * _corners(40)


def _stick(start: Points, end: Points, width: float) -> Points:
    along = end - start
    across = along[::-1] * (-0.5, 0.5) * (width / max(float(np.hypot(*along)), 1e-6))
    return np.stack([start + across, end + across, end - across, start - across])


def _clutter(rng: np.random.Generator, size: int) -> list[Points]:
    if rng.random() < 0.5:
        start, end = rng.uniform(-0.1 * size, 1.1 * size, (2, 2))
        return [_stick(start, end, size * rng.uniform(0.01, 0.04))]
    radius = size * rng.uniform(0.03, 0.11)
    return [_blob(rng) * radius + rng.uniform(0, size, 2)]


def _hiding_part_of(
    rng: np.random.Generator, centre: Points, radius: float, size: int
) -> list[Points]:
    """A stick across the shape or a lump at its rim: a tenth of it or so is hidden."""
    angle = rng.uniform(0, 2 * np.pi)
    direction = np.array([np.cos(angle), np.sin(angle)])
    if rng.random() < 0.5:
        across = direction[::-1] * (-1, 1)
        middle = centre + direction * radius * rng.uniform(-0.7, 0.7)
        ends = middle + np.outer((-1, 1), across) * size * rng.uniform(0.3, 1.0)
        return [_stick(ends[0], ends[1], radius * rng.uniform(0.06, 0.16))]
    lump = _blob(rng) * radius * rng.uniform(0.15, 0.28)
    return [lump + centre + direction * radius * rng.uniform(0.7, 1.1)]


# ── colour and light ──


def _coverage(lines: Sequence[Points], size: int) -> Pixels:
    """How much of each pixel lies inside the first line and outside the others."""
    from PIL import Image, ImageDraw

    fine = Image.new("L", (size * _FINE, size * _FINE))
    pen = ImageDraw.Draw(fine)
    for line, fill in zip(lines, (255, 0), strict=False):
        pen.polygon((line * _FINE).ravel().tolist(), fill=fill)
    return np.asarray(fine.reduce(_FINE), np.float32) / 255


def _paint(canvas: Pixels, cover: Pixels, colour: Points | Pixels, opacity: float) -> Pixels:
    return canvas + cover * np.float32(opacity) * (colour.astype(np.float32) - canvas)


def _ramp(rng: np.random.Generator, size: int) -> Pixels:
    """From 0 on one side to 1 on the other, in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    down, right = math.cos(angle), math.sin(angle)
    steps = _steps(size) / (2 * (abs(down) + abs(right)))
    return (down * steps + 0.5)[:, None] + right * steps


def _cloud(rng: np.random.Generator, size: int, n: int) -> Pixels:
    """Smooth noise from 0 to 1: `n` by `n` random values, interpolated."""
    between = _interpolation(size, n)
    return between @ rng.random((n, n), np.float32) @ between.T


@lru_cache
def _steps(size: int) -> Pixels:
    return np.linspace(-1, 1, size, dtype=np.float32)


@lru_cache
def _interpolation(size: int, n: int) -> Pixels:
    """The matrix (size, n) that puts `size` values between `n`, along straight lines."""
    distance = np.abs(np.linspace(0, n - 1, size)[:, None] - np.arange(n))
    return np.maximum(1 - distance, 0).astype(np.float32)


def _soften(pixels: Pixels, radius: float) -> Pixels:
    """Gaussian blur, as a matrix for the rows and the same for the columns."""
    size = pixels.shape[-1]
    place = _steps(size) * (size / 2 / radius)
    weights = np.exp(-0.5 * (place[:, None] - place) ** 2)
    weights /= weights.sum(1, keepdims=True)
    return weights @ pixels @ weights.T


def _background(rng: np.random.Generator, size: int) -> Pixels:
    """Two colours that run into each other, clouded, and striped one time in three."""
    one, other = _muted(rng), _muted(rng)
    other = one + (other - one) * rng.uniform(0.2, 0.7)
    blend = 0.6 * _ramp(rng, size) + 0.4 * _cloud(rng, size, int(rng.integers(3, 7)))
    canvas = one[:, None, None] + blend * (other - one)[:, None, None]
    grain = _cloud(rng, size, int(rng.integers(8, 24))) - 0.5
    if rng.random() < 1 / 3:
        grain = np.sin(_ramp(rng, size) * size * rng.uniform(0.3, 1.2)) * 0.5
    return (canvas + rng.uniform(0.02, 0.2) * grain).astype(np.float32)


def _muted(rng: np.random.Generator) -> Points:
    """A colour such as earth, stone and wood have: a grey with a tint."""
    return rng.uniform(0.15, 0.85) + rng.uniform(-0.15, 0.15, 3)


def _colour_that_differs(rng: np.random.Generator, ground: Pixels) -> Points:
    """A colour well apart from `ground`."""
    while True:
        colour = rng.uniform(0.02, 0.98, 3)
        if np.abs(colour - ground).max() > 0.4:
            return colour


def _shadow(rng: np.random.Generator, shape: Pixels) -> Pixels:
    """What the shape hides from a lamp: itself, aside and softened."""
    reach = max(2, len(shape) // 12)
    aside = np.roll(shape, rng.integers(-reach, reach + 1, 2), (0, 1))
    return _soften(aside, len(shape) / 40)


def _photograph(rng: np.random.Generator, canvas: Pixels) -> NDArray[np.uint8]:
    """Light from one side, a lens that is not quite sharp, a sensor with noise."""
    size = canvas.shape[-1]
    light = 1 + rng.uniform(0, 0.6) * (_ramp(rng, size) - 0.5)
    canvas = canvas * (light * rng.uniform(0.75, 1.15)).astype(np.float32)
    if rng.random() < 0.5:
        canvas = _soften(canvas, size / 64 * rng.uniform(0.3, 0.7))
    noise = rng.standard_normal(canvas.shape, np.float32) * np.float32(rng.uniform(0.01, 0.04))
    return ((canvas + noise).clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0)
