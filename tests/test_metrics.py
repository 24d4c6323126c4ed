"""Metrics by hand, and however the set is cut into batches."""

import pytest
import torch
import torch.nn.functional as F
from metric_cases import CASES, C, N, classes, generator, measured
from torch.utils._python_dispatch import TorchDispatchMode

from learnlite import metrics
from learnlite.metrics import (
    AvgMetric,
    DeviceSum,
    Dice,
    DiceMulti,
    F1Score,
    JaccardCoeff,
    JaccardCoeffMulti,
    Perplexity,
    Precision,
    R2Score,
    Recall,
    accuracy,
    as_metric,
    error_rate,
    rmse,
    top_k_accuracy,
)
from learnlite.metrics.base import compensated


@pytest.fixture(params=CASES)
def case(request):
    metric, (pred, targ) = CASES[request.param]
    return as_metric(metric), pred, targ


def test_the_number_does_not_depend_on_how_the_set_is_cut_into_batches(case):
    metric, pred, targ = case
    whole = measured(metric, pred, targ)
    assert whole.shape == ()
    assert whole.isfinite()
    for sizes in ([1] * N, [7] * 8 + [4], [59, 1], [1, 30, 2, 27]):
        torch.testing.assert_close(measured(metric, pred, targ, sizes), whole, rtol=1e-6, atol=1e-7)


def test_a_metric_called_measures_a_batch_alone(case):
    metric, pred, targ = case
    whole = measured(metric, pred, targ)
    torch.testing.assert_close(metric(pred, targ), whole, check_dtype=False)
    metric(pred[:3], targ[:3])
    assert torch.equal(metric.compute(), whole)


def test_half_predictions_are_measured_as_what_they_say(case):
    metric, pred, targ = case
    for dtype in (torch.bfloat16, torch.float16):
        half = pred.to(dtype)
        expected = measured(metric, half.float(), targ)
        torch.testing.assert_close(measured(metric, half, targ), expected, rtol=2e-3, atol=2e-3)
        assert metric.compute().dtype in (torch.float32, torch.float64)


def test_a_pass_without_a_batch_gives_nan(case):
    metric, _, _ = case
    metric.reset()
    value = metric.compute()
    assert value.shape == ()
    assert value.isnan()


class HostReads(TorchDispatchMode):
    """Notes every operation that a device would have to be waited for."""

    waits = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "bincount", "equal")

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = name.startswith("index") and any(
            index is not None and index.dtype == torch.bool
            for index in (args[1] if isinstance(args[1], list | tuple) else ())
        )
        if name in self.waits or by_mask:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


def test_nothing_waits_for_the_device(case):
    metric, pred, targ = case
    metric.reset()
    with HostReads() as reads:
        metric.update(pred, targ)
        metric.update(pred, targ)
        metric.compute()
    assert reads.seen == []


def test_the_counter_of_reads_counts():
    with HostReads() as reads:
        torch.ones(2).sum().item()
        torch.ones(2)[torch.ones(2) > 0].sum()
    assert len(reads.seen) == 2


def test_a_metric_keeps_no_gradient(case):
    metric, pred, targ = case
    if pred.is_floating_point():
        assert not measured(metric, pred.clone().requires_grad_(), targ).requires_grad


def test_accuracy_by_hand():
    pred = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [0.0, 1.0, 2.0], [1.0, 0.0, 0.5]])
    targ = torch.tensor([0, 0, 2, 2])
    assert accuracy(pred, targ).item() == 0.5
    assert error_rate(pred, targ).item() == 0.5
    assert top_k_accuracy(pred, targ, k=2).item() == 0.75
    assert accuracy(pred, targ[:, None].byte()).item() == 0.5


def test_top_k_accuracy_on_any_axis():
    pred, targ = classes(C, 3, 5)
    for k in range(1, C + 1):
        last = top_k_accuracy(pred.movedim(1, -1), targ, k)
        assert torch.equal(top_k_accuracy(pred, targ, k, axis=1), last)
    assert last.item() == 1


def test_uneven_batches_count_by_their_items():
    metric = as_metric(accuracy)
    for outputs, labels in [([[1.0, 0.0]] * 3, [0, 0, 0]), ([[1.0, 0.0]], [1])]:
        metric.update(torch.tensor(outputs), torch.tensor(labels))
    assert metric.compute().item() == 0.75


def test_rmse_is_the_root_of_the_mean_and_not_the_mean_of_roots():
    metric = as_metric(rmse)
    for error in (1.0, 7.0):
        metric.update(torch.full((5,), error), torch.zeros(5))
    assert metric.compute().item() == 5.0
    assert metric.name == "rmse"


def test_sums_go_on_counting_where_float32_stops():
    total = DeviceSum()
    for _ in range(100):
        total.add(torch.tensor(2.0**24))
        total.add(torch.tensor(1.0))
    assert total.value().item() == 100 * 2**24 + 100
    kept = AvgMetric(accuracy)
    kept._sum.add(torch.tensor(float(2**40)))
    kept.update(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    assert kept._sum.value().item() == 2**40 + 1


def test_compensated_sums_in_float32_lose_nothing_over_a_long_pass():
    total, rounded, plain = torch.tensor(2.0**24), torch.tensor(0.0), torch.tensor(2.0**24)
    for _ in range(10_000):
        total, rounded = compensated(total, rounded, torch.tensor(1.1))
        plain = plain + torch.tensor(1.1)
    assert abs(total.item() - (2**24 + 11_000)) <= 2
    assert abs(plain.item() - (2**24 + 11_000)) > 500


def test_r2_is_exact_for_targets_far_from_zero():
    g = generator()
    targ = torch.randn(4000, dtype=torch.float64, generator=g) + 1e7
    pred = targ + 0.5 * torch.randn(4000, dtype=torch.float64, generator=g)
    expected = 1 - (pred - targ).square().sum() / (targ - targ.mean()).square().sum()
    torch.testing.assert_close(measured(R2Score(), pred, targ, 64), expected, rtol=1e-9, atol=0)
    assert R2Score()(torch.ones(3), torch.ones(3)).item() == 1
    assert R2Score()(torch.zeros(3), torch.ones(3)).item() == 0


@pytest.mark.parametrize("metric", [F1Score(average="macro"), Perplexity(), DiceMulti(-1)])
def test_what_is_ignored_is_as_if_it_were_not_there(metric):
    pred, targ = classes()
    targ[::3] = -100
    kept = targ != -100
    torch.testing.assert_close(metric(pred, targ), metric(pred[kept], targ[kept]))


def test_a_label_that_is_no_class_counts_as_an_error_and_stops_nothing():
    pred = torch.eye(3)[[0, 1, 2, 2]]
    targ = torch.tensor([0, 1, 2, 9])
    assert Precision(average="micro")(pred, targ).item() == 0.75


def test_fractions_of_nothing_are_0():
    pred, targ = torch.tensor([[1.0, 0.0]] * 3), torch.tensor([0, 0, 0])
    for metric in (Precision(), Recall(), F1Score(), Dice(-1), JaccardCoeff(-1)):
        assert metric(pred, targ).item() == 0
    assert F1Score(pos_label=0)(pred, targ).item() == 1
    assert (
        F1Score(average="macro")(pred, targ).item() == 1
    )  # the class that never occurs is left out


def test_overlaps_by_hand():
    targ = torch.tensor([[0, 1, 1, 1, 0, 0]])
    said = torch.tensor([[0, 0, 1, 1, 1, 0]])
    pred = F.one_hot(said, 2).movedim(-1, 1).float()
    torch.testing.assert_close(Dice()(pred, targ).item(), 4 / 6)
    torch.testing.assert_close(JaccardCoeff()(pred, targ).item(), 2 / 4)
    torch.testing.assert_close(JaccardCoeffMulti()(pred, targ).item(), (2 / 4 + 2 / 4) / 2)


def test_perplexity_counts_tokens_not_batches():
    pred, targ = classes(C, 7)
    targ[:30, 2:] = -100
    metric = Perplexity(axis=1)
    expected = F.cross_entropy(pred, targ).exp()
    value = measured(metric, pred, targ, [10] * 6)
    torch.testing.assert_close(value, expected, check_dtype=False)


def test_every_built_in_metric_is_in_the_trials():
    bases = {"Metric", "DeviceSum", "TorchMetric", "as_metric", "as_metrics"}
    assert set(metrics.__all__) - bases <= set(CASES)
