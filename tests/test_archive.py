"""Archives: what comes out is what went in; what must not come out does not, nor anything else."""

import bz2
import gzip
import io
import lzma
import os
import random
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from learnlite.data.archive import ArchiveError, extract, read_note
from learnlite.data.members import safe_parts

Maker = Callable[[Path], None]

FILES = {
    "pets/train/cat/1.jpg": b"cat one",
    "pets/train/cat/2 (copy).jpg": b"cat two" * 1000,
    "pets/train/hündchen/1.jpg": b"",
    "pets/valid/cat/" + "long" * 40 + ".jpg": os.urandom(3000),
    "pets/labels.csv": b"x" * 512,
}


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def write_tar(path: Path, mode: str = "w", format: int = tarfile.GNU_FORMAT) -> Path:
    with tarfile.open(path, mode, format=format) as tar:  # type: ignore[call-overload]
        for name, data in FILES.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755
            tar.addfile(info, io.BytesIO(data))
    return path


def write_zip(path: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as made:
        for name, data in FILES.items():
            made.writestr(name, data)
    return path


# --- what is good comes out whole


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_archive_comes_out_as_it_went_in(tmp_path: Path, mode: str, format: int) -> None:
    archive = write_tar(tmp_path / "made", mode, format)
    assert tree(extract(archive, tmp_path / "out")) == FILES
    assert sorted(os.listdir(tmp_path)) == ["made", "out"]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_archive_comes_out_as_it_went_in(tmp_path: Path, method: int) -> None:
    archive = write_zip(tmp_path / "made.zip", method)
    assert tree(extract(archive, tmp_path / "out")) == FILES


@pytest.mark.parametrize("format", ["gnu", "posix", "ustar", "v7"])
def test_an_archive_of_the_systems_tar_comes_out_as_it_went_in(tmp_path: Path, format: str) -> None:
    data = {"a/1.jpg": b"one", "a/b/" + "c" * 60 + "/" + "d" * 70: b"two" * 999}
    if format == "v7":
        data = {"a/1.jpg": b"one"}
    for name, content in data.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(content)
    archive = tmp_path / "a.tar"
    command = ["tar", f"--format={format}", "-cf", str(archive), "-C", str(tmp_path), "in"]
    if shutil.which("tar") is None or subprocess.run(command, check=False).returncode:
        pytest.skip("there is no `tar` here that writes this format")
    assert tree(extract(archive, tmp_path / "out", unwrap=True)) == data


def test_one_folder_at_the_top_is_unwrapped_and_several_things_are_not(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "a.tar")
    out = extract(archive, tmp_path / "out", unwrap=True)
    assert sorted(os.listdir(out)) == ["labels.csv", "train", "valid"]
    loose = tmp_path / "b.zip"
    with zipfile.ZipFile(loose, "w") as made:
        made.writestr("a/1.jpg", "1")
        made.writestr("b/2.jpg", "2")
        made.writestr("__MACOSX/a/._1.jpg", "no photo")
    assert sorted(os.listdir(extract(loose, tmp_path / "two", unwrap=True))) == ["a", "b"]


def test_a_folder_in_the_place_of_the_note_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "odd.zip", "w") as archive:
        archive.writestr("pets/.learnlite.json/1.jpg", "cat")
    with pytest.raises(ArchiveError, match=r"holds `.learnlite.json`, which is a folder"):
        extract(tmp_path / "odd.zip", tmp_path / "odd", unwrap=True, note={"url": ""})
    assert [path.name for path in tmp_path.iterdir()] == ["odd.zip"]
    assert extract(tmp_path / "odd.zip", tmp_path / "odd", unwrap=True).is_dir()


def test_nothing_that_comes_out_is_executable_or_has_another_owner(tmp_path: Path) -> None:
    def setuid(info: tarfile.TarInfo) -> None:
        info.mode, info.uid, info.gid = 0o6777, 12345, 12345

    archive = tmp_path / "a.tar"
    one(archive, "tool", setuid)
    status = (extract(archive, tmp_path / "out") / "tool").stat()
    assert stat.S_IMODE(status.st_mode) & 0o7111 == 0
    assert status.st_uid == os.getuid()


def test_a_link_to_a_file_of_the_archive_becomes_a_copy(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as tar:
        add_link(tar, "set/second", "first")  # a link to a link, before what they lead to
        add_link(tar, "set/first", "../real/photo.jpg")
        add_file(tar, "real/photo.jpg", b"photo")
        add_link(tar, "set/hard.jpg", "real/photo.jpg", tarfile.LNKTYPE)
    out = extract(archive, tmp_path / "out")
    assert tree(out) == dict.fromkeys(
        ("real/photo.jpg", "set/first", "set/second", "set/hard.jpg"), b"photo"
    )
    assert not any(path.is_symlink() or path.stat().st_nlink > 1 for path in files_in(out))


def test_an_empty_file_or_folder_is_there_and_the_umask_is_kept(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as tar:
        add(tar, "./", tarfile.DIRTYPE)
        add(tar, "./empty/", tarfile.DIRTYPE)
        add_file(tar, "./none", b"")
    before = os.umask(0o027)
    try:
        out = extract(archive, tmp_path / "out")
    finally:
        os.umask(before)
    assert sorted(os.listdir(out)) == ["empty", "none"]
    assert [stat.S_IMODE((out / name).stat().st_mode) for name in (".", "empty", "none")] == [
        0o750,
        0o750,
        0o640,
    ]


def test_a_large_size_in_binary_and_one_in_an_extended_header_are_understood(
    tmp_path: Path,
) -> None:
    header = bytearray(header_of("a", 3))
    header[124:136] = b"\x80" + (3).to_bytes(11, "big")
    binary = sealed(header) + b"abc".ljust(512, b"\0")
    record = record_of("size", "3")
    extended = header_of("x", len(record), b"x") + record.ljust(512, b"\0")
    archive = tmp_path / "a.tar"
    archive.write_bytes(
        binary + extended + header_of("b", 0) + b"xyz".ljust(512, b"\0") + bytes(1024)
    )
    assert tree(extract(archive, tmp_path / "out")) == {"a": b"abc", "b": b"xyz"}


def test_concatenated_xz_streams_are_one_archive(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "a.tar").read_bytes()
    archive = tmp_path / "a.tar.xz"
    archive.write_bytes(lzma.compress(whole[:5000]) + bytes(8) + lzma.compress(whole[5000:]))
    assert tree(extract(archive, tmp_path / "out")) == FILES


# --- what is hostile does not


def add(tar: tarfile.TarFile, name: str, kind: bytes, **fields: object) -> None:
    info = tarfile.TarInfo(name)
    info.type = kind
    for field, value in fields.items():
        setattr(info, field, value)
    tar.addfile(info)


def add_file(tar: tarfile.TarFile, name: str, data: bytes = b"evil") -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def add_link(tar: tarfile.TarFile, name: str, to: str, kind: bytes = tarfile.SYMTYPE) -> None:
    add(tar, name, kind, linkname=to)


def one(path: Path, name: str, change: Callable[[tarfile.TarInfo], None] | None = None) -> None:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        info = tarfile.TarInfo(name)
        info.size = 4
        if change:
            change(info)
        tar.addfile(info, io.BytesIO(b"evil"))


def files_in(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if not path.is_dir())


def header_of(name: str, size: int, kind: bytes = b"0") -> bytes:
    """A header as it stands in the POSIX standard."""
    fields = (name.encode().ljust(100, b"\0"), b"0000644\0", b"0000000\0", b"0000000\0")
    numbers = b"%011o\0" % size + b"%011o\0" % 0
    rest = kind + bytes(100) + b"ustar\x0000"
    return sealed(bytearray((b"".join(fields) + numbers + b" " * 8 + rest).ljust(512, b"\0")))


def sealed(header: bytearray) -> bytes:
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def record_of(key: str, value: str) -> bytes:
    body = f" {key}={value}\n".encode()
    size = len(body) + 2
    while len(str(size)) + len(body) != size:
        size += 1
    return str(size).encode() + body


def named(name: str) -> Maker:
    return lambda path: one(path, name)


def kind_of(kind: bytes, **fields: object) -> Maker:
    def make(path: Path) -> None:
        with tarfile.open(path, "w") as tar:
            add(tar, "thing", kind, **fields)

    return make


def links(*members: tuple[str, str], kind: bytes = tarfile.SYMTYPE) -> Maker:
    """Links, and a file for each name without a target."""

    def make(path: Path) -> None:
        with tarfile.open(path, "w") as tar:
            for name, to in members:
                add_link(tar, name, to, kind) if to else add_file(tar, name)

    return make


def raw(data: bytes) -> Maker:
    return lambda path: (path.write_bytes(data), None)[1]


def zipped(name: str, mode: int = 0, twice: bool = False) -> Maker:
    def make(path: Path) -> None:
        info = zipfile.ZipInfo("x")
        info.filename = info.orig_filename = name
        info.external_attr = mode << 16
        with zipfile.ZipFile(path, "w") as made:
            made.writestr(info, "/etc/passwd")
        if twice:
            double_the_directory(path)

    return make


def double_the_directory(path: Path) -> None:
    """List the one member twice: both entries share its bytes."""
    data = path.read_bytes()
    start = data.index(b"PK\1\2")
    end = data.index(b"PK\5\6")
    entry = data[start:end]
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 2, 2, 2 * len(entry), start, 0)
    path.write_bytes(data[:start] + entry * 2 + tail)


def zip_that_lies(path: Path) -> None:
    """A member of 1 MB that says in a zip64 field that it has 3 bytes."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made,
        made.open("big", "w", force_zip64=True) as file,
    ):
        file.write(bytes(1 << 20))
    data = path.read_bytes()
    at = data.index(b"PK\1\2")
    path.write_bytes(data[: at + 24] + struct.pack("<L", 3) + data[at + 28 :])


def zip_that_boasts(path: Path) -> None:
    """A member of a few bytes that says in a zip64 field that it has an exabyte."""
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("small", "abc")
    data = path.read_bytes()
    at = data.index(b"PK\1\2")
    entry = bytearray(data[at : data.index(b"PK\5\6")])
    entry[24:28] = b"\xff" * 4
    entry[30:32] = struct.pack("<H", 12)
    entry += struct.pack("<HHQ", 1, 8, 1 << 60)
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(entry), at, 0)
    path.write_bytes(data[:at] + bytes(entry) + tail)


def encrypted(path: Path) -> None:
    write_zip(path)
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(mark) + offset] |= 1
    path.write_bytes(data)


def extended_with(records: bytes, claimed: int | None = None) -> Maker:
    size = len(records) if claimed is None else claimed
    padded = records.ljust(-(-len(records) // 512) * 512, b"\0")
    return raw(header_of("x", size, b"x") + padded + header_of("a", 0) + bytes(1024))


def no_number(path: Path) -> None:
    header = bytearray(header_of("a", 3))
    header[124:136] = b"-1".ljust(12, b"\0")
    path.write_bytes(sealed(header) + bytes(2048))


def bomb(pack: Callable[[bytes], bytes]) -> Maker:
    """80 MB of zeros in a file of some kilobytes."""

    def make(path: Path) -> None:
        start = pack(header_of("zeros", 80 << 20))
        path.write_bytes(start + pack(bytes(16 << 20)) * 5 + pack(bytes(1024)))

    return make


def many_files(path: Path) -> None:
    headers = b"".join(header_of(f"f{i}", 0) for i in range(200))
    path.write_bytes(gzip.compress(headers + bytes(1024)))


HOSTILE: dict[str, tuple[Maker, str]] = {
    "a path that leads up": (named("../evil"), "leads out"),
    "a path that leads up in its middle": (named("a/../../evil"), "leads out"),
    "a path that leads up and back": (named("a/../evil"), "leads out"),
    "an absolute path": (named("/evil-learnlite"), "absolute"),
    "a drive letter": (named("C:/evil"), "absolute"),
    "a drive letter without a slash": (named("c:evil"), "absolute"),
    "a network path of Windows": (named("\\\\host\\evil"), "absolute"),
    "backslashes that lead up": (named("a\\..\\..\\evil"), "backslash"),
    "a line break in a name": (named("a\nevil"), "control"),
    "a colour in a name": (named("a\x1b[31mevil"), "control"),
    "a name that reads backwards": (named("a\u202egpj.exe"), "control"),
    "a name of 300 bytes": (named("e" * 300), "255 bytes"),
    "a path of 2,000 bytes": (named("/".join(["e" * 200] * 10)), "1024 bytes"),
    "a hundred folders": (named("e/" * 100 + "e"), "64 folders"),
    "a name twice": (links(("evil", ""), ("evil", "")), "twice"),
    "a folder where a file is": (links(("evil", ""), ("evil/evil", "")), "twice"),
    "a block device": (kind_of(tarfile.BLKTYPE, devmajor=8), "device"),
    "a character device": (kind_of(tarfile.CHRTYPE, devmajor=1, devminor=3), "device"),
    "a named pipe": (kind_of(tarfile.FIFOTYPE), "pipe"),
    "a sparse file": (kind_of(tarfile.GNUTYPE_SPARSE), "sparse"),
    "a sparse file of POSIX": (extended_with(record_of("GNU.sparse.major", "1")), "sparse"),
    "an unknown kind": (kind_of(b"Z"), "kind"),
    "a link out": (links(("evil", "../../etc/passwd")), "leads out"),
    "a link to an absolute path": (links(("evil", "/etc/passwd")), "leads out"),
    "a link out of a folder": (links(("a/b/evil", "../../../etc/passwd")), "leads out"),
    "a file through a link": (links(("evil", "/etc"), ("evil/x", "")), "leads out"),
    "a file through a link inside": (links(("a/x", ""), ("b", "a"), ("b/y", "")), "no file"),
    "a link to itself": (links(("evil", "evil")), "no file"),
    "links in a circle": (links(("a", "b"), ("b", "a")), "no file"),
    "a link to nothing": (links(("evil", "nothing")), "no file"),
    "a link by the name of a file": (links(("a", ""), ("b", ""), ("b", "a")), "by the name of"),
    "a hard link out": (links(("evil", "../../etc/passwd"), kind=tarfile.LNKTYPE), "leads out"),
    "a hard link to /etc/passwd": (links(("e", "/etc/passwd"), kind=tarfile.LNKTYPE), "absolute"),
    "a name in an extended header": (extended_with(record_of("path", "../evil")), "leads out"),
    "a NUL in an extended header": (extended_with(record_of("path", "a\0b")), "control"),
    "an extended header that lies": (extended_with(b"99 path=evil\n"), "extended header"),
    "an endless extended header": (extended_with(b"", 1 << 30), "header of"),
    "a size that is no number": (no_number, "no number"),
    "a large gzip bomb": (bomb(gzip.compress), "times its size"),
    "a large bzip2 bomb": (bomb(bz2.compress), "times its size"),
    "a large xz bomb": (bomb(lzma.compress), "times its size"),
    "a zip with a path that leads up": (zipped("../evil"), "leads out"),
    "a zip with an absolute path": (zipped("/evil-learnlite"), "absolute"),
    "a zip with backslashes that lead up": (zipped("..\\evil"), "leads out"),
    "a zip with a NUL in a name": (zipped("good.jpg\0.exe"), "control"),
    "a zip with a link": (zipped("evil", stat.S_IFLNK | 0o777), "is a link"),
    "a zip with a device": (zipped("evil", stat.S_IFCHR | 0o777), "neither"),
    "a zip with members that overlap": (zipped("evil", twice=True), "over each other"),
    "a zip with a size that is too small": (zip_that_lies, "cannot be unpacked"),
    "a zip with a size that is too large": (zip_that_boasts, "more than"),
    "a zip that is encrypted": (encrypted, "encrypted"),
    "a zip cut off": (raw(b"PK\3\4" + bytes(100)), "no zip archive"),
    "a web page": (raw(b"<!DOCTYPE html><html>not found</html>"), "web page"),
    "a 7-Zip archive": (raw(b"7z\xbc\xaf\x27\x1c" + bytes(100)), "7-Zip"),
    "no archive": (raw(bytes(range(256)) * 20), "no tar archive"),
    "an empty file": (raw(b""), "no tar archive"),
    "a tar without an end": (raw(header_of("a", 0)), "ends too early"),
    "a tar cut off in a file": (raw(header_of("a", 5000) + bytes(1000)), "ends too early"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_or_broken_archive_leaves_nothing_behind(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make, why = HOSTILE[name]
    box = tmp_path / "box"
    box.mkdir()
    archive = box / "archive"
    make(archive)
    with pytest.raises(ArchiveError, match=why) as caught:
        extract(archive, box / "deep" / "out")
    assert sorted(path.relative_to(box).as_posix() for path in box.rglob("*")) == [
        "archive",
        "deep",
    ]
    assert str(caught.value).isprintable() and str(caught.value).startswith("`archive` ")
    assert not Path("/evil-learnlite").exists()


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_every_flipped_byte_or_early_end_is_noticed_or_harmless(tmp_path: Path, mode: str) -> None:
    whole = write_tar(tmp_path / "good", mode).read_bytes()
    rng = random.Random(1)
    broken = [whole[: rng.randrange(len(whole) - 8)] for _ in range(20)]
    for _ in range(60):
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        broken.append(bytes(data))
    archive = tmp_path / "bad"
    refused = 0
    for i, data in enumerate(broken):
        archive.write_bytes(data)
        try:
            out = extract(archive, tmp_path / f"out{i}")
        except ArchiveError:
            refused += 1
        else:  # a byte that says nothing of the data, such as gzip's time
            assert tree(out) == FILES
    assert refused >= 70


def test_broken_zips_are_refused_or_whole(tmp_path: Path) -> None:
    whole = write_zip(tmp_path / "good").read_bytes()
    rng = random.Random(2)
    archive = tmp_path / "bad"
    for i in range(100):
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        archive.write_bytes(data)
        try:
            out = extract(archive, tmp_path / f"out{i}")
        except ArchiveError:
            continue
        assert sorted(map(len, tree(out).values())) == sorted(map(len, FILES.values()))


# --- limits


def test_limits_hold_for_what_comes_out_and_name_the_argument(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "a.tgz", "w:gz")
    n_bytes = sum(map(len, FILES.values()))
    with pytest.raises(ArchiveError, match="`a.tgz` holds more than 100 bytes.*`max_bytes`"):
        extract(archive, tmp_path / "out", max_bytes=100)
    with pytest.raises(ArchiveError, match="more than 3 files.*`max_files`"):
        extract(archive, tmp_path / "out", max_files=3)
    with pytest.raises(ArchiveError, match="more than 100 bytes"):
        extract(write_zip(tmp_path / "a.zip"), tmp_path / "out", max_bytes=100)
    assert tree(extract(tmp_path / "a.zip", tmp_path / "out", max_bytes=n_bytes)) == FILES
    with pytest.raises(ValueError, match="`max_files` must be above 0, got 0"):
        extract(archive, tmp_path / "other", max_files=0)


def test_folders_that_are_only_implied_count_as_well(tmp_path: Path) -> None:
    one(tmp_path / "a.tar", "a/b/c/d/e")
    with pytest.raises(ArchiveError, match="more than 4 files and folders"):
        extract(tmp_path / "a.tar", tmp_path / "out", max_files=4)
    many_files(tmp_path / "b.tgz")
    with pytest.raises(ArchiveError, match="more than 100 files"):
        extract(tmp_path / "b.tgz", tmp_path / "out", max_files=100)


def test_a_link_costs_as_much_as_its_copy(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add_file(tar, "a", bytes(100_000))
        for i in range(20):
            add_link(tar, f"b{i}", "a")
    with pytest.raises(ArchiveError, match="more than 500,000 bytes"):
        extract(tmp_path / "a.tar", tmp_path / "out", max_bytes=500_000)
    assert os.listdir(tmp_path) == ["a.tar"]


def test_a_bomb_of_xz_cannot_ask_for_memory(tmp_path: Path) -> None:
    data = bytearray(lzma.compress(bytes(10_000)))
    data[16] = 37  # the block's header asks for a dictionary of 1.5 GB
    data[20:24] = struct.pack("<L", zlib.crc32(bytes(data[12:20])))
    (tmp_path / "a.xz").write_bytes(data)
    with pytest.raises(ArchiveError, match="[Mm]emory"):
        extract(tmp_path / "a.xz", tmp_path / "out")


# --- whole or not at all

SLOW = """
import sys, time
from learnlite.data import archive, tar
read = tar.Tar.read
def slow(self, most):
    time.sleep(0.01)
    return read(self, most)
tar.Tar.read = slow
archive.extract(sys.argv[1], sys.argv[2])
"""


def test_a_killed_extraction_is_never_taken_for_a_finished_one(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as tar:
        for i in range(300):
            add_file(tar, f"photos/{i}.jpg", b"%d" % i)
    out = tmp_path / "out"
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    process = subprocess.Popen([sys.executable, "-c", SLOW, str(archive), str(out)], env=environ)
    try:
        end = time.monotonic() + 60
        while not any(tmp_path.glob(".out.partial/photos/1?.jpg")):
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    finally:
        process.wait()
    assert not out.exists() and (tmp_path / ".out.partial").is_dir()
    assert len(tree(extract(archive, out))) == 300
    assert sorted(os.listdir(tmp_path)) == ["a.tar", "out"]


def test_what_is_there_is_replaced_only_when_asked_and_only_by_something_whole(
    tmp_path: Path,
) -> None:
    archive = write_tar(tmp_path / "a.tar")
    out = extract(archive, tmp_path / "out")
    with pytest.raises(FileExistsError, match="is there already; give `overwrite=True`"):
        extract(archive, out)
    (out / "mine").touch()
    archive.write_bytes(archive.read_bytes()[:4000])
    with pytest.raises(ArchiveError, match="too early"):
        extract(archive, out, overwrite=True)
    assert (out / "mine").exists()
    write_tar(archive)
    extract(archive, out, overwrite=True)
    assert tree(out) == FILES
    assert sorted(os.listdir(tmp_path)) == ["a.tar", "out"]


def test_two_at_a_time_extract_one_after_the_other(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "a.tar")
    failed: list[Exception] = []

    def work() -> None:
        try:
            for _ in range(5):
                extract(archive, tmp_path / "out", overwrite=True)
        except Exception as error:
            failed.append(error)

    both = [threading.Thread(target=work) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert failed == [] and tree(tmp_path / "out") == FILES
    assert sorted(os.listdir(tmp_path)) == ["a.tar", "out"]


def test_a_note_lies_in_the_folder_and_no_archive_can_forge_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr(".learnlite.json", '{"url": "forged"}')
    out = extract(tmp_path / "a.zip", tmp_path / "out", note={"url": "true"})
    assert read_note(out) == {"url": "true"}
    assert read_note(tmp_path) == {}


def test_an_archive_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no archive `.*gone.tar`"):
        extract(tmp_path / "gone.tar", tmp_path / "out")


@pytest.mark.parametrize("name", ["con", "NUL.jpg", "a.", "a ", "ab:c", "a?.jpg", "com1.txt"])
def test_names_that_windows_refuses_are_refused_there_only(name: str) -> None:
    assert safe_parts(name, windows=False) == (name,)
    with pytest.raises(ArchiveError, match="Windows"):
        safe_parts(f"fine/{name}", windows=True)


def test_a_disk_that_is_full_is_told_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(OSError, match="has 1,000 bytes free, and .* are needed"):
        extract(write_tar(tmp_path / "a.tar"), tmp_path / "out")
    assert os.listdir(tmp_path) == ["a.tar"]
