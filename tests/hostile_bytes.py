"""What hostile files are made of: pickles that call, archives, headers."""

import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Makers = dict[str, Callable[[Path], None]]


class Gadget:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


class Setting:
    """Takes a state when it is unpickled (the opcode BUILD)."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return (
            os.path.basename,
            ("x",),
            {"__class__": "os.system", "run": Gadget(os.system, self.command)},
        )


def harm(folder: Path) -> str:
    """A line for a shell, which leaves the marker."""
    return f"touch {folder / 'marker'}"


def code(folder: Path) -> str:
    """A line of Python that leaves the marker."""
    return f"open({str(folder / 'marker')!r}, 'w').close()"


def pickled(value: Any, protocol: int) -> bytes:
    return pickle.dumps(value, protocol)


def saved(value: Any, *, new: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=new)
    return buffer.getvalue()


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(members: list[tuple[tarfile.TarInfo, bytes]], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for info, data in members:
            info.size = len(data) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o777
    return info


def safetensors(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def write(content: Callable[[Path], bytes]) -> Callable[[Path], None]:
    """Writes what `content` gives for the folder."""
    return lambda path: (path.write_bytes(content(path.parent)), None)[1]


def legacy_tar(folder: Path) -> bytes:
    """The form of torch 0.1: a tar with pickles in it."""
    parts = [
        (member(name), pickled(Gadget(os.system, harm(folder)), 2))
        for name in ("sys_info", "pickle")
    ]
    parts += [(member(name), pickled(1, 2)) for name in ("storages", "tensors")]
    return tarred(parts)


def storage_claims(size: int) -> bytes:
    """A file of `torch.save` whose tensor says that it is much larger than what is there."""
    plain = saved({"weight": torch.ones(2)})
    found = zipfile.ZipFile(io.BytesIO(plain))
    files = {name: found.read(name) for name in found.namelist()}
    (name,) = (name for name in files if name.endswith("data.pkl"))
    two, many = b"K\x02", b"\x8a\x08" + struct.pack("<q", size)
    files[name] = files[name].replace(two, many)
    return zipped(files)


def laughs(depth: int = 40) -> bytes:
    """Lists of twice the same list, which are endless when they are written out."""
    value: Any = [1.0]
    for _ in range(depth):
        value = [value, value]
    return saved({"model": {"weight": value}, "opt": value})
