"""A state of training in a file: plain values and tensors, with a checksum, and no code.

Any program that opens files of safetensors sees the tensors; the rest of the state is a text of
JSON, as the bytes of the tensor `state.json`.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from learnlite import tensor_file
from learnlite.nested import kind_of_device, put_together, take_apart
from learnlite.tensor_file import FileError

_KIND = "learnlite state"
_TEXT = "state.json"


def write(
    path: Path,
    state: Any,
    head: Mapping[str, Any],
    kind_of: Callable[[Tensor], str] = kind_of_device,
) -> None:
    """Write `state` whole or not at all; `head` are plain values that are read without the rest.

    `kind_of` tells what kind of device a tensor belongs on.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(Path(folder, "a"), {"weight": torch.ones(2), "epoch": 3}, {"newest": True})
    ...     head(Path(folder, "a")), read(Path(folder, "a"))
    ({'newest': True}, {'weight': tensor([1., 1.]), 'epoch': 3})
    """
    text, tensors = take_apart(state, kind_of)
    if tensor_file.n_brackets(text) > tensor_file.MOST_BRACKETS:
        raise ValueError(
            f"the state has more than {tensor_file.MOST_BRACKETS:,} lists and dicts in it, which "
            "could not be read again; a callback that keeps so many values keeps them in a tensor"
        )
    if _TEXT in tensors:
        raise ValueError(f"a state cannot have a tensor named `{_TEXT}` at its top")
    as_bytes = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
    told = {"kind": _KIND, "head": json.dumps(dict(head), ensure_ascii=False)}
    tensor_file.write(path, {**tensors, _TEXT: as_bytes}, told)


def head(path: Path) -> dict[str, Any]:
    """The head of a file; that the rest is whole is not said by it."""
    return _head(tensor_file.read(path))


def read(path: Path, device: Any = None) -> Any:
    """The state in a file, all of which was compared with its checksum; else a FileError.

    Tensors that lay on a GPU go to `device`, if one is given.
    """
    file = tensor_file.read(path)
    _head(file)
    tensors = file.tensors(sealed=True)
    text = tensors.pop(_TEXT, None)
    if text is None or text.dtype is not torch.uint8:
        raise FileError(f"{path} has no state in it")
    try:
        written = bytes(cast(Any, text.numpy())).decode()
    except UnicodeDecodeError:
        raise FileError(f"{path} has a state that is no text") from None
    state, used = put_together(written, tensors, path, device)
    _check_used(tensors, used, path)
    return state


def _check_used(tensors: Mapping[str, Tensor], used: set[str], path: Path) -> None:
    unused = sorted(set(tensors) - used)
    if unused:
        raise FileError(f"{path} has tensors that its state does not name: {', '.join(unused[:5])}")


def _head(file: tensor_file.TensorFile) -> dict[str, Any]:
    if file.metadata.get("kind") != _KIND:
        raise FileError(f"{file.path} is no state of training; those are written by `Checkpoint`")
    told = tensor_file.parse(file.metadata.get("head", ""), file.path)
    if not isinstance(told, dict):
        raise FileError(f"{file.path} has a head that is no list of names")
    return cast(dict[str, Any], told)
