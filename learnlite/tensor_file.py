"""Named tensors in a file, in the layout of safetensors: they are read, and nothing is run.

Eight bytes tell the length of a header of JSON, which tells name, type, shape and place of each
tensor; then come the tensors. The header's `__metadata__` are strings by name, and of ours one is
a checksum of all the rest.
"""

import hashlib
import json
import math
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor

from learnlite.replace import replacing

MOST_HEADER = 4 << 20  # bytes; a header of 1,000 tensors and 20,000 classes has 0.8 million
_DEEPEST = 32  # brackets of JSON in each other
MOST_BRACKETS = 200_000  # that open in a text, three for each tensor: they cost 300 bytes each
_MOST_AXES = 64
_LONGEST = 1500  # letters of a message
_PART = 1 << 24  # bytes that are hashed or written at a time
_CHECKSUM = "sha256"

_TYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "U16": torch.uint16,
    "I16": torch.int16,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "U32": torch.uint32,
    "I32": torch.int32,
    "F32": torch.float32,
    "U64": torch.uint64,
    "I64": torch.int64,
    "F64": torch.float64,
    "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
_PICKLES = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_NAMES = {dtype: name for name, dtype in _TYPES.items()}


class FileError(ValueError):
    """A file that is damaged, or that is not what it should be.

    What it says may be the file's own words: control characters, and endless ones, are left out.
    """

    def __init__(self, message: str) -> None:
        short = message if len(message) <= _LONGEST else f"{message[:_LONGEST]}…"
        shown = (letter if letter.isprintable() or letter == "\n" else "?" for letter in short)
        super().__init__("".join(shown))


@dataclass(frozen=True)
class Entry:
    """What a header tells of a tensor; its bytes lie from `begin` to `end` of the data."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class TensorFile:
    """A file whose header was read and found in order; `tensors()` reads the rest."""

    path: Path
    entries: dict[str, Entry]
    metadata: dict[str, str]
    start: int  # the first byte of the data
    n_bytes: int  # of the data

    def tensors(self, *, sealed: bool = False) -> dict[str, Tensor]:
        """All tensors, on the CPU, compared with the checksum, which `sealed` files must have."""
        data = torch.empty(self.n_bytes, dtype=torch.uint8)
        view = memoryview(cast(Any, data.numpy()))
        with _faults_named(self.path), self.path.open("rb") as file:
            file.seek(self.start)
            n_read = 0
            while n_read < self.n_bytes:
                n = cast(Any, file).readinto(view[n_read : n_read + _PART])
                if not n:
                    raise _damaged(self.path, "ends before its data do")
                n_read += n
        told = self.metadata.get(_CHECKSUM, "" if sealed else None)
        if told is not None and told != _checksum(self.entries, self.metadata, [view]):
            raise _damaged(self.path, "is not what was written: its checksum differs")
        return {name: self._tensor(name, entry, data) for name, entry in self.entries.items()}

    def _tensor(self, name: str, entry: Entry, data: Tensor) -> Tensor:
        part = data[entry.begin : entry.end]
        if entry.dtype is torch.bool and part.numel() and int(part.max()) > 1:
            raise _damaged(self.path, f"has other values than 0 and 1 in `{_short(name)}`")
        if entry.begin % entry.dtype.itemsize:  # other programs do not align them
            part = part.clone()
        if not part.numel():
            return torch.empty(entry.shape, dtype=entry.dtype)
        return part.view(entry.dtype).view(entry.shape)


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and strings to `path`, whole or not at all, with a checksum of both.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> write(Path(folder.name, "w"), {"weight": torch.ones(2)}, {"about": "a test"})
    >>> file = read(Path(folder.name, "w"))
    >>> file.metadata["about"], file.tensors()
    ('a test', {'weight': tensor([1., 1.])})
    >>> folder.cleanup()
    """
    entries: dict[str, Entry] = {}
    end = 0
    # Large elements first: then each tensor begins at a multiple of its element's size.
    for name in sorted(tensors, key=lambda name: (-tensors[name].element_size(), name)):
        tensor = tensors[name]
        fault = _unwritable(tensor)
        if fault:
            raise ValueError(f"`{name}` {fault}, which cannot be written to {path.name}")
        begin, end = end, end + tensor.numel() * tensor.element_size()
        entries[name] = Entry(tensor.dtype, tuple(tensor.shape), begin, end)
    strings = {key: value for key, value in metadata.items() if key != _CHECKSUM}
    parts = (part for name in entries for part in _bytes_of(tensors[name]))
    strings[_CHECKSUM] = _checksum(entries, strings, parts)
    header = _header(entries, strings)
    header += b" " * (-len(header) % 8)
    if len(header) > MOST_HEADER:
        raise ValueError(
            f"names and settings take {len(header):,} bytes, and the header of a file may have "
            f"{MOST_HEADER:,}; are the names of the classes that long?"
        )
    with replacing(path) as file:
        file.write(len(header).to_bytes(8, "little"))
        file.write(header)
        for name in entries:
            for part in _bytes_of(tensors[name]):
                file.write(part)


def read(path: Path) -> TensorFile:
    """Read and check the header of a file; whatever is wrong is a FileError."""
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    if not path.is_file():
        inside = sorted(each.name for each in path.glob("*.ll")) if path.is_dir() else []
        advice = f"; in it lies `{path / inside[0]}`" if inside else ""
        raise FileError(f"{path} is no file, but a folder or a device{advice}")
    with _faults_named(path), path.open("rb") as file:
        header, start, size = _read_header(file, path)
    data = _object(parse(header, path), path, "its header")
    metadata = _object(data.pop("__metadata__", {}), path, "its metadata")
    for key, value in metadata.items():
        if not isinstance(value, str):
            raise _damaged(path, f"has metadata `{_short(key)}` that are no text")
    entries = {name: _entry(name, value, path) for name, value in data.items()}
    _check_places(entries, size - start, path)
    return TensorFile(path, entries, metadata, start, size - start)


def parse(text: str, path: Path) -> Any:
    """Plain values from JSON: no name twice, no NaN, not endlessly deep.

    >>> parse('{"a": 1, "a": 2}', Path("file"))
    Traceback (most recent call last):
    ...
    learnlite.tensor_file.FileError: file has the name `a` twice in JSON; it is damaged, ...
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise _damaged(path, f"has the name `{_short(twice)}` twice in JSON")
        return found

    def constant(name: str) -> Any:
        raise _damaged(path, f"has {name} in JSON")

    def number(digits: str) -> float:
        value = float(digits)
        return value if math.isfinite(value) else constant("a number that is too large")

    if n_brackets(text) > MOST_BRACKETS:
        raise _damaged(path, f"has JSON of more than {MOST_BRACKETS:,} lists and objects")
    try:
        value = json.loads(
            text, object_pairs_hook=unique, parse_constant=constant, parse_float=number
        )
    except FileError:
        raise
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"does not read as JSON ({error})") from None
    if _is_deeper(value, _DEEPEST):
        raise _damaged(path, f"has JSON of more than {_DEEPEST} brackets in each other")
    return value


def n_brackets(text: str) -> int:
    """How many brackets open in a text, which are the lists and objects of one of JSON."""
    return text.count("[") + text.count("{")


def _read_header(file: BinaryIO, path: Path) -> tuple[str, int, int]:
    size = file.seek(0, 2)
    file.seek(0)
    first = file.read(9)
    length = int.from_bytes(first[:8], "little")
    if first[:2] in _PICKLES and first[8:] != b"{":
        raise FileError(
            f"{path} is a pickle, as `torch.save` and fastai's `export` write, which could run "
            "code; weights in it are for `learn.load`, whole learners are exported anew"
        )
    if len(first) < 9 or first[8:] != b"{":
        raise _damaged(path, "does not begin as a file of tensors does")
    if length > MOST_HEADER:
        raise _damaged(path, f"tells of a header of {length:,} bytes, more than {MOST_HEADER:,}")
    if 8 + length > size:
        raise _damaged(path, f"has {size:,} bytes, less than its header")
    try:
        return (first[8:] + file.read(length - 1)).decode(), 8 + length, size
    except UnicodeDecodeError:
        raise _damaged(path, "has a header that is no text") from None


def _entry(name: str, value: Any, path: Path) -> Entry:
    shown = f"`{_short(name)}`"
    told = _object(value, path, f"what it tells of {shown}")
    if told.keys() != {"dtype", "shape", "data_offsets"}:
        raise _damaged(path, f"does not tell type, shape and place of {shown}, and nothing else")
    dtype = _TYPES.get(told["dtype"]) if isinstance(told["dtype"], str) else None
    if dtype is None:
        raise _damaged(path, f"has {shown} of the type {_short(repr(told['dtype']))}")
    shape, place = _counts(told["shape"]), _counts(told["data_offsets"])
    if shape is None or len(shape) > _MOST_AXES:
        raise _damaged(path, f"has {shown} of the shape {_short(repr(told['shape']))}")
    if place is None or len(place) != 2 or place[0] > place[1]:
        raise _damaged(path, f"has {shown} at the bytes {_short(repr(told['data_offsets']))}")
    n_bytes = math.prod(shape) * dtype.itemsize
    if n_bytes != place[1] - place[0]:
        raise _damaged(path, f"has {shown} of the shape {shape}, but not of as many bytes")
    return Entry(dtype, shape, place[0], place[1])


def _check_places(entries: dict[str, Entry], n_bytes: int, path: Path) -> None:
    """Refuse tensors that lie over each other, beyond the end, or with something between them."""
    end = 0
    for name, entry in sorted(entries.items(), key=lambda pair: (pair[1].begin, pair[1].end)):
        if entry.begin != end:
            raise _damaged(path, f"has `{_short(name)}` not right after the tensor before it")
        end = entry.end
    if end != n_bytes:
        raise _damaged(path, f"has {n_bytes:,} bytes of data, and its tensors take {end:,}")


def _counts(value: Any) -> tuple[int, ...] | None:
    """A list of whole numbers from 0 on; None for anything else."""
    if not isinstance(value, list):
        return None
    numbers = tuple(cast("list[Any]", value))
    return numbers if all(type(n) is int and 0 <= n < 1 << 48 for n in numbers) else None


def _object(value: Any, path: Path, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _damaged(path, f"has no names in {what}")
    return cast(dict[str, Any], value)


def _is_deeper(value: Any, most: int) -> bool:
    """Whether lists and dicts stand in each other more than `most` deep."""
    level = [value]
    for _ in range(most + 1):
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                inner += cast(dict[str, Any], each).values()
            elif isinstance(each, list):
                inner += cast("list[Any]", each)
        level = inner
    return bool(level)


def _header(entries: Mapping[str, Entry], metadata: Mapping[str, str]) -> bytes:
    told: dict[str, Any] = {"__metadata__": dict(metadata)}
    for name, entry in entries.items():
        told[name] = {
            "dtype": _NAMES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [entry.begin, entry.end],
        }
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()


def _checksum(
    entries: Mapping[str, Entry], metadata: Mapping[str, str], parts: Iterator[Any] | list[Any]
) -> str:
    """Of the data, and of the header but for the checksum itself; in whatever order it is told."""
    strings = {key: metadata[key] for key in sorted(metadata) if key != _CHECKSUM}
    found = hashlib.sha256(_header({name: entries[name] for name in sorted(entries)}, strings))
    for part in parts:
        found.update(part)
    return found.hexdigest()


def _bytes_of(tensor: Tensor) -> Iterator[memoryview]:
    flat = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8)
    view = memoryview(cast(Any, flat.numpy()))
    for begin in range(0, len(view), _PART):
        yield view[begin : begin + _PART]


def _unwritable(tensor: Tensor) -> str | None:
    if tensor.layout is not torch.strided or tensor.is_quantized:
        return "is sparse or quantized"
    if tensor.is_meta:
        return "has no values (it is on the device `meta`)"
    if tensor.dtype not in _NAMES:
        return f"is of {tensor.dtype}"
    return None


@contextmanager
def _faults_named(path: Path) -> Generator[None]:
    """Faults of the disk as a FileError that names the file."""
    try:
        yield
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from error


def _damaged(path: Path, what: str) -> FileError:
    return FileError(f"{path} {what}; it is damaged, or was not written as such files are")


def _short(text: str) -> str:
    """A text of a file as a message may hold it."""
    short = text if len(text) <= 80 else f"{text[:77]}…"
    return short.replace("\n", "?")
