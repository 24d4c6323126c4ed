"""A report of a training as one HTML file: no script, nothing loaded, every text escaped."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

import learnlite
from learnlite.interpret import ClassificationInterpretation
from learnlite.replace import replacing
from learnlite.report.classes import calibrated, confused, doubts, mistakes
from learnlite.report.curves import ALL, HEAD, Curves
from learnlite.report.style import STYLE
from learnlite.report.svg import line_chart
from learnlite.report.text import code, escaped, measure, number, plainly, span, table


def write_report(
    path: str | Path,
    curves: Curves,
    interp: ClassificationInterpretation | None = None,
    *,
    title: str = "A training",
    settings: Mapping[str, Any] | None = None,
    summary: Sequence[str] = (),
    loading: str = "",
    worst: int = 12,
) -> Path:
    """Write how a training went to `path`: curves, confusion, worst mistakes, calibration.

    `settings` are listed by their names, `summary` are sentences at the top, `loading` is code that
    loads the model. Gives the path.

    >>> import tempfile
    >>> curves = Curves({"train_loss": [1.0, 0.5]}, losses=[1.2, 0.8, 0.6, 0.4], lrs=[0.1] * 4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = write_report(Path(folder, "report.html"), curves, title="Moons")
    ...     "<h1>Moons</h1>" in file.read_text()
    True
    """
    told = "".join(f"<p>{escaped(sentence, 400)}</p>" for sentence in summary)
    sections = [
        f"<header><h1>{escaped(title)}</h1>{told}{_headline(curves)}</header>",
        _section("How it learned", _charts(curves) + _epochs(curves)),
    ]
    if interp is not None:
        sections += [
            _section("What it confuses", confused(interp)),
            _section("Its worst mistakes", mistakes(interp, worst)),
            _section("Labels that may be wrong", doubts(interp, worst)),
            _section("Can its probabilities be believed?", calibrated(interp)),
        ]
    pairs = [[name, plainly(value)] for name, value in (settings or {}).items()]
    sections += [
        _section("Using the model", code(loading) if loading else ""),
        _section("Settings", table([], pairs, "settings") if pairs else ""),
    ]
    made = f"{datetime.now():%Y-%m-%d %H:%M}, learnlite {learnlite.__version__}"
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'; img-src data:\">"
        f"<title>{escaped(title)}</title><style>{STYLE}</style></head><body>"
        + "".join(sections)
        + f"<footer>{escaped(made)}, torch {escaped(torch.__version__)}</footer></body></html>\n"
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(page.encode())
    return path


def _section(name: str, body: str) -> str:
    return f"<section><h2>{name}</h2>{body}</section>" if body else ""


def _headline(curves: Curves) -> str:
    """The last of each measure, metrics first, and how long it took."""
    last = {name: values[-1] for name, values in curves.history.items() if values}
    names = sorted(last, key=lambda name: name.endswith("_loss"))
    told = [(_plain(name), measure(name, last[name])) for name in names]
    if curves.seconds:
        told.append(("training time", span(sum(curves.seconds))))
    parts = [
        f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd></div>" for name, value in told
    ]
    return f'<dl class="headline">{"".join(parts)}</dl>' if parts else ""


def _charts(curves: Curves) -> str:
    history, labels = curves.history, _numbers(curves)
    frozen = curves.n_frozen
    epochs: dict[str, Any] = {"x": "epoch", "dots": True, "labels": labels}
    epochs["shaded"] = frozen - 0.5 if frozen else 0
    losses = {
        _plain(name): _numbered(history[name])
        for name in ("train_loss", "valid_loss")
        if name in history
    }
    charts = [("Loss of each epoch", line_chart(losses, y="loss", **epochs))]
    for name, values in history.items():
        if name not in ("train_loss", "valid_loss"):
            chart = line_chart({"": _numbered(values)}, y=_plain(name), **epochs)
            charts.append((f"{_plain(name).capitalize()} of each epoch", chart))
    batches: dict[str, Any] = {"x": "batch", "shaded": curves.iters[frozen - 1] if frozen else 0}
    loss = line_chart({"": _numbered(curves.losses)}, y="loss", **batches)
    rate = line_chart({"": _numbered(curves.lrs)}, y="learning rate", **batches)
    of = " of the last layers" if HEAD in curves.trained else ""
    charts += [("Training loss, smoothed", loss), (f"Learning rate{of}", rate)]
    figures = [
        f"<figure><figcaption>{escaped(name)}</figcaption>{chart}</figure>"
        for name, chart in charts
        if chart
    ]
    shaded = (
        f'<p class="note">Shaded: {escaped(curves.trained[0])} alone is trained, the layers before '
        "it are frozen.</p>"
        if frozen
        else ""
    )
    return f'<div class="charts">{"".join(figures)}</div>{shaded}' if figures else ""


def _numbers(curves: Curves) -> list[str]:
    """The epochs as the training itself has shown them."""
    n = max((len(values) for values in curves.history.values()), default=0)
    return [str(epoch) for epoch in (curves.epochs if len(curves.epochs) == n else range(n))]


def _numbered(values: Sequence[float]) -> list[tuple[float, float]]:
    return [(float(i), value) for i, value in enumerate(values)]


def _epochs(curves: Curves) -> str:
    """A row an epoch, with what was trained if that has changed, and its time."""
    columns = {"epoch": _numbers(curves)}
    n = len(columns["epoch"])
    if not n:
        return ""
    if len(curves.trained) == n and set(curves.trained) - {ALL}:
        columns = {"trained": curves.trained, **columns}
    columns |= {_plain(name): [*map(number, row)] for name, row in curves.history.items()}
    if len(curves.seconds) == n:
        columns["time"] = [_clock(seconds) for seconds in curves.seconds]
    rows = list(zip(*columns.values(), strict=True))
    return table(list(columns), rows, "named" if "trained" in columns else "")


def _clock(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "-"
    minutes, rest = divmod(int(seconds + 0.5), 60)
    return f"{minutes:02}:{rest:02}"


def _plain(name: str) -> str:
    return name.replace("_", " ")
