"""The *shapes* set: ten classes of drawn photos, in folders like Imagenette's, made on the spot."""

import json
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from learnlite.data.toy.draw import OUTLINES, draw_shape

SHAPE_CLASSES: tuple[str, ...] = tuple(sorted(OUTLINES))

_MARKER = "shapes.json"  # what the set was drawn from; the last file to be written
_DRAWING = 1  # raise it when the same seed gives other pictures than before


def make_shapes(
    folder: str | Path, n_train: int = 5000, n_valid: int = 1000, *, size: int = 64, seed: int = 0
) -> Path:
    """Draw `n_train` and `n_valid` pictures into `train/<class>/` and `val/<class>/` of `folder`.

    The pictures of a split are spread evenly over ten classes. The same `seed` gives the same
    pictures, and a larger set begins with those of a smaller one. A set that is there already is
    used again; a folder appears only when it is whole, also if this is interrupted.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as there:
    ...     folder = make_shapes(f"{there}/shapes", 20, 10, size=32)
    ...     sorted(path.name for path in (folder / "train" / "star").iterdir())
    ['star_0000.jpg', 'star_0001.jpg']
    """
    folder = Path(folder)
    for name, n in (("n_train", n_train), ("n_valid", n_valid)):
        if n < len(SHAPE_CLASSES):
            least = len(SHAPE_CLASSES)
            raise ValueError(f"`{name}` must be at least {least}, one of each class, got {n}")
    if size < 16:
        raise ValueError(f"`size` must be at least 16 pixels to show a shape, got {size}")
    wanted = {
        "drawing": _DRAWING,
        "n_train": n_train,
        "n_valid": n_valid,
        "size": size,
        "seed": seed,
    }
    if _is_there(folder, wanted):
        return folder

    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
    try:
        _draw_all(unfinished, wanted)
        (unfinished / _MARKER).write_text(json.dumps(wanted), encoding="utf-8")
        _put_in_place(unfinished, folder, wanted)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


class ShapeSet(NamedTuple):
    """The set in memory: images uint8 (n, 3, size, size) and labels int64 (n,) of each split."""

    train: tuple[Tensor, Tensor]
    valid: tuple[Tensor, Tensor]
    vocab: list[str]


def load_shapes(folder: str | Path) -> ShapeSet:
    """Read what `make_shapes` made into tensors; label `i` is the class `vocab[i]`."""
    folder = Path(folder)
    if not (folder / _MARKER).is_file():
        raise FileNotFoundError(
            f"`{folder}` holds no set of shapes; make one with `make_shapes({str(folder)!r})`"
        )
    vocab = sorted(entry.name for entry in (folder / "train").iterdir() if entry.is_dir())
    return ShapeSet(_read(folder / "train", vocab), _read(folder / "val", vocab), vocab)


def _is_there(folder: Path, wanted: dict[str, int]) -> bool:
    """Whether `folder` holds the set that is wanted; another one, or other files, are an error."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    marker = folder / _MARKER
    if not marker.is_file():
        raise FileExistsError(
            f"`{folder}` is there already and holds no set of shapes; "
            "name a folder that does not exist yet"
        )
    found: dict[str, Any] = json.loads(marker.read_text(encoding="utf-8"))
    if found != wanted:
        differ = [name for name in wanted if found.get(name) != wanted[name]]
        was, now = (
            ", ".join(f"{name}={it.get(name)}" for name in differ) for it in (found, wanted)
        )
        raise FileExistsError(
            f"`{folder}` holds shapes made with {was}, wanted {now}; "
            "name another folder, or remove this one"
        )
    n = sum(1 for _ in folder.glob("*/*/*.jpg"))
    if n < wanted["n_train"] + wanted["n_valid"]:
        missing = wanted["n_train"] + wanted["n_valid"] - n
        raise FileNotFoundError(
            f"{missing} pictures of the shapes in `{folder}` are gone; "
            "remove the folder and make it again"
        )
    return True


def _draw_all(folder: Path, wanted: dict[str, int]) -> None:
    jobs = list(_jobs(folder, wanted))
    for parent in {path.parent for path, *_ in jobs}:
        parent.mkdir(parents=True)

    for path, split, label, i in jobs:
        draw_shape(wanted["seed"], split, label, i, size=wanted["size"]).save(path, quality=90)


def _jobs(folder: Path, wanted: dict[str, int]) -> Iterator[tuple[Path, str, str, int]]:
    for split, n in (("train", wanted["n_train"]), ("val", wanted["n_valid"])):
        for k in range(n):
            i, place = divmod(k, len(SHAPE_CLASSES))
            label = SHAPE_CLASSES[place]
            yield folder / split / label / f"{label}_{i:04d}.jpg", split, label, i


def _put_in_place(unfinished: Path, folder: Path, wanted: dict[str, int]) -> None:
    if folder.exists() and not any(folder.iterdir()):
        folder.rmdir()  # an empty folder that the user made; Windows renames onto nothing
    try:
        unfinished.rename(folder)
    except OSError:
        # Another process was quicker: its set will do, if it is the same.
        if not _is_there(folder, wanted):
            raise


def _read(folder: Path, vocab: list[str]) -> tuple[Tensor, Tensor]:
    from PIL import Image

    paths = [
        (path, label)
        for label, name in enumerate(vocab)
        for path in sorted((folder / name).iterdir())
    ]
    images = [np.asarray(Image.open(path).convert("RGB")) for path, _ in paths]
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return x, torch.tensor([label for _, label in paths])
