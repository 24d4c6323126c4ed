"""How far probabilities can be believed."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from learnlite.plots import axes
from learnlite.types import counted

_ENOUGH = 10  # items in half of the bins that hold any: an accuracy is then within about 0.15
_BLUE = "#2a6fc9"


@dataclass(frozen=True)
class Calibration:
    """How often the class that was predicted is right, in bins by the probability it was given.

    `confidence` and `accuracy` are the means of the `counts` items in each bin (NaN in an empty
    one); `ece`, the expected calibration error, is their mean distance, each item counting alike;
    `mce` is the largest.
    """

    confidence: Tensor
    accuracy: Tensor
    counts: Tensor
    ece: float
    mce: float

    @property
    def caution(self) -> str:
        """What to say where bins hold too few items to tell much; empty where they do not.

        >>> calibration(torch.tensor([[0.9, 0.1], [0.9, 0.1]]), torch.tensor([0, 1])).caution
        '2 items in 1 bin: one more or less moves a bar far'
        """
        filled = self.counts[self.counts > 0]
        if float(filled.double().median()) >= _ENOUGH:
            return ""
        items, bins = counted(int(filled.sum()), "item"), counted(len(filled), "bin")
        return f"{items} in {bins}: one more or less moves a bar far"

    def plot(self, ax: Any = None) -> Any:
        """Draw accuracy over confidence; on the diagonal probabilities mean what they say.

        Above each bar stands how many items it is made of; an empty bin has none.
        """
        ax = axes(ax, width=5.5, height=4.4)
        n = len(self.counts)
        for i, (accuracy, count) in enumerate(
            zip(self.accuracy.tolist(), self.counts.tolist(), strict=True)
        ):
            if not count:
                continue
            centre, width = (i + 0.5) / n, 0.88 / n
            ax.bar(centre, 1.0, width=width, color="0.93")
            shown = max(accuracy, 0.008)  # a bar of nothing is seen as well
            ax.bar(centre, shown, width=width, color=_BLUE, label="_")
            ax.text(centre, 1.01, f"{count:,}", ha="center", va="bottom", fontsize=8)
        ax.plot([0, 1], [0, 1], "--", color="black", lw=1, label="as it should be")
        ax.set(xlim=(0, 1), ylim=(0, 1.08), xlabel="confidence", ylabel="accuracy")
        ax.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1])
        below = f"\n{self.caution}" if self.caution else ""
        ax.set_title(f"expected calibration error {self.ece:.3f}{below}", fontsize=10)
        ax.legend(loc="upper left", bbox_to_anchor=(0, 0.93), title="number: items of a bar")
        return ax

    def __repr__(self) -> str:
        return f"Calibration(ece={self.ece:.4f}, mce={self.mce:.4f}, {self.counts.sum():,} items)"


def calibration(probs: Tensor, targs: Tensor, n_bins: int = 15) -> Calibration:
    """The calibration of probabilities (items, classes) against labels.

    >>> calibration(torch.tensor([[0.9, 0.1], [0.9, 0.1]]), torch.tensor([0, 1]), n_bins=10)
    Calibration(ece=0.4000, mce=0.4000, 2 items)
    """
    if n_bins < 1:
        raise ValueError(f"`n_bins` must be at least 1, got {n_bins}")
    confidence, said = probs.double().max(1)
    right = (said == targs).double()
    bins = (confidence * n_bins).long().clamp(0, n_bins - 1)
    counts = torch.zeros(n_bins, dtype=torch.long).index_add_(0, bins, torch.ones_like(bins))
    zeros = torch.zeros(n_bins, dtype=torch.double)
    mean_confidence = zeros.index_add(0, bins, confidence) / counts
    accuracy = zeros.index_add(0, bins, right) / counts
    distances = (accuracy - mean_confidence).abs()[counts > 0]
    shares = counts[counts > 0] / counts.sum()
    return Calibration(
        mean_confidence,
        accuracy,
        counts,
        ece=float((distances * shares).sum()),
        mce=float(distances.max()),
    )
