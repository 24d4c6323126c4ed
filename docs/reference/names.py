"""Writes names.md, the list of what `from learnlite.vision.all import *` brings: run it by hand."""

import inspect
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import learnlite.vision.all as everything

PAGE = Path(__file__).with_name("names.md")

TITLES = {
    "learnlite.callbacks": "Callbacks",
    "learnlite.losses": "Losses",
    "learnlite.metrics": "Metrics",
    "learnlite.optim": "Optimizers",
    "learnlite.schedules": "Schedules",
    "learnlite.interpret": "What a model gets wrong",
    "learnlite.layers": "Layers",
    "learnlite.vision.models": "Networks",
    "torchvision.models": "Networks",
    "learnlite.vision": "Images",
    "learnlite.data": "Data",
    "learnlite": "Training",
}
LAYERS_OF_TORCH = {"Identity", "Mish", "Swish"}
ELSEWHERE = {
    "F": "`torch.nn.functional`.",
    "Image": "Pillow's module: `Image.open(file)`.",
    "Path": "Python's `pathlib.Path`.",
    "SimpleNamespace": "Python's, an object that holds what it is given.",
    "Tensor": "`torch.Tensor`.",
    "matplotlib": "Matplotlib, loaded when something of it is used.",
    "nn": "`torch.nn`.",
    "np": "NumPy.",
    "pd": "Pandas, loaded when something of it is used.",
    "plt": "`matplotlib.pyplot`, loaded when something of it is used.",
    "torch": "PyTorch.",
    **dict.fromkeys(("json", "math", "os", "random", "re", "shutil"), "Python's module."),
    **dict.fromkeys(("attrgetter", "itemgetter", "partial"), "Python's function."),
}
CONSTANTS = {
    "NormType": ("Layers", "What normalizes after a convolution."),
    "XRESNETS": ("Networks", "All functions that make an xresnet, by name."),
    "cifar_stats": ("Images", "Mean and deviation of the channels of CIFAR-10, for `Normalize`."),
    "imagenet_stats": ("Images", "Mean and deviation of ImageNet's channels, for `Normalize`."),
    "mnist_stats": ("Images", "Mean and deviation of MNIST, for `Normalize`."),
}


def place(name: str, thing: Any) -> tuple[str, str]:
    """Under which title a name stands, and the sentence that says what it is."""
    if name in ELSEWHERE:
        return "Of Python, PyTorch and others", ELSEWHERE[name]
    if name in CONSTANTS:
        return CONSTANTS[name]
    module = thing.__module__
    if module.startswith("torchvision"):
        return "Networks", "Torchvision's, with weights from ImageNet if asked for."
    if name in LAYERS_OF_TORCH:
        return "Layers", f"`torch.nn.{thing.__name__}`."
    title = next(title for start, title in TITLES.items() if module.startswith(start))
    if thing.__name__ not in ("<lambda>", name) and hasattr(everything, thing.__name__):
        return title, f"`{thing.__name__}`, by fastai's name."
    return title, first_sentence(inspect.getdoc(thing) or "")


def first_sentence(text: str) -> str:
    """The beginning of a docstring up to its first full stop, on one line.

    >>> first_sentence("One, e.g. this (or that). More.")
    'One, e.g. this (or that).'
    """
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return re.split(r"(?<=[^.][.)`])\s(?=[A-Z`])", paragraph)[0].replace("|", r"\|")


def page() -> str:
    """The whole page."""
    rows: dict[str, list[str]] = defaultdict(list)
    for name in sorted(set(everything.__all__), key=str.casefold):
        title, sentence = place(name, getattr(everything, name))
        rows[title].append(f"| `{name}` | {sentence} |")
    lines = [
        "# Names in a notebook",
        "",
        f"What `from learnlite.vision.all import *` brings: {sum(map(len, rows.values()))} names. "
        "`help(name)` tells more, and shows an example.",
    ]
    for title in [*dict.fromkeys(TITLES.values()), "Of Python, PyTorch and others"]:
        lines += ["", f"## {title}", "", "| name | what it is |", "|---|---|", *rows[title]]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
