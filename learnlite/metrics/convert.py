"""From what a user gives as `metrics=` to metrics: functions, metrics, torchmetrics."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from learnlite.metrics.base import DeviceSum, Metric, function_name, samples, share, snake_case
from learnlite.metrics.functions import accuracy, error_rate
from learnlite.metrics.sums import RMSE, Hits, Misses, Perplexity, perplexity, rmse
from learnlite.types import listify

_RESERVED = ("epoch", "time", "loss", "train_loss", "valid_loss")
_OF_THE_SET: dict[Any, type[Metric]] = {
    rmse: RMSE,
    perplexity: Perplexity,
    accuracy: Hits,
    error_rate: Misses,
}
"""Functions for which something computes the value over the whole set better than a mean does."""


@runtime_checkable
class _Accumulates(Protocol):
    """How a `torchmetrics.Metric` looks from outside."""

    def reset(self) -> None: ...
    def update(self, *args: Any) -> None: ...
    def compute(self) -> Any: ...


class AvgMetric(Metric):
    """The mean of a function of (pred, targ) over the batches, each counted by its number of items.

    >>> def bias(pred, targ):
    ...     return (pred - targ).mean()
    >>> metric = AvgMetric(bias)
    >>> metric.update(torch.ones(3), torch.zeros(3))
    >>> metric.update(torch.zeros(1), torch.zeros(1))
    >>> metric.name, metric.compute().item()
    ('bias', 0.75)
    """

    def __init__(self, func: Callable[..., Tensor], name: str | None = None) -> None:
        self.func = func
        super().__init__(name if name is not None else function_name(func))

    def reset(self) -> None:
        self._sum = DeviceSum()
        self._items = 0

    def update(self, pred: Any, targ: Any, *more: Any) -> None:
        value: Any = self.func(pred, targ, *more)
        items = samples(targ, pred)
        self._sum.add(_one_number(self.name, value) * items)
        self._items += items

    def compute(self) -> Tensor:
        return share(self._sum.value(), self._items)

    def __repr__(self) -> str:
        return f"AvgMetric({self.name})"


class TorchMetric(Metric):
    """A `torchmetrics.Metric` as it is, moved to where the predictions are."""

    def __init__(self, metric: _Accumulates, name: str | None = None) -> None:
        self.metric = metric
        self._device: torch.device | None = None
        super().__init__(name if name is not None else function_name(metric))

    def reset(self) -> None:
        self.metric.reset()

    def update(self, pred: Any, targ: Any, *more: Any) -> None:
        if isinstance(pred, Tensor) and pred.device != self._device:
            if isinstance(self.metric, nn.Module):
                self.metric.to(pred.device)
            self._device = pred.device
        self.metric.update(pred, targ, *more)

    def compute(self) -> Tensor:
        return _one_number(self.name, self.metric.compute())

    def state_dict(self) -> dict[str, Any]:
        metric: Any = self.metric
        count = getattr(metric, "_update_count", 0)
        return {"state": dict(getattr(metric, "metric_state", {})), "updates": count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state["state"].items():
            setattr(self.metric, name, value)
        if state["updates"]:
            vars(self.metric)["_update_count"] = state["updates"]

    def __repr__(self) -> str:
        return f"TorchMetric({self.name})"


def as_metric(metric: Any) -> Metric:
    """A `Metric` of a function, a metric, a class of one, or a `torchmetrics.Metric`.

    >>> from learnlite.metrics import F1Score, accuracy
    >>> as_metric(partial(accuracy, axis=1)), as_metric(F1Score).name
    (Hits(name='accuracy'), 'f1_score')
    """
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, type):
        return _instance(cast(type[Any], metric))
    if isinstance(metric, nn.ModuleDict):
        raise TypeError(f"`{type(metric).__name__}` holds several metrics; use `as_metrics`")
    if isinstance(metric, _Accumulates):
        return TorchMetric(metric)
    if not callable(metric):
        raise TypeError(
            "a metric is a function of (pred, targ), a `Metric` or a `torchmetrics.Metric`, got "
            f"{metric!r}"
        )
    given: partial[Any] = metric if isinstance(metric, partial) else partial(metric)
    for func, kind in _OF_THE_SET.items():
        if given.func is func:
            return kind(*given.args, **given.keywords)
    return AvgMetric(cast(Callable[..., Tensor], metric))


def as_metrics(metrics: Any) -> list[Metric]:
    """The metrics of one, several, none, or a `MetricCollection`, each under its own name.

    >>> from learnlite.metrics import accuracy, error_rate
    >>> [metric.name for metric in as_metrics([accuracy, error_rate])]
    ['accuracy', 'error_rate']
    """
    found: list[Metric] = []
    for metric in listify(metrics) if not isinstance(metrics, nn.Module) else [metrics]:
        if isinstance(metric, nn.ModuleDict) and isinstance(metric, _Accumulates):
            found += [
                TorchMetric(single, _collected(name, single)) for name, single in _members(metric)
            ]
        else:
            found.append(as_metric(metric))
    names = [metric.name for metric in found]
    for name in names:
        if name in _RESERVED:
            raise ValueError(
                f"a metric is named `{name}`, which is a column of the table already; give it "
                "another name: `AvgMetric(function, name=…)`"
            )
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"{names.count(name)} metrics are named `{name}`; give them names: "
                "`F1Score(name=…)`, `AvgMetric(function, name=…)`"
            )
    return found


def _instance(kind: type[Any]) -> Metric:
    if not issubclass(kind, Metric | nn.Module) and not issubclass(kind, _Accumulates):
        raise TypeError(
            f"`{kind.__name__}` is a class but no metric; give an instance: `{kind.__name__}(…)`"
        )
    try:
        return as_metric(kind())
    except TypeError as error:
        raise TypeError(
            f"`{kind.__name__}` needs arguments; give an instance: `{kind.__name__}(…)`"
        ) from error


def _members(collection: Any) -> list[tuple[str, Any]]:
    return list(cast(Mapping[str, Any], collection).items())


def _collected(name: str, metric: Any) -> str:
    """The name in the collection: with its prefix, but in snake case where it is the class's."""
    kind = type(metric).__name__
    return name.replace(kind, snake_case(kind))


def _one_number(name: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        kind = type(value).__name__
        raise TypeError(
            f"the metric `{name}` must give a tensor, got a {kind}; leave out `.item()`, which "
            "waits for the device, or use `AccumMetric(…, to_np=True)` for functions of numpy "
            "arrays"
        )
    if value.numel() != 1:
        raise ValueError(
            f"the metric `{name}` must give one number, got the shape {tuple(value.shape)}; add "
            "`.mean()` at its end"
        )
    number: Tensor = value.detach().reshape(())
    return number
