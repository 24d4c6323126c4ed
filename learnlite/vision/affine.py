"""What moves the pixels of a batch: flips, turns, zooms, crops and perspective, each at random."""

import math
from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from learnlite.vision.draws import Draw, check_chance, drawn, given, masked
from learnlite.vision.fuse import SpaceTransform
from learnlite.vision.sampling import Box, Size, matrix_of

_ATTEMPTS = 10  # boxes drawn for each crop, of which the first that fits is taken

# The eight ways to lay down a square: the factors of x and y, and whether they change places.
_X_SIGN = (1, -1, 1, -1, -1, 1, 1, -1)
_Y_SIGN = (1, 1, -1, 1, -1, -1, 1, -1)
_SWAPS = (0, 0, 0, 1, 0, 1, 1, 1)


class ResizeBatch(SpaceTransform):
    """Images in another size, squished if its ratio of sides is another, in validation too.

    >>> images = torch.zeros(2, 3, 64, 48, dtype=torch.uint8)
    >>> ResizeBatch(32)((images,), ("image",), training=False)[0].shape
    torch.Size([2, 3, 32, 32])
    """

    def __init__(
        self, size: int | Size, mode: str = "bilinear", pad_mode: str = "reflection"
    ) -> None:
        super().__init__(size, mode, pad_mode)

    def matrix(self, x: Tensor, canvas: Size) -> Tensor | None:
        return None


class _ByChance(SpaceTransform):
    """The base of what is drawn, and happens to the part `p` of the images."""

    def __init__(
        self, p: float, size: int | Size | None, mode: str, pad_mode: str, batch: bool
    ) -> None:
        super().__init__(size, mode, pad_mode)
        check_chance(p)
        self.p = p
        self.batch = batch

    def matrix(self, x: Tensor, canvas: Size) -> Tensor | None:
        return None if self.p == 0 else self._matrix(x, canvas)

    @abstractmethod
    def _matrix(self, x: Tensor, canvas: Size) -> Tensor: ...

    def _number(self, x: Tensor, draw: Draw | None, low: float, high: float) -> Tensor:
        return drawn(x, draw, low, high, batch=self.batch)

    def _masked(self, x: Tensor, values: Tensor, neutral: float) -> Tensor:
        return masked(x, values, self.p, neutral, batch=self.batch)


class _ByTurns(_ByChance):
    """The base of what lays images down another way."""

    def __init__(
        self,
        p: float = 0.5,
        draw: Draw | None = None,
        size: int | Size | None = None,
        mode: str = "bilinear",
        pad_mode: str = "reflection",
        batch: bool = False,
    ) -> None:
        super().__init__(p, size, mode, pad_mode, batch)
        self.draw = draw


class Flip(_ByTurns):
    """The part `p` of the images mirrored, left to right.

    >>> x = torch.tensor([[[[1.0, 2.0, 3.0]]]])
    >>> Flip(p=1.0)((x,), ("image",), training=True)
    (tensor([[[[3., 2., 1.]]]]),)
    """

    def _matrix(self, x: Tensor, canvas: Size) -> Tensor:
        flips = torch.ones(len(x), device=x.device) if self.draw is None else given(x, self.draw)
        flips = self._masked(x, flips, 0.0)
        return matrix_of([[1 - 2 * flips, 0, 0], [0, 1, 0], [0, 0, 1]])

    def mirrors(self, canvas: Size) -> bool:
        return True


class Dihedral(_ByTurns):
    """The part `p` of the images in one of the eight ways to lay down a square.

    What `draw` gives is their number: 0 as it is, 1 mirrored, 2 upside down, 4 both; and 6, 3, 5, 7
    the same with rows and columns exchanged in the end.

    >>> x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> Dihedral(p=1.0, draw=4)((x,), ("image",), training=True)
    (tensor([[[[4., 3.],
               [2., 1.]]]]),)
    """

    def _matrix(self, x: Tensor, canvas: Size) -> Tensor:
        ways = self._number(x, self.draw, 0, 8).floor().clamp(max=7)
        way = self._masked(x, ways, 0.0)
        x_sign, y_sign, swap = (_chosen(way, table) for table in (_X_SIGN, _Y_SIGN, _SWAPS))
        ratio = canvas[0] / canvas[1]
        return matrix_of(
            [
                [x_sign * (1 - swap), x_sign * swap * ratio, 0],
                [y_sign * swap / ratio, y_sign * (1 - swap), 0],
                [0, 0, 1],
            ]
        )

    def mirrors(self, canvas: Size) -> bool:
        return canvas[0] == canvas[1]


class Rotate(_ByChance):
    """The part `p` of the images turned around the centre by at most `max_deg`, either way.

    What `draw` gives are degrees, clockwise.

    >>> x = torch.rand(1, 1, 8, 8)
    >>> (turned,) = Rotate(draw=90.0, p=1.0)((x,), ("image",), training=True)
    >>> torch.allclose(turned, x.rot90(-1, (2, 3)), atol=1e-5)
    True
    """

    def __init__(
        self,
        max_deg: float = 10.0,
        p: float = 0.5,
        draw: Draw | None = None,
        size: int | Size | None = None,
        mode: str = "bilinear",
        pad_mode: str = "reflection",
        batch: bool = False,
    ) -> None:
        super().__init__(p, size, mode, pad_mode, batch)
        self.max_deg = max_deg
        self.draw = draw

    def _matrix(self, x: Tensor, canvas: Size) -> Tensor:
        degrees = self._number(x, self.draw, -self.max_deg, self.max_deg)
        angle = self._masked(x, degrees, 0.0) * (math.pi / 180)
        cos, sin, ratio = angle.cos(), angle.sin(), canvas[0] / canvas[1]
        return matrix_of([[cos, sin * ratio, 0], [-sin / ratio, cos, 0], [0, 0, 1]])


class Zoom(_ByChance):
    """The part `p` of the images made larger by `min_zoom` to `max_zoom`, around any place.

    What `draw` gives are zooms; `draw_x` and `draw_y` give the place that is kept, from 0 (left,
    top) to 1.

    >>> x = torch.arange(4.0).view(1, 1, 1, 4)
    >>> Zoom(p=1.0, draw=2.0, draw_x=0.0)((x,), ("image",), training=True)
    (tensor([[[[0.0000, 0.2500, 0.7500, 1.2500]]]]),)
    """

    def __init__(
        self,
        min_zoom: float = 1.0,
        max_zoom: float = 1.1,
        p: float = 0.5,
        draw: Draw | None = None,
        draw_x: Draw | None = None,
        draw_y: Draw | None = None,
        size: int | Size | None = None,
        mode: str = "bilinear",
        pad_mode: str = "reflection",
        batch: bool = False,
    ) -> None:
        super().__init__(p, size, mode, pad_mode, batch)
        if not 0 < min_zoom <= max_zoom:
            raise ValueError(
                f"zooms are above 0 and `min_zoom` is at most `max_zoom`, got {min_zoom} and "
                f"{max_zoom}"
            )
        self.min_zoom = min_zoom
        self.max_zoom = max_zoom
        self.draw = draw
        self.draw_x = draw_x
        self.draw_y = draw_y

    def _matrix(self, x: Tensor, canvas: Size) -> Tensor:
        zooms = self._number(x, self.draw, self.min_zoom, self.max_zoom)
        scale = 1 / self._masked(x, zooms, 1.0)
        places = [self._number(x, draw, 0.0, 1.0) for draw in (self.draw_x, self.draw_y)]
        across, down = ((1 - scale) * (2 * place - 1) for place in places)
        return matrix_of([[scale, 0, across], [0, scale, down], [0, 0, 1]])

    def span(self, canvas: Size) -> tuple[float, float]:
        if self.draw is not None:
            return 0.5, 2.0
        return min(1 / self.max_zoom, 1.0), max(1 / self.min_zoom, 1.0)


class Warp(_ByChance):
    """The part `p` of the images seen from the side, and the part `p` from above or below.

    A side of the image gets longer by at most `magnitude` and the opposite one shorter; `draw_x`
    gives how much for the left (less than 0: the right), `draw_y` for the top.

    >>> corners = torch.tensor([[[0.0, 0.0], [0.0, 10.0], [10.0, 0.0], [10.0, 10.0]]])
    >>> batch = torch.rand(1, 3, 10, 10), corners
    >>> x, moved = Warp(p=1.0, draw_x=0.2, draw_y=0.0)(batch, ("image", "points"), training=True)
    >>> moved.round(decimals=4)
    tensor([[[ 0., -1.],
             [ 0., 11.],
             [10.,  1.],
             [10.,  9.]]])
    """

    projective: ClassVar[bool] = True

    def __init__(
        self,
        magnitude: float = 0.2,
        p: float = 0.5,
        draw_x: Draw | None = None,
        draw_y: Draw | None = None,
        size: int | Size | None = None,
        mode: str = "bilinear",
        pad_mode: str = "reflection",
        batch: bool = False,
    ) -> None:
        super().__init__(p, size, mode, pad_mode, batch)
        if not 0 <= magnitude < 0.5:
            raise ValueError(
                "`magnitude` must be at least 0 and below 0.5, where the horizon comes into the "
                f"image; got {magnitude}"
            )
        self.magnitude = magnitude
        self.draw_x = draw_x
        self.draw_y = draw_y

    def _matrix(self, x: Tensor, canvas: Size) -> Tensor:
        """The inverse of [[1-v², -uv, u], [-uv, 1-u², v], [u, v, 1]], which moves the corners."""
        u, v = (
            self._masked(x, self._number(x, draw, -self.magnitude, self.magnitude), 0.0)
            for draw in (self.draw_x, self.draw_y)
        )
        uu, vv = u * u, v * v
        rest, cross = 1 - uu - vv, 2 * u * v
        across, down = -u * (1 - uu + vv), -v * (1 - vv + uu)
        return matrix_of([[rest, cross, across], [cross, rest, down], [across, down, rest]])


class RandomResizedCropGPU(SpaceTransform):
    """A box of each image in the size `size`: `min_scale` to `max_scale` of its area.

    `ratio` bounds the box's width over its height. Validation sees the largest box of such a ratio
    in the centre, or the part `valid_scale` of its sides.

    >>> images = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    >>> RandomResizedCropGPU(32, min_scale=0.5)((images,), ("image",), training=True)[0].shape
    torch.Size([2, 3, 32, 32])
    """

    def __init__(
        self,
        size: int | Size,
        min_scale: float = 0.08,
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        mode: str = "bilinear",
        valid_scale: float = 1.0,
        max_scale: float = 1.0,
        pad_mode: str = "reflection",
        batch: bool = False,
    ) -> None:
        super().__init__(size, mode, pad_mode)
        if not 0 < min_scale <= max_scale <= 1:
            raise ValueError(
                "`min_scale` and `max_scale` are parts of the image's area: 0 < min_scale <= "
                f"max_scale <= 1; got {min_scale} and {max_scale}"
            )
        if not 0 < ratio[0] <= ratio[1]:
            raise ValueError(f"`ratio` is the least and the largest width over height, got {ratio}")
        if not 0 < valid_scale <= 1:
            raise ValueError(
                f"`valid_scale` is a part of the sides, above 0 and at most 1; got {valid_scale}"
            )
        self.min_scale = min_scale
        self.ratio = ratio
        self.valid_scale = valid_scale
        self.max_scale = max_scale
        self.batch = batch

    def matrix(self, x: Tensor, canvas: Size) -> Tensor | None:
        rows, columns = canvas
        n = 1 if self.batch else len(x)
        # Ten boxes are drawn for each image, and the first is taken that fits: no read is needed.
        size, shape, left, top = torch.rand(4, _ATTEMPTS, n, device=x.device).unbind()
        area = (self.min_scale + (self.max_scale - self.min_scale) * size) * (rows * columns)
        low, high = (math.log(bound) for bound in self.ratio)
        ratio = (low + (high - low) * shape).exp()
        width, height = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
        fits = (width <= columns) & (height <= rows)
        whole_height, whole_width = self._largest(canvas)
        first = fits.int().argmax(0, keepdim=True)
        some = fits.any(0)
        width, height, left, top = (
            torch.where(some, tried.gather(0, first)[0], other)
            for tried, other in (
                (width, float(whole_width)),
                (height, float(whole_height)),
                (left, 0.5),
                (top, 0.5),
            )
        )
        left, top = (left * (columns - width + 1)).floor(), (top * (rows - height + 1)).floor()
        matrix = matrix_of(
            [
                [width / columns, 0, (2 * left + width) / columns - 1],
                [0, height / rows, (2 * top + height) / rows - 1],
                [0, 0, 1],
            ]
        )
        return matrix.expand(len(x), 3, 3)

    def span(self, canvas: Size) -> tuple[float, float]:
        height, width = self._largest(canvas)
        whole = height * width / (canvas[0] * canvas[1])
        return min(self.min_scale, whole) ** 0.5, self.max_scale**0.5

    def box(self, canvas: Size) -> Box:
        height, width = (max(int(side * self.valid_scale), 1) for side in self._largest(canvas))
        return (canvas[0] - height) // 2, (canvas[1] - width) // 2, height, width

    def _largest(self, canvas: Size) -> Size:
        rows, columns = canvas
        if columns / rows < self.ratio[0]:
            return int(columns / self.ratio[0]), columns
        if columns / rows > self.ratio[1]:
            return rows, int(rows * self.ratio[1])
        return rows, columns


def _chosen(index: Tensor, table: tuple[int, ...]) -> Tensor:
    """The numbers of a small table at `index`, without a copy of the table to the device."""
    chosen = torch.zeros_like(index)
    for i, value in enumerate(table):
        if value:
            chosen += value * (index == i)
    return chosen
