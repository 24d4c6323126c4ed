"""The curves of a training as SVG files, which a browser or a document shows."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from learnlite.replace import replacing
from learnlite.report import Curves
from learnlite.report.style import STYLE
from learnlite.report.svg import line_chart

_PAPER = "svg { background: white; color: #222; font-family: system-ui, sans-serif; }"


def write_charts(folder: Path, curves: Curves) -> list[Path]:
    """Write `losses.svg`, a chart for each metric, and `rates.svg`; gives the files.

    >>> import tempfile
    >>> curves = Curves({"train_loss": [1.0, 0.5], "accuracy": [0.5, 0.8]}, lrs=[0.1, 0.2])
    >>> with tempfile.TemporaryDirectory() as name:
    ...     [path.name for path in write_charts(Path(name), curves)]
    ['losses.svg', 'accuracy.svg', 'rates.svg']
    """
    written: list[Path] = []
    for name, chart in _charts(curves):
        if not chart:
            continue
        path = folder / f"{name}.svg"
        alone = chart.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" width="920" ', 1)
        alone = alone.replace(">", f"><style>{STYLE}{_PAPER}</style>", 1)
        with replacing(path) as file:
            file.write(alone.encode())
        written.append(path)
    return written


def _charts(curves: Curves) -> Iterator[tuple[str, str]]:
    is_loss = {name: name in ("train_loss", "valid_loss") for name in curves.history}
    losses = {name: _points(curves.history[name]) for name in is_loss if is_loss[name]}
    yield "losses", line_chart(losses, x="row of history.csv", y="loss", dots=True)
    for name, values in curves.history.items():
        if not is_loss[name]:
            lines = {name: _points(values)}
            yield _file_name(name), line_chart(lines, x="row of history.csv", y=name, dots=True)
    yield "rates", line_chart({"": _points(curves.lrs)}, x="batch", y="learning rate")


def _points(values: Sequence[float]) -> list[tuple[float, float]]:
    return [(float(i), value) for i, value in enumerate(values)]


def _file_name(metric: str) -> str:
    return "".join(char if char.isalnum() else "_" for char in metric)
