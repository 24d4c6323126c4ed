"""The curves of a training, as charts."""

from collections.abc import Sequence
from typing import Any

from learnlite.report.curves import HEAD, Curves
from learnlite.report.svg import line_chart


def charts(curves: Curves) -> dict[str, tuple[str, str]]:
    """A title and an SVG of each: `losses`, every metric, `batches` and `rates`; none is empty.

    >>> list(charts(Curves({"train_loss": [1.0, 0.5], "accuracy": [0.5, 0.8]}, lrs=[0.1, 0.2])))
    ['losses', 'accuracy', 'rates']
    """
    history, frozen = curves.history, curves.n_frozen
    epochs: dict[str, Any] = {"x": "epoch", "dots": True, "labels": numbers(curves)}
    epochs["shaded"] = frozen - 0.5 if frozen else 0
    losses = {
        plain(name): _counted(history[name])
        for name in ("train_loss", "valid_loss")
        if name in history
    }
    made = {"losses": ("Loss of each epoch", line_chart(losses, y="loss", **epochs))}
    for name, values in history.items():
        if name not in ("train_loss", "valid_loss"):
            chart = line_chart({"": _counted(values)}, y=plain(name), **epochs)
            made[name] = (f"{plain(name).capitalize()} of each epoch", chart)
    batches: dict[str, Any] = {"x": "batch", "shaded": curves.iters[frozen - 1] if frozen else 0}
    loss = line_chart({"": _counted(curves.losses)}, y="loss", **batches)
    rate = line_chart({"": _counted(curves.lrs)}, y="learning rate", **batches)
    of = " of the last layers" if HEAD in curves.trained else ""
    made["batches"] = ("Training loss, smoothed", loss)
    made["rates"] = (f"Learning rate{of}", rate)
    return {name: (title, chart) for name, (title, chart) in made.items() if chart}


def numbers(curves: Curves) -> list[str]:
    """The epochs as the training itself has shown them."""
    n = max((len(values) for values in curves.history.values()), default=0)
    return [str(epoch) for epoch in (curves.epochs if len(curves.epochs) == n else range(n))]


def plain(name: str) -> str:
    """The name of a measure as words."""
    return name.replace("_", " ")


def _counted(values: Sequence[float]) -> list[tuple[float, float]]:
    return [(float(i), value) for i, value in enumerate(values)]
