"""Losses for classes, labels and numbers: `nn.Module`s that also tell what a prediction means.

Each is called with (pred, targ), has a settable `reduction`, and knows its model's outputs:
`activation(pred)` makes probabilities (or numbers) of raw outputs, and `decodes` makes labels of
what `activation` gave. Predictions may have any number of axes; with `reduction="none"` a loss
keeps the shape of the target.
"""

from learnlite.losses.base import FlatLoss
from learnlite.losses.classes import (
    ClassLoss,
    CrossEntropyLossFlat,
    FocalLoss,
    LabelSmoothingCrossEntropy,
    LabelSmoothingCrossEntropyFlat,
)
from learnlite.losses.infer import infer_loss
from learnlite.losses.items import BCEWithLogitsLossFlat, ItemLoss, L1LossFlat, MSELossFlat

__all__ = [
    "BCEWithLogitsLossFlat",
    "ClassLoss",
    "CrossEntropyLossFlat",
    "FlatLoss",
    "FocalLoss",
    "ItemLoss",
    "L1LossFlat",
    "LabelSmoothingCrossEntropy",
    "LabelSmoothingCrossEntropyFlat",
    "MSELossFlat",
    "infer_loss",
]
