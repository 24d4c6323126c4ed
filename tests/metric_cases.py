"""Every built-in metric, with a problem that it is for."""

from functools import partial

import torch
import torch.nn.functional as F

from learnlite import losses
from learnlite.metrics import (
    RMSE,
    AccumMetric,
    AvgMetric,
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
    R2Score,
    Recall,
    RecallMulti,
    accuracy,
    accuracy_multi,
    error_rate,
    mae,
    mse,
    perplexity,
    rmse,
    top_k_accuracy,
)

N, C = 60, 4


def generator():
    return torch.Generator().manual_seed(3)


def classes(n_classes=C, *shape):
    g = generator()
    labels = torch.randint(n_classes, (N, *shape), generator=g)
    hint = F.one_hot(labels, n_classes).movedim(-1, 1)
    return torch.randn(N, n_classes, *shape, generator=g) + hint, labels


def multi_labels():
    g = generator()
    labels = (torch.rand(N, C, generator=g) < torch.tensor([0.1, 0.3, 0.5, 0.9])).long()
    return torch.randn(N, C, generator=g) + labels, labels


def numbers():
    g = generator()
    targ = torch.randn(N, 2, generator=g) * 3 + 1000
    return targ + torch.randn(N, 2, generator=g), targ


def median_error(pred, targ):
    return (pred - targ).abs().median()


# Every built-in metric, with a problem it is for; a new one must come here (see the last test).
CASES = {
    "accuracy": (accuracy, classes()),
    "accuracy of masks": (partial(accuracy, axis=1), classes(C, 3, 5)),
    "error_rate": (error_rate, classes()),
    "top_k_accuracy": (partial(top_k_accuracy, k=2), classes()),
    "accuracy_multi": (accuracy_multi, multi_labels()),
    "mse": (mse, numbers()),
    "mae": (mae, numbers()),
    "rmse": (rmse, numbers()),
    "RMSE": (RMSE, numbers()),
    "R2Score": (R2Score, numbers()),
    "perplexity": (perplexity, classes()),
    "Perplexity": (partial(perplexity, axis=1), classes(C, 7)),
    "F1Score": (F1Score, classes(2)),
    **{
        f"{kind.__name__}, {average}": (kind(average=average), classes())
        for kind in (Precision, Recall, F1Score)
        for average in ("macro", "micro", "weighted")
    },
    "Precision": (Precision, classes(2)),
    "Recall": (Recall, classes(2)),
    "FBeta": (FBeta(2.0), classes(2)),
    "PrecisionMulti": (PrecisionMulti, multi_labels()),
    "RecallMulti": (RecallMulti, multi_labels()),
    "F1ScoreMulti": (F1ScoreMulti, multi_labels()),
    "FBetaMulti": (FBetaMulti(0.5), multi_labels()),
    "Dice": (Dice, classes(2, 5, 6)),
    "DiceMulti": (DiceMulti, classes(C, 5, 6)),
    "JaccardCoeff": (JaccardCoeff, classes(2, 5, 6)),
    "JaccardCoeffMulti": (JaccardCoeffMulti, classes(C, 5, 6)),
    "AccumMetric": (AccumMetric(median_error), numbers()),
    "AvgMetric": (AvgMetric(losses.MSELossFlat()), numbers()),
}


def measured(metric, pred, targ, sizes=N):
    metric.reset()
    for batch in zip(pred.split(sizes), targ.split(sizes), strict=True):
        metric.update(*batch)
    return metric.compute()
