"""What a model of masks takes for what, pixel by pixel."""

from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from learnlite.interpret.base import Interpretation
from learnlite.interpret.confusion import Counts, class_names, confusion, plot_counts
from learnlite.learner import Learner
from learnlite.plots import axes, plain_text


class SegmentationInterpretation(Interpretation):
    """Pixels of each class taken for each, the overlap of each class, and the worst images.

    Only the class predicted for each pixel is kept, in a byte or two, not the probabilities. A
    loss is the mean of an image.

    >>> from learnlite import DataLoaders, Learner
    >>> x = torch.randn(8, 3, 8, 8)
    >>> dls = DataLoaders.from_tensors(x, (x[:, 0] > 0).long(), bs=4, device="cpu")
    >>> interp = SegmentationInterpretation.from_learner(Learner(dls, torch.nn.Conv2d(3, 2, 1)))
    >>> list(interp.iou())
    [0, 1]
    """

    heading = "pixels that are right, mean loss"
    n_classes: int

    @classmethod
    def from_learner(cls, learn: Learner, ds_idx: int = 1, dl: Any = None, act: Any = None) -> Self:
        """Of loader `ds_idx` of the learner's data, or of `dl`, which must have masks.

        `act` makes a class of each pixel of the model's outputs, by default the largest output.
        """
        n_seen: list[int] = []

        def largest(pred: Any) -> Tensor:
            if not isinstance(pred, Tensor) or pred.ndim != 4 or pred.shape[1] < 2:
                given = tuple(pred.shape) if isinstance(pred, Tensor) else type(pred).__name__
                raise TypeError(
                    "`SegmentationInterpretation` is for outputs (items, classes, height, width), "
                    f"got {given}; use `ClassificationInterpretation` for one class an image"
                )
            n_seen[:] = [pred.shape[1]]
            return pred.argmax(1).to(torch.uint8 if pred.shape[1] <= 256 else torch.int16)

        if dl is None and ds_idx < len(learn.dls):
            dl = learn.dls[ds_idx]
        decoded, targs, losses = learn.get_preds(ds_idx, dl=dl, act=act or largest, with_loss=True)
        self = cls(learn, dl, losses, decoded, targs, decoded)
        self.n_classes = n_seen[0] if n_seen else int(decoded.max()) + 1
        return self

    def confusion_matrix(self) -> Counts:
        """How many pixels of each class (rows) were taken for each (columns)."""
        return confusion(self.targs, self.decoded, self.n_classes)

    def plot_confusion_matrix(self, normalize: bool = True, **settings: Any) -> Any:
        """Draw `confusion_matrix()`, as the part of each class's pixels, or the pixels themselves.

        `settings` are those of `ClassificationInterpretation.plot_confusion_matrix`.
        """
        return plot_counts(
            self.confusion_matrix(), class_names(self.vocab, self.n_classes), normalize, **settings
        )

    def iou(self) -> dict[Any, float]:
        """Intersection over union of each class; NaN where a class is neither there nor said."""
        counts = self.confusion_matrix().astype(float)
        hit = counts.diagonal()
        union = counts.sum(0) + counts.sum(1) - hit
        shares = np.divide(hit, union, out=np.full_like(hit, np.nan), where=union > 0)
        names = class_names(self.vocab, self.n_classes)
        return dict(zip(names, shares.tolist(), strict=True))

    def plot_iou(self, ax: Any = None) -> Any:
        """Draw the overlap of each class, the worst on top."""
        shares = sorted(self.iou().items(), key=lambda pair: -np.nan_to_num(pair[1]))
        ax = axes(ax, width=6.0, height=max(2.0, 0.3 * len(shares) + 1))
        names = [plain_text(name, longest=24) for name, _ in shares]
        ax.barh(names, [share for _, share in shares])
        ax.set(xlim=(0, 1), xlabel="intersection over union")
        return ax

    def note(self, i: int) -> str:
        """What stands over image `i`: the part of its pixels that are right, and its loss."""
        there = (self.targs[i] >= 0) & (self.targs[i] < self.n_classes)
        right = (self.decoded[i] == self.targs[i])[there].float().mean()
        return f"{right:.0%} of pixels right\nloss {self.losses[i]:.2f}"
