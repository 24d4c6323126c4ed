"""What a user may give as metrics, and what is said of the rest."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from metric_cases import (
    C,
    N,
    classes,
    measured,
)

from learnlite import losses
from learnlite.metrics import (
    RMSE,
    AccumMetric,
    Dice,
    DiceMulti,
    F1Score,
    FBeta,
    JaccardCoeff,
    Metric,
    Precision,
    R2Score,
    Recall,
    accuracy,
    as_metric,
    as_metrics,
    error_rate,
    mae,
    mse,
    perplexity,
    rmse,
    top_k_accuracy,
)


def test_what_an_accumulated_function_is_given():
    given = []

    def keep(pred, targ, factor=1):
        given.extend([pred, targ])
        return torch.tensor(2.0) * factor

    pred, targ = classes(2)
    metric = AccumMetric(keep, dim_argmax=-1, invert_arg=True, factor=3)
    assert measured(metric, pred, targ, 7).item() == 6
    assert torch.equal(given[0], targ)
    assert torch.equal(given[1], pred.argmax(1))
    AccumMetric(keep, activation="sigmoid", thresh=0.5, flatten=False)(pred, F.one_hot(targ))
    assert torch.equal(given[2], pred >= 0)
    AccumMetric(keep, activation="softmax", flatten=False, to_np=True)(pred.bfloat16(), targ)
    assert given[4].shape == (N, 2)
    assert type(given[4]).__module__ == "numpy"


def test_what_an_accumulated_function_got_is_not_written_over():
    metric = AccumMetric(mae)
    memory = torch.zeros(4)
    for value in (1.0, 3.0):
        metric.update(memory.fill_(value), torch.zeros(4))
    assert metric.compute().item() == 2


def test_an_accumulated_function_says_what_does_not_fit():
    pred, targ = classes()
    with pytest.raises(ValueError, match=r"`mae` got \(60, 4\) and \(60,\); pass `dim_argmax=-1`"):
        AccumMetric(mae)(pred, targ)
    with pytest.raises(ValueError, match=r"`<lambda>` must give one number, got the shape \(60,\)"):
        AccumMetric(lambda pred, targ: pred == targ, dim_argmax=-1)(pred, targ)
    with pytest.raises(ValueError, match='`activation` must be "no"'):
        AccumMetric(mae, activation="relu")


def test_what_becomes_a_metric():
    assert as_metric(partial(accuracy, axis=1)).name == "accuracy"
    assert as_metric(lambda pred, targ: pred.mean()).name == "<lambda>"
    assert as_metric(losses.L1LossFlat()).name == "l1_loss_flat"
    assert isinstance(as_metric(F1Score), F1Score)
    kept = F1Score(name="f1")
    assert as_metric(kept) is kept
    assert kept.name == "f1"
    assert isinstance(as_metric(rmse), RMSE)
    assert as_metric(partial(perplexity, axis=1)).axis == 1
    assert [metric.name for metric in as_metrics([accuracy, Dice, FBeta(2.0)])] == [
        "accuracy",
        "dice",
        "fbeta_score",
    ]
    assert as_metrics(None) == []
    assert as_metrics(accuracy)[0].name == "accuracy"


def test_names_are_fastais():
    names = [
        metric.name
        for metric in (Precision(), Recall(), F1Score(), R2Score(), JaccardCoeff(), DiceMulti())
    ]
    assert names == [
        "precision_score",
        "recall_score",
        "f1_score",
        "r2_score",
        "jaccard_coeff",
        "dice_multi",
    ]


def test_a_metric_of_ones_own():
    class Largest(Metric):
        def reset(self):
            self.largest = torch.tensor(0.0)

        def update(self, pred, targ):
            self.largest = torch.maximum(self.largest, pred.max())

        def compute(self):
            return self.largest

    metric = as_metric(Largest)
    assert metric.name == "largest"
    assert measured(metric, torch.arange(6.0), torch.zeros(6), 2).item() == 5


def test_several_targets_reach_the_function():
    metric = as_metric(lambda pred, first, second: (pred - first + second).mean())
    metric.update(torch.ones(3), torch.zeros(3), torch.ones(3))
    assert metric.compute().item() == 2


def test_torchmetrics_as_they_are():
    classification = pytest.importorskip("torchmetrics.classification")
    pred, targ = classes()
    metric = as_metric(classification.MulticlassF1Score(num_classes=C, average="macro"))
    assert metric.name == "multiclass_f1_score"
    torch.testing.assert_close(
        measured(metric, pred, targ, 7), F1Score(average="macro")(pred, targ), check_dtype=False
    )
    assert measured(metric, pred[:5], targ[:5]).item() == pytest.approx(
        F1Score(average="macro")(pred[:5], targ[:5]).item()
    )
    vector = as_metric(classification.MulticlassAccuracy(num_classes=C, average=None))
    with pytest.raises(
        ValueError, match=r"`multiclass_accuracy` must give one number, got the shape \(4,\)"
    ):
        measured(vector, pred, targ)


def test_a_collection_of_torchmetrics_becomes_several():
    torchmetrics = pytest.importorskip("torchmetrics")
    pred, targ = classes()
    single = [
        torchmetrics.classification.MulticlassAccuracy(C),
        torchmetrics.classification.MulticlassPrecision(C),
    ]
    found = as_metrics(torchmetrics.MetricCollection(single, prefix="my_"))
    assert [metric.name for metric in found] == [
        "my_multiclass_accuracy",
        "my_multiclass_precision",
    ]
    expected = Precision(average="macro")(pred, targ).item()
    assert measured(found[1], pred, targ, 7).item() == pytest.approx(expected)
    named = torchmetrics.MetricCollection(
        {"acc": torchmetrics.classification.MulticlassAccuracy(C)}
    )
    assert [metric.name for metric in as_metrics([mse, named])] == ["mse", "acc"]


def test_a_torchmetric_goes_where_the_predictions_are():
    torchmetrics = pytest.importorskip("torchmetrics")
    metric = as_metric(torchmetrics.MeanSquaredError())
    metric.update(torch.zeros(3, device="meta"), torch.zeros(3, device="meta"))
    assert metric.compute().device.type == "meta"


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("accuracy", TypeError, "a metric is a function of .* got 'accuracy'"),
        (3, TypeError, "a metric is a function"),
        (FBeta, TypeError, r"`FBeta` needs arguments; give an instance: `FBeta\(…\)`"),
        (dict, TypeError, "`dict` is a class but no metric"),
    ],
)
def test_what_is_no_metric(given, error, message):
    with pytest.raises(error, match=message):
        as_metric(given)


def test_two_metrics_of_one_name():
    with pytest.raises(
        ValueError, match=r"2 metrics are named `f1_score`; give them names: `F1Score\(name=…\)`"
    ):
        as_metrics([F1Score(average="macro"), F1Score(average="micro")])
    assert (
        len(as_metrics([F1Score(average="macro"), F1Score(average="micro", name="f1_micro")])) == 2
    )


@pytest.mark.parametrize(
    ("func", "error", "message"),
    [
        (
            lambda pred, targ: 0.5,
            TypeError,
            "the metric `<lambda>` must give a tensor, got a float; leave out `.item",
        ),
        (
            lambda pred, targ: pred,
            ValueError,
            r"must give one number, got the shape \(60, 4\); add `.mean\(\)`",
        ),
        (lambda pred, targ: None, TypeError, "got a NoneType"),
    ],
)
def test_a_function_that_gives_no_number_is_named(func, error, message):
    with pytest.raises(error, match=message):
        as_metric(func).update(*classes())


@pytest.mark.parametrize(
    "func", [accuracy, error_rate, partial(top_k_accuracy, k=2), F1Score(average="macro")]
)
def test_class_probabilities_are_no_labels(func):
    pred, targ = classes()
    with pytest.raises(
        ValueError, match=r"wants class labels, got class probabilities .*`targ.argmax\(1\)`"
    ):
        func(pred, F.one_hot(targ).float())
    with pytest.raises(ValueError, match=r"give it `targ.long\(\)`"):
        func(pred, targ.float())
    with pytest.raises(ValueError, match="keep the batch as the first axis"):
        func(pred, targ[:-1])


def test_arguments_and_outputs_that_do_not_fit():
    pred, targ = classes()
    with pytest.raises(
        ValueError,
        match=r'`f1_score` of one class of two needs 2 outputs, got 4 .*`average="macro"`',
    ):
        F1Score()(pred, targ)
    with pytest.raises(ValueError, match=r"one output use `F1ScoreMulti\(\)`"):
        F1Score()(pred[:, :1], targ)
    with pytest.raises(ValueError, match=r"`dice` needs 2 outputs.*use `DiceMulti\(\)`"):
        Dice()(pred, targ)
    with pytest.raises(
        ValueError,
        match='`average` must be one of "binary", "micro", "macro", "weighted"; got \'mean\'',
    ):
        F1Score(average="mean")
    with pytest.raises(ValueError, match="`pos_label` must be 0 or 1"):
        F1Score(pos_label=2)
    with pytest.raises(ValueError, match=r"`top_k_accuracy` with k=5 needs as many outputs, got 4"):
        top_k_accuracy(pred, targ)


def test_accuracy_counts_labels_however_the_set_is_cut():
    pred, targ = torch.randn(50, 4), torch.randint(4, (50,))
    for func in (accuracy, error_rate):
        metric = as_metric(func)
        assert metric.name == func.__name__
        for part in ((0, 7), (7, 8), (8, 50)):
            metric.update(pred[slice(*part)], targ[slice(*part)])
        assert metric.compute().item() == pytest.approx(func(pred, targ).item())
        metric.reset()
        assert metric.compute().isnan()
    pixels, labels = torch.randn(2, 3, 4, 4), torch.randint(3, (2, 4, 4))
    by_axis = as_metric(partial(accuracy, axis=1))
    assert by_axis(pixels, labels).item() == pytest.approx(accuracy(pixels, labels, axis=1).item())
