"""The callbacks that come with learnlite, one theme a file."""

from learnlite.callbacks.average import EMA, SWA
from learnlite.callbacks.check import Checks
from learnlite.callbacks.gradient import GradientAccumulation
from learnlite.callbacks.log import CSVLogger
from learnlite.callbacks.lr_find import LRFinder
from learnlite.callbacks.precision import MixedPrecision
from learnlite.callbacks.record import Recorder
from learnlite.callbacks.schedule import ParamScheduler, TorchScheduler
from learnlite.callbacks.sharpness import SAM
from learnlite.callbacks.show import ProgressBar, ProgressCallback, ShowGraph, ShowGraphCallback
from learnlite.callbacks.track import TerminateOnNaN, TerminateOnNaNCallback

__all__ = [
    "EMA",
    "SAM",
    "SWA",
    "CSVLogger",
    "Checks",
    "GradientAccumulation",
    "LRFinder",
    "MixedPrecision",
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
