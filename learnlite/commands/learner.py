"""The learner that a command trains."""

import argparse
from typing import Any

from learnlite.commands.given import RefusedError, rate, refusing


def options(parser: argparse.ArgumentParser) -> None:
    """The options that say what is trained, and how."""
    parser.add_argument(
        "--arch",
        default="resnet18",
        help="of torchvision (resnet18, convnext_tiny), ours (xresnet18) or timm "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--scratch", action="store_true", help="begin with random weights, not with pretrained ones"
    )
    parser.add_argument(
        "--lr",
        type=_rate_or_auto,
        default="auto",
        help="the highest learning rate, or `auto`: what the finder suggests (default: auto)",
    )
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="fp32")


def learner(args: argparse.Namespace, dls: Any) -> Any:
    """The learner of the settings."""
    from learnlite.vision import vision_learner

    with refusing():
        learn = vision_learner(
            dls,
            _known(args.arch),
            pretrained=not args.scratch,
            metrics=_metrics(dls),
            path=getattr(args, "out", "."),
            seed=args.seed,
        )
        if args.precision == "bf16":
            learn.to_bf16()
        elif args.precision == "fp16":
            learn.to_fp16()
    return learn


def found_rate(learn: Any, *, factor: float = 1.0) -> float:
    """What the finder suggests, or the usual rate if it finds nothing."""
    suggested = learn.lr_find(show_plot=False).valley
    if suggested is None:
        print("The finder suggests nothing on this data; taking the usual 2e-3.")
        return 2e-3
    return float(f"{suggested * factor:.1e}")


def is_classifier(dls: Any) -> bool:
    """Whether every item has one class."""
    return type(dls.blocks[-1]).__name__ == "CategoryBlock"


def _known(arch: str) -> str:
    """A plain name as ours or torchvision's, if it is one; else it is for timm."""
    from learnlite.vision.models.arch import classifiers

    return f"torchvision/{arch}" if arch in classifiers() else arch


def _metrics(dls: Any) -> list[Any]:
    from learnlite import accuracy, accuracy_multi, mae
    from learnlite.vision import MultiCategoryBlock

    if is_classifier(dls):
        if dls.c is not None and dls.c < 2:
            raise RefusedError(f"there is one class only, {dls.vocab}; a classifier needs two")
        return [accuracy]
    return [accuracy_multi] if isinstance(dls.blocks[-1], MultiCategoryBlock) else [mae]


def _rate_or_auto(text: str) -> float | str:
    return "auto" if text == "auto" else rate(text)
