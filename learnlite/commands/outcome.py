"""What a training leaves in its folder: weights, a model, curves, what was validated, a report."""

import csv
import io
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from learnlite.commands import learner
from learnlite.commands.charts import write_charts
from learnlite.commands.run import Run
from learnlite.commands.words import device_name, in_words
from learnlite.predictions import harmless
from learnlite.replace import replacing
from learnlite.types import counted

_LOADING = """from learnlite import load_learner

learn = load_learner({!r})
learn.predict("photo.jpg")"""


def write(learn: Any, begun: Run, curves: Any) -> None:
    """Write all of it into the folder of the run."""
    from learnlite.interpret import ClassificationInterpretation, Interpretation
    from learnlite.report import write_report

    out = begun.folder
    learn.save(out.resolve() / "weights", with_opt=False)
    learn.export(out / "model.ll")
    is_classifier = learner.is_classifier(learn.dls)
    make = ClassificationInterpretation if is_classifier else Interpretation
    with learn.no_bar():
        interp = make.from_learner(learn)
    _write_validated(out / "valid.csv", interp)
    write_charts(out, curves)
    settings = begun.settings
    write_report(
        out / "report.html",
        curves,
        interp if isinstance(interp, ClassificationInterpretation) else None,
        title=f"{settings['arch']} on {Path(settings['data']).name}",
        summary=[f"{told(learn.dls)}.", f"{curves.told}, on {device_name(learn.dls.device)}."],
        settings=in_words(settings, learn.dls),
        loading=_LOADING.format(str(out / "model.ll")),
    )


def tell(out: Path, first: str) -> None:
    """Say what there is now, and how to use it."""
    model = out / "model.ll"
    print(first)
    print(f"The report: {out / 'report.html'}; the model: {model}; predict with it by")
    print(f"   {shlex.join(['learnlite', 'predict', str(model), 'photo.jpg'])}")


def told(dls: Any) -> str:
    """How many images there are."""
    n_valid = 0 if dls.valid_ds is None else len(dls.valid_ds)
    classes = f", {dls.c} classes" if learner.is_classifier(dls) else ""
    images = counted(len(dls.train_ds), "image")
    return f"{images} to train on, {n_valid:,} to validate with{classes}"


def last(curves: Any) -> str:
    """What was measured in the last epoch."""
    return ", ".join(f"{name} {values[-1]:.4f}" for name, values in curves.history.items())


def _write_validated(path: Path, interp: Any) -> None:
    """A row for each photo that validated: which it is, and what is said of it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "label", "prediction", "loss"])
    writer.writerows([harmless(cell) for cell in row] for row in _validated(interp))
    with replacing(path) as file:
        file.write(text.getvalue().encode())


def _validated(interp: Any) -> Iterator[list[Any]]:
    dls = interp.learn.dls
    labels, said = dls.decode_preds(interp.targs), dls.decode_preds(interp.decoded)
    for i, loss in enumerate(interp.losses.tolist()):
        yield [str(interp.source(i)), _plain(labels[i]), _plain(said[i]), f"{loss:.4f}"]


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
