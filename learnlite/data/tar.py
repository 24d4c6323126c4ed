"""Reading tar archives from start to end, and no more of them than data sets need.

Written by hand: Python's `tarfile` keeps every header, reads extended headers of any size into
memory, and knows kinds of members (sparse files, devices) that have no place in a data set.
"""

import bz2
import gzip
import lzma
import os
import re
import zlib
from typing import BinaryIO, Protocol

from learnlite.data.members import (
    ArchiveError,
    Budget,
    Member,
    Parts,
    damaged,
    link_target,
    refused,
    safe_parts,
)

_BLOCK = 512
_END = bytes(_BLOCK)
_BUFFER = 1 << 20
_MOST_EXTENDED = 1 << 20  # bytes of an extended header; a name in it has at most some thousand
_MOST_XZ = 256 << 20  # bytes of memory to unpack; `xz -9` needs 65 MB
_DAMAGE = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)

_FILE, _HARD_LINK, _LINK, _FOLDER = (b"\0", b"0", b"7"), b"1", b"2", b"5"
_KINDS = {b"3": "a device", b"4": "a device", b"6": "a named pipe", b"S": "a sparse file"}
_RECORD = re.compile(rb"([0-9]{1,7}) ([^=\n]+)=")


class Stream(Protocol):
    """Where bytes come from: a file, or what unpacks one."""

    def read(self, size: int, /) -> bytes: ...


class Tar:
    """A tar archive, plain or packed with gzip, bzip2 or xz."""

    def __init__(self, file: BinaryIO, budget: Budget) -> None:
        self._file = file
        self._name = budget.name
        self._budget = budget
        self._stream = unpacked(file, budget.name)
        self._left = self._padding = 0  # of the running member
        self._first = True

    def position(self) -> int:
        """How much of the file itself was read."""
        return self._file.tell()

    def next(self) -> Member | None:
        """The next member that counts: files, folders, links."""
        while self.read(_BUFFER):
            pass
        extended: dict[bytes, bytes] = {}
        while True:
            header = self._exactly(_BLOCK)
            if header == _END:
                self._finish()
                return None
            size = self._checked(header)
            kind = header[156:157]
            if kind in (b"x", b"g", b"L", b"K"):
                if size > _MOST_EXTENDED:
                    raise self._damaged(f"has a header of {size:,} bytes")
                body = self._exactly(size + -size % _BLOCK)[:size]
                if kind == b"x":
                    extended |= self._records(body)
                elif kind == b"L":
                    extended[b"path"] = body.split(b"\0", 1)[0]
                elif kind == b"K":
                    extended[b"linkpath"] = body.split(b"\0", 1)[0]
                continue
            return self._member(header, kind, size, extended)

    def read(self, most: int) -> bytes:
        """The next bytes of the running member, `b""` at its end."""
        if not self._left:
            if self._padding:
                self._exactly(self._padding)
                self._padding = 0
            return b""
        if self._left <= most:  # with its padding: one read for most photos
            data = self._exactly(self._left + self._padding)[: self._left]
            self._left = self._padding = 0
            return data
        self._left -= most
        return self._exactly(most)

    def _member(
        self, header: bytes, kind: bytes, size: int, extended: dict[bytes, bytes]
    ) -> Member:
        raw = extended.get(b"path") or _name(header)
        name = _decoded(raw)
        try:
            if kind in _KINDS or any(key.startswith(b"GNU.sparse") for key in extended):
                raise ArchiveError(f"is {_KINDS.get(kind, _KINDS[b'S'])}")
            parts = safe_parts(name, windows=os.name == "nt")
            if kind in (_HARD_LINK, _LINK):
                target = _decoded(extended.get(b"linkpath") or _text(header[157:257]))
                return Member(parts, "link", target=_leads_to(kind, parts, target))
            if kind == _FOLDER or (kind in _FILE and raw.endswith(b"/")):
                return Member(parts, "folder")
            if kind not in _FILE:
                raise ArchiveError(f"is of a kind that data sets have no use for ({kind!r})")
        except ArchiveError as error:
            raise refused(self._name, name, str(error)) from None
        if b"size" in extended:
            size = _decimal(extended[b"size"])
            if size < 0:
                raise self._damaged("has a header with a size that is no number")
        self._left, self._padding = size, -size % _BLOCK
        return Member(parts, "file", size)

    def _checked(self, header: bytes) -> int:
        """The size that a header tells, if its checksum holds."""
        claimed = _number(header[148:156])
        found = sum(header) - sum(header[148:156]) + 8 * 32
        if claimed != found:
            signed = found - 256 * sum(
                byte > 127 for byte in header[:148] + header[156:]
            )  # as some old programs add them up
            if claimed != signed:
                raise self._damaged(
                    "is no tar archive" if self._first else "has a damaged header inside"
                )
        self._first = False
        size = _number(header[124:136])
        if size < 0:
            raise self._damaged("has a header with a size that is no number")
        return size

    def _records(self, body: bytes) -> dict[bytes, bytes]:
        """The `length key=value` lines of an extended header."""
        found: dict[bytes, bytes] = {}
        at = 0
        while at < len(body) and body[at]:
            record = _RECORD.match(body, at)
            end = at + int(record[1]) if record else 0
            if record is None or not record.end() < end <= len(body) or body[end - 1] != 10:
                raise self._damaged("has a damaged extended header")
            found[record[2]] = body[record.end() : end - 1]
            at = end
        return found

    def _finish(self) -> None:
        """Read to the end, where gzip and xz tell whether all was whole."""
        while data := self._some(_BUFFER):
            self._budget.take(len(data))

    def _exactly(self, size: int) -> bytes:
        data = self._some(size)
        if len(data) < size:
            rest = [data]
            missing = size - len(data)
            while missing:
                more = self._some(missing)
                if not more:
                    raise self._damaged("is no tar archive" if self._first else "ends too early")
                rest.append(more)
                missing -= len(more)
            data = b"".join(rest)
        self._budget.take(size)
        return data

    def _some(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except _DAMAGE as error:
            raise self._damaged(f"cannot be unpacked ({error})") from error

    def _damaged(self, what: str) -> ArchiveError:
        return damaged(self._name, what)


class _Xz:
    """An xz file as a stream; Python's own sets no limit to the memory it takes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._start()

    def _start(self) -> None:
        self._unpack = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_XZ)

    def read(self, size: int, /) -> bytes:
        while True:
            packed = b""
            if self._unpack.eof:  # another stream may follow, after zeros
                packed = self._unpack.unused_data.lstrip(b"\0")
                while not packed:
                    more = self._file.read(_BUFFER)
                    if not more:
                        return b""
                    packed = more.lstrip(b"\0")
                self._start()
            elif self._unpack.needs_input:
                packed = self._file.read(_BUFFER)
                if not packed:
                    raise EOFError("it ends too early")
            if data := self._unpack.decompress(packed, size):
                return data


def unpacked(file: BinaryIO, name: str) -> Stream:
    """The stream of tar blocks in a file, by how the file begins."""
    start = file.read(6)
    file.seek(0)
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file, mode="rb")
    if start.startswith(b"BZh"):
        return bz2.BZ2File(file)
    if start == b"\xfd7zXZ\0":
        return _Xz(file)
    if start.startswith((b"7z\xbc\xaf", b"Rar!", b"\x28\xb5\x2f\xfd")):
        raise ArchiveError(
            f"`{name}` is packed with 7-Zip, RAR or Zstandard; unpack it with a program that "
            "knows them, or give a tar, tar.gz, tar.bz2, tar.xz or zip file"
        )
    if start.lstrip()[:1] == b"<":
        raise ArchiveError(
            f"`{name}` is a web page, no archive; open the address it came from in a browser "
            "to see why"
        )
    return file


def _leads_to(kind: bytes, parts: Parts, target: str) -> Parts:
    windows = os.name == "nt"
    if kind == _LINK:
        return link_target(parts, target, windows=windows)
    try:
        return safe_parts(target, windows=windows)
    except ArchiveError as error:
        raise ArchiveError(f"is a link to what {error}") from None


def _name(header: bytes) -> bytes:
    """The name in a header; POSIX archives have its first part in a field of its own."""
    name, prefix = _text(header[:100]), header[345:500].split(b"\0", 1)[0]
    return prefix + b"/" + name if header[257:263] == b"ustar\0" and prefix else name


def _text(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]


def _decoded(name: bytes) -> str:
    """A name as text: UTF-8, or what old programs wrote."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("latin-1")


def _number(field: bytes) -> int:
    """An octal number, or a large one in binary; -1 if it is neither."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.split(b"\0", 1)[0].strip(b" ")
    try:
        return int(digits, 8) if digits.isdigit() else -1 if digits else 0
    except ValueError:
        return -1


def _decimal(field: bytes) -> int:
    return int(field) if field.isdigit() and len(field) < 20 else -1
