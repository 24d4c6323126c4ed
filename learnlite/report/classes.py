"""What a report says of a classifier: confusion, mistakes, labels in doubt, calibration."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from learnlite.interpret import ClassificationInterpretation
from learnlite.report.svg import calibration_chart
from learnlite.report.text import escaped

_MOST_CLASSES = 40  # in the confusion matrix; with more, the pairs most confused stand alone
_SIDE = 240  # pixels of a picture


def confused(interp: ClassificationInterpretation) -> str:
    """How many are right, the matrix, and the pairs that are most confused."""
    counts, classes = interp.confusion_matrix(), interp.classes
    right, n = int(counts.diagonal().sum()), int(counts.sum())
    said = f"{right:,} of {n:,} validation {_noun(interp)} are named rightly ({right / n:.1%})."
    pairs = "".join(
        f"<li>{_strong(a)} taken for {_strong(b)}: {times:,}</li>"
        for a, b, times in interp.most_confused()[:8]
    )
    matrix = _matrix(counts, classes) if len(classes) <= _MOST_CLASSES else ""
    most = f"<div><h3>Most confused</h3><ul>{pairs}</ul></div>" if pairs else ""
    return f'<p>{said}</p><div class="beside">{matrix}{most}</div>'


def _noun(interp: ClassificationInterpretation) -> str:
    return "items" if interp.images([0])[0] is None else "images"


def _strong(name: Any) -> str:
    return f"<strong>{escaped(name, 40)}</strong>"


def _matrix(counts: Any, classes: Sequence[Any]) -> str:
    turned = ' class="turned"' if len(classes) > 6 else ""
    head = "".join(f"<th{turned}><span>{escaped(name, 24)}</span></th>" for name in classes)
    rows: list[str] = []
    for i, (name, row) in enumerate(zip(classes, counts.tolist(), strict=True)):
        total = sum(row) or 1
        cells = "".join(_cell(n, n / total) for n in row)
        side = (
            f'<th class="side" rowspan="{len(classes)}"><span>label</span></th>' if i == 0 else ""
        )
        rows.append(f"<tr>{side}<th>{escaped(name, 24)}</th>{cells}</tr>")
    return (
        '<div class="wide"><table class="matrix">'
        f'<tr><td colspan="2"></td><th class="top" colspan="{len(classes)}">the model says</th>'
        f'</tr><tr><td colspan="2"></td>{head}</tr>{"".join(rows)}</table></div>'
    )


def _cell(n: int, share: float) -> str:
    kind = ' class="dark"' if share > 0.6 else ""
    return f'<td{kind} style="background: rgba(42, 111, 201, {share:.2f})">{n:,}</td>'


def mistakes(interp: ClassificationInterpretation, n: int) -> str:
    """The items that the model is wrong about, the largest loss first, as pictures."""
    wrong = (interp.decoded != interp.targs).nonzero()[:, 0]
    if not len(wrong):
        return "<p>There is none.</p>"
    order = interp.losses[wrong].argsort(descending=True)
    indices = wrong[order][:n].tolist()
    captions: list[str] = []
    for i in indices:
        both = int(interp.decoded[i]), int(interp.targs[i])
        said, label = (_strong(interp.classes[which]) for which in both)
        captions.append(
            f"says {said}{_sure(interp, interp.preds[i].max())}<br>is {label}, "
            f"loss {interp.losses[i]:.2f}"
        )
    few = f"The {len(indices)} largest losses of {len(wrong):,} mistakes" if n < len(wrong) else ""
    intro = few or "All mistakes, the largest loss first"
    return f"<p>{intro}: what the model says, and what the label says.</p>" + _pictures(
        interp, indices, captions
    )


def _sure(interp: ClassificationInterpretation, p: Any) -> str:
    return f" ({float(p):.0%})" if interp.has_probabilities else ""


def doubts(interp: ClassificationInterpretation, n: int) -> str:
    """The items whose labels the model contradicts, as pictures."""
    if not interp.has_probabilities:
        return ""
    found = interp.wrong_labels(n)
    if not found:
        return "<p>No label is in doubt.</p>"
    captions = [
        f"label {_strong(doubt.label)}<br>or {_strong(doubt.guess)}? ({doubt.probability:.0%})"
        for doubt in found
    ]
    return (
        "<p>Here the model is as sure of another class as it is of that class elsewhere. So the "
        "mistake may be the label's and not the model's: look, correct, train again.</p>"
        + _pictures(interp, [doubt.index for doubt in found], captions)
    )


def _pictures(
    interp: ClassificationInterpretation, indices: Sequence[int], captions: Sequence[str]
) -> str:
    images = interp.images(indices)
    parts: list[str] = []
    for i, image, caption in zip(indices, images, captions, strict=True):
        source = interp.source(i)
        name = escaped(source.name if isinstance(source, Path) else f"item {i}", 120)
        shown = "" if image is None else f'<img src="{_as_data(image)}" alt="{name}">'
        parts.append(
            f'<figure>{shown}<figcaption>{caption}<small title="{name}">{name}</small>'
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


def calibrated(interp: ClassificationInterpretation) -> str:
    """How often the model is right where it is so sure, and how much that says."""
    if not interp.has_probabilities:
        return ""
    found = interp.calibration()
    chart = calibration_chart(found.accuracy.tolist(), found.counts.tolist())
    what = _noun(interp)
    rough = f"<p>{_strong(f'Few {what}:')} {escaped(found.caution)}. Look at more of them.</p>"
    return (
        f'<div class="beside"><figure>{chart}</figure><div><p>Where a model says 80%, it should '
        "be right in 80 of 100 cases: bars end at the dashed line.</p>"
        f"<p>Here they are {found.ece * 100:.1f} points apart on average (the expected calibration "
        f"error, {found.ece:.3f}).</p><p>Above each bar stands how many {what} it is made of; "
        f"where there is no bar, there are none.</p>{rough if found.caution else ''}</div></div>"
    )
