"""`learnlite export`: a trained model in the form of others."""

import argparse
from pathlib import Path

from learnlite.commands.given import model_file, refusing, writable_file


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

    writable_file(args.file, "FILE", (".onnx", ".pt2"))
    model = model_file(args.model)
    with refusing():
        learn = load_learner(model)
        if args.file.suffix == ".onnx":
            learn.to_onnx(args.file)
        else:
            torch.export.save(learn.to_program(), args.file)
    print(f"{args.file} holds {model}: images as bytes (N, 3, height, width) in, probabilities out")
