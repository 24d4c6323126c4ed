"""Extracting archives that come from anywhere: all of one, or nothing, and nothing outside."""

import json
import os
import shutil
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from learnlite.data.byte_bar import ByteBar
from learnlite.data.locks import locked
from learnlite.data.members import (
    MAX_BYTES,
    MAX_FILES,
    MAX_RATIO,
    Archive,
    ArchiveError,
    Budget,
    Member,
    Parts,
    check_space,
    refused,
)
from learnlite.data.tar import Tar
from learnlite.data.zip import Zip

__all__ = ["MAX_BYTES", "MAX_FILES", "MAX_RATIO", "ArchiveError", "extract", "read_note"]

NOTE = ".learnlite.json"
"""The file in an extracted folder that says where it came from."""

_CHUNK = 1 << 20
_BETWEEN_CHECKS = 64 << 20  # bytes written between two looks at the free space
_WORTH_A_LINE = 10_000_000  # bytes of an archive whose extraction a log should mention
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


def extract(
    archive: str | Path,
    folder: str | Path,
    *,
    max_bytes: int = MAX_BYTES,
    max_files: int = MAX_FILES,
    max_ratio: float = MAX_RATIO,
    overwrite: bool = False,
    unwrap: bool = False,
    note: Mapping[str, Any] | None = None,
    bar: bool = True,
) -> Path:
    """Extract a tar (plain, gzip, bzip2, xz) or zip archive into a new folder, whole or not at all.

    Only files and folders come out, none of them executable; a link to a file of the archive
    becomes a copy of it. An archive with anything else (paths and links that lead out, devices,
    names that stand twice, control characters in names) is refused.

    `unwrap`: if all lies in one folder of the archive, `folder` is that one. `overwrite` replaces
    what is there, once the new is whole. `note` is kept in the folder, for `read_note`.

    >>> import zipfile
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as here:
    ...     with zipfile.ZipFile(f"{here}/pets.zip", "w") as made:
    ...         made.writestr("pets/cat/1.jpg", "cat")
    ...     folder = extract(f"{here}/pets.zip", f"{here}/pets", unwrap=True)
    ...     [path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg")]
    ['cat/1.jpg']
    """
    archive, folder = Path(archive), Path(folder)
    if not archive.is_file():
        raise FileNotFoundError(f"there is no archive `{archive}`")
    size = archive.stat().st_size
    limits = Budget(archive, size, max_bytes=max_bytes, max_files=max_files, max_ratio=max_ratio)
    folder.parent.mkdir(parents=True, exist_ok=True)
    words = f"extracting `{limits.name}`" if size >= _WORTH_A_LINE else ""
    with (
        locked(folder),
        _fresh(folder, limits.name, overwrite=overwrite, unwrap=unwrap, note=note) as partial,
        archive.open("rb", _CHUNK) as file,
        ByteBar(f"extracting {limits.name}", size, words, bar=bar) as progress,
    ):
        check_space(partial, size)
        is_zip = file.read(4) in (b"PK\3\4", b"PK\5\6")
        file.seek(0)
        if is_zip:
            with closing(Zip(file, limits)) as source:
                check_space(partial, source.claimed)
                _Writer(partial, limits).write(source, progress)
        else:
            _Writer(partial, limits).write(Tar(file, limits), progress)
    return folder


def read_note(folder: Path) -> dict[str, Any]:
    """What `extract` noted in a folder; nothing if it was made by other means."""
    try:
        found = json.loads((folder / NOTE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


class _Writer:
    """Writes members into a folder of its own, in which it made everything itself.

    No link is ever made there, and nothing is opened that exists: so nothing leads out, and names
    that the file system takes for the same (twice, or in another case) are noticed.
    """

    def __init__(self, folder: Path, budget: Budget) -> None:
        self._top = str(folder)
        self._budget = budget
        self._folders: dict[Parts, str] = {(): self._top}
        self._links: list[tuple[Parts, Parts]] = []
        self._unchecked = 0

    def write(self, source: Archive, progress: ByteBar) -> None:
        """All members, and then the copies that stand for links."""
        while (member := source.next()) is not None:
            if member.kind == "link":
                self._links.append((member.parts, member.target))
            elif member.parts:  # the top itself is there
                self._one(member, source)
            progress.show(source.position())
        self._copy_links()

    def _one(self, member: Member, source: Archive) -> None:
        try:
            if member.kind == "folder":
                self._folder(member.parts)
                return
            file = self._create(member.parts)
            try:
                while data := source.read(_CHUNK):
                    self._make_room(len(data))
                    _write_all(file, data)
            finally:
                os.close(file)
        except (FileExistsError, NotADirectoryError):
            raise self._refused(
                member.parts,
                "stands there twice, or differs from another name only in its case on a disk where "
                "that makes no difference",
            ) from None

    def _folder(self, parts: Parts) -> str:
        path = self._folders.get(parts)
        if path is None:
            path = os.path.join(self._folder(parts[:-1]), parts[-1])
            self._budget.entry()
            os.mkdir(path)
            self._folders[parts] = path
        return path

    def _create(self, parts: Parts) -> int:
        folder = self._folders.get(parts[:-1]) or self._folder(parts[:-1])
        self._budget.entry()
        return os.open(f"{folder}{os.sep}{parts[-1]}", _NEW, 0o666)

    def _make_room(self, n_bytes: int) -> None:
        self._unchecked += n_bytes
        if self._unchecked >= _BETWEEN_CHECKS:
            check_space(Path(self._top), 0)
            self._unchecked = 0

    def _copy_links(self) -> None:
        """Links to files first, then links to those, until none is left."""
        links = self._links
        while links:
            waiting: list[tuple[Parts, Parts]] = []
            for parts, target in links:
                original = os.path.join(self._top, *target)
                if os.path.isfile(original):
                    self._copy(parts, original)
                else:
                    waiting.append((parts, target))
            if len(waiting) == len(links):
                parts, target = links[0]
                raise self._refused(
                    parts, f"is a link to `{'/'.join(target)}`, which is no file of the archive"
                )
            links = waiting

    def _copy(self, parts: Parts, original: str) -> None:
        size = os.path.getsize(original)
        self._budget.take(size)
        self._make_room(size)
        try:
            with open(original, "rb") as file:
                copy = self._create(parts)
                with open(copy, "wb") as new:
                    shutil.copyfileobj(file, new, _CHUNK)
        except (FileExistsError, NotADirectoryError, IndexError):
            raise self._refused(parts, "is a link by the name of something else") from None

    def _refused(self, parts: Parts, why: str) -> ArchiveError:
        return refused(self._budget.name, "/".join(parts), why)


@contextmanager
def _fresh(
    folder: Path, archive: str, *, overwrite: bool, unwrap: bool, note: Mapping[str, Any] | None
) -> Generator[Path]:
    """A folder beside `folder` that takes its place when all went well; what a kill left goes."""
    partial = folder.with_name(f".{folder.name}.partial")
    old = folder.with_name(f".{folder.name}.old")
    if folder.exists() and not overwrite:
        raise FileExistsError(
            f"`{folder}` is there already; give `overwrite=True` to replace it, or another folder"
        )
    for left in (partial, old):
        _remove(left)
    partial.mkdir()
    try:
        yield partial
        inner = list(partial.iterdir()) if unwrap else []
        whole = inner[0] if len(inner) == 1 and inner[0].is_dir() else partial
        if note is not None and (whole / NOTE).is_dir():
            raise refused(archive, NOTE, "is a folder, where a note of its origin goes")
        if note is not None:
            (whole / NOTE).write_text(json.dumps(dict(note)), encoding="utf-8")
        _swap(whole, folder, old)
    finally:
        for left in (partial, old):
            _remove(left)


def _swap(new: Path, folder: Path, old: Path) -> None:
    """Put `new` where `folder` is; what was there goes to `old`, or back if that fails."""
    replaced = folder.exists()
    if replaced:
        os.replace(folder, old)
    try:
        os.replace(new, folder)
    except OSError:
        if replaced:
            os.replace(old, folder)
        raise


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        with suppress(FileNotFoundError):
            path.unlink()


def _write_all(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]
