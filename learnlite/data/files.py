"""Which files there are: in order, the same on every machine."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from learnlite.data.wording import short

_IMAGES = ".jpg .jpeg .jpe .jfif .png .apng .webp .bmp .gif .tif .tiff"
image_extensions = frozenset(_IMAGES.split(" "))
"""Those of the formats that images are read from: JPEG, PNG, WebP, BMP, GIF and TIFF."""

_MOST_NAMED = 8


def get_files(
    path: str | Path,
    extensions: str | Iterable[str] | None = None,
    recurse: bool = True,
    folders: str | Sequence[str] | None = None,
    followlinks: bool = True,
) -> list[Path]:
    """The files in `path` and the folders below, in order of their names, without hidden ones.

    `extensions` as ".csv" or "csv", in any case; `folders` are those right in `path` to look into
    (with "." for the files that lie in `path` itself). Linked folders are looked into, each once,
    and a link to a folder that it lies in is left out, so circles end; with `followlinks=False`
    none is.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     for name in ("b.txt", "a.TXT", ".hidden.txt", "c.csv"):
    ...         Path(folder, name).touch()
    ...     [file.name for file in get_files(folder, "txt")]
    ['a.TXT', 'b.txt']
    """
    top = _folder(path)
    wanted = None if extensions is None else _normal(extensions)
    only = None if folders is None else {folders} if isinstance(folders, str) else set(folders)
    if only is not None and not recurse:
        raise ValueError("`folders` are those to look into, and without `recurse` none is")
    if only is not None:
        _check_folders(top, only)
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    links: list[str] = []

    def walk(folder: str, at_top: bool) -> None:
        if followlinks and not _is_new(folder, seen):
            return
        with os.scandir(folder) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
        for entry in ordered:
            name = entry.name
            if name.startswith("."):
                continue
            if _holds(entry.is_dir):
                if recurse and (not at_top or only is None or name in only):
                    if entry.is_symlink():
                        links.append(entry.path)
                    else:
                        walk(entry.path, False)
            elif at_top and only is not None and "." not in only:
                continue
            elif (wanted is None or _extension(name) in wanted) and _holds(entry.is_file):
                found.append(Path(entry.path))

    walk(str(top), True)
    if followlinks and links:  # after all that are really there: each has its own path then
        for link in links:  # which grows, as linked folders have links too
            if not _leads_up(link):
                walk(link, False)
        found.sort()
    return found


def get_image_files(
    path: str | Path,
    recurse: bool = True,
    folders: str | Sequence[str] | None = None,
    followlinks: bool = True,
) -> list[Path]:
    """The files in `path` whose extension is an image's; an error tells what is there if none is.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     Path(folder, "labels.csv").touch()
    ...     get_image_files(folder)
    Traceback (most recent call last):
    ...
    FileNotFoundError: there are no image files in `...`, only 1 file `.csv`; ...
    """
    found = get_files(path, image_extensions, recurse, folders, followlinks)
    if not found:
        raise FileNotFoundError(
            f"there are no image files in `{path}`, {_census(Path(path), recurse, followlinks)}; "
            f"images are files that end in {_IMAGES}"
        )
    return found


def ls(
    path: str | Path = ".",
    n_max: int | None = None,
    *,
    extensions: str | Iterable[str] | None = None,
    hidden: bool = False,
) -> list[Path]:
    """What lies in a folder, in order of the names; at most `n_max` of it.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     Path(folder, "train").mkdir()
    ...     Path(folder, "a.csv").touch()
    ...     [entry.name for entry in ls(folder)]
    ['a.csv', 'train']
    """
    top = _folder(path)
    wanted = None if extensions is None else _normal(extensions)
    names = sorted(
        name
        for name in os.listdir(top)
        if (hidden or not name.startswith(".")) and (wanted is None or _extension(name) in wanted)
    )
    return [top / name for name in names[:n_max]]


def check_file(path: Path) -> None:
    """Refuse the path of a file that is not there; the message tells what is.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     Path(folder, "train.csv").touch()
    ...     check_file(Path(folder, "labels.csv"))
    Traceback (most recent call last):
    ...
    FileNotFoundError: there is no file `...labels.csv`; in `...` there is `train.csv`
    """
    if path.is_dir():
        raise IsADirectoryError(
            f"`{path}` is a folder, and a file is needed; in it there is {_listed(path)}"
        )
    if not path.exists():
        raise FileNotFoundError(_lacking("file", path))
    if not path.is_file():
        raise OSError(f"`{path}` is no file, but a device or a pipe; give a file's path")


def as_path(path: Any) -> Path:
    """The path of a folder as one, or an error that says what was given instead.

    >>> as_path(None)
    Traceback (most recent call last):
    ...
    TypeError: `path` is a folder, as "photos" or `Path("photos")`, got None
    """
    if isinstance(path, str | PathLike):
        return Path(path)
    raise TypeError(f'`path` is a folder, as "photos" or `Path("photos")`, got {short(path)}')


def _folder(path: str | Path) -> Path:
    """The path of a folder that is there."""
    top = as_path(path)
    if top.is_dir():
        return top
    if top.exists():
        raise NotADirectoryError(f"`{top}` is a file, and a folder is needed")
    raise FileNotFoundError(_lacking("folder", top))


def _lacking(what: str, path: Path) -> str:
    near = path.parent
    while not near.is_dir() and near != near.parent:
        near = near.parent
    return f"there is no {what} `{path}`; in `{near}` there is {_listed(near)}"


def _check_folders(top: Path, only: set[str]) -> None:
    missing = sorted(name for name in only if name != "." and not (top / name).is_dir())
    if missing:
        there = _listed(top, folders=True)
        raise FileNotFoundError(
            f"there is no folder `{_shown(missing[0])}` in `{top}`, "
            f"{'nor any other' if there == 'nothing' else f'only {there}'}"
        )


def _holds(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except OSError:  # a link that leads to itself is nothing
        return False


def _is_new(folder: str, seen: set[tuple[int, int]]) -> bool:
    status = os.stat(folder)
    known = (status.st_dev, status.st_ino)
    if known in seen:
        return False
    seen.add(known)
    return True


def _leads_up(link: str) -> bool:
    """Whether a link is to a folder that it lies in: that would be a circle, or all of a disk."""
    target, here = os.path.realpath(link), os.path.realpath(os.path.dirname(link))
    return os.path.commonpath([target, here]) == target


def _normal(extensions: str | Iterable[str]) -> set[str]:
    given = (extensions,) if isinstance(extensions, str) else extensions
    return {f".{extension.lower().lstrip('.')}" for extension in given}


def _extension(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _census(top: Path, recurse: bool, followlinks: bool) -> str:
    """What is there instead of images, in words."""
    files = get_files(top, recurse=recurse, followlinks=followlinks)
    kinds = Counter(_extension(file.name) for file in files)
    words = [
        f"{n} {'file' if n == 1 else 'files'} {f'`{kind}`' if kind else 'without an extension'}"
        for kind, n in kinds.most_common(_MOST_NAMED)
    ]
    linked = any(entry.is_symlink() and entry.is_dir() for entry in _walk_folders(top))
    if linked and not followlinks:
        words.append("links to folders, which `followlinks=True` looks into")
    if not recurse and any(entry.is_dir() for entry in top.iterdir()):
        words.append("folders, which `recurse=True` looks into")
    if not words:
        return "nor any other file"
    return f"only {', '.join(words)}"


def _walk_folders(top: Path) -> Iterator[Path]:
    for folder, names, _ in os.walk(top):
        yield from (Path(folder, name) for name in names)


def _listed(folder: Path, *, folders: bool = False) -> str:
    """What lies in a folder, for a message, and how much more; with `folders` only these."""
    entries = [entry for entry in folder.iterdir() if entry.is_dir() or not folders]
    ordered = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    words = [f"`{_shown(name)}`" for name in ordered[:_MOST_NAMED]]
    if len(ordered) > _MOST_NAMED:
        words.append(f"{len(ordered) - _MOST_NAMED} more")
    return ", ".join(words) or "nothing"


def _shown(name: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in name)
