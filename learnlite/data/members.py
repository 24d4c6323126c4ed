"""What stands in an archive, and what may stand there: names, limits, and the one error."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

MAX_BYTES = 200 << 30  # ImageNet has 150 GB
MAX_FILES = 2_000_000  # ImageNet has 1.3 million
MAX_RATIO = 100  # of what comes out to what goes in; photos give 1, text 5, masks up to 30

_FREE_OF_RATIO = 64 << 20  # bytes that may come out of however small an archive
_RESERVE = 64 << 20  # bytes that are left on the disk
_LONGEST_NAME, _LONGEST_PATH, _DEEPEST = 255, 1024, 64

# Control characters, and those that turn the direction of writing or break the line.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_DRIVE = re.compile(r"[A-Za-z]:")
_WINDOWS = re.compile(
    r'.*[<>:"|?*].*|.*[ .]|(con|prn|aux|nul|conin\$|conout\$|com\d|lpt\d)(\..*)?', re.IGNORECASE
)

Parts = tuple[str, ...]
"""A path inside an archive, from its top."""


class ArchiveError(ValueError):
    """An archive that is damaged, holds what it must not, or is larger than allowed."""


@dataclass(slots=True)
class Member:
    """An entry of an archive; a link leads to `target`, which is seen from the archive's top."""

    parts: Parts
    kind: Literal["file", "folder", "link"]
    size: int = 0
    target: Parts = ()


class Archive(Protocol):
    """Gives its members in order; `read` gives the bytes of the last one, `b""` at its end."""

    def next(self) -> Member | None: ...

    def read(self, most: int) -> bytes: ...

    def position(self) -> int: ...


class Budget:
    """What an archive may still give; counted as it comes, whatever its headers say.

    >>> budget = Budget(Path("small.zip"), 1000, max_bytes=10)
    >>> budget.take(10)
    >>> budget.take(1)
    Traceback (most recent call last):
    ...
    learnlite.data.members.ArchiveError: `small.zip` holds more than 10 bytes; if you trust it, ...
    """

    def __init__(
        self,
        archive: Path,
        size: int,
        *,
        max_bytes: int = MAX_BYTES,
        max_files: int = MAX_FILES,
        max_ratio: float = MAX_RATIO,
    ) -> None:
        for name, value in (("bytes", max_bytes), ("files", max_files), ("ratio", max_ratio)):
            if value <= 0:
                raise ValueError(f"`max_{name}` must be above 0, got {value}")
        self.name = shown(archive.name)
        self._bytes, self._files, self._ratio = max_bytes, max_files, max_ratio
        self._most = min(max_bytes, max(_FREE_OF_RATIO, int(size * max_ratio)))
        self.taken = self._entries = 0

    def take(self, n_bytes: int) -> None:
        """So many bytes more came out of it."""
        self.taken += n_bytes
        self.foresee(self.taken)

    def foresee(self, n_bytes: int) -> None:
        """Refuse an archive that says itself that it is too large."""
        if n_bytes <= self._most:
            return
        if n_bytes > self._bytes:
            raise self._too_much(f"holds more than {self._bytes:,} bytes", "max_bytes")
        raise self._too_much(
            f"unpacks to more than {self._ratio:g} times its size, as archives do that are "
            "made to fill a disk",
            "max_ratio",
        )

    def entry(self) -> None:
        """One file or folder more."""
        self._entries += 1
        if self._entries > self._files:
            raise self._too_much(f"holds more than {self._files:,} files and folders", "max_files")

    def _too_much(self, what: str, limit: str) -> ArchiveError:
        return ArchiveError(f"`{self.name}` {what}; if you trust it, give a larger `{limit}`")


def damaged(archive: str, what: str) -> ArchiveError:
    """The error for an archive that cannot be read."""
    return ArchiveError(f"`{archive}` {what}; it is damaged, or was not copied whole: get it again")


def refused(archive: str, member: str, why: str) -> ArchiveError:
    """The error for an archive with a member that must not be there."""
    return ArchiveError(
        f"`{archive}` holds `{shown(member)}`, which {why}; so nothing of it is extracted"
    )


def check_space(folder: Path, n_bytes: int) -> None:
    """Refuse to write so many bytes where there is no room for them."""
    free = shutil.disk_usage(folder).free
    if free < n_bytes + _RESERVE:
        raise OSError(
            f"`{folder}` has {free:,} bytes free, and {n_bytes + _RESERVE:,} are needed; make room "
            "there, or give another folder"
        )


def safe_parts(name: str, *, windows: bool) -> Parts:
    r"""A name as its parts, if it stays where it belongs; an error tells why it does not.

    >>> safe_parts("./photos/cat 1.jpg", windows=False)
    ('photos', 'cat 1.jpg')
    >>> safe_parts("../cat.jpg", windows=False)
    Traceback (most recent call last):
    ...
    learnlite.data.members.ArchiveError: leads out of the folder it is extracted to
    """
    if _CONTROL.search(name):
        raise ArchiveError("has control characters in its name")
    if name.startswith(("/", "\\")) or _DRIVE.match(name):
        raise ArchiveError("has an absolute path")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise ArchiveError("leads out of the folder it is extracted to")
    if "\\" in name:
        raise ArchiveError("has a backslash in its name, which separates folders on Windows only")
    if len(parts) > _DEEPEST or len(name.encode()) > _LONGEST_PATH:
        raise ArchiveError(
            f"lies deeper than {_DEEPEST} folders, or has a path of more than {_LONGEST_PATH} bytes"
        )
    for part in parts:
        if len(part.encode()) > _LONGEST_NAME:
            raise ArchiveError(f"has a name of more than {_LONGEST_NAME} bytes")
        if windows and _WINDOWS.fullmatch(part):
            raise ArchiveError("has a name that Windows does not allow")
    return parts


def link_target(parts: Parts, target: str, *, windows: bool) -> Parts:
    """Where a symbolic link at `parts` leads, seen from the archive's top, if it stays inside.

    >>> link_target(("a", "b", "link"), "../c.jpg", windows=False)
    ('a', 'c.jpg')
    """
    where = list(parts[:-1])
    for step in target.split("/"):
        if step == "..":
            if not where:
                raise ArchiveError(f"is a link that leads out, to `{shown(target)}`")
            where.pop()
        elif step not in ("", "."):
            where.append(step)
    if target.startswith("/"):
        raise ArchiveError(f"is a link that leads out, to `{shown(target)}`")
    return safe_parts("/".join(where), windows=windows)


def shown(name: str) -> str:
    r"""A name as a message may hold it: no control characters, and not endless.

    >>> shown("a\x1b[2J\n.jpg")
    'a?[2J?.jpg'
    """
    short = name if len(name) <= 100 else f"{name[:60]} … {name[-30:]}"
    return "".join(letter if letter.isprintable() else "?" for letter in short)
