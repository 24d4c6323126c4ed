"""What makers of loaders refuse of the folders, files and tables they are given."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from learnlite.data.labels import is_missing
from learnlite.data.tables import check_names, column
from learnlite.data.wording import named, quoted, short

_FOLDERS = {
    "train": ("train", "training", "trn"),
    "valid": ("valid", "val", "validation", "test", "testing", "dev"),
}


def check_layout(top: Path, wanted: dict[str, str]) -> None:
    """Tell what to give where `train` or `valid` is no folder of `top`."""
    missing = {what: name for what, name in wanted.items() if not (top / name).is_dir()}
    if not missing or not top.is_dir():  # what is no folder at all is told where it is read
        return
    found = sorted(e.name for e in top.iterdir() if e.is_dir() and not e.name.startswith("."))
    meant = {
        what: name
        for what in missing
        for name in found
        if name.casefold() in _FOLDERS[what] and name not in wanted.values()
    }
    if len(missing) == len(meant):
        advice = f"give {', '.join(f'`{what}={name!r}`' for what, name in meant.items())}"
    elif found:
        advice = (
            "if the images lie in a folder for each class, `valid_pct=0.2` draws a fifth of them "
            "to validate with"
        )
    else:
        advice = (
            "if the names of files tell the class, use `from_name_func` or `from_name_re`; if a "
            "table does, `from_csv`"
        )
    there = f"only {named(found)}" if found else "nor any other"
    raise FileNotFoundError(
        f"there is no folder {quoted(next(iter(missing.values())))} in `{top}`, {there}; {advice}"
    )


def files_of(fnames: Any) -> list[Any]:
    """The files as a list; a folder is not taken for one."""
    if isinstance(fnames, str | PathLike):
        raise TypeError(
            f"`fnames` is a list of files, got {quoted(fnames)}; give `get_image_files({fnames!r})`"
        )
    return list(fnames)


def check_names_of(rows: Sequence[Any], col: int | str, folder: Path) -> None:
    """Every row must name a file of the folder: it is told now, not when it is read."""
    names = column(rows, col)
    for i, name in enumerate(names):
        if name == "" or is_missing(name):
            raise ValueError(
                f"row {i} of the table names no file in column {quoted(col)}: {short(rows[i])}; "
                "fill it, or leave the row out"
            )
    check_names(folder, names)
