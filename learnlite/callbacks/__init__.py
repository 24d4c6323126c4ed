"""The callbacks that come with learnlite, one theme a file."""

from learnlite.callbacks.check import Checks
from learnlite.callbacks.gradient import GradientAccumulation
from learnlite.callbacks.log import CSVLogger
from learnlite.callbacks.lr_find import LRFinder
from learnlite.callbacks.record import Recorder
from learnlite.callbacks.schedule import ParamScheduler, TorchScheduler
from learnlite.callbacks.show import ProgressBar, ProgressCallback, ShowGraph, ShowGraphCallback
from learnlite.callbacks.track import TerminateOnNaN, TerminateOnNaNCallback

__all__ = [
    "CSVLogger",
    "Checks",
    "GradientAccumulation",
    "LRFinder",
    "ParamScheduler",
    "ProgressBar",
    "ProgressCallback",
    "Recorder",
    "ShowGraph",
    "ShowGraphCallback",
    "TerminateOnNaN",
    "TerminateOnNaNCallback",
    "TorchScheduler",
]
