"""The images that a command trains on: a folder, a table, or a known set."""

import argparse
import difflib
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from learnlite.commands.given import RefusedError, at_least, device, refusing
from learnlite.commands.table import LAYOUT, Table, target_of
from learnlite.data.warn import warn
from learnlite.types import counted

BAD_IMAGE = (
    "get it anew, take it away, or let another photo stand in its place by `--on-bad-image skip`"
)

_VALID = ("valid", "val", "validation", "test")


def options(parser: argparse.ArgumentParser) -> None:
    """The options that say what to train on, and in which shape."""
    parser.add_argument(
        "data",
        nargs="?",
        help="a folder of class folders (`train` and `valid` above them or not), a csv, or the "
        f"name of a known set, as imagenette-160; {LAYOUT}",
    )
    parser.add_argument(
        "--size",
        type=at_least(8),
        default=224,
        metavar="PX",
        help="side of the squares that photos are cropped to (default: %(default)s)",
    )
    parser.add_argument(
        "--bs",
        type=at_least(1),
        default=64,
        metavar="N",
        help="photos in a batch (default: %(default)s)",
    )
    parser.add_argument(
        "--valid-pct",
        type=_part,
        default=0.2,
        metavar="P",
        help="the share from 0 to 1, of each class, that is held back to validate with where no "
        "folder is named for it (default: %(default)s)",
    )
    parser.add_argument(
        "--subset",
        type=_part,
        metavar="P",
        help="train on this share, from 0 to 1, of the photos, for a try (default: all)",
    )
    parser.add_argument(
        "--on-bad-image",
        choices=("stop", "skip"),
        default="stop",
        help="stop, or let another photo take the place of one that does not open "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--workers",
        type=at_least(0),
        metavar="N",
        help="processes that read photos (default: 0 on a cpu, else one a core, up to 8)",
    )
    parser.add_argument(
        "--device", type=device, help="as cuda, mps or cpu (default: the best there is)"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=42,
        metavar="S",
        help="decides the split, the order, the augmentation and new weights "
        "(default: %(default)s)",
    )


def loaders(args: argparse.Namespace) -> Any:
    """The loaders of what is given, or a sentence that says what is wrong with it."""
    if args.data is None:
        raise RefusedError("say what to train on: a folder of class folders, a csv, a known set")
    path = _place(args.data)
    # A set that is refused is not warned of, too: what was warned of is told once it stands.
    with warnings.catch_warnings(record=True) as told, refusing():
        warnings.simplefilter("always")
        dls = _of_table(path, args) if path.is_file() else _of_folder(path, args)
    for warning in told:
        warn(str(warning.message))
    return dls


def _of_table(path: Path, args: argparse.Namespace) -> Any:
    from learnlite.data.files import image_extensions

    if path.suffix.lower() in image_extensions:
        raise RefusedError(
            f"`{path}` is a photo; give the folder that holds a folder of photos for each class"
        )
    table = Table(path)
    _refuse_bad(table.files, args)
    target = target_of(table.labels)
    stratify = None
    if type(target).__name__ == "CategoryBlock":
        _refuse_too_few(table.labels, str(path), args)
        stratify = table.labels
    label_of = dict(zip(table.files, table.labels, strict=True)).__getitem__
    return _made(args, table.files, label_of, path.parent, target, _split(args, stratify))


def _of_folder(path: Path, args: argparse.Namespace) -> Any:
    from learnlite.data.files import get_image_files
    from learnlite.data.labels import parent_label
    from learnlite.data.splits import GrandparentSplitter
    from learnlite.vision import CategoryBlock

    valid = next((name for name in _VALID if (path / name).is_dir()), None)
    if valid is not None and (path / "train").is_dir():
        files = get_image_files(path, folders=["train", valid])
        splitter: Any = GrandparentSplitter("train", valid)
        _refuse_one_class([parent_label(file) for file in files], str(path))
    else:
        files = get_image_files(path)
        labels = [parent_label(file) for file in files]
        _refuse_too_few(labels, str(path), args)
        splitter = _split(args, labels)
    _refuse_bad(files, args)
    return _made(args, files, parent_label, path, CategoryBlock(), splitter)


def _made(
    args: argparse.Namespace,
    files: Sequence[Path],
    label_of: Any,
    path: Path,
    target: Any,
    splitter: Any,
) -> Any:
    from learnlite.vision import DataBlock, FlipItem, ImageBlock, RandomResizedCrop

    settings: dict[str, Any] = {}
    if args.subset is not None:
        settings["subset"] = args.subset
    if args.workers is not None:
        settings["num_workers"] = args.workers
    block = DataBlock(
        (ImageBlock, target),
        get_y=label_of,
        splitter=splitter,
        item_tfms=[RandomResizedCrop(args.size, min_scale=0.35), FlipItem()],
    )
    return block.dataloaders(
        files,
        path=path,
        bs=args.bs,
        seed=args.seed,
        device=args.device,
        on_bad_image="skip" if args.on_bad_image == "skip" else "raise",
        **settings,
    )


def _split(args: argparse.Namespace, labels: Sequence[str] | None) -> Any:
    """A share of each class validates; of numbers a share by chance."""
    from learnlite.data.shares import RandomSplitter, TrainTestSplitter

    if labels is None:
        return RandomSplitter(args.valid_pct, args.seed)
    return TrainTestSplitter(args.valid_pct, args.seed, stratify=labels)


def _refuse_bad(files: Sequence[Path], args: argparse.Namespace) -> None:
    """Look at the first bytes of each file: what is no photo at all is told before training."""
    from learnlite.vision.verify import start_faults

    if args.on_bad_image == "skip":
        return
    faults = start_faults(files)
    for file, reason in faults.items():
        n = len(faults) - 1
        others = f", and {n:,} more {'does' if n == 1 else 'do'} not open" if n else ""
        raise RefusedError(f"`{file}` {reason}{others}; {BAD_IMAGE}")


def _refuse_one_class(labels: Sequence[str], where: str) -> list[str]:
    classes = sorted(set(labels))
    if len(classes) < 2:
        raise RefusedError(
            f"there is one class only in `{where}`, `{classes[0]}`, and a classifier needs two; "
            "give a folder that holds a folder for each class, or a csv with their names"
        )
    return classes


def _refuse_too_few(labels: Sequence[str], where: str, args: argparse.Namespace) -> None:
    classes = _refuse_one_class(labels, where)
    n_valid = math.ceil(args.valid_pct * len(labels))
    if len(labels) - len(classes) < n_valid:
        raise RefusedError(
            f"`{where}` has {counted(len(labels), 'photo')} of {len(classes):,} classes, too few "
            f"to train on some of each and validate with {counted(n_valid, 'other')}; give more"
        )


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


def lasting(data: str | None) -> str | None:
    """What `data` is called from any folder: its whole path, if it is one."""
    if data is None:
        return None
    path = Path(data).expanduser()
    return str(path.resolve()) if path.exists() else data


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
