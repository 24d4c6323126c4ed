"""Changing the images of a whole batch, on the device: erasing boxes, and growing sizes."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from learnlite.callback import Callback
from learnlite.data.erase import Erasing
from learnlite.events import Order
from learnlite.losses.base import HALF
from learnlite.shapes import shape_of
from learnlite.types import check_number


class RandomErasing(Callback):
    """Trains on images with a box of noise in them, so that no single part decides alone.

    Each image gets it with the probability `p`, and by itself: one to `max_count` boxes at random
    places, whose areas add up to a part of the image between `sl` and `sh`, and whose ratio of
    height to width lies between `min_aspect` and its inverse; a side longer than the image is cut
    to it. The noise is normal, with each channel's mean and standard deviation in the batch, so
    that images may be normalized or not. Targets stay. This is work for the device: drawing the
    noise costs most, some 4 ns a number on a CPU.

    >>> from learnlite import DataLoaders, Learner
    >>> data = torch.randn(64, 3, 8, 8), torch.randint(2, (64,))
    >>> dls = DataLoaders.from_tensors(data, bs=16, device="cpu")
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2))
    >>> with (learn := Learner(dls, model, cbs=RandomErasing(p=0.3))).no_logging():
    ...     learn.fit(1)
    """

    order = Order.DATA - 1
    run_valid = False

    def __init__(
        self,
        p: float = 0.5,
        sl: float = 0.0,
        sh: float = 0.3,
        min_aspect: float = 0.3,
        max_count: int = 1,
    ) -> None:
        for name, value in (("p", p), ("sl", sl), ("sh", sh), ("min_aspect", min_aspect)):
            check_number(name, value)
        check_number("max_count", max_count, whole=True)
        self._erasing = Erasing(p, sl, sh, min_aspect, max_count)  # says what is wrong with them
        self.p = p
        self.sl = sl
        self.sh = sh
        self.min_aspect = min_aspect
        self.max_count = max_count

    def before_batch(self) -> None:
        self.xb = _on_images(self, self.xb, self.erased)

    def erased(self, x: Tensor) -> Tensor:
        """The images, some with boxes of noise."""
        std, mean = torch.std_mean(x, (0, 2, 3), correction=0, keepdim=True)
        noise = torch.randn_like(x).mul_(std).add_(mean)
        return torch.where(self.boxes(x), noise, x)

    def boxes(self, x: Tensor) -> Tensor:
        """Which pixels are erased, drawn anew: (items, 1, height, width).

        >>> boxes = RandomErasing(p=1.0, sl=0.25, sh=0.25, min_aspect=1.0).boxes(
        ...     torch.zeros(2, 3, 8, 8)
        ... )
        >>> boxes.sum((1, 2, 3)).tolist()
        [16, 16]
        """
        height, width = x.shape[-2:]
        numbers = self._erasing.draw(len(x), x.device)
        return self._erasing.boxes(numbers, height, width).mask(height, width)


class ProgressiveResize(Callback):
    """Trains on small images first, which is quick, and on large ones towards the end.

    For the part `pct_start` of the epochs the shorter side has `start` pixels; until the part
    `pct_end` it grows, in multiples of `multiple`, and then has `end`, in the last epoch always.
    Images are made smaller on the device, and targets of their height and width, as masks, by the
    nearest pixel, and boxes in pixels with them. In validation all stay as they come. Resizing is
    work for the device, less than what a small image saves there.

    The model must take any size, as those with a pooling at the end do; what falls with the size of
    the images is time and memory, so the batch may be larger only if it fits at the end.

    >>> ProgressiveResize(128, 224, multiple=32).sizes(8)
    [128, 128, 128, 160, 192, 192, 224, 224]
    """

    order = Order.DATA - 2
    controls = ("image size",)
    run_valid = False

    _small: torch.Size | None = None  # the images of this batch, if they were made smaller

    def __init__(
        self,
        start: int,
        end: int,
        pct_start: float = 0.25,
        pct_end: float = 0.75,
        multiple: int = 16,
    ) -> None:
        for name, value in (("start", start), ("end", end), ("multiple", multiple)):
            check_number(name, value, whole=True)
        for name, value in (("pct_start", pct_start), ("pct_end", pct_end)):
            check_number(name, value)
        if not 1 <= start <= end:
            raise ValueError(
                "images grow from `start` to `end` pixels: 1 <= start <= end; "
                f"got {start} and {end}"
            )
        if not 0 <= pct_start <= pct_end <= 1:
            raise ValueError(
                "`pct_start` and `pct_end` are the parts of training between which images grow: "
                f"0 <= pct_start <= pct_end <= 1; got {pct_start} and {pct_end}"
            )
        if multiple < 1:
            raise ValueError(f"`multiple` counts pixels and must be at least 1, got {multiple}")
        self.start = start
        self.end = end
        self.pct_start = pct_start
        self.pct_end = pct_end
        self.multiple = multiple

    def size(self, epoch: int, n_epoch: int) -> int:
        """The shorter side in training epoch `epoch` of `n_epoch`."""
        done = epoch / max(n_epoch, 1)
        if done >= self.pct_end or epoch >= n_epoch - 1:
            return self.end
        if done <= self.pct_start:
            return self.start
        grown = (done - self.pct_start) / (self.pct_end - self.pct_start)
        size = self.start + (self.end - self.start) * grown
        return min(max(_rounded(size, self.multiple), self.start), self.end)

    def sizes(self, n_epoch: int) -> list[int]:
        """The shorter side in each epoch of a fit."""
        return [self.size(epoch, n_epoch) for epoch in range(n_epoch)]

    @contextmanager
    def around_train(self) -> Generator[None]:
        self._small = None
        try:
            yield
        except Exception as error:
            self._explain(error)
            raise

    def _explain(self, error: Exception) -> None:
        """Say on an error of the model's where its images come from; callbacks' have a note."""
        if self._small and self.learn.pred is None and not hasattr(error, "__notes__"):
            height, width = self._small
            error.add_note(
                f"`ProgressiveResize` gave images of {height} x {width}; the model must take any "
                "size, for example by `nn.AdaptiveAvgPool2d` before its last layer"
            )

    def before_batch(self) -> None:
        learn = self.learn
        size = self.size(learn.progress.epochs, learn.progress.n_epoch)
        sides: list[torch.Size] = []

        def resized(x: Tensor) -> Tensor:
            sides.append(x.shape[-2:])
            new = _resized(x, self._new_sides(x, size))
            self._small = new.shape[-2:] if new.shape != x.shape else None
            return new

        learn.xb = _on_images(self, learn.xb, resized)
        if any(isinstance(y, Tensor) and y.ndim > 2 and y.shape[-2:] in sides for y in learn.yb):
            learn.yb = tuple(
                _nearest(y, self._new_sides(y, size))
                if isinstance(y, Tensor) and y.ndim > 2 and y.shape[-2:] in sides
                else y
                for y in learn.yb
            )
        if self._small is not None and "boxes" in learn.dls.kinds and isinstance(learn.xb, tuple):
            (old_height, old_width), (height, width) = sides[0], self._small
            across, down = width / old_width, height / old_height
            n = len(learn.xb)
            parts = _scaled_boxes((*learn.xb, *learn.yb), learn.dls.kinds, across, down)
            learn.xb, learn.yb = parts[:n], parts[n:]

    def _new_sides(self, x: Tensor, size: int) -> tuple[int, int]:
        height, width = x.shape[-2:]
        shorter = min(height, width)
        if shorter < self.end:
            raise ValueError(
                f"`{self!r}` ends at {self.end} pixels, but the images come with {height} x "
                f"{width}: it makes them smaller, never larger; give `end={shorter}`, or load "
                "larger images"
            )
        if size == shorter:
            return height, width
        longer = max(size, _rounded(max(height, width) * size / shorter, self.multiple))
        return (size, longer) if height <= width else (longer, size)


def _on_images(cb: Callback, xb: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The inputs with the images among them changed: float tensors of four dimensions."""
    inputs: tuple[Any, ...] = tuple(xb.values()) if isinstance(xb, dict) else xb
    if not any(_is_image(x) for x in inputs):
        advice = ""
        if any(isinstance(x, Tensor) and x.dtype is torch.uint8 for x in inputs):
            advice = "; make images floats before it, for example `x.float() / 255`"
        raise ValueError(
            f"`{cb!r}` changes images, float inputs (items, channels, height, width), but the "
            f"batch has {', '.join(_described(x) for x in inputs) or 'no input'}{advice}"
        )
    changed = tuple(change(x) if _is_image(x) else x for x in inputs)
    return dict(zip(cast(Any, xb), changed, strict=True)) if isinstance(xb, dict) else changed


def _is_image(x: Any) -> bool:
    return isinstance(x, Tensor) and x.ndim == 4 and x.is_floating_point()


def _described(x: Any) -> str:
    return f"{x.dtype} of shape {shape_of(x)}" if isinstance(x, Tensor) else type(x).__name__


def _resized(x: Tensor, sides: tuple[int, int]) -> Tensor:
    if x.shape[-2:] == sides:
        return x
    wide = x.float() if x.dtype in HALF else x  # CPUs do not resize half floats
    small = F.interpolate(wide, size=sides, mode="bilinear", antialias=True)
    return small.to(x.dtype)


def _nearest(y: Tensor, sides: tuple[int, int]) -> Tensor:
    """Every pixel from the place in the old image where its centre lies; any type."""
    for dim, n in ((-2, sides[0]), (-1, sides[1])):
        if y.shape[dim] != n:
            pixels = torch.arange(n, device=y.device)
            y = y.index_select(dim, (2 * pixels + 1) * y.shape[dim] // (2 * n))
    return y


def _scaled_boxes(
    batch: tuple[Any, ...], kinds: Sequence[str | None], across: float, down: float
) -> tuple[Any, ...]:
    """The batch with its boxes, which are counted in pixels, where the small images have them."""
    return tuple(
        x * x.new_tensor([across, down, across, down]) if kind == "boxes" else x
        for x, kind in zip(batch, (*kinds, *[None] * len(batch)), strict=False)
    )


def _rounded(size: float, multiple: int) -> int:
    return round(size / multiple) * multiple
