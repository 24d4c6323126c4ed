"""`learnlite predict`: what a trained model says of images."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from learnlite.commands.given import (
    RefusedError,
    at_least,
    device,
    model_file,
    refusing,
    writable_file,
)
from learnlite.types import counted

_BATCHES = 32  # that are predicted together: one bad file has so many read again


def options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("model", type=Path, help="a model of `learnlite train`, or its folder")
    parser.add_argument("images", nargs="+", type=Path, help="images, or folders of them")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a table with all classes")
    parser.add_argument(
        "--bs",
        type=at_least(1),
        default=64,
        metavar="N",
        help="photos in a batch (default: %(default)s)",
    )
    parser.add_argument("--device", type=device, help="as cuda, mps or cpu (default: cpu)")


def run(args: argparse.Namespace) -> None:
    """Say what a trained model sees in images, as a table or a csv file."""
    from learnlite import load_learner

    if args.csv is not None:
        writable_file(args.csv, "--csv")
    model, files = model_file(args.model), _files(args.images)
    with refusing():
        learn = load_learner(model)
        learn.say = lambda text: print(text, file=sys.stderr)
        if args.device:
            learn.dls.to(args.device)
        table, faults = _predicted(learn, files, args.bs)
    if table is not None and args.csv is not None:
        table.to_csv(args.csv)
        are = "is" if len(table) == 1 else "are"
        print(f"{counted(len(table), 'prediction')} {are} in {args.csv}", file=sys.stderr)
    elif table is not None:
        for row in table:
            sure = f"  {row['probability']:.1%}" if "probability" in row else ""
            print(f"{_plain(row['item'])}  {_plain(row['prediction'])}{sure}")
    if faults:
        told = [f"`{_plain(file)}` {_plain(reason)}" for file, reason in faults.items()]
        n = f"{len(faults):,} of {counted(len(files), 'file')}"
        raise RefusedError("\n  ".join([f"{n} did not open:", *told]))


def _predicted(learn: Any, files: list[Path], bs: int) -> tuple[Any, dict[Path, str]]:
    """A table of the files that open, or None; and what is wrong with the others."""
    from learnlite.predictions import PredictionTable
    from learnlite.vision.decode import ImageError
    from learnlite.vision.verify import image_faults, start_faults

    faults = start_faults(files)
    columns: dict[str, list[Any]] = {}
    good = [file for file in files if file not in faults]
    step = _BATCHES * bs
    for part in (good[i : i + step] for i in range(0, len(good), step)):
        try:
            table = _table(learn, part, bs)
        except ImageError:  # damaged further on: which they are is found by reading them again
            damaged = image_faults(part)
            if not damaged:
                raise
            faults |= damaged
            part = [file for file in part if file not in damaged]
            if not part:
                continue
            table = _table(learn, part, bs)
        for name, values in table.columns.items():
            columns.setdefault(name, []).extend(values)
    return PredictionTable(columns) if columns else None, faults


def _table(learn: Any, files: list[Path], bs: int) -> Any:
    return learn.predictions_table(dl=learn.dls.test_dl(files, bs=bs), with_classes=True)


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
