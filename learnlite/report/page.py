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
from learnlite.report.charts import charts, numbers, plain
from learnlite.report.classes import calibrated, confused, doubts, mistakes
from learnlite.report.curves import ALL, Curves
from learnlite.report.style import STYLE
from learnlite.report.text import code, escaped, measure, number, plainly, span, table

_MOST_ROWS = 30  # of the table of epochs; a longer one is folded


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
    told = [(plain(name), measure(name, last[name])) for name in names]
    if curves.seconds:
        told.append(("training time", span(sum(curves.seconds))))
    parts = [
        f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd></div>" for name, value in told
    ]
    return f'<dl class="headline">{"".join(parts)}</dl>' if parts else ""


def _charts(curves: Curves) -> str:
    figures = [
        f"<figure><figcaption>{escaped(name)}</figcaption>{chart}</figure>"
        for name, chart in charts(curves).values()
    ]
    shaded = (
        f'<p class="note">Shaded: {escaped(curves.trained[0])} alone is trained, the layers before '
        "it are frozen.</p>"
        if curves.n_frozen
        else ""
    )
    return f'<div class="charts">{"".join(figures)}</div>{shaded}' if figures else ""


def _epochs(curves: Curves) -> str:
    """A row an epoch, with what was trained if that has changed, and its time."""
    columns = {"epoch": numbers(curves)}
    n = len(columns["epoch"])
    if not n:
        return ""
    if len(curves.trained) == n and set(curves.trained) - {ALL}:
        columns = {"trained": curves.trained, **columns}
    columns |= {plain(name): [*map(number, row)] for name, row in curves.history.items()}
    if len(curves.seconds) == n:
        columns["time"] = [_clock(seconds) for seconds in curves.seconds]
    rows = list(zip(*columns.values(), strict=True))
    made = table(list(columns), rows, "named" if "trained" in columns else "")
    if n <= _MOST_ROWS:
        return made
    return f"<details><summary>The numbers of all {n} epochs</summary>{made}</details>"


def _clock(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "-"
    minutes, rest = divmod(int(seconds + 0.5), 60)
    return f"{minutes:02}:{rest:02}"
