"""Exported files with anything changed in them: they load, or a FileError says why they do not."""

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from exported import of_images, with_note
from torch import Tensor
from torchvision.transforms import v2

from learnlite import load_learner, tensor_file
from learnlite.tensor_file import FileError
from learnlite.vision import (
    CropPad,
    Normalize,
    RandomResizedCropGPU,
    ResizeBatch,
    imagenet_stats,
)

SECONDS = 2.0  # of the processor: a file that keeps it busy is an attack, too
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 7, 1 << 31, 1 << 63, 10**30, 0.5, -0.0, 1e308, "", "RGB"),
    *("os.system", "eval", "x" * 5000, "\x1b[2J", "../..", "16", "none", "Resize", "registered"),
    *([], [[]], [1], [-1, 5], [0, 0], [1e9, 1e9], [None], ["a", "a"], {}, {"kind": "Resize"}),
    *({"kind": "registered", "name": "x", "args": {}}, {"": 1}, {"__class__": "os.system"}),
]

NAMES = ["kind", "name", "args", "size", "x", "__class__"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with some of everything in it."""
    folder = tmp_path_factory.mktemp("fuzz")
    learn = of_images(
        folder,
        item_tfms=[v2.Resize((18, 18)), CropPad(16)],
        batch_tfms=[
            RandomResizedCropGPU(14),
            ResizeBatch(16),
            Normalize.from_stats(*imagenet_stats),
        ],
    )
    return learn.export(folder / "export.ll")


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in lists and dicts, as (container, key)."""
    found: list[tuple[Any, Any]] = []
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(pairs):
        found.append((value, key))
        if isinstance(inner, dict | list):
            found += places(inner)
    return found


def changed_bytes(content: bytes, draw: random.Random) -> bytes:
    """The file with some bytes flipped, cut out, put in twice or overwritten."""
    data = bytearray(content)
    for _ in range(draw.choice([1, 1, 1, 2, 5, 20])):
        at, n = draw.randrange(len(data)), draw.choice([1, 2, 8, 50])
        what = draw.randrange(5)
        if what == 0:
            data[at] ^= 1 << draw.randrange(8)
        elif what == 1:
            del data[at : at + n]
        elif what == 2:
            data[at:at] = data[at : at + n]
        elif what == 3:
            data[at : at + n] = draw.randbytes(n)
        else:
            data[:8] = draw.choice([0, 1, 1 << 22, 1 << 63, len(data)]).to_bytes(8, "little")
        data = data or bytearray(b"{")
    return bytes(data)


def changed_note(note: Any, draw: random.Random) -> Any:
    """What the file tells with something else in one place, or more."""
    note = json.loads(json.dumps(note))
    for _ in range(draw.choice([1, 1, 1, 2, 4])):
        found = places(note)
        if not found:
            return note
        container, key = draw.choice(found)
        what = draw.randrange(4)
        if what == 0 and isinstance(container, dict):
            del container[key]
        elif what == 1 and isinstance(container, dict):
            container[draw.choice(["kind", "name", "args", "size", "x", "__class__"])] = container[
                key
            ]
        elif what == 2:
            other, place = draw.choice(found)
            container[key] = json.loads(json.dumps(other[place]))
        else:
            container[key] = draw.choice(VALUES)
    return note


def changed_tensors(tensors: dict[str, Tensor], draw: random.Random) -> dict[str, Tensor]:
    """The weights with one left out, renamed, of another shape or type."""
    name = draw.choice(list(tensors))
    what, new = draw.randrange(5), dict(tensors)
    if what == 0:
        del new[name]
    elif what == 1:
        new["\n" + name] = new.pop(name)
    elif what == 2:
        new[name] = new[name].reshape(1, -1)
    elif what == 3:
        new[name] = new[name].to(draw.choice([torch.bool, torch.int64, torch.complex64]))
    else:
        new["x" * 3000] = torch.zeros(draw.randrange(3))
    return new


def check(path: Path, what: str) -> bool:
    """Whether a file loads; anything but a FileError in a sentence fails the test."""
    start, said = time.process_time(), None
    try:
        load_learner(path)
    except FileError as error:
        said = str(error)
    except Exception as error:
        raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
    assert time.process_time() - start < SECONDS, what
    assert said is None or (len(said) < 3000 and "\x1b" not in said), what
    return said is None


def fuzz(exported: Path, folder: Path, n: int) -> None:
    content, file = exported.read_bytes(), tensor_file.read(exported)
    note, tensors = json.loads(file.metadata["learnlite"]), file.tensors()
    path, loaded = folder / "fuzzed.ll", 0
    for i in range(n):
        draw = random.Random(i)
        if i % 4 == 0:
            path.write_bytes(changed_bytes(content, draw))
            assert not check(path, f"bytes, seed {i}") or path.read_bytes() == content
        elif i % 16 == 1:
            with_note(path, note, changed_tensors(tensors, draw))
            check(path, f"tensors, seed {i}")
        else:
            new = changed_note(note, draw)
            with_note(path, new, tensors)
            loaded += check(path, f"note, seed {i}: {json.dumps(new)[:2000]}")
    assert loaded < n / 2


def test_changed_files_load_or_say_in_a_sentence_why_not(exported: Path, tmp_path: Path) -> None:
    fuzz(exported, tmp_path, 400)


@pytest.mark.slow
def test_ten_thousand_changed_files_load_or_say_why_not(exported: Path, tmp_path: Path) -> None:
    fuzz(exported, tmp_path, 10_000)
