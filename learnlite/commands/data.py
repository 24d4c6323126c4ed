"""The images that a command trains on: a folder, a table, or a known set."""

import argparse
import difflib
from pathlib import Path
from typing import Any

from learnlite.commands.given import RefusedError, at_least, device, refusing

_VALID = ("valid", "val", "validation", "test")


def options(parser: argparse.ArgumentParser) -> None:
    """The options that say what to train on, and in which shape."""
    parser.add_argument(
        "data",
        nargs="?",
        help="a folder of class folders (with `train` and `valid` above them, or not), a csv with "
        "files and labels, or the name of a known set, as imagenette-160",
    )
    parser.add_argument(
        "--size", type=at_least(8), default=224, metavar="PX", help="default: %(default)s"
    )
    parser.add_argument("--bs", type=at_least(1), default=64, metavar="N", help="images in a batch")
    parser.add_argument(
        "--valid-pct",
        type=_part,
        default=0.2,
        metavar="P",
        help="held back where no folder is named for it (default: %(default)s)",
    )
    parser.add_argument("--subset", type=_part, metavar="P", help="train on a part, for a try")
    parser.add_argument(
        "--workers", type=at_least(0), metavar="N", help="processes that read images"
    )
    parser.add_argument(
        "--device", type=device, help="as cuda, mps or cpu; the best there is, if not given"
    )
    parser.add_argument("--seed", type=int, default=42, metavar="S", help="default: %(default)s")


def loaders(args: argparse.Namespace) -> Any:
    """The loaders of what is given, or a sentence that says what is wrong with it."""
    from learnlite.vision import FlipItem, ImageDataLoaders, RandomResizedCrop

    if args.data is None:
        raise RefusedError("say what to train on: a folder of class folders, a csv, a known set")
    settings: dict[str, Any] = {
        "item_tfms": [RandomResizedCrop(args.size, min_scale=0.35), FlipItem()],
        "bs": args.bs,
        "seed": args.seed,
        "device": args.device,
    }
    if args.subset is not None:
        settings["subset"] = args.subset
    if args.workers is not None:
        settings["num_workers"] = args.workers
    path = _place(args.data)
    with refusing():
        if path.is_file():
            return ImageDataLoaders.from_csv(
                path.parent, path.name, valid_pct=args.valid_pct, **settings
            )
        valid = next((name for name in _VALID if (path / name).is_dir()), None)
        if valid is not None and (path / "train").is_dir():
            return ImageDataLoaders.from_folder(path, valid=valid, **settings)
        return ImageDataLoaders.from_folder(path, valid_pct=args.valid_pct, **settings)


def _place(data: str) -> Path:
    """Where the data is; a known set is fetched first."""
    path = Path(data).expanduser()
    if path.exists():
        return path
    known = known_sets()
    if data.lower() in known:
        from learnlite.data.download import untar_data

        with refusing():
            return untar_data(known[data.lower()])
    close = difflib.get_close_matches(data.lower(), known, 3)
    advice = f"the known sets nearest to it: {', '.join(close)}" if close else "give a folder"
    raise RefusedError(f"`{data}` is no folder, no file and no known set; {advice}")


def known_sets() -> dict[str, str]:
    """The sets that are known by name, as `imagenette-160`, with their addresses."""
    from learnlite.data.urls import URLs

    return {
        name.lower().replace("_", "-"): address
        for name, address in vars(URLs).items()
        if name.isupper() and isinstance(address, str) and address.startswith("http")
    }


def _part(text: str) -> float:
    try:
        part = float(text)
    except ValueError:
        part = 0.0
    if not 0 < part < 1:
        raise argparse.ArgumentTypeError(f"it must be a part between 0 and 1, got {text}")
    return part
