"""Where the pixels of a batch come from: matrices that differ by sample, and one interpolation.

Places are counted from -1 to 1, between the outer edges of the image (not the centres of its outer
pixels). A matrix (3 x 3, so that perspective is possible) says where in the old image a place of
the new one lies.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]
"""Height and width."""

Box = tuple[int, int, int, int]
"""Top, left, height and width."""

_STEP = 2**0.5  # between the sizes from which images are sampled
_APART = 1.25  # pixels left between two samples: nearer blurs, and farther flickers (by PSNR)
_CHUNK = 1 << 16  # pixels worked on at a time, so that they stay in the cache of a CPU


@dataclass
class Sampling:
    """What is drawn for a batch: a matrix for each sample, and how to read pixels there.

    `levels` are the factors by which images are made smaller before pixels are read, which keeps
    fine patterns from flickering; each sample takes the largest that loses nothing.
    """

    matrix: Tensor  # (samples, 3, 3)
    size: Size
    mode: str
    pad_mode: str
    projective: bool = False
    levels: tuple[float, ...] = (1.0,)

    def level(self, canvas: Size) -> Tensor:
        """The index into `levels` for each sample."""
        m = self.matrix
        area = canvas[0] * canvas[1] / (self.size[0] * self.size[1])
        shrink = (_determinant(m).abs() / m[:, 2, 2].abs() ** 3 * area).sqrt()  # in the centre
        level = torch.zeros_like(shrink, dtype=torch.int64)
        for factor in self.levels[1:]:
            level += shrink >= _APART * factor
        return level

    def whole(self, x: Tensor) -> Tensor:
        """The batch, sampled at once without a look at what was drawn: for a device."""
        grid = _grid(self.matrix, self.size, self.projective)
        wide = x.float()
        new = self._read(_shrunk(wide, self.levels[0]), grid)
        if len(self.levels) > 1:
            level = self.level((x.shape[-2], x.shape[-1]))[:, None, None, None]
            for index, factor in enumerate(self.levels[1:], 1):
                new = torch.where(level >= index, self._read(_shrunk(wide, factor), grid), new)
        return new

    def parts(self, x: Tensor) -> Iterator[tuple[slice | Tensor, Tensor]]:
        """The batch in parts: which samples, and their pixels. Reads what was drawn: for a CPU."""
        if len(self.levels) == 1:
            for rows in slices(len(x), self.size):
                yield rows, self._part(x[rows], rows, self.levels[0])
            return
        level = self.level((x.shape[-2], x.shape[-1]))
        for index, factor in enumerate(self.levels):
            for rows in _where(level == index, self.size):
                yield rows, self._part(x.index_select(0, rows), rows, factor)

    def nearest(self, x: Tensor) -> Tensor:
        """A mask (samples, height, width), or one with channels, by the nearest pixel."""
        grid = _grid(self.matrix, self.size, self.projective)
        planes = x if x.ndim == 4 else x.unsqueeze(1)
        new = F.grid_sample(
            planes.float(), grid, mode="nearest", padding_mode=self.pad_mode, align_corners=False
        ).to(x.dtype)
        return new if x.ndim == 4 else new.squeeze(1)

    def general(self, size: Size) -> "Sampling":
        """The same for images of another size, of which there may be some beside the first."""
        return Sampling(self.matrix, size, self.mode, self.pad_mode, self.projective, self.levels)

    def _part(self, x: Tensor, rows: slice | Tensor, factor: float) -> Tensor:
        grid = _grid(self.matrix[rows], self.size, self.projective)
        return self._read(_shrunk(x, factor).float(), grid)

    def _read(self, x: Tensor, grid: Tensor) -> Tensor:
        return F.grid_sample(
            x, grid, mode=self.mode, padding_mode=self.pad_mode, align_corners=False
        )


class Mirroring(Sampling):
    """Where matrices only flip and transpose: every pixel keeps its exact value."""

    def whole(self, x: Tensor) -> Tensor:
        across, down, swap = (way.reshape(-1, *(1,) * (x.ndim - 1)) for way in self._ways())
        x = torch.where(across, x.flip(-1), x)
        x = torch.where(down, x.flip(-2), x)
        square = x.shape[-1] == x.shape[-2]
        return torch.where(swap, x.transpose(-1, -2), x) if square else x

    def parts(self, x: Tensor) -> Iterator[tuple[slice | Tensor, Tensor]]:
        across, down, swap = self._ways()
        way = across + 2 * down + 4 * swap
        for index in range(8):
            flips = [dim for dim, bit in ((-1, 1), (-2, 2)) if index & bit]
            for rows in _where(way == index, self.size):
                part = x.index_select(0, rows).flip(flips)
                yield rows, part.transpose(-1, -2) if index & 4 else part

    def nearest(self, x: Tensor) -> Tensor:
        return self.whole(x)

    def _ways(self) -> tuple[Tensor, Tensor, Tensor]:
        """Which samples are mirrored left to right, upside down, and then transposed."""
        m = self.matrix
        return m[:, 0, 0] + m[:, 0, 1] < 0, m[:, 1, 0] + m[:, 1, 1] < 0, m[:, 0, 0] == 0


@dataclass
class Cropping(Sampling):
    """Where all images show the same whole pixels of the old ones, made larger or smaller."""

    steps: tuple[tuple[Box, Size], ...] = ()

    def whole(self, x: Tensor) -> Tensor:
        for (top, left, height, width), size in self.steps:
            x = resized(x[..., top : top + height, left : left + width], size)
        return x

    def parts(self, x: Tensor) -> Iterator[tuple[slice | Tensor, Tensor]]:
        for rows in slices(len(x), self.size):
            yield rows, self.whole(x[rows])


def slices(n: int, size: Size) -> Iterator[slice]:
    """Stretches of `n` samples that a CPU works on at a time, at least one for each thread.

    >>> torch.set_num_threads(1)
    >>> [(rows.start, rows.stop) for rows in slices(5, (256, 128))]
    [(0, 2), (2, 4), (4, 5)]
    """
    step = max(torch.get_num_threads(), _CHUNK // (size[0] * size[1]), 1)
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


def _where(chosen: Tensor, size: Size) -> Iterator[Tensor]:
    """The numbers of the chosen samples, some at a time."""
    samples = chosen.nonzero().flatten()
    for rows in slices(len(samples), size):
        yield samples[rows]


def levels(low: float, high: float) -> tuple[float, ...]:
    """By what factors to make images smaller first, if pixels come to lie `low` to `high` apart.

    >>> [round(factor, 2) for factor in levels(0.5, 4.0)], levels(1.5, 2.0)
    ([1.0, 1.41, 2.0, 2.83], (1.2,))
    """
    factors = [max(low / _APART, 1.0)]
    while high / factors[-1] > 1.06 * _APART * _STEP:
        factors.append(factors[-1] * _STEP)
    return tuple(factors)


def product(first: Tensor, second: Tensor) -> Tensor:
    """The matrix product, always in full precision (matmul on a GPU may use tf32).

    >>> product(2 * torch.eye(3)[None], torch.ones(1, 3, 3))[0, 0].tolist()
    [2.0, 2.0, 2.0]
    """
    return (first.unsqueeze(-1) * second.unsqueeze(-3)).sum(-2)


def matrix_of(rows: Sequence[Sequence[Tensor | float]]) -> Tensor:
    """A matrix (samples, 3, 3) of its nine numbers, tensors (samples) or the same for all."""
    like = next(value for row in rows for value in row if isinstance(value, Tensor))
    values = [
        value if isinstance(value, Tensor) else torch.full_like(like, value)
        for row in rows
        for value in row
    ]
    return torch.stack(values, -1).unflatten(-1, (3, 3))


def inverse(m: Tensor) -> Tensor:
    """The inverse up to a factor, which does not matter to places: no solver is needed.

    >>> torch.equal(inverse(torch.eye(3)[None]), torch.eye(3)[None])
    True
    """
    a, b, c = m.unbind(-2)
    cofactors = torch.cross(b, c, dim=-1), torch.cross(c, a, dim=-1), torch.cross(a, b, dim=-1)
    return torch.stack(cofactors, -1)


def moved(points: Tensor, matrix: Tensor, old: Size, new: Size) -> Tensor:
    """Where points (samples, n, 2), in pixels, lie in the new image.

    >>> half = torch.diag(torch.tensor([0.5, 0.5, 1.0]))[None]  # shows the inner half
    >>> moved(torch.tensor([[[10.0, 15.0]]]), half, old=(20, 20), new=(40, 40)).tolist()
    [[[20.0, 40.0]]]
    """
    x = points[..., 0].float() * (2 / old[1]) - 1
    y = points[..., 1].float() * (2 / old[0]) - 1
    m = inverse(matrix).unsqueeze(1)
    x, y, w = (m[..., row, 0] * x + m[..., row, 1] * y + m[..., row, 2] for row in range(3))
    place = torch.stack([(x / w + 1) * (new[1] / 2), (y / w + 1) * (new[0] / 2)], -1)
    return place.to(points.dtype) if points.is_floating_point() else place


def moved_boxes(boxes: Tensor, matrix: Tensor, old: Size, new: Size) -> Tensor:
    """The boxes (samples, n, 4) around the moved corners, cut at the edges of the image.

    Boxes without an area, as those that fill up a batch, and those that left the image are zero.
    """
    left, top, right, bottom = boxes.unbind(-1)
    corners = torch.stack([left, top, right, top, left, bottom, right, bottom], -1)
    n_box = boxes.shape[1]
    corners = corners.reshape(len(boxes), n_box * 4, 2)
    places = moved(corners, matrix, old, new).unflatten(1, (n_box, 4))
    low, high = places.amin(2), places.amax(2)
    edges = [
        torch.stack([corner[..., 0].clamp(0, new[1]), corner[..., 1].clamp(0, new[0])], -1)
        for corner in (low, high)
    ]
    seen = ((right > left) & (bottom > top)).unsqueeze(-1)
    seen = seen & (edges[1] > edges[0]).all(-1, keepdim=True)
    return torch.where(seen, torch.cat(edges, -1), 0.0)


def resized(x: Tensor, size: Size) -> Tensor:
    """Images of another size, with the average of what a new pixel covers."""
    if tuple(x.shape[-2:]) == size:
        return x
    bytes_on_cpu = x.dtype is torch.uint8 and x.device.type == "cpu"
    x = _pixel_by_pixel(x) if bytes_on_cpu else x.float()
    return F.interpolate(x, size=size, mode="bilinear", antialias=True)


def _shrunk(x: Tensor, factor: float) -> Tensor:
    height, width = x.shape[-2:]
    return resized(x, (max(round(height / factor), 1), max(round(width / factor), 1)))


def _pixel_by_pixel(x: Tensor) -> Tensor:
    """The same images with the colours of a pixel side by side: resized in half the time."""
    if x.shape[1] != 3 or x.is_contiguous(memory_format=torch.channels_last):
        return x
    return torch.stack(x.unbind(1), -1).permute(0, 3, 1, 2)


def _determinant(m: Tensor) -> Tensor:
    a, b, c = m.unbind(-2)
    return (a * torch.cross(b, c, dim=-1)).sum(-1)


def _grid(matrix: Tensor, size: Size, projective: bool) -> Tensor:
    """Where each new pixel lies in the old image: (samples, height, width, 2), x before y.

    Both coordinates are planes of their own, as the CPU's sampler reads them fastest.
    """
    columns = _centres(size[1], matrix.device)
    rows = _centres(size[0], matrix.device).unsqueeze(-1)
    m = matrix[..., None, None]  # (samples, 3, 3, 1, 1)
    grid = matrix.new_empty(2, len(matrix), *size)
    for i in (0, 1):
        torch.add(m[:, i, 0] * columns, m[:, i, 1] * rows + m[:, i, 2], out=grid[i])
    if projective:
        grid /= m[:, 2, 0] * columns + (m[:, 2, 1] * rows + m[:, 2, 2])
    return grid.permute(1, 2, 3, 0)


def _centres(n: int, device: torch.device) -> Tensor:
    return (2 * torch.arange(n, device=device) + 1) / n - 1
