"""A report of a training as one HTML file: no script, nothing loaded, every text escaped."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import learnlite
from learnlite.callbacks import Recorder
from learnlite.interpret import Calibration, ClassificationInterpretation
from learnlite.replace import replacing
from learnlite.report.style import STYLE
from learnlite.report.svg import bar_chart, line_chart
from learnlite.report.text import escaped

_MOST_CLASSES = 40  # in the confusion matrix; with more, the pairs most confused stand alone
_SIDE = 160  # pixels of a picture


@dataclass
class Curves:
    """What was measured, over one fit or several: a row an epoch, losses and rates a batch."""

    history: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    losses: list[float] = field(default_factory=list[float])
    lrs: list[float] = field(default_factory=list[float])

    def add(self, recorder: Recorder) -> None:
        """Append what the recorder has of its fit."""
        for name, values in recorder.to_dict().items():
            if name != "epoch":
                self.history.setdefault(name, []).extend(values)
        self.losses += recorder.losses
        self.lrs += recorder.lrs


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

    `settings` are listed as they are, `summary` are sentences at the top, `loading` is code that
    loads the model. Gives the path.

    >>> import tempfile
    >>> curves = Curves({"train_loss": [1.0, 0.5]}, losses=[1.2, 0.8, 0.6, 0.4], lrs=[0.1] * 4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = write_report(Path(folder, "report.html"), curves, title="Moons")
    ...     "<h1>Moons</h1>" in file.read_text()
    True
    """
    sections = [
        f"<h1>{escaped(title)}</h1>",
        *(f"<p>{escaped(sentence, 400)}</p>" for sentence in summary),
        _section("Curves", _curves(curves)),
        _section("Epochs", _epochs(curves.history)),
    ]
    if interp is not None:
        sections += [
            _section("Confusion", _confusion(interp)),
            _section("Worst mistakes", _mistakes(interp, worst)),
            _section("Labels in doubt", _doubts(interp, worst)),
            _section("Calibration", _calibration(interp.calibration())),
        ]
    sections += [
        _section("Settings", _pairs(settings or {})),
        _section("Loading the model", f"<pre>{escaped(loading, 2000)}</pre>" if loading else ""),
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


def _curves(curves: Curves) -> str:
    history = curves.history
    epochs = range(1, 1 + max((len(values) for values in history.values()), default=0))
    losses = {
        name: list(zip(epochs, history[name], strict=False))
        for name in ("train_loss", "valid_loss")
        if name in history
    }
    charts = [line_chart(losses, x="epoch", y="loss", dots=True)]
    for name, values in history.items():
        if name not in ("train_loss", "valid_loss", "time"):
            points = list(zip(epochs, values, strict=False))
            charts.append(line_chart({name: points}, x="epoch", y=name, dots=True))
    charts.append(line_chart({"": _numbered(curves.losses)}, x="batch", y="smoothed loss"))
    charts.append(line_chart({"": _numbered(curves.lrs)}, x="batch", y="learning rate"))
    return "".join(f"<figure>{chart}</figure>" for chart in charts if chart)


def _numbered(values: Sequence[float]) -> list[tuple[float, float]]:
    return [(float(i), value) for i, value in enumerate(values)]


def _epochs(history: Mapping[str, Sequence[float]]) -> str:
    if not history:
        return ""
    names = list(history)
    epochs = enumerate(zip(*history.values(), strict=True), 1)
    rows = [[str(epoch), *map(_number, row)] for epoch, row in epochs]
    return _table(["epoch", *names], rows)


def _confusion(interp: ClassificationInterpretation) -> str:
    counts, classes = interp.confusion_matrix(), interp.classes
    right = f"{counts.diagonal().sum():,} of {counts.sum():,} items are named rightly."
    pairs = [f"{a} taken for {b}: {n:,}" for a, b, n in interp.most_confused()[:8]]
    listed = "".join(f"<li>{escaped(pair)}</li>" for pair in pairs)
    parts = [f"<p>{right}</p>"]
    if len(classes) <= _MOST_CLASSES:
        parts.append(_matrix(counts, classes))
    if listed:
        parts.append(f"<p>Most confused:</p><ul>{listed}</ul>")
    return "".join(parts)


def _matrix(counts: Any, classes: Sequence[Any]) -> str:
    head = "".join(f'<th class="turned"><span>{escaped(name, 24)}</span></th>' for name in classes)
    rows: list[str] = []
    for name, row in zip(classes, counts.tolist(), strict=True):
        total = sum(row) or 1
        cells = "".join(_cell(n, n / total) for n in row)
        rows.append(f"<tr><th>{escaped(name, 24)}</th>{cells}</tr>")
    return (
        '<div class="wide"><table class="matrix"><caption>rows: what it is, columns: what the '
        f"model says</caption><tr><th></th>{head}</tr>{''.join(rows)}</table></div>"
    )


def _cell(n: int, share: float) -> str:
    kind = ' class="dark"' if share > 0.5 else ""
    style = f"background: rgba(40, 110, 200, {share:.2f})"
    return f'<td{kind} style="{style}">{n:,}</td>'


def _mistakes(interp: ClassificationInterpretation, n: int) -> str:
    wrong = (interp.decoded != interp.targs).nonzero()[:, 0]
    if not len(wrong):
        return "<p>There is none.</p>"
    order = interp.losses[wrong].argsort(descending=True)
    indices = wrong[order][:n].tolist()
    captions = [
        f"{_of(interp, interp.decoded[i])} / {_of(interp, interp.targs[i])}<br>"
        f"loss {interp.losses[i]:.2f}, p {interp.preds[i, interp.decoded[i]]:.2f}"
        for i in indices
    ]
    return "<p>Predicted / actual, worst first.</p>" + _pictures(interp, indices, captions)


def _doubts(interp: ClassificationInterpretation, n: int) -> str:
    doubts = interp.wrong_labels(n)
    if not doubts:
        return "<p>No label is in doubt.</p>"
    captions = [
        f"labelled {escaped(doubt.label, 24)}<br>"
        f"{escaped(doubt.guess, 24)}? p {doubt.probability:.2f}"
        for doubt in doubts
    ]
    return _pictures(interp, [doubt.index for doubt in doubts], captions)


def _of(interp: ClassificationInterpretation, i: Any) -> str:
    return escaped(interp.classes[int(i)], 24)


def _pictures(
    interp: ClassificationInterpretation, indices: Sequence[int], captions: Sequence[str]
) -> str:
    images = interp.images(indices)
    parts: list[str] = []
    for i, image, caption in zip(indices, images, captions, strict=True):
        source = interp.source(i)
        name = source.name if isinstance(source, Path) else f"item {i}"
        shown = "" if image is None else f'<img src="{_as_data(image)}" alt="{escaped(name, 60)}">'
        parts.append(
            f"<figure>{shown}<figcaption>{caption}<br><small>{escaped(name, 40)}</small>"
            "</figcaption></figure>"
        )
    return f'<div class="pictures">{"".join(parts)}</div>'


def _as_data(image: Tensor) -> str:
    """An image of 0 to 1 as an address that holds it, small enough for a page of many."""
    from PIL import Image

    pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8)
    array = pixels.permute(1, 2, 0).squeeze(-1).numpy()
    picture = Image.fromarray(array).convert("RGB")
    picture.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _calibration(found: Calibration) -> str:
    n = len(found.counts)
    bars = [
        ((i + 0.5) / n, accuracy)
        for i, accuracy in enumerate(found.accuracy.tolist())
        if not math.isnan(accuracy)
    ]
    chart = bar_chart(bars, 1 / n, x="confidence", y="accuracy", diagonal=True)
    return (
        f"<p>The expected calibration error is {found.ece:.3f}: so far are confidence and accuracy "
        f"apart on average. On the dashed line they agree.</p><figure>{chart}</figure>"
    )


def _pairs(settings: Mapping[str, Any]) -> str:
    rows = [[escaped(name), escaped(value)] for name, value in settings.items()]
    return _table([], rows) if rows else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escaped(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    head_row = f"<tr>{top}</tr>" if top else ""
    return f'<div class="wide"><table>{head_row}{body}</table></div>'


def _number(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) and abs(value) < 1e5 else f"{value:.3g}"
