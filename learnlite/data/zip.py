"""Reading zip archives: Python's reader, and what it does not look at."""

import os
import stat
import zipfile
from itertools import pairwise
from typing import IO, BinaryIO

from learnlite.data.members import ArchiveError, Budget, Member, damaged, refused, safe_parts

_ENCRYPTED = 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_JUNK = "__MACOSX/"  # what macOS adds: for each photo, a file by its name that is no photo


class Zip:
    """A zip archive."""

    def __init__(self, file: BinaryIO, budget: Budget) -> None:
        self._file = file
        self._name = budget.name
        self._budget = budget
        self._data: IO[bytes] | None = None
        self._position = 0
        try:
            self._zip = zipfile.ZipFile(file)
        except Exception as error:  # struct.error, BadZipFile, NotImplementedError, ...
            raise damaged(self._name, f"is no zip archive that can be read ({error})") from error
        entries = self._zip.infolist()
        self._check_overlap(entries)
        self.claimed = sum(info.file_size for info in entries)
        budget.foresee(self.claimed)
        self._entries = iter(entries)

    def position(self) -> int:
        """How much of the file itself was read."""
        return self._position

    def next(self) -> Member | None:
        """The next member but for the junk."""
        self._close()
        for info in self._entries:
            name = info.orig_filename
            if "\\" in name and "/" not in name:  # some programs on Windows
                name = name.replace("\\", "/")
            if name.startswith(_JUNK):
                continue
            try:
                member = self._member(info, name)
            except ArchiveError as error:
                raise refused(self._name, name, str(error)) from None
            if member.kind == "file":
                try:
                    self._data = self._zip.open(info)
                except Exception as error:
                    raise damaged(self._name, f"cannot be unpacked ({error})") from error
            return member
        return None

    def read(self, most: int) -> bytes:
        """The next bytes of the running member, `b""` at its end."""
        if self._data is None:
            return b""
        try:
            data = self._data.read(most)
        except Exception as error:  # zlib.error, BadZipFile, EOFError, ...
            raise damaged(self._name, f"cannot be unpacked ({error})") from error
        self._budget.take(len(data))
        self._position = max(self._position, self._file.tell())
        return data

    def close(self) -> None:
        """Let go of Python's reader; the file stays open."""
        self._close()
        self._zip.close()

    def _close(self) -> None:
        if self._data is not None:
            self._data.close()
            self._data = None

    def _member(self, info: zipfile.ZipInfo, name: str) -> Member:
        parts = safe_parts(name, windows=os.name == "nt")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind == stat.S_IFLNK:
            raise ArchiveError("is a link")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ArchiveError("is neither a file nor a folder")
        if info.flag_bits & _ENCRYPTED:
            raise ArchiveError("is encrypted: unpack the archive with a program that asks for it")
        if name.endswith("/"):
            return Member(parts, "folder")
        if info.compress_type not in _METHODS:
            raise ArchiveError(
                f"is packed by method {info.compress_type}, and only 0 and 8 (deflate) are read "
                "here: unpack the archive with the program that made it"
            )
        return Member(parts, "file", info.file_size)

    def _check_overlap(self, entries: list[zipfile.ZipInfo]) -> None:
        """Members that share bytes are how a small archive comes to hold petabytes."""
        spans = sorted((info.header_offset, info.compress_size) for info in entries)
        for (start, size), (following, _) in pairwise(spans):
            if start + size > following:
                raise ArchiveError(
                    f"`{self._name}` holds files that lie over each other, as in archives that are "
                    "made to fill a disk; so nothing of it is extracted"
                )
