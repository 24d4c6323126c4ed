"""Exported learners back from their files."""

from pathlib import Path
from typing import Any, cast

from torch import nn

from learnlite import tensor_file
from learnlite.data.wording import short
from learnlite.export.data import enter_rooms, make_data
from learnlite.export.losses import LOSSES
from learnlite.export.model import load_weights, make_model
from learnlite.export.table import Told
from learnlite.export.write import FORMAT, NOTE
from learnlite.learner import Learner
from learnlite.recipe import registered_models
from learnlite.tensor_file import FileError, TensorFile


def load_learner(f: str | Path, model: nn.Module | None = None, cpu: bool = True) -> Learner:
    """The learner that `learn.export(f)` wrote, ready to predict; nothing of the file is run.

    `model` is needed where the file does not tell how to build it, and taken instead where it
    does. With `cpu=False` it works on the GPU, if there is one.

    >>> import tempfile, torch
    >>> from pathlib import Path
    >>> from learnlite import DataLoaders
    >>> x = torch.randn(20, 4)
    >>> dls = DataLoaders.from_tensors(x, (x.sum(1) > 0).long(), device="cpu")
    >>> learn = Learner(dls, nn.Linear(4, 2))
    >>> with learn.no_logging():
    ...     f = learn.export(Path(tempfile.mkdtemp()) / "sums.ll")
    >>> again = load_learner(f, model=nn.Linear(4, 2))
    >>> torch.equal(again.model(x), learn.model(x))
    True
    """
    path = Path(f)
    if not path.exists() and path.with_suffix(".ll").is_file():
        raise FileNotFoundError(
            f"there is no file {path}, but {path.with_suffix('.ll')}: `learn.export()` writes .ll"
        )
    file = tensor_file.read(path)
    note = _note(file)
    told, data, loss = (_part(note, name, file) for name in ("model", "data", "loss"))
    if model is None and told.get("name") not in registered_models():
        enter_rooms()
    dls = make_data(data)
    if cpu:
        dls.cpu()
    loss_func = LOSSES.make(loss)
    if note.get("usual_loss") is not None:
        dls.loss_func = LOSSES.make(note["usual_loss"])
    made = make_model(told, model, file)
    load_weights(made, told, file)
    learn = Learner(dls, made, loss_func)
    learn.model.eval()
    return learn


def _note(file: TensorFile) -> Told:
    """Our part of the metadata, of a format that this version reads."""
    text = file.metadata.get(NOTE)
    if text is None:
        raise FileError(
            f"{file.path} holds tensors and nothing of a learner; weights alone are loaded by "
            "`learn.load`"
        )
    note = tensor_file.parse(text, file.path)
    if not isinstance(note, dict):
        raise FileError(f"{file.path} has {short(note)} where it should tell of a learner")
    note = cast(Told, note)
    written = note.get("format")
    if type(written) is not int or written < 1:
        raise FileError(f"{file.path} has {short(written)} as the number of its format")
    if written > FORMAT:
        raise FileError(
            f"{file.path} was written by learnlite {short(note.get('version'))} in format "
            f"{written}, and this version reads up to {FORMAT}: update it, as by "
            "`pip install -U learnlite`"
        )
    return note


def _part(note: Told, name: str, file: TensorFile) -> dict[str, Any]:
    part = note.get(name)
    if not isinstance(part, dict):
        raise FileError(f"{file.path} tells nothing of its {name}; it is damaged")
    return cast(Told, part)
