"""What a classifier takes for what."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learnlite.interpret.base import Interpretation
from learnlite.interpret.calibration import Calibration, calibration
from learnlite.interpret.confusion import Counts, class_names, confusion, plot_counts
from learnlite.plots import plain_text


@dataclass(frozen=True)
class Doubt:
    """An item whose label may be wrong: what it says, what the model says, and how surely."""

    index: int
    item: Any
    label: Any
    guess: Any
    probability: float


class ClassificationInterpretation(Interpretation):
    """Which classes are taken for which, how sure the model was, and which labels may be wrong.

    >>> from learnlite import DataLoaders, Learner
    >>> x = torch.randn(100, 4)
    >>> dls = DataLoaders.from_tensors(
    ...     x, (x[:, 0] > 0).long(), valid_pct=0.2, bs=16, vocab=["no", "yes"], device="cpu"
    ... )
    >>> interp = ClassificationInterpretation.from_learner(Learner(dls, torch.nn.Linear(4, 2)))
    >>> interp.confusion_matrix().sum()
    np.int64(20)
    """

    heading = "predicted / actual, loss, probability (p) of what was predicted"

    @property
    def classes(self) -> list[Any]:
        """The names of the classes, or their numbers."""
        return class_names(self.vocab, self.preds.shape[1])

    def confusion_matrix(self) -> Counts:
        """How many items of each class (rows) were taken for each (columns)."""
        return confusion(self.targs, self.decoded, len(self.classes))

    def most_confused(self, min_val: int = 1) -> list[tuple[Any, Any, int]]:
        """The pairs (class, taken for, items) of at least `min_val` items, most items first."""
        counts = self.confusion_matrix()
        np.fill_diagonal(counts, 0)
        classes = self.classes
        pairs = [
            (classes[i], classes[j], int(counts[i, j]))
            for i, j in zip(*np.nonzero(counts >= max(min_val, 1)), strict=True)
        ]
        return sorted(pairs, key=lambda pair: -pair[2])

    def plot_confusion_matrix(
        self,
        normalize: bool = False,
        title: str = "Confusion matrix",
        cmap: str = "Blues",
        norm_dec: int = 2,
        plot_txt: bool | None = None,
        ax: Any = None,
        **settings: Any,
    ) -> Any:
        """Draw `confusion_matrix()`; with `normalize` as the part of each class's items.

        Numbers stand in the cells unless there are many classes, or as `plot_txt` says. `settings`
        are those of the figure: `figsize` and `dpi`.
        """
        return plot_counts(
            self.confusion_matrix(),
            self.classes,
            normalize,
            title=title,
            cmap=cmap,
            norm_dec=norm_dec,
            plot_txt=plot_txt,
            ax=ax,
            **settings,
        )

    def classification_report(self) -> dict[Any, dict[str, float]]:
        """Precision, recall, F1 and support (the number of items) of each class.

        A fraction of nothing is 0. With them `"accuracy"`, `"macro avg"`, their mean, and
        `"weighted avg"`, where each class counts by its support.
        """
        counts = self.confusion_matrix().astype(float)
        hit, said, there = counts.diagonal(), counts.sum(0), counts.sum(1)
        precision, recall = _ratio(hit, said), _ratio(hit, there)
        f1 = _ratio(2 * hit, said + there)
        columns = {"precision": precision, "recall": recall, "f1": f1}
        report: dict[Any, dict[str, float]] = {}
        for i, name in enumerate(self.classes):
            row = {column: float(values[i]) for column, values in columns.items()}
            report[name] = row | {"support": int(there[i])}
        n = int(there.sum())
        accuracy = float(hit.sum() / n)
        report["accuracy"] = {"precision": accuracy, "recall": accuracy, "f1": accuracy}
        report["accuracy"]["support"] = n
        for name, weights in (("macro avg", np.ones_like(there)), ("weighted avg", there)):
            row = {
                column: float((values * weights).sum() / weights.sum())
                for column, values in columns.items()
            }
            report[name] = row | {"support": n}
        return report

    def print_classification_report(self, digits: int = 2) -> None:
        """Print `classification_report()` as a table."""
        report = self.classification_report()
        width = max(len(_name(name)) for name in report)
        print(f"{'':{width}}  {'precision':>9}  {'recall':>9}  {'f1-score':>9}  {'support':>9}")
        for name, row in report.items():
            if name == "accuracy":
                print()
                first = f"{'':9}  {'':9}  {row['f1']:9.{digits}f}"
            else:
                first = "  ".join(f"{row[x]:9.{digits}f}" for x in ("precision", "recall", "f1"))
            print(f"{_name(name):>{width}}  {first}  {row['support']:9,}")

    def calibration(self, n_bins: int = 15) -> Calibration:
        """How often the model is right where it says so with some probability."""
        self._check_probabilities("calibration")
        return calibration(self.preds, self.targs, n_bins)

    def plot_calibration(self, n_bins: int = 15, ax: Any = None) -> Any:
        """Draw accuracy over confidence, and the expected calibration error."""
        return self.calibration(n_bins).plot(ax)

    def wrong_labels(self, k: int | None = None) -> list[Doubt]:
        """The items whose labels are most likely wrong, the likeliest first.

        An item is doubted if another class than its label gets at least the probability that items
        of that class get on average (confident learning, Northcutt et al., 2021), so a model that
        is unsure of everything accuses nobody. They are ranked by how far the label falls behind.
        A model that was trained on the items knows their labels by heart: look at those it has not
        seen.
        """
        self._check_probabilities("wrong_labels")
        usual = torch.stack(
            [self.preds[self.targs == i, i].mean() for i in range(self.preds.shape[1])]
        )
        likely = (self.preds >= usual) & (self.preds == self.preds.amax(1, keepdim=True))
        own = self.preds.gather(1, self.targs[:, None])
        likely &= self.preds > own
        behind = torch.where(likely, self.preds - own, -1.0)
        behind, guesses = behind.max(1)
        order = behind.argsort(descending=True, stable=True)
        found = [i for i in order.tolist() if behind[i] > 0][:k]
        classes = self.classes
        return [
            Doubt(
                i,
                self.source(i),
                classes[self.targs[i]],
                classes[guesses[i]],
                float(self.preds[i, guesses[i]]),
            )
            for i in found
        ]

    def plot_wrong_labels(self, k: int = 9, **settings: Any) -> Any:
        """Draw the items whose labels are most likely wrong, under `label → guess`."""
        doubts = self.wrong_labels(k)
        if not doubts:
            print("no label is in doubt")
            return []
        panels = self._rows.show(
            [doubt.index for doubt in doubts],
            [
                f"{plain_text(doubt.label, longest=24)} → {plain_text(doubt.guess, longest=24)}\n"
                f"p {doubt.probability:.2f}"
                for doubt in doubts
            ],
            **settings,
        )
        panels[0].figure.suptitle("label → guess, and its probability (p)", fontsize=10)
        return panels

    def plot_items(self, indices: list[int], **settings: Any) -> Any:
        """Draw items by their numbers, under prediction and label, loss and probability."""
        return self._plot_titled(indices, **settings)

    def title(self, i: int) -> str:
        """What stands over item `i`: prediction, label, loss, probability."""
        classes = self.classes
        said, label = int(self.decoded[i]), int(self.targs[i])
        return (
            f"{plain_text(classes[said], longest=24)} / {plain_text(classes[label], longest=24)}\n"
            f"loss {self.losses[i]:.2f}, {'p' if self.has_probabilities else 'output'} "
            f"{self.preds[i, said]:.2f}"
        )

    def _check_probabilities(self, name: str) -> None:
        if not self.has_probabilities:
            raise ValueError(
                f"`{name}` is about probabilities, and the predictions are the outputs as they "
                "are, as the loss does not tell what makes probabilities of them; write "
                f"`{type(self).__name__}.from_learner(learn, act=torch.nn.Softmax(1))`"
            )

    def _classes_seen(self, indices: list[int]) -> Tensor:
        return self.decoded[torch.as_tensor(indices)]

    def _checked(self) -> None:
        super()._checked()
        preds, targs = self.preds, self.targs
        is_labels = isinstance(targs, Tensor) and not targs.is_floating_point() and targs.ndim <= 2
        if not isinstance(preds, Tensor) or preds.ndim != 2 or not is_labels:
            given = f"{tuple(preds.shape)}" if isinstance(preds, Tensor) else type(preds).__name__
            of = f"{targs.dtype} {tuple(targs.shape)}" if isinstance(targs, Tensor) else type(targs)
            raise TypeError(
                "`ClassificationInterpretation` is for one class an item: predictions (items, "
                f"classes) and a label for each; got predictions {given} and targets {of}; use "
                "`Interpretation`, or `SegmentationInterpretation` for masks"
            )
        if targs.ndim == 2 and targs.shape[1] == 1:
            self.targs = targs = targs[:, 0]
        if targs.ndim != 1 or preds.shape[1] < 2:
            raise TypeError(
                "`ClassificationInterpretation` is for one class an item, got targets of shape "
                f"{tuple(targs.shape)} and {preds.shape[1]} output(s); use `Interpretation`"
            )
        n = preds.shape[1]
        if self.vocab is not None and len(self.vocab) != n:
            raise ValueError(
                f"the model gives {n} outputs, and the data has {len(self.vocab)} classes"
            )


def _ratio(above: Any, below: Any) -> Any:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _name(name: Any) -> str:
    """A class on a terminal: a hostile name must not move its cursor."""
    return "".join(char for char in str(name) if char.isprintable())[:40]
