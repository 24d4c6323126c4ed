"""Metrics: numbers about a whole pass over a set, kept on the device until it ends.

A metric is a function of (pred, targ), which is averaged over the batches, or a `Metric`
(reset, update, compute), or a `torchmetrics.Metric` as it is. See docs/metrics.md.
"""

from learnlite.metrics.accum import AccumMetric
from learnlite.metrics.base import DeviceSum, Metric
from learnlite.metrics.convert import AvgMetric, TorchMetric, as_metric, as_metrics
from learnlite.metrics.counts import (
    Dice,
    DiceMulti,
    F1Score,
    F1ScoreMulti,
    FBeta,
    FBetaMulti,
    JaccardCoeff,
    JaccardCoeffMulti,
    Precision,
    PrecisionMulti,
    Recall,
    RecallMulti,
)
from learnlite.metrics.functions import (
    accuracy,
    accuracy_multi,
    error_rate,
    mae,
    mse,
    top_k_accuracy,
)
from learnlite.metrics.sums import RMSE, Perplexity, R2Score, perplexity, rmse

__all__ = [
    "RMSE",
    "AccumMetric",
    "AvgMetric",
    "DeviceSum",
    "Dice",
    "DiceMulti",
    "F1Score",
    "F1ScoreMulti",
    "FBeta",
    "FBetaMulti",
    "JaccardCoeff",
    "JaccardCoeffMulti",
    "Metric",
    "Perplexity",
    "Precision",
    "PrecisionMulti",
    "R2Score",
    "Recall",
    "RecallMulti",
    "TorchMetric",
    "accuracy",
    "accuracy_multi",
    "as_metric",
    "as_metrics",
    "error_rate",
    "mae",
    "mse",
    "perplexity",
    "rmse",
    "top_k_accuracy",
]
