"""How far probabilities can be believed."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from learnlite.plots import axes


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

    def plot(self, ax: Any = None) -> Any:
        """Draw accuracy over confidence; on the diagonal probabilities mean what they say."""
        ax = axes(ax, width=4.5, height=4.0)
        n = len(self.counts)
        filled = self.counts > 0
        centres = ((torch.arange(n) + 0.5) / n)[filled].tolist()
        confidence, accuracy = self.confidence[filled].tolist(), self.accuracy[filled].tolist()
        ax.bar(centres, accuracy, width=0.9 / n, label="accuracy")
        ax.plot([0, 1], [0, 1], "--", color="grey", label="as it should be")
        ax.plot(confidence, accuracy, "o-", color="black", ms=3, lw=1)
        ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy")
        ax.set_title(f"expected calibration error {self.ece:.3f}")
        ax.legend(loc="upper left")
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
