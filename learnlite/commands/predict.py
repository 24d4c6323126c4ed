"""`learnlite predict`: what a trained model says of images."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from learnlite.commands.given import RefusedError, at_least, device, refusing


def options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("model", type=Path, help="a model of `learnlite train`, or its folder")
    parser.add_argument("images", nargs="+", type=Path, help="images, or folders of them")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a table with all classes")
    parser.add_argument("--bs", type=at_least(1), default=64, metavar="N")
    parser.add_argument("--device", type=device, help="as cuda, mps or cpu (default: cpu)")


def run(args: argparse.Namespace) -> None:
    """Say what a trained model sees in images, as a table or a csv file."""
    from learnlite import load_learner

    files = _files(args.images)
    with refusing():
        learn = load_learner(_model(args.model))
        learn.say = lambda text: print(text, file=sys.stderr)
        if args.device:
            learn.dls.to(args.device)
        table = learn.predictions_table(dl=learn.dls.test_dl(files, bs=args.bs), with_classes=True)
    if args.csv is not None:
        table.to_csv(args.csv)
        print(f"{len(table):,} predictions are in {args.csv}", file=sys.stderr)
        return
    for row in table:
        sure = f"  {row['probability']:.1%}" if "probability" in row else ""
        print(f"{_plain(row['item'])}  {_plain(row['prediction'])}{sure}")


def _model(path: Path) -> Path:
    return path / "model.ll" if path.is_dir() else path


def _files(given: Sequence[Path]) -> list[Path]:
    from learnlite.data.files import get_image_files

    files: list[Path] = []
    for path in given:
        if path.is_dir():
            inside = sorted(get_image_files(path))
            if not inside:
                raise RefusedError(f"there is no image in {path}")
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            raise RefusedError(f"there is no file {path}")
    return files


def _plain(value: object) -> str:
    """A name from a disk or a model on a terminal: it must not move the cursor."""
    return "".join(char for char in str(value) if char.isprintable())
