"""What changes the light and the colours of a batch, each at random."""

import math
from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from learnlite.vision.draws import Draw, check_chance, given, masked, uniform
from learnlite.vision.fuse import PixelOp, PixelTransform

_EPS = 1e-6  # how near to black and white a pixel counts, in logits
_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in grey (ITU-R 601)


@dataclass
class Light:
    """Brightness, contrast and saturation in one: a line in the logits of a pixel's values.

    The logit of a value from 0 to 1 is log(v / (1 - v)), so that nothing leaves that range.
    """

    scale: Tensor | None = None  # (samples, 1, 1, 1), as all
    shift: Tensor | None = None
    colour: Tensor | None = None  # 0 makes grey

    def __call__(self, x: Tensor, rows: slice | Tensor) -> Tensor:
        x = x.logit_(_EPS)
        if self.colour is not None:
            colour = self.colour[rows]
            grey = _grey(x)
            x = x.sub_(grey).mul_(colour).add_(grey)
        if self.scale is not None:
            x = x.mul_(self.scale[rows])
        if self.shift is not None:
            x = x.add_(self.shift[rows])
        return x.sigmoid_()

    def then(self, following: PixelOp) -> PixelOp | None:
        """Both in one: the line of a line. Grey is changed as colours are, so all is in order."""
        if not isinstance(following, Light):
            return None
        shift = self.shift
        if shift is not None and following.scale is not None:
            shift = shift * following.scale
        if shift is not None and following.shift is not None:
            shift = shift + following.shift
        return Light(
            _product(self.scale, following.scale),
            following.shift if shift is None else shift,
            _product(self.colour, following.colour),
        )


class _Lighting(PixelTransform):
    """The base of what changes light by at most `max_lighting`, for the part `p` of the images."""

    def __init__(
        self,
        max_lighting: float = 0.2,
        p: float = 0.75,
        draw: Draw | None = None,
        batch: bool = False,
    ) -> None:
        check_chance(p)
        if not 0 <= max_lighting < 1:
            raise ValueError(f"`max_lighting` must be at least 0 and below 1, got {max_lighting}")
        self.max_lighting = max_lighting
        self.p = p
        self.draw = draw
        self.batch = batch

    def operation(self, x: Tensor, training: bool) -> PixelOp | None:
        if not training or self.p == 0:
            return None
        values = self._uniform(x) if self.draw is None else given(x, self.draw)
        values = masked(x, values, self.p, self._neutral, batch=self.batch)
        return self._light(values[:, None, None, None], x.shape[1])

    _neutral = 1.0

    def _uniform(self, x: Tensor) -> Tensor:
        """As often a factor as its inverse."""
        bound = -math.log(1 - self.max_lighting)
        return uniform(x, -bound, bound, batch=self.batch).exp()

    @abstractmethod
    def _light(self, values: Tensor, n_channel: int) -> PixelOp | None:
        """What these values, (samples, 1, 1, 1), do to images of so many channels."""


class Brightness(_Lighting):
    """The part `p` of the images lighter or darker.

    What `draw` gives is what a medium grey, 0.5, becomes: 0.5 ± `max_lighting` / 2.

    >>> x = torch.tensor([0.1, 0.5, 1.0]).view(1, 1, 1, 3)
    >>> Brightness(p=1.0, draw=0.6)((x,), ("image",), training=True)
    (tensor([[[[0.1429, 0.6000, 1.0000]]]]),)
    """

    _neutral = 0.5

    def _uniform(self, x: Tensor) -> Tensor:
        reach = 0.5 * self.max_lighting
        return uniform(x, 0.5 - reach, 0.5 + reach, batch=self.batch)

    def _light(self, values: Tensor, n_channel: int) -> PixelOp | None:
        return Light(shift=values.logit())


class Contrast(_Lighting):
    """The part `p` of the images with more or less contrast around a medium grey, 0.5.

    What `draw` gives is the factor, from 1 - `max_lighting` to its inverse.

    >>> x = torch.tensor([0.2, 0.5, 0.8]).view(1, 1, 1, 3)
    >>> Contrast(p=1.0, draw=0.5)((x,), ("image",), training=True)
    (tensor([[[[0.3333, 0.5000, 0.6667]]]]),)
    """

    def _light(self, values: Tensor, n_channel: int) -> PixelOp | None:
        return Light(scale=values)


class Saturation(_Lighting):
    """The part `p` of the images with stronger or weaker colours; grey images stay.

    What `draw` gives is the factor, from 1 - `max_lighting` to its inverse; 0 is grey.

    >>> x = torch.rand(1, 3, 2, 2)
    >>> (grey,) = Saturation(p=1.0, draw=0.0)((x,), ("image",), training=True)
    >>> torch.allclose(grey[:, 0], grey[:, 2], atol=1e-5)
    True
    """

    def _light(self, values: Tensor, n_channel: int) -> PixelOp | None:
        return Light(colour=values) if _coloured(self, n_channel) else None


class Hue(PixelTransform):
    """The part `p` of the images with colours moved around the wheel; grey images stay.

    What `draw` gives is the part of the wheel: 1/3 makes red green. It lies between -`max_hue` and
    `max_hue` / (1 - `max_hue`).

    >>> red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    >>> (x,) = Hue(p=1.0, draw=1 / 3)((red,), ("image",), training=True)
    >>> x.flatten().round(decimals=4).tolist()
    [0.0, 1.0, 0.0]
    """

    def __init__(
        self,
        max_hue: float = 0.1,
        p: float = 0.75,
        draw: Draw | None = None,
        batch: bool = False,
    ) -> None:
        check_chance(p)
        if not 0 <= max_hue < 1:
            raise ValueError(f"`max_hue` must be at least 0 and below 1, got {max_hue}")
        self.max_hue = max_hue
        self.p = p
        self.draw = draw
        self.batch = batch

    def operation(self, x: Tensor, training: bool) -> PixelOp | None:
        if not training or self.p == 0 or not _coloured(self, x.shape[1]):
            return None
        bound = -math.log(1 - self.max_hue)
        values = (
            uniform(x, -bound, bound, batch=self.batch).exp()  # a whole turn more is none
            if self.draw is None
            else given(x, self.draw)
        )
        return _HueShift(masked(x, values, self.p, 0.0, batch=self.batch)[:, None, None])


class _HueShift:
    def __init__(self, turn: Tensor) -> None:
        self.turn = turn  # (samples, 1, 1)

    def __call__(self, x: Tensor, rows: slice | Tensor) -> Tensor:
        r, g, b = x.unbind(1)
        value = torch.maximum(torch.maximum(r, g), b)
        chroma = value - torch.minimum(torch.minimum(r, g), b)
        divisor = torch.where(chroma > 0, chroma, 1.0)
        hue = torch.where(  # in sixths of the wheel
            value == r,
            (g - b) / divisor,
            torch.where(value == g, 2 + (b - r) / divisor, 4 + (r - g) / divisor),
        )
        hue += 6 * self.turn[rows]
        for channel, offset in enumerate((5, 3, 1)):
            place = (hue + offset).remainder_(6)
            share = torch.minimum(place, 4 - place).clamp_(0, 1)
            x[:, channel] = value - chroma * share
        return x

    def then(self, following: PixelOp) -> PixelOp | None:
        return None


def _coloured(tfm: PixelTransform, n_channel: int) -> bool:
    if n_channel not in (1, 3):
        raise ValueError(
            f"`{tfm!r}` changes colours: images of three channels, or one, which stays; got "
            f"{n_channel}"
        )
    return n_channel == 3


def _grey(x: Tensor) -> Tensor:
    r, g, b = x.unbind(1)
    return (r * _LUMA[0] + g * _LUMA[1] + b * _LUMA[2]).unsqueeze(1)


def _product(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return other if one is None else one if other is None else one * other
