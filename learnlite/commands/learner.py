"""The learner that a command trains."""

import argparse
import difflib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from learnlite.commands.data import BAD_IMAGE
from learnlite.commands.given import RefusedError, refusing


def options(parser: argparse.ArgumentParser) -> None:
    """The options that say what is trained, and how."""
    parser.add_argument(
        "--arch",
        default="resnet18",
        help="of torchvision (resnet18, convnext_tiny), ours (xresnet18) or timm "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--scratch",
        action="store_true",
        help="begin with random weights, not with pretrained ones; then there is no frozen epoch",
    )
    parser.add_argument(
        "--precision",
        choices=("fp32", "bf16", "fp16"),
        default="fp32",
        help="of the arithmetic; `learnlite doctor` says what is quick here (default: %(default)s)",
    )


def learner(args: argparse.Namespace, dls: Any) -> Any:
    """The learner of the settings."""
    from learnlite.vision import vision_learner
    from learnlite.vision.suit import SizeError

    with refusing():
        try:
            learn = vision_learner(
                dls,
                _known(args.arch),
                pretrained=not args.scratch,
                metrics=_metrics(dls),
                path=getattr(args, "out", "."),
                seed=args.seed,
            )
        except SizeError as error:
            advice = f"give `--size {error.size}`" if error.size else "give another `--size`"
            raise RefusedError(f"{error.fault}; {advice}") from error
        if args.precision == "bf16":
            learn.to_bf16()
        elif args.precision == "fp16":
            learn.to_fp16()
    return learn


def found_rate(learn: Any) -> float:
    """What the finder suggests, or the usual rate if it finds nothing."""
    with refusing_bad_images():
        suggested = learn.lr_find(show_plot=False).valley
    if suggested is None:
        print("The finder suggests nothing on this data; taking the usual 2e-3.")
        return 2e-3
    return float(f"{suggested:.1e}")


@contextmanager
def refusing_bad_images(way_on: Callable[[], str] = str) -> Generator[None]:
    """A photo that does not open while a model trains is told in a sentence, and what to do."""
    from learnlite.vision.bad_images import TooManyError
    from learnlite.vision.decode import ImageError

    try:
        yield
    except ImageError as error:
        raise RefusedError(f"`{error.source}` {error.reason}; {BAD_IMAGE}{way_on()}") from error
    except TooManyError as error:
        raise RefusedError(str(error)) from error


def is_classifier(dls: Any) -> bool:
    """Whether every item has one class."""
    return type(dls.blocks[-1]).__name__ == "CategoryBlock"


def _known(arch: str) -> str:
    """A plain name as ours or torchvision's, if it is one; else it is for timm."""
    from importlib.util import find_spec

    from learnlite.vision.models.arch import classifiers
    from learnlite.vision.models.xresnet import XRESNETS

    name = arch.removeprefix("torchvision/")
    if name in classifiers():
        return f"torchvision/{name}"
    if arch in XRESNETS or arch.startswith("timm/") or find_spec("timm") is not None:
        return arch
    close = difflib.get_close_matches(name, [*classifiers(), *XRESNETS], 3, 0.6)
    advice = f"did you mean {' or '.join(f'`{each}`' for each in close)}? " if close else ""
    raise RefusedError(
        f"`{arch}` is no network of torchvision and none of ours; {advice}"
        'Those of timm want `pip install "learnlite[timm]"`'
    )


def _metrics(dls: Any) -> list[Any]:
    from learnlite import accuracy, accuracy_multi, mae
    from learnlite.vision import MultiCategoryBlock

    if is_classifier(dls):
        return [accuracy]
    return [accuracy_multi] if isinstance(dls.blocks[-1], MultiCategoryBlock) else [mae]
