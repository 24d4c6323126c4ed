"""Files made to do harm: each would write the file `marker`, leave its folder, or fill the memory.

Nothing here runs what it makes; the makers write bytes.
"""

import functools
import gzip
import json
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hostile_bytes import (
    Gadget,
    Makers,
    Setting,
    code,
    harm,
    laughs,
    legacy_tar,
    member,
    pickled,
    safetensors,
    saved,
    storage_claims,
    tarred,
    write,
    zipped,
)

from learnlite import tensor_file

PICKLES: Makers = {
    "reduce_system_2": write(lambda f: pickled(Gadget(os.system, harm(f)), 2)),
    "reduce_system_4": write(lambda f: pickled(Gadget(os.system, harm(f)), 4)),
    "reduce_eval": write(lambda f: pickled({"model": Gadget(eval, code(f))}, 5)),
    "reduce_exec": write(lambda f: pickled({"model": Gadget(exec, code(f))}, 2)),
    "saved_zip": write(lambda f: saved({"model": Gadget(os.system, harm(f)), "opt": None})),
    "saved_legacy": write(lambda f: saved(Gadget(os.system, harm(f)), new=False)),
    "beside_a_tensor": write(lambda f: saved({"w": torch.ones(3), "x": Gadget(eval, code(f))})),
    "whole_module": write(lambda f: saved(torch.nn.Linear(4, 2))),
    "global": write(lambda f: f"cos\nsystem\n(S'{harm(f)}'\ntR.".encode()),
    "inst": write(lambda f: f"(S'{harm(f)}'\nios\nsystem\n.".encode()),
    "stack_global": write(
        lambda f: (
            b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c"
            + bytes([len(harm(f))])
            + harm(f).encode()
            + b"\x85R."
        )
    ),
    "build": write(lambda f: pickled({"model": Setting(harm(f))}, 2)),
    "zip_with_pickle": write(
        lambda f: zipped({"archive/data.pkl": pickled(Gadget(eval, code(f)), 2)})
    ),
    "torchscript": write(
        lambda f: zipped(
            {"a/constants.pkl": b"\x80\x02).", "a/data.pkl": b"c__main__\nX\n.", "a/version": b"3"}
        )
    ),
    "legacy_tar": write(legacy_tar),
    "storage_claims": write(lambda f: storage_claims(1 << 33)),
    "laughs": write(lambda f: laughs()),
    "named_classes": write(
        lambda f: saved(
            {
                "_instantiator": "os.system",
                "_class_path": "os.system",
                "__class__": "os.system",
                "__reduce__": harm(f),
                "weight": torch.ones(2, 4),
            }
        )
    ),
    "numpy_objects": write(
        lambda f: (
            b"\x93NUMPY\x01\x00v\x00"
            + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117)
            + b"\n"
            + pickled([Gadget(os.system, harm(f))], 4)
        )
    ),
}


def sparse(path: Path, size: int = 10 << 30) -> None:
    """Ten gigabytes that take no room on the disk, and are all one tensor as the header has it."""
    header = {"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}
    path.write_bytes(safetensors(header | {"__metadata__": {"learnlite": NOTE}}))
    os.truncate(path, path.stat().st_size + size)


def sealed(**changes: Any) -> Callable[[Path], None]:
    """An exported file in order, but for what it tells."""

    def make(path: Path) -> None:
        note = json.loads(NOTE) | changes
        tensor_file.write(
            path,
            {"weight": torch.ones(2, 4), "bias": torch.ones(2)},
            {"learnlite": json.dumps(note)},
        )

    return make


def data(**changes: Any) -> dict[str, Any]:
    return json.loads(NOTE)["data"] | changes


def images(**changes: Any) -> dict[str, Any]:
    blocks = [
        {"kind": "ImageBlock", "mode": "RGB"},
        {
            "kind": "CategoryBlock",
            "labels": {"kind": "Categorize", "vocab": ["a", "b"], "add_na": False},
        },
    ]
    told = {"kind": "BlockLoaders", "blocks": blocks, "n_block_inp": 1, "by_folder": False}
    return data(**told) | {"item_tfms": [], "batch_tfms": []} | changes


def model(name: str, **args: Any) -> dict[str, Any]:
    return {"class": "Net", "name": name, "args": args, "same": {}}


def vision(arch: Any, **args: Any) -> dict[str, Any]:
    return model("vision_model", **({"arch": arch, "n_out": 2} | args))


NOTE = json.dumps(
    {
        "format": 1,
        "version": "0.1.0",
        "torch": "2.10.0",
        "model": {
            "class": "Linear",
            "name": "hostile/linear",
            "args": {"n_in": 4, "n_out": 2},
            "same": {},
        },
        "data": {
            "kind": "DataLoaders",
            "n_inp": None,
            "labels": ["labels"],
            "vocab": None,
            "c": 2,
            "bs": 8,
            "kinds": [],
            "batch_tfms": [],
        },
        "loss": {"kind": "nn.MSELoss", "reduction": "mean"},
    }
)
LINEAR = json.loads(NOTE)["model"]
ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}

EXPORTS: Makers = {
    "huge_header": write(lambda f: safetensors({}, length=1 << 40)),
    "short_header": write(lambda f: safetensors({}, length=1000)),
    "many_lists": write(lambda f: safetensors(b'{"a":[' + b"[]," * 1_390_000 + b"[]]}")),
    "many_names": write(
        lambda f: safetensors(b"{" + b",".join(b'"%d":[]' % i for i in range(380_000)) + b"}")
    ),
    "deep": write(lambda f: safetensors(b'{"a":' * 600_000)),
    "digits": write(lambda f: safetensors(b'{"a":' + b"9" * 4_000_000 + b"}")),
    "quotes": write(lambda f: safetensors(b'{"' + b'\\"' * 2_000_000)),
    "twice": write(lambda f: safetensors(b'{"a":1,"a":2}')),
    "nan": write(
        lambda f: safetensors(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,NaN]}}')
    ),
    "negative": write(lambda f: safetensors({"a": ENTRY | {"shape": [-1, -2]}}, bytes(8))),
    "overlap": write(lambda f: safetensors({"a": ENTRY, "b": ENTRY}, bytes(8))),
    "beyond": write(
        lambda f: safetensors({"a": ENTRY | {"shape": [1 << 40], "data_offsets": [0, 1 << 42]}})
    ),
    "class_in_entry": write(
        lambda f: safetensors({"a": ENTRY | {"__class__": "os.system"}}, bytes(8))
    ),
    "sparse_10_gb": sparse,
    "no_note": write(lambda f: safetensors({"a": ENTRY}, bytes(8))),
    "note_class": sealed(model=model("os.system", command="true")),
    "note_import": sealed(model=model("learnlite.hostile:Net")),
    "note_dunder": sealed(
        model=LINEAR | {"args": {"__class__": "os.system", "n_in": 4, "n_out": 2}}
    ),
    "model_of_terabytes": sealed(model=model("hostile/linear", n_in=10**6, n_out=10**6)),
    "model_of_2_gb": sealed(model=model("hostile/linear", n_in=4, n_out=10**8)),
    "data_class": sealed(data=data(kind="subprocess.Popen")),
    "loss_class": sealed(loss={"kind": "builtins.eval"}),
    "loss_partial": sealed(loss={"kind": "partial", "func": {"kind": "eval"}, "keywords": {}}),
    "weights_by_net": sealed(
        model=vision({"name": "torchvision/resnet18", "args": {"weights": "DEFAULT"}})
    ),
    "weights_by_file": sealed(
        model=vision({"name": "timm/resnet18", "args": {"checkpoint_path": "/etc/passwd"}})
    ),
    "hub": sealed(model=vision("timm/hf-hub:someone/something")),
    "hub_by_folder": sealed(model=vision("timm/local-dir:/etc")),
    "torchvision_module": sealed(model=vision("torchvision/_api")),
    "pretrained": sealed(model=vision("torchvision/squeezenet1_1", pretrained=True)),
    "weights": sealed(model=vision("torchvision/squeezenet1_1", weights="DEFAULT")),
    "head_of_gb": sealed(model=vision("torchvision/squeezenet1_1", lin_ftrs=[10**9])),
    "nested_arch": sealed(
        model=vision(
            {"name": "vision_model", "args": {"arch": {"name": "vision_model", "args": {}}}}
        )
    ),
    "resize_10_9": sealed(data=images(item_tfms=[{"kind": "Resize", "size": [10**9, 10**9]}])),
    "mode": sealed(data=images(blocks=[{"kind": "ImageBlock", "mode": "__import__"}])),
    "registered": sealed(
        data=images(item_tfms=[{"kind": "registered", "name": "os.system", "args": None}])
    ),
    "many_classes": sealed(data=data(vocab=[f"class {i}" for i in range(200_000)])),
    "format_9": sealed(format=9),
}


BOMB = 80 << 20  # bytes of zeros, a thousand times of what they are packed


@functools.cache
def bomb(method: int = zipfile.ZIP_DEFLATED) -> bytes:
    return zipped({"zeros": bytes(BOMB)}, method)


LINK, HARD, DEVICE, PIPE = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE
ARCHIVES: Makers = {
    "dots.tar": write(lambda f: tarred([(member("../escaped"), b"x")])),
    "absolute.tar": write(lambda f: tarred([(member(f"{f}/../escaped"), b"x")])),
    "link.tar": write(lambda f: tarred([(member("a", LINK, "/etc"), b""), (member("a/x"), b"x")])),
    "link_up.tar": write(
        lambda f: tarred([(member("a", LINK, "../.."), b""), (member("a/escaped"), b"x")])
    ),
    "hard.tar": write(lambda f: tarred([(member("a", HARD, "/etc/passwd"), b"")])),
    "device.tar": write(lambda f: tarred([(member("a", DEVICE), b"")])),
    "pipe.tar": write(lambda f: tarred([(member("a", PIPE), b"")])),
    "control.tar": write(lambda f: tarred([(member("a\x1b[2J\nb"), b"x")])),
    "bomb.tar.gz": write(lambda f: tarred([(member("zeros"), bytes(BOMB))], "w:gz")),
    "twice_packed.tar.gz": write(lambda f: gzip.compress(gzip.compress(bytes(BOMB)))),
    "cut.tar.gz": write(lambda f: tarred([(member("a"), os.urandom(9999))], "w:gz")[:-500]),
    "dots.zip": write(lambda f: zipped({"../escaped": b"x"})),
    "absolute.zip": write(lambda f: zipped({f"{f}/../escaped": b"x"})),
    "bomb.zip": write(lambda f: bomb()),
    "lying.zip": write(lambda f: bomb().replace(struct.pack("<I", BOMB), struct.pack("<I", 10))),
    "twice.zip": write(lambda f: zipped({"a": b"1"})[:-22] + zipped({"a": b"2"})),
    "pickle.tgz": write(lambda f: pickled(Gadget(os.system, harm(f)), 4)),
}


def png(width: int, height: int, rows: bytes = b"", extra: bytes = b"") -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + head
        + extra
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def text_bomb() -> bytes:
    body = b"Comment\0\0" + zlib.compress(bytes(BOMB), 9)
    return (
        struct.pack(">I", len(body))
        + b"zTXt"
        + body
        + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    )


def tiff(width: int, height: int) -> bytes:
    tags = [
        (256, width),
        (257, height),
        (258, 8),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, height),
        (279, 4),
    ]
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + body + bytes(4)


def sparse_image(path: Path) -> None:
    """Ten gigabytes that begin as a photo does."""
    path.write_bytes(b"\xff\xd8\xff\xe0\0\x10JFIF\0")
    os.truncate(path, 10 << 30)


IMAGES: Makers = {
    "bomb.png": write(lambda f: png(20_000, 20_000, bytes(1000))),
    "bomb_7200.png": write(lambda f: png(7_200, 7_200, bytes(3 * 7_200 * 7_200 + 7_200))),
    "text_bomb.png": write(lambda f: png(10_000, 10_000, b"", text_bomb())),
    "bomb.tif": write(lambda f: tiff(1 << 30, 1 << 30)),
    "bomb.bmp": write(
        lambda f: (
            b"BM"
            + struct.pack("<IHHIIIIHHII", 54, 0, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0)
            + bytes(16)
        )
    ),
    "bomb.gif": write(
        lambda f: (
            b"GIF89a"
            + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0)
            + b",\0\0\0\0"
            + struct.pack("<HHB", 65_535, 65_535, 0)
            + b"\x02\0;"
        )
    ),
    "postscript.jpg": write(
        lambda f: (
            f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%{harm(f)}) (w) file".encode()
        )
    ),
    "svg.png": write(
        lambda f: (
            b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><image href="file:///etc/passwd"/></svg>'
        )
    ),
    "pdf.jpg": write(lambda f: b"%PDF-1.7\n1 0 obj <</OpenAction <</S /Launch>>>>"),
    "pickle.jpg": write(lambda f: pickled(Gadget(os.system, harm(f)), 4)),
    "numpy.png": PICKLES["numpy_objects"],
    "html.jpg": write(lambda f: b"<script>alert(1)</script>"),
    "cut.jpg": write(lambda f: b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(20)),
    "sparse.jpg": sparse_image,
    "empty.jpg": write(lambda f: b""),
}

TABLES: Makers = {
    "dots.csv": write(lambda f: b"name,label\n../../../etc/passwd,cat\n"),
    "absolute.csv": write(lambda f: b"name,label\n/etc/passwd,cat\n"),
    "zero.csv": write(lambda f: b"name,label\na\0b,cat\n"),
    "wide.csv": write(lambda f: b"name,label\n" + b"x" * (20 << 20) + b",cat\n"),
    "open_quote.csv": write(lambda f: b'name,label\n"' + b"a,b\n" * 2_000_000),
    "pickle.csv": write(lambda f: pickled(Gadget(os.system, harm(f)), 4)),
    "binary.csv": write(lambda f: os.urandom(5000)),
}

HEADER = struct.pack("<20s32sQ", b"learnlite pixels 2\n", b"k".ljust(32, b"\0"), 2).ljust(64, b"\0")


def cache(*entry: int, rest: bytes = bytes(64)) -> Callable[[Path], bytes]:
    """A cache of images in order, but for what it tells of its first one."""
    line = struct.pack("<BBxxIQQ3I2III", *entry)
    line = (line + struct.pack("<I", zlib.crc32(line))).ljust(64, b"\0")
    return lambda folder: HEADER + line + bytes(64) + rest


def note(text: bytes) -> Callable[[Path], None]:
    """A note beside a data set, as JSON."""

    def make(path: Path) -> None:
        inner = path.parent / "notes" / path.stem
        inner.mkdir(parents=True)
        (inner / ".learnlite.json").write_bytes(text)
        path.write_bytes(text)

    return make


NO_SUM = zlib.crc32(b"")
CACHES: Makers = {
    "noise.pixels": write(lambda f: HEADER + os.urandom(500)),
    "beyond.pixels": write(cache(1, 3, NO_SUM, 1 << 60, 0, 9, 9, 3, 9, 9, 1, 1)),
    "huge.pixels": write(cache(1, 3, NO_SUM, 192, 0, 60_000, 60_000, 3, 9, 9, 1, 1)),
    "flat.pixels": write(cache(2, 2, NO_SUM, 192, 0, 60_000, 60_000, 1, 9, 9, 1, 1)),
    "dtype.pixels": write(cache(200, 9, NO_SUM, 192, 0, 1, 1, 1, 1, 1, 0, 0)),
    "deep.json": note(b"[" * 1_000_000),
    "digits.json": note(b"9" * 1_000_000),
    "list.json": note(b"[1, 2]"),
    "pickle.json": note(pickled(1, 4)),
}


def special(make: Callable[[Path], None]) -> Callable[[Path], None]:
    """The same place under the name that `learn.load` looks for too."""

    def both(path: Path) -> None:
        make(path)
        make(path.with_name(path.name + ".pth"))

    return both


PLACES: Makers = {
    "folder": special(lambda path: path.mkdir()),
    "pipe": special(os.mkfifo),
    "zeros": special(lambda path: path.symlink_to("/dev/zero")),
    "random": special(lambda path: path.symlink_to("/dev/urandom")),
    "loop": special(lambda path: path.symlink_to(path)),
    "passwords": special(lambda path: path.symlink_to("/etc/passwd")),
    "nothing": special(lambda path: path.symlink_to("/no/such/file")),
}
