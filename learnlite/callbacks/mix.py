"""Mixing the items of a batch with each other: mixup, CutMix, and one of both a batch."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from learnlite.callback import Callback
from learnlite.events import Order
from learnlite.losses.soft import check_takes_soft, soft_targets
from learnlite.seeds import mix
from learnlite.shapes import shape_of
from learnlite.types import check_number

_CHOICE = 0x63757475  # sets the draws of `CutMixUp` apart from all others made of the seed


class Mixture:
    """Each item of a batch with another, its partner, in shares that sum to 1.

    >>> mixture = Mixture(torch.tensor([1, 0]), torch.tensor([0.75, 0.5]))
    >>> mixture.of(torch.tensor([[0.0], [8.0]])).tolist()
    [[2.0], [4.0]]
    """

    def __init__(self, partner: Tensor, share: Tensor) -> None:
        self.partner = partner
        self.share = share  # (items,): what each keeps of itself

    def of(self, values: Tensor) -> Tensor:
        """The weighted mean of each item and its partner."""
        share = self.share if values.dtype is torch.float32 else self.share.to(values.dtype)
        others = values.index_select(0, self.partner)
        return torch.lerp(others, values, share.view(-1, *[1] * (values.ndim - 1)))

    def inputs(self, x: Tensor) -> Tensor:
        """The inputs of the mixed batch."""
        return self.of(x)

    def cuts(self, targ: Tensor) -> bool:
        """Whether this target is mixed as the inputs are, pixel by pixel, by `inputs`."""
        return False


class Cut(Mixture):
    """Each image with a box of its partner's; `share` is the part of its area that stays.

    >>> cut = Cut(torch.tensor([1, 0]), torch.tensor([[[[True, False]]], [[[False, False]]]]))
    >>> cut.inputs(torch.tensor([[[[1.0, 2.0]]], [[[3.0, 4.0]]]])).tolist(), cut.share.tolist()
    ([[[[3.0, 2.0]]], [[[3.0, 4.0]]]], [0.5, 1.0])
    """

    def __init__(self, partner: Tensor, inside: Tensor) -> None:
        super().__init__(partner, 1 - inside.mean((1, 2, 3), dtype=torch.float32))
        self.inside = inside  # (items, 1, height, width)

    def inputs(self, x: Tensor) -> Tensor:
        inside = self.inside if x.ndim == 4 else self.inside[:, 0]
        return torch.where(inside, x.index_select(0, self.partner), x)

    def cuts(self, targ: Tensor) -> bool:
        return targ.ndim in (3, 4) and targ.shape[-2:] == self.inside.shape[-2:]


class Mixing(Callback, ABC):
    """What mixup and CutMix share: targets are mixed as inputs are, for the loss alone.

    `xb` is mixed from `before_batch` on; `yb` holds the mixed targets from this callback's
    `after_pred` to its `after_loss`, and the labels before and after. So what looks at labels does
    so at `after_loss` or later, as the recorder and its metrics do.
    """

    order = Order.DATA
    controls = ("mixing",)
    run_valid = False

    wants_images = False
    _checked = False  # whether the loss has been tried in this fit
    _mixture: Mixture | None = None  # of this batch
    _labels: tuple[Any, ...] | None = None  # of this batch, once mixed ones have been made of them

    @abstractmethod
    def draw(self, x: Tensor) -> Mixture:
        """How a batch of inputs like `x` is to be mixed."""

    def before_fit(self) -> None:
        self._checked = False

    def before_batch(self) -> None:
        learn = self.learn
        xb: Any = learn.xb
        inputs: tuple[Any, ...] = tuple(xb.values()) if isinstance(xb, dict) else xb
        for x in inputs:
            self._check_input(x, inputs[0])
        mixture = self._mixture = self.draw(inputs[0])
        self._labels = None
        mixed = tuple([mixture.inputs(x) for x in inputs])
        learn.xb = dict(zip(xb, mixed, strict=True)) if isinstance(xb, dict) else mixed

    def after_pred(self) -> None:
        learn, mixture = self.learn, self._mixture
        if mixture is None or self._labels is not None:
            return  # SAM runs the model a second time, and gives the loss these mixed targets
        labels = learn.yb
        preds = _pred_of_each(learn.pred, len(labels))
        mixed = tuple(
            [self._mixed(mixture, pred, targ) for pred, targ in zip(preds, labels, strict=True)]
        )
        if not self._checked:
            self._check_loss(mixture, preds, labels)
            self._checked = True
        self._labels, learn.yb = labels, mixed

    def after_loss(self) -> None:
        if self._labels is not None:
            self.learn.yb = self._labels

    def after_batch(self) -> None:
        self.after_loss()  # for a batch that was cancelled in between
        self._mixture = self._labels = None

    def _mixed(self, mixture: Mixture, pred: Any, targ: Any) -> Tensor:
        name = type(self).__name__
        if not isinstance(targ, Tensor):
            raise ValueError(
                f"`{name}` mixes targets that are tensors, got a {type(targ).__name__}"
            )
        if mixture.cuts(targ):
            return mixture.inputs(targ)
        if isinstance(pred, Tensor):
            targ = soft_targets(self.learn.loss_func, pred, targ, name)
        elif not targ.is_floating_point():
            raise ValueError(
                f"`{name}` must know the number of classes to mix {targ.dtype} targets, but the "
                f"model gave a {type(pred).__name__}; let it give a tensor (or a tuple of one for "
                "each target), or let the data give one-hot rows"
            )
        return mixture.of(targ)

    def _check_input(self, x: Any, first: Tensor) -> None:
        name = type(self).__name__
        if not isinstance(x, Tensor):
            raise ValueError(f"`{name}` mixes inputs that are tensors, got a {type(x).__name__}")
        if not x.is_floating_point():
            advice = "indices, as of words, have no mean; mix what the model makes of them"
            if x.dtype is torch.uint8:
                advice = "make images floats before they are mixed, for example `x.float() / 255`"
            raise ValueError(f"`{name}` mixes inputs that are floats, got {x.dtype}; {advice}")
        if self.wants_images and (x.ndim != 4 or x.shape[-2:] != first.shape[-2:]):
            beside = f" beside {shape_of(first)}" if x is not first else ""
            raise ValueError(
                f"`{name}` cuts boxes out of images (items, channels, height, width) of one size, "
                f"got the shape {shape_of(x)}{beside}; `MixUp` mixes inputs of any shape"
            )

    def _check_loss(self, mixture: Mixture, preds: Sequence[Any], labels: tuple[Any, ...]) -> None:
        learn = self.learn
        own = [
            None if mixture.cuts(targ) else pred for pred, targ in zip(preds, labels, strict=True)
        ]
        with learn.precision.autocast():
            check_takes_soft(
                learn.loss_func, learn.pred, own, labels, learn.dls.device, type(self).__name__
            )


class MixUp(Mixing):
    """Trains on weighted means of items and of their targets: between two, the model goes straight.

    Each item is mixed with another of its batch. It keeps the larger of l and 1 - l, with l drawn
    from Beta(alpha, alpha) for each item: fastai's form, in which no pair comes twice. (The paper
    draws one l for the whole batch and takes it as it is.) A larger `alpha` mixes more.

    Inputs must be floats. Labels become probabilities of classes, and the loss must take those: it
    is tried on the first batch. This is work for the device: on a CPU 60 to 120 µs for a tiny
    batch, and a loss of probabilities costs some 30 more than one of labels.

    >>> from learnlite import DataLoaders, Learner
    >>> data = torch.randn(64, 3), torch.randint(2, (64,))
    >>> dls = DataLoaders.from_tensors(data, bs=16, device="cpu")
    >>> learn = Learner(dls, torch.nn.Linear(3, 2), cbs=MixUp(0.4))
    >>> with learn.no_logging():
    ...     learn.fit(1)
    >>> MixUp(0.4).draw(torch.zeros(64, 3)).share.min() >= 0.5
    tensor(True)
    """

    def __init__(self, alpha: float = 0.4) -> None:
        self.alpha = _positive("alpha", alpha)

    def draw(self, x: Tensor) -> Mixture:
        return _mixup(x, self.alpha)


class CutMix(Mixing):
    """Trains on images with a box of another image in them, and its label's share by the area.

    For each image l is drawn from Beta(alpha, alpha), and a box of the area 1 - l around a random
    point; what lies outside of the image is cut off, and the shares follow from what is left. (The
    paper draws one l and one box for the whole batch.) A target of the images' height and width,
    such as a mask, is cut with them; other targets are mixed by the shares, as `MixUp` does.

    >>> cutmix = CutMix()
    >>> mixture = cutmix.draw(torch.zeros(8, 3, 32, 32))
    >>> torch.equal(mixture.share, 1 - mixture.inside.float().mean((1, 2, 3)))
    True
    """

    wants_images = True

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = _positive("alpha", alpha)

    def draw(self, x: Tensor) -> Cut:
        return _cutmix(x, self.alpha)


class CutMixUp(Mixing):
    """Mixes each batch by mixup or by CutMix, by mixup with the probability `mixup_share`.

    >>> CutMixUp(mixup_share=0.3)
    CutMixUp(mixup_alpha=0.4, cutmix_alpha=1.0, mixup_share=0.3)
    """

    wants_images = True

    def __init__(
        self, mixup_alpha: float = 0.4, cutmix_alpha: float = 1.0, mixup_share: float = 0.5
    ) -> None:
        self.mixup_alpha = _positive("mixup_alpha", mixup_alpha)
        self.cutmix_alpha = _positive("cutmix_alpha", cutmix_alpha)
        check_number("mixup_share", mixup_share)
        if not 0 <= mixup_share <= 1:
            raise ValueError(
                f"`mixup_share` is the part of the batches that mixup gets, from 0 to 1; "
                f"got {mixup_share}"
            )
        self.mixup_share = mixup_share

    def draw(self, x: Tensor) -> Mixture:
        learn = self.learn
        chance = mix(learn.seed, _CHOICE, learn.progress.lifetime_batch) / 2**63
        if chance < self.mixup_share:
            return _mixup(x, self.mixup_alpha)
        return _cutmix(x, self.cutmix_alpha)


# Drawing


def _mixup(x: Tensor, alpha: float) -> Mixture:
    shares = _beta_pairs(alpha, x)
    return Mixture(_partner(x), shares.amax(1))


def _cutmix(x: Tensor, alpha: float) -> Cut:
    n, height, width = x.shape[0], x.shape[2], x.shape[3]
    half = _beta_pairs(alpha, x)[:, :1].sqrt() / 2  # of the box's sides, with the image's as 1
    centre = torch.rand(2, n, 1, device=x.device)
    rows = (_pixels(height, x) - centre[0]).abs() < half
    columns = (_pixels(width, x) - centre[1]).abs() < half
    return Cut(_partner(x), rows.view(n, 1, height, 1) & columns.view(n, 1, 1, width))


def _partner(x: Tensor) -> Tensor:
    return torch.randperm(x.shape[0], device=x.device)


def _beta_pairs(alpha: float, x: Tensor) -> Tensor:
    """For each item l and 1 - l, with l from Beta(alpha, alpha): (items, 2)."""
    place = x.device if x.device.type != "mps" else "cpu"  # MPS does not draw gammas
    concentration = torch.full((x.shape[0], 2), alpha, device=place)
    # What `torch.distributions.Beta` calls, at 13 µs instead of 30.
    pairs = torch._sample_dirichlet(concentration)  # pyright: ignore[reportPrivateImportUsage, reportPrivateUsage]
    return pairs.to(x.device)


def _pixels(n: int, x: Tensor) -> Tensor:
    """The centres of `n` pixels along a side of length 1."""
    return (torch.arange(n, device=x.device) + 0.5) / n


def _pred_of_each(pred: Any, n: int) -> Sequence[Any]:
    """The output that each of `n` targets belongs to."""
    if isinstance(pred, tuple | list):
        outputs = cast(Sequence[Any], pred)
        if len(outputs) == n:
            return outputs
    return [pred] * n


def _positive(name: str, alpha: float) -> float:
    check_number(name, alpha)
    if not 0 < alpha < math.inf:
        raise ValueError(
            f"`{name}` shapes Beta(alpha, alpha), which gives the shares, and must be above 0 and "
            f"finite, got {alpha}; leave the callback out to mix nothing"
        )
    return float(alpha)
