"""The settings of item transforms, checked: sizes, probabilities, names."""

from collections.abc import Sequence
from typing import Any

from PIL import Image
from torchvision.transforms import InterpolationMode

from learnlite.vision.steps import Resample, Size

_RESAMPLES = ("nearest", "bilinear", "bicubic")


def size_given(size: int | Size) -> Size:
    """Height and width of a number of pixels, or of such a pair.

    >>> size_given(224), size_given((128, 96))
    ((224, 224), (128, 96))
    """
    sides = tuple(size) if isinstance(size, Sequence) else (size, size)
    if len(sides) != 2 or not all(isinstance(side, int) and side >= 1 for side in sides):
        raise ValueError(f"`size` is a number of pixels or (height, width), got {size!r}")
    return sides


def probability(p: float) -> float:
    """The same number, if it is from 0 to 1."""
    if not 0 <= p <= 1:
        raise ValueError(f"`p` is a probability from 0 to 1, got {p}")
    return p


def one_of(name: str, given: str, known: tuple[str, ...]) -> Any:
    """The same name, if it is known."""
    if given not in known:
        raise ValueError(f"`{name}` is one of {known}, got {given!r}")
    return given


def resample_given(resamples: Any) -> Resample:
    """How images are resized, of fastai's pair (images, masks), in torchvision's or PIL's terms."""
    first: Any = resamples[0] if isinstance(resamples, tuple | list) else resamples
    name: Any = first.value if isinstance(first, InterpolationMode) else first
    if isinstance(first, int):
        name = Image.Resampling(first).name.lower()
    return one_of("resamples", name, _RESAMPLES)
