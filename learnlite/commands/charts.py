"""The curves of a training as SVG files, which a browser or a document shows."""

from pathlib import Path

from learnlite.replace import replacing
from learnlite.report import Curves, charts
from learnlite.report.style import STYLE

_PAPER = "svg { background: white; color: #222; font-family: system-ui, sans-serif; }"


def write_charts(folder: Path, curves: Curves) -> list[Path]:
    """Write `losses.svg`, one for each metric, `batches.svg`, `rates.svg`; gives the files.

    >>> import tempfile
    >>> curves = Curves({"train_loss": [1.0, 0.5], "accuracy": [0.5, 0.8]}, lrs=[0.1, 0.2])
    >>> with tempfile.TemporaryDirectory() as name:
    ...     [path.name for path in write_charts(Path(name), curves)]
    ['losses.svg', 'accuracy.svg', 'rates.svg']
    """
    written: list[Path] = []
    for name, (_, chart) in charts(curves).items():
        path = folder / f"{_file_name(name)}.svg"
        alone = chart.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" width="920" ', 1)
        alone = alone.replace(">", f"><style>{STYLE}{_PAPER}</style>", 1)
        with replacing(path) as file:
            file.write(alone.encode())
        written.append(path)
    return written


def _file_name(metric: str) -> str:
    return "".join(char if char.isalnum() else "_" for char in metric)
