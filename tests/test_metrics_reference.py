"""Metrics against torchmetrics' and scikit-learn's."""

from functools import partial

import pytest
import torch
from metric_cases import (
    C,
    N,
    classes,
    measured,
    multi_labels,
    numbers,
)

from learnlite.metrics import (
    RMSE,
    AccumMetric,
    Dice,
    F1Score,
    F1ScoreMulti,
    FBeta,
    FBetaMulti,
    JaccardCoeff,
    JaccardCoeffMulti,
    Perplexity,
    Precision,
    PrecisionMulti,
    R2Score,
    Recall,
    RecallMulti,
)


@pytest.mark.parametrize("average", ["micro", "macro", "weighted"])
def test_counts_equal_torchmetrics(average):
    reference = pytest.importorskip("torchmetrics.functional.classification")
    given = {"num_classes": 6, "average": average}
    pred, targ = classes()
    pred = torch.cat([pred, torch.full((N, 2), -9.0)], 1)  # two classes that never occur
    beta = partial(reference.multiclass_fbeta_score, beta=2.0)
    for metric, func in [
        (Precision, reference.multiclass_precision),
        (Recall, reference.multiclass_recall),
        (F1Score, reference.multiclass_f1_score),
        (partial(FBeta, 2.0), beta),
    ]:
        value = metric(average=average)(pred, targ)
        torch.testing.assert_close(value, func(pred, targ, **given), check_dtype=False)
    pred, targ = multi_labels()
    beta = partial(reference.multilabel_fbeta_score, beta=2.0)
    for metric, func in [
        (PrecisionMulti, reference.multilabel_precision),
        (RecallMulti, reference.multilabel_recall),
        (F1ScoreMulti, reference.multilabel_f1_score),
        (partial(FBetaMulti, 2.0), beta),
    ]:
        value = metric(average=average)(pred, targ)
        expected = func(pred, targ, num_labels=C, average=average)
        torch.testing.assert_close(value, expected, check_dtype=False)


def test_two_classes_equal_torchmetrics():
    reference = pytest.importorskip("torchmetrics.functional.classification")
    pred, targ = classes(2, 5)
    said = pred.argmax(1)
    for metric, func in [
        (Precision(1), reference.binary_precision),
        (Recall(1), reference.binary_recall),
        (F1Score(1), reference.binary_f1_score),
        (FBeta(0.5, 1), partial(reference.binary_fbeta_score, beta=0.5)),
        (JaccardCoeff(), reference.binary_jaccard_index),
        (Dice(), reference.binary_f1_score),
    ]:
        torch.testing.assert_close(metric(pred, targ), func(said, targ), check_dtype=False)


def test_the_rest_equals_torchmetrics():
    reference = pytest.importorskip("torchmetrics.functional")
    pred, targ = classes(C, 5)
    mean_iou = reference.jaccard_index(pred, targ, task="multiclass", num_classes=C)
    torch.testing.assert_close(JaccardCoeffMulti()(pred, targ), mean_iou, check_dtype=False)
    expected = reference.text.perplexity(pred.movedim(1, -1), targ)
    torch.testing.assert_close(Perplexity(1)(pred, targ), expected, check_dtype=False)
    pred, targ = numbers()
    pred, targ = pred.double(), targ.double()
    torch.testing.assert_close(R2Score()(pred, targ), reference.r2_score(pred, targ))
    root = reference.mean_squared_error(pred, targ, squared=False)
    torch.testing.assert_close(RMSE()(pred, targ), root, check_dtype=False)


def test_functions_of_scikit_learn_over_the_whole_set():
    reference = pytest.importorskip("sklearn.metrics")
    pred, targ = classes(2)
    auc = AccumMetric(
        reference.roc_auc_score,
        activation="binarysoftmax",
        flatten=False,
        to_np=True,
        invert_arg=True,
    )
    assert auc.name == "roc_auc_score"
    expected = reference.roc_auc_score(targ.numpy(), pred.softmax(1)[:, 1].numpy())
    assert measured(auc, pred, targ, 7).item() == pytest.approx(expected)
    f1 = AccumMetric(reference.f1_score, dim_argmax=-1, to_np=True, invert_arg=True)
    assert measured(f1, pred, targ, 7).item() == pytest.approx(F1Score()(pred, targ).item())
    pred, targ = classes()
    for average in ("macro", "weighted"):
        f1 = AccumMetric(
            reference.f1_score, dim_argmax=-1, to_np=True, invert_arg=True, average=average
        )
        assert f1(pred, targ).item() == pytest.approx(F1Score(average=average)(pred, targ).item())
