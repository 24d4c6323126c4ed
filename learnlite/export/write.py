"""`learn.export`: what was trained, in one file of tensors and plain values."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from learnlite import tensor_file
from learnlite.export.data import tell_data
from learnlite.export.losses import tell_loss, usual_told
from learnlite.export.model import tell_model, tensors_of

if TYPE_CHECKING:
    from learnlite.learner import Learner

FORMAT = 1
"""Another number for files that this version's `load_learner` would not read rightly."""

NOTE = "learnlite"
"""Under this name stands our JSON in the metadata of a file."""


def write_learner(learn: "Learner", path: Path) -> None:
    """Write what predicting needs of a learner; what the file cannot hold is said or raised."""
    data = tell_data(learn.dls)  # first, as it may raise
    loss, about_loss = tell_loss(learn.loss_func)
    model, about_model = tell_model(learn.model)
    with learn.callbacks.around("save"):
        tensors, same = tensors_of(learn.model)
        note: dict[str, Any] = {
            "format": FORMAT,
            "version": vars(sys.modules["learnlite"])["__version__"],  # it imports us
            "torch": torch.__version__,
            "model": model | {"same": same},
            "data": data,
            "loss": loss,
            "usual_loss": None if about_loss is None else usual_told(learn.dls),
        }
        text = json.dumps(note, ensure_ascii=False, separators=(",", ":"))
        tensor_file.write(path, tensors, {"format": "pt", NOTE: text})
    for said in (about_model, about_loss):
        if said:
            learn.say(said)
