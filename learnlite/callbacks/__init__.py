"""The callbacks that come with learnlite, one theme a file."""

from learnlite.callbacks.augment import ProgressiveResize, RandomErasing
from learnlite.callbacks.average import EMA, SWA
from learnlite.callbacks.best import SaveModel, SaveModelCallback
from learnlite.callbacks.check import Checks
from learnlite.callbacks.checkpoint import Checkpoint
from learnlite.callbacks.dry_run import DryRun
from learnlite.callbacks.gradient import GradientAccumulation, GradientClip
from learnlite.callbacks.gradient_stats import GradientStats
from learnlite.callbacks.guard import NaNGuard
from learnlite.callbacks.inspect import ActivationStats, HookCallback
from learnlite.callbacks.log import CSVLogger
from learnlite.callbacks.lr_find import LRFinder
from learnlite.callbacks.mix import CutMix, CutMixUp, MixUp
from learnlite.callbacks.model import BnFreeze, ChannelsLast, Compile
from learnlite.callbacks.precision import MixedPrecision
from learnlite.callbacks.record import Recorder
from learnlite.callbacks.rollback import RollBack
from learnlite.callbacks.schedule import ParamScheduler, TorchScheduler
from learnlite.callbacks.sharpness import SAM
from learnlite.callbacks.show import ProgressBar, ProgressCallback, ShowGraph, ShowGraphCallback
from learnlite.callbacks.smooth import LabelSmoothing
from learnlite.callbacks.track import (
    EarlyStopping,
    EarlyStoppingCallback,
    ReduceLROnPlateau,
    TerminateOnNaN,
    TerminateOnNaNCallback,
)
from learnlite.callbacks.trial import OverfitBatch, ShortEpoch, ShortEpochCallback

__all__ = [
    "EMA",
    "SAM",
    "SWA",
    "ActivationStats",
    "BnFreeze",
    "CSVLogger",
    "ChannelsLast",
    "Checkpoint",
    "Checks",
    "Compile",
    "CutMix",
    "CutMixUp",
    "DryRun",
    "EarlyStopping",
    "EarlyStoppingCallback",
    "GradientAccumulation",
    "GradientClip",
    "GradientStats",
    "HookCallback",
    "LRFinder",
    "LabelSmoothing",
    "MixUp",
    "MixedPrecision",
    "NaNGuard",
    "OverfitBatch",
    "ParamScheduler",
    "ProgressBar",
    "ProgressCallback",
    "ProgressiveResize",
    "RandomErasing",
    "Recorder",
    "ReduceLROnPlateau",
    "RollBack",
    "SaveModel",
    "SaveModelCallback",
    "ShortEpoch",
    "ShortEpochCallback",
    "ShowGraph",
    "ShowGraphCallback",
    "TerminateOnNaN",
    "TerminateOnNaNCallback",
    "TorchScheduler",
]
