import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from learnlite import tensor_file
from learnlite.tensor_file import MOST_HEADER, FileError

EVERY_TYPE = [
    torch.tensor([True, False, True]),
    torch.arange(5, dtype=torch.uint8),
    torch.arange(-3, 3, dtype=torch.int8),
    torch.tensor([1, 65535], dtype=torch.uint16),
    torch.tensor([-7], dtype=torch.int16),
    torch.tensor([1.5, float("nan"), -0.0]).half(),
    torch.tensor([1.5, float("inf")]).bfloat16(),
    torch.tensor([2**31], dtype=torch.uint32),
    torch.tensor([-(2**31)], dtype=torch.int32),
    torch.randn(3, 4),
    torch.tensor([2**63], dtype=torch.uint64),
    torch.tensor(-(2**62)),
    torch.randn(2, 1, 2, dtype=torch.float64),
    torch.randn(2, dtype=torch.complex64),
    torch.tensor([0.5]).to(torch.float8_e4m3fn),
    torch.tensor([0.5]).to(torch.float8_e5m2),
    torch.empty(0, 3),
    torch.tensor(7.0),
    torch.randn(4, 3).T,
    torch.randn(5)[::2],
    torch.zeros(1).expand(2, 2),
]


def same_bytes(one: Tensor, other: Tensor) -> bool:
    one, other = (t.contiguous().view(-1).view(torch.uint8) for t in (one, other))
    return torch.equal(one, other)


def raw(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """A file as it may come from anybody."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(shape: Any = (2,), place: Any = (0, 8), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": place}


def test_tensors_of_every_type_come_back_bit_for_bit(tmp_path: Path) -> None:
    tensors = {f"t{i}": tensor for i, tensor in enumerate(EVERY_TYPE)}
    tensor_file.write(tmp_path / "all", tensors, {"about": "ä \u2028 💡"})
    file = tensor_file.read(tmp_path / "all")
    found = file.tensors()
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype is tensor.dtype and found[name].shape == tensor.shape
        assert same_bytes(found[name], tensor), name
    assert file.metadata["about"] == "ä \u2028 💡"


def test_the_tool_of_others_reads_what_is_written_and_the_other_way_round(tmp_path: Path) -> None:
    theirs = pytest.importorskip("safetensors.torch", reason="`safetensors` is not installed")
    known = {f"t{i}": t.contiguous() for i, t in enumerate(EVERY_TYPE) if not t.is_complex()}
    tensor_file.write(tmp_path / "ours", known, {"about": "a test"})
    for name, tensor in theirs.load_file(tmp_path / "ours").items():
        assert same_bytes(tensor, known[name])
    theirs.save_file(known, tmp_path / "theirs", {"format": "pt"})
    for name, tensor in tensor_file.read(tmp_path / "theirs").tensors().items():
        assert same_bytes(tensor, known[name])


def test_the_same_tensors_give_the_same_bytes_in_whatever_order(tmp_path: Path) -> None:
    tensors = {"b": torch.ones(2), "a": torch.zeros(3, dtype=torch.int8)}
    tensor_file.write(tmp_path / "one", tensors, {"x": "1"})
    tensor_file.write(tmp_path / "two", dict(reversed(tensors.items())), {"x": "1"})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_elements_lie_at_multiples_of_their_size(tmp_path: Path) -> None:
    tensors = {"a": torch.zeros(3, dtype=torch.int8), "b": torch.ones(2).double()}
    tensor_file.write(tmp_path / "f", tensors, {})
    file = tensor_file.read(tmp_path / "f")
    assert file.start % 8 == 0 and file.entries["b"].begin == 0


def test_tensors_that_lie_askew_are_read(tmp_path: Path) -> None:
    header = {"a": entry([1], [0, 1], "U8"), "b": entry([1], [1, 5])}
    (tmp_path / "f").write_bytes(raw(header, b"\x07" + torch.tensor([1.5]).numpy().tobytes()))
    assert tensor_file.read(tmp_path / "f").tensors()["b"].item() == 1.5


def test_each_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "f"
    tensor_file.write(path, {"w": torch.randn(3)}, {"about": "x"})
    good = path.read_bytes()
    for i in range(len(good)):
        path.write_bytes(good[:i] + bytes([good[i] ^ 1 << i % 8]) + good[i + 1 :])
        with pytest.raises(FileError, match=r"damaged|is a pickle"):
            tensor_file.read(path).tensors(sealed=True)


def test_each_cut_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "f"
    tensor_file.write(path, {"w": torch.randn(3)}, {})
    good = path.read_bytes()
    for n in range(len(good)):
        path.write_bytes(good[:n])
        with pytest.raises(FileError, match="damaged"):
            tensor_file.read(path)


def test_a_file_that_changes_after_its_header_was_read_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "f"
    tensor_file.write(path, {"w": torch.randn(3)}, {})
    file = tensor_file.read(path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(FileError, match="ends before its data do"):
        file.tensors()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "does not begin as"),
        (raw(b"[]"), "does not begin as"),
        (raw({}, length=2**63), "more than 4,194,304"),
        (raw({}, length=MOST_HEADER + 1), "more than 4,194,304"),
        (raw({}, length=100), "less than its header"),
        (raw(b'{"\xff"'), "a header that is no text"),
        (raw(b"{"), "does not read as JSON"),
        (raw(b'{"a":' * 50_000), "does not read as JSON|brackets"),
        (raw(b'{"a":' + b"[" * 40 + b"]" * 40 + b"}"), "more than 32 brackets"),
        (raw(b'{"a":1,"a":2}'), "the name `a` twice"),
        (raw(b'{"a":NaN}'), "has NaN in JSON"),
        (raw(b'{"a":-Infinity}'), "has -Infinity in JSON"),
        (raw(b'{"a":1e999}'), "a number that is too large"),
        (raw(b'{"a":' + b"9" * 5000 + b"}"), "does not read as JSON"),
        (raw({"a": 1}), "no names in what it tells of `a`"),
        (raw({"a": {"dtype": "F32"}}), "does not tell type, shape and place of `a`"),
        (raw({"a": entry() | {"__class__": "os.system"}}, bytes(8)), "and nothing else"),
        (raw({"a": entry(dtype="os.system")}, bytes(8)), "of the type 'os.system'"),
        (raw({"a": entry(dtype=["F32"])}, bytes(8)), "of the type"),
        (raw({"a": entry([-1, -2])}, bytes(8)), r"of the shape \[-1, -2\]"),
        (raw({"a": entry([1.5])}, bytes(8)), "of the shape"),
        (raw({"a": entry([True])}, bytes(8)), "of the shape"),
        (raw({"a": entry("2")}, bytes(8)), "of the shape"),
        (raw({"a": entry([2**62, 2**62])}, bytes(8)), "of the shape"),
        (raw({"a": entry([1] * 65, [0, 4])}, bytes(4)), "of the shape"),
        (raw({"a": entry([3])}, bytes(8)), "not of as many bytes"),
        (raw({"a": entry([2**40, 2**40])}, bytes(8)), "not of as many bytes"),
        (raw({"a": entry([2], [8, 0])}, bytes(8)), "at the bytes"),
        (raw({"a": entry([2], [0, 8, 16])}, bytes(8)), "at the bytes"),
        (raw({"a": entry([2], [4, 12])}, bytes(12)), "not right after"),
        (raw({"a": entry(), "b": entry()}, bytes(8)), "not right after"),
        (raw({"a": entry()}, bytes(4)), "has 4 bytes of data, and its tensors take 8"),
        (raw({"a": entry()}, bytes(12)), "has 12 bytes of data, and its tensors take 8"),
        (raw({"a": entry([10**12], [0, 4 * 10**12])}, bytes(8)), "its tensors take"),
        (raw({"__metadata__": {"a": 1}}), "metadata `a` that are no text"),
        (raw({"__metadata__": []}), "no names in its metadata"),
        (raw({"\x1b[2J" * 50: 1}), r"what it tells of `\?\[2J"),
        (b"PK\x03\x04" + bytes(50), "is a pickle, as `torch.save`"),
        (b"\x80\x04" + bytes(50), "is a pickle, as `torch.save`"),
    ],
)
def test_what_is_wrong_with_a_header_is_told(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "f"
    path.write_bytes(content)
    with pytest.raises(FileError, match=says) as caught:
        tensor_file.read(path)
    assert len(str(caught.value)) < 500


def test_bytes_that_are_no_bool_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(raw({"a": entry([2], [0, 2], "BOOL")}, b"\x01\x02"))
    with pytest.raises(FileError, match="other values than 0 and 1 in `a`"):
        tensor_file.read(path).tensors()


def test_folders_pipes_and_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file"):
        tensor_file.read(tmp_path / "none")
    with pytest.raises(FileError, match="a folder or a device"):
        tensor_file.read(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(FileError, match="a folder or a device"):
            tensor_file.read(tmp_path / "pipe")


@pytest.mark.parametrize(
    "tensor",
    [
        torch.eye(2).to_sparse(),
        torch.empty(2, device="meta"),
        torch.zeros(2, dtype=torch.complex128),
    ],
    ids=["sparse", "meta", "complex128"],
)
def test_a_tensor_that_a_file_cannot_hold_is_named_and_nothing_is_written(
    tmp_path: Path, tensor: Tensor
) -> None:
    with pytest.raises(ValueError, match="`w` .* cannot be written to f"):
        tensor_file.write(tmp_path / "f", {"w": tensor}, {})
    assert list(tmp_path.iterdir()) == []


def test_a_header_that_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the header of a file may have 4,194,304"):
        tensor_file.write(tmp_path / "f", {}, {"a": "x" * MOST_HEADER})
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    tensor_file.write(path, {"w": torch.ones(1)}, {})
    before = path.read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="the file that was there is untouched"):
        tensor_file.write(path, {"w": torch.zeros(9)}, {})
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
