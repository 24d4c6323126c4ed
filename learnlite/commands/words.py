"""The settings of a run as a report tells them."""

from collections.abc import Mapping
from typing import Any

import torch

from learnlite.commands.doctor import cpu_name


def in_words(settings: Mapping[str, Any], dls: Any) -> dict[str, Any]:
    """What was trained on what, and how, with what `dls` has chosen where nothing was given.

    >>> from learnlite import DataLoaders
    >>> dls = DataLoaders([(torch.ones(4, 1), torch.zeros(4, 1))], device="cpu")
    >>> told = in_words({"arch": "resnet18", "lr": 1e-3, "lr_by": "finder", "mixup": None}, dls)
    >>> told["highest learning rate"], told["mixup"]
    ('0.001, as the finder suggests', 'off')
    """
    told = {_NAMES.get(name, name): _value(name, value) for name, value in settings.items()}
    for name in _UNTOLD:
        told.pop(name, None)
    if settings.get("lr_by") == "finder":
        told[_NAMES["lr"]] += ", as the finder suggests"
    if settings.get("scratch"):
        told.pop(_NAMES["freeze_epochs"], None)
    workers = getattr(dls.train, "num_workers", None)
    if workers is not None:
        told[_NAMES["workers"]] = "none, the training itself reads" if workers == 0 else workers
    return told | {_NAMES["device"]: device_name(dls.device)}


def device_name(device: torch.device) -> str:
    """What computes, as its maker calls it.

    >>> device_name(torch.device("mps"))
    'Apple GPU'
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return "Apple GPU" if device.type == "mps" else f"{cpu_name()} (CPU)"


_NAMES = {
    "data": "data",
    "size": "width and height of an image, in pixels",
    "bs": "images in a batch",
    "valid_pct": "held back to validate, where no folder is",
    "subset": "part of the images trained on",
    "on_bad_image": "an image that does not open",
    "workers": "processes that read images",
    "device": "computed on",
    "seed": "seed",
    "arch": "network",
    "scratch": "begins with",
    "precision": "precision",
    "lr": "highest learning rate",
    "epochs": "epochs of all layers",
    "freeze_epochs": "epochs of the head before them",
    "mixup": "mixup",
    "smooth": "label smoothing",
}
_UNTOLD = ("lr_by", "finished", "extended")


def _value(name: str, value: Any) -> Any:
    if name == "scratch":
        return "random weights" if value else "pretrained weights"
    if name == "on_bad_image":
        return {"stop": "stops the run", "skip": "is left out"}.get(value, value)
    if name in ("valid_pct", "subset"):
        return "all" if value is None else f"{value:.0%}"
    if name in ("mixup", "smooth"):
        return "off" if value is None else value
    return f"{value:g}" if isinstance(value, float) else value
