"""`learnlite export`: a trained model in the form of others."""

import argparse
from pathlib import Path

from learnlite.commands.given import RefusedError, refusing, writable


def options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("model", type=Path, help="a model of `learnlite train`, or its folder")
    parser.add_argument(
        "file", type=Path, help="what to write: model.onnx, or model.pt2 for torch.export"
    )


def run(args: argparse.Namespace) -> None:
    """Write a trained model as ONNX or for torch.export, with its preprocessing inside."""
    import torch

    from learnlite import load_learner

    if args.file.suffix not in (".onnx", ".pt2"):
        raise RefusedError(
            f"the name of the file says what it is: `model.onnx` or `model.pt2`, got {args.file}"
        )
    writable(args.file.parent)
    model = args.model / "model.ll" if args.model.is_dir() else args.model
    with refusing():
        learn = load_learner(model)
        if args.file.suffix == ".onnx":
            learn.to_onnx(args.file)
        else:
            torch.export.save(learn.to_program(), args.file)
    print(f"{args.file} holds {model}: images as bytes (N, 3, height, width) in, probabilities out")
