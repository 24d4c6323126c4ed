"""learnlite: train PyTorch models in a few lines, and read how in an evening.

>>> from learnlite import DataLoaders, Learner, accuracy
"""

from learnlite.callback import Callback, on
from learnlite.callbacks import (
    Checks,
    CSVLogger,
    GradientAccumulation,
    LRFinder,
    ParamScheduler,
    ProgressBar,
    ProgressCallback,
    Recorder,
    ShowGraph,
    ShowGraphCallback,
    TerminateOnNaN,
    TerminateOnNaNCallback,
    TorchScheduler,
)
from learnlite.data import DataLoaders, Loader, Stream
from learnlite.events import (
    CancelBackwardException,
    CancelBatchException,
    CancelEpochException,
    CancelException,
    CancelFitException,
    CancelStepException,
    CancelTrainException,
    CancelValidException,
    Order,
)
from learnlite.learner import Learner
from learnlite.losses import (
    BCEWithLogitsLossFlat,
    CrossEntropyLossFlat,
    FocalLoss,
    L1LossFlat,
    LabelSmoothingCrossEntropy,
    MSELossFlat,
)
from learnlite.metrics import accuracy, error_rate
from learnlite.optim import SGD, Adam, Lamb, RAdam
from learnlite.schedules import (
    SchedCos,
    SchedExp,
    SchedLin,
    SchedNo,
    SchedPoly,
    combine_scheds,
    combined_cos,
)
from learnlite.suggest import minimum, slide, steep, valley

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Adam",
    "BCEWithLogitsLossFlat",
    "CSVLogger",
    "Callback",
    "CancelBackwardException",
    "CancelBatchException",
    "CancelEpochException",
    "CancelException",
    "CancelFitException",
    "CancelStepException",
    "CancelTrainException",
    "CancelValidException",
    "Checks",
    "CrossEntropyLossFlat",
    "DataLoaders",
    "FocalLoss",
    "GradientAccumulation",
    "L1LossFlat",
    "LRFinder",
    "LabelSmoothingCrossEntropy",
    "Lamb",
    "Learner",
    "Loader",
    "MSELossFlat",
    "Order",
    "ParamScheduler",
    "ProgressBar",
    "ProgressCallback",
    "RAdam",
    "Recorder",
    "SchedCos",
    "SchedExp",
    "SchedLin",
    "SchedNo",
    "SchedPoly",
    "ShowGraph",
    "ShowGraphCallback",
    "Stream",
    "TerminateOnNaN",
    "TerminateOnNaNCallback",
    "TorchScheduler",
    "accuracy",
    "combine_scheds",
    "combined_cos",
    "error_rate",
    "minimum",
    "on",
    "slide",
    "steep",
    "valley",
]
