"""Caches of images: the same batches, whatever happens to the cache."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import folder_of_pictures, picture
from PIL import Image

from learnlite.cli import main
from learnlite.vision.all import (
    CategoryBlock,
    CropPad,
    DataBlock,
    FlipItem,
    GrandparentSplitter,
    ImageBlock,
    ImageDataLoaders,
    MaskBlock,
    PointBlock,
    RandomCrop,
    RandomResizedCrop,
    RandomSplitter,
    RegressionBlock,
    Resize,
    get_image_files,
    parent_label,
)
from learnlite.vision.cache import CachedItems, cache_files, clear_cache, folder
from learnlite.vision.pixel_store import Kept, PixelStore

WHERE = ["memory", "disk"]
TFMS = {
    "none": [],
    "resize": [Resize(24)],
    "squish, then crop": [Resize(28, method="squish"), RandomCrop(20)],
    "pad": [Resize(24, method="pad"), FlipItem()],
    "random crop": [RandomResizedCrop(24, min_scale=0.35)],
    "crop, then flip": [CropPad(30), FlipItem()],
    "flip, then resize": [FlipItem(), Resize(24)],
    "a function last": [Resize(24, method="squish"), lambda item: (255 - item[0], *item[1:])],
    "one that writes": [CropPad(30), lambda item: (item[0].mul_(0), *item[1:])],
    "a function first": [lambda item: (255 - item[0], *item[1:]), Resize(24)],
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return folder_of_pictures(tmp_path_factory.mktemp("pictures"), 6, 2)


def loaders(root, tfms=(), **settings):
    block = DataBlock(
        (ImageBlock, CategoryBlock),
        get_items=get_image_files,
        get_y=parent_label,
        splitter=GrandparentSplitter(),
        item_tfms=list(tfms),
    )
    return block.dataloaders(root, **{"bs": 5, "seed": 3, "device": "cpu"} | settings)


def epoch(dls, k):
    return [*dls.train.batches(k), *dls.valid.batches(k)]


def same(some, others):
    pairs = [*zip(some, others, strict=True)]
    return all(torch.equal(x, y) for one, two in pairs for x, y in zip(one, two, strict=True))


# The same batches


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("tfms", TFMS)
def test_batches_are_those_without_a_cache_and_later_need_no_files(root, where, tfms, tmp_path):
    path = shutil.copytree(root, tmp_path / "pictures")
    plain = loaders(path, TFMS[tfms])
    dls = loaders(path, TFMS[tfms], cache=where)
    assert same(epoch(dls, 0), epoch(plain, 0))
    expected = [epoch(plain, k) for k in (1, 2)]
    shutil.rmtree(path)
    for k in (1, 2):
        assert same(epoch(dls, k), expected[k - 1])


@pytest.mark.parametrize(
    ("where", "start_method", "n"),
    [("memory", "fork", 2), ("disk", "fork", 2), ("memory", "spawn", 1)],
)
def test_worker_processes_fill_one_cache_and_read_it(root, where, start_method, n, tmp_path):
    path = shutil.copytree(root, tmp_path / "pictures")
    plain = loaders(path, TFMS["random crop"]).train
    expected = [[*plain.batches(k)] for k in (0, 1)]
    train = loaders(
        path, TFMS["random crop"], cache=where, num_workers=n, start_method=start_method
    ).train
    assert same(train.batches(0), expected[0])
    assert train.dataset.store.n_kept == 18
    shutil.rmtree(path)
    assert same(train.batches(1), expected[1])
    train.close()
    train.num_workers = 0
    assert same(train.batches(1), expected[1])


@pytest.mark.parametrize("tfms", ["random crop", "pad", "squish, then crop"])
def test_several_threads_gather_the_batches_of_one(root, tfms):
    plain = epoch(loaders(root, TFMS[tfms], bs=18), 1)
    dls = loaders(root, TFMS[tfms], cache="memory", bs=18)
    epoch(dls, 0)
    n_threads = torch.get_num_threads()
    for n in (1, 2, 5):
        torch.set_num_threads(n)
        try:
            assert same(epoch(dls, 1), plain)
        finally:
            torch.set_num_threads(n_threads)
    assert dls.one_batch()[0].is_contiguous(memory_format=torch.channels_last)


def test_an_item_that_fails_in_a_batch_is_named(root):
    dls = loaders(root, TFMS["random crop"], cache="memory")
    epoch(dls, 0)
    dls.train_ds.getters = [dls.train_ds.getters[0], lambda f: f.stem.index("?") or "red"]
    with pytest.raises(ValueError, match="substring not found") as told:
        epoch(dls, 1)
    assert any("while reading item" in note for note in told.value.__notes__)


def test_getters_may_draw_random_numbers(root):
    def noisy(_file):
        return random.random() + float(np.random.rand()) + float(torch.rand(()))  # noqa: NPY002

    def make(**settings):
        block = DataBlock(
            (ImageBlock, RegressionBlock),
            get_items=get_image_files,
            get_y=noisy,
            splitter=GrandparentSplitter(),
            item_tfms=TFMS["random crop"],
        )
        return block.dataloaders(root, bs=5, seed=3, device="cpu", **settings)

    plain, dls = make(), make(cache="memory")
    assert all(same(epoch(dls, k), epoch(plain, k)) for k in (0, 1))


def test_large_photos_are_cut_alike_before_and_after_they_are_kept(tmp_path):
    path = folder_of_pictures(tmp_path / "large", 3, 2, (400, 500))
    tfms = [RandomResizedCrop(48, min_scale=0.35)]  # decoded at a part of their size
    dls = loaders(path, tfms, cache="memory")
    first = epoch(dls, 0)
    assert dls.train_ds.store.get(0).scale > 1
    assert same(first, epoch(dls, 0))
    fixed = loaders(path, [Resize(24)], cache="memory")
    assert all(same(epoch(fixed, k), epoch(loaders(path, [Resize(24)]), k)) for k in (0, 0, 1))


def test_masks_and_points_go_along(tmp_path):
    rng = np.random.default_rng(0)
    photos = [np.asarray(picture("red", i, (64, 80))) for i in range(6)]
    files = []
    for i, photo in enumerate(photos):
        Image.fromarray(photo).save(tmp_path / f"{i}.jpg")
        Image.fromarray(rng.integers(0, 3, (64, 80)).astype(np.uint8)).save(tmp_path / f"{i}.png")
        files.append(tmp_path / f"{i}.jpg")

    def make(tfms, **settings):
        block = DataBlock(
            (ImageBlock, MaskBlock, PointBlock),
            n_inp=1,
            get_y=[lambda f: f.with_suffix(".png"), lambda f: [[3.0 + int(f.stem), 9.0]]],
            splitter=RandomSplitter(0.5, seed=0),
            item_tfms=tfms,
        )
        return block.dataloaders(files, bs=2, seed=1, device="cpu", **settings)

    for name in ("resize", "squish, then crop", "pad"):  # decoded at half their size
        plain = make(TFMS[name])
        for where in WHERE:
            dls = make(TFMS[name], cache=where)
            assert all(same(epoch(dls, k), epoch(plain, k)) for k in (0, 1, 2))


def test_what_is_given_away_may_be_changed(root):
    dls = loaders(root, [CropPad(30)], cache="memory")
    first = dls.train_ds[0][0].clone()
    for _ in range(2):
        dls.train_ds[0][0].zero_()
    assert torch.equal(dls.train_ds[0][0], first)


# What may happen to it


def cached(root, **settings):
    return loaders(root, [Resize(24)], cache="disk", **settings)


def the_file():
    (file,) = cache_files()
    return file.path


def test_a_file_that_was_changed_makes_another_cache(root, tmp_path):
    path = shutil.copytree(root, tmp_path / "pictures")
    epoch(cached(path), 0)
    assert len(cache_files()) == 2  # of training and of validation, which crop otherwise
    epoch(cached(path), 0)
    assert len(cache_files()) == 2
    changed = get_image_files(path)[0]
    picture("green", 77).save(changed, quality=90)
    assert same(epoch(cached(path), 0), epoch(loaders(path, [Resize(24)]), 0))
    assert len(cache_files()) == 4
    loaders(path, [Resize(26)], cache="disk")
    assert len(cache_files()) > 4


def test_how_items_are_split_makes_no_other_cache(root):
    names = set()
    for seed in (1, 2):
        block = DataBlock(
            (ImageBlock, CategoryBlock),
            get_items=get_image_files,
            get_y=parent_label,
            splitter=RandomSplitter(0.3, seed=seed),
            item_tfms=Resize(24, method="squish"),
        )
        epoch(block.dataloaders(root, bs=4, cache="disk", device="cpu"), 0)
        names |= {file.path.name for file in cache_files()}
    assert len(names) == 2


@pytest.mark.parametrize("place", ["pixels", "entry"])
def test_a_flipped_byte_is_noticed_and_mended(root, place):
    plain = epoch(loaders(root, [Resize(24)]), 0)
    epoch(cached(root), 0)
    for file in cache_files():
        data = bytearray(file.path.read_bytes())
        data[-100 if place == "pixels" else 64 + 20] ^= 1
        file.path.write_bytes(data)
    with pytest.warns(UserWarning, match="was damaged; what is found so is decoded again"):
        assert same(epoch(cached(root), 0), plain)
    assert same(epoch(cached(root), 0), plain)  # without a warning


def test_a_cache_that_is_cut_off_or_no_cache_at_all_is_made_anew(root):
    plain = epoch(loaders(root, [Resize(24)]), 0)
    epoch(cached(root), 0)
    sizes = {file.path: file.n_bytes for file in cache_files()}
    for keep in (0, 100, 1000):
        for file in sizes:
            os.truncate(file, keep)
        assert same(epoch(cached(root), 0), plain)
    for file in sizes:
        file.write_bytes(b"x" * 10_000)
    assert same(epoch(cached(root), 0), plain)
    assert {file.path: file.n_bytes for file in cache_files()} == sizes


def test_when_it_is_full_the_rest_is_decoded_and_that_is_said_once(root):
    plain = [epoch(loaders(root, [Resize(24)]), k) for k in (0, 1)]

    def made():  # a first batch is read where loaders are made
        dls = loaders(root, [Resize(24)], cache="disk", cache_size=3e-5)
        return dls, epoch(dls, 0)

    for _ in range(2):
        with pytest.warns(UserWarning, match="is full: it has the .* GB that .*; other") as told:
            dls, first = made()
        assert same(first, plain[0]) and len(told) == 2  # of training and of validation
    assert same(epoch(dls, 1), plain[1])
    assert 0 < dls.train_ds.store.n_kept < 18
    assert sum(file.n_bytes for file in cache_files()) <= 3e4


def test_without_a_folder_to_write_to_there_is_a_warning_and_no_cache(root, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LEARNLITE_HOME", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="there is no image cache, as .* cannot be written"):
        dls = cached(root)
    assert not isinstance(dls.train_ds, CachedItems)
    assert same(epoch(dls, 0), epoch(loaders(root, [Resize(24)]), 0))


SCRIPT = """
import os, signal, sys
import torch
sys.path.insert(0, {tests!r})
from test_image_cache import cached, epoch, total

def in_child(do):
    pid = os.fork()
    if not pid:
        torch.set_num_threads(1)
        do()
        os._exit(0)
    return pid

def ends(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

root = sys.argv[1]
def in_home(code, home):
    os.environ["LEARNLITE_HOME"] = home
    for fd, name in ((1, "out"), (2, "warned")):
        os.dup2(os.open(home + "." + name, os.O_WRONLY | os.O_CREAT), fd)
    exec(code, globals())
    sys.stdout.flush()
    sys.stderr.flush()

status = [ends(in_child(lambda: in_home(*part))) for part in {parts!r}]
sys.exit(any(status))
"""
KILLED = """
write = os.pwrite
def killed_at(k):
    n = 0
    def torn(fd, data, at):
        nonlocal n
        n += 1
        if n == k:
            write(fd, data[: len(data) // 2], at)
            os.kill(os.getpid(), signal.SIGKILL)
        return write(fd, data, at)
    def do():
        os.pwrite = torn
        epoch(cached(root), 0)
    return do
for k in (*range(1, 14), 20, 27):
    print(ends(in_child(killed_at(k))))
"""
AT_ONCE = """
dls = [cached(root), cached(root)]
ready, go = os.pipe()
def do():
    os.read(ready, 1)
    mine = cached(root)
    os.write(1, b"%d\\n" % total(epoch(mine, 0)))
both = [in_child(do), in_child(do)]
os.write(go, b"go")
print([ends(pid) for pid in both])
"""
FULL = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
print(total(epoch(cached(root), 0)))
"""


@pytest.fixture(scope="module")
def ran(root, tmp_path_factory):
    """What each of the programs prints and warns of, in a home of its own; imports are shared."""
    folder = tmp_path_factory.mktemp("homes")
    parts = [(globals()[name], str(folder / name)) for name in ("KILLED", "AT_ONCE", "FULL")]
    paths = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    code = SCRIPT.format(tests=str(Path(__file__).parent), parts=parts)
    done = subprocess.run(
        [sys.executable, "-c", code, root],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    told = {Path(home).name: Path(f"{home}.warned").read_text() for _, home in parts}
    assert done.returncode == 0, f"{done.stderr} {told}"
    return folder


def what(ran, name, monkeypatch):
    """The lines that a program printed and its warnings; its home is now the test's."""
    monkeypatch.setenv("LEARNLITE_HOME", str(ran / name))
    return [(ran / f"{name}.{kind}").read_text() for kind in ("out", "warned")]


def total(batches):
    return sum(int((x.long() * torch.arange(x.numel()).view(x.shape)).sum()) for x, _ in batches)


@pytest.mark.skipif(sys.platform == "win32", reason="it takes `fork`")
def test_a_process_killed_while_it_writes_leaves_no_wrong_pixels(root, ran, monkeypatch):
    ends, _ = what(ran, "KILLED", monkeypatch)
    assert ends.split().count(str(-signal.SIGKILL)) > 10
    plain = epoch(loaders(root, [Resize(24)]), 0)
    for _ in range(2):
        dls = cached(root)
        assert same(epoch(dls, 0), plain)
    assert dls.train_ds.store.n_kept == 18
    clear_cache()
    assert not any(folder().iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="it takes `fork`")
def test_two_processes_at_once_write_one_cache(root, ran, monkeypatch):
    (*totals, ends) = what(ran, "AT_ONCE", monkeypatch)[0].splitlines()
    plain = epoch(loaders(root, [Resize(24)]), 0)
    assert totals == [str(total(plain))] * 2 and ends == "[0, 0]"
    sizes = [file.n_bytes for file in cache_files()]
    dls = cached(root)
    assert dls.train_ds.store.n_kept + dls.valid_ds.store.n_kept == 24
    assert same(epoch(dls, 0), plain)
    assert [file.n_bytes for file in cache_files()] == sizes
    pixels = 18 * 40 * 56 * 3 + 6 * 24 * 24 * 3  # whole to train on, as their crops are random
    assert sum(sizes) <= pixels + 2 * 64 * 25 + 24 * 64  # nothing is there twice


@pytest.mark.skipif(sys.platform == "win32", reason="it takes limits of a process")
def test_a_full_disk_is_survived(root, ran, monkeypatch):
    shown, warned = what(ran, "FULL", monkeypatch)
    assert int(shown) == total(epoch(loaders(root, [Resize(24)]), 0))
    assert "could not be written (File too large); other images are decoded each time" in warned


# What is kept, and for how long


def test_the_command_lists_and_clears_only_what_is_its_own(root, capsys):
    epoch(cached(root), 0)
    others = [folder() / "notes.txt", folder().parent / "a.pixels"]
    for other in others:
        other.write_text("mine")
    (folder() / "link.pixels").symlink_to(others[0])
    assert main(["cache"]) == 0
    listed = capsys.readouterr().out
    assert "2 image caches" in listed and all(f.path.name in listed for f in cache_files())
    assert main(["cache", "--clear"]) == 0
    assert "are free again" in capsys.readouterr().out
    assert cache_files() == [] and all(other.read_text() == "mine" for other in others)
    assert main(["cache"]) == 0
    assert "no image cache" in capsys.readouterr().out


def test_a_cache_that_is_cleared_while_in_use_is_used_on(root):
    dls = cached(root)
    plain = [epoch(loaders(root, [Resize(24)]), k) for k in (0, 1)]
    assert same(epoch(dls, 0), plain[0])
    clear_cache()
    assert same(epoch(dls, 1), plain[1])


def test_caches_that_nobody_opened_for_a_month_go(root):
    cached(root)
    old = cache_files()[0].path
    os.utime(old, (time.time() - 40 * 86400,) * 2)
    loaders(root, [Resize(20)], cache="disk")
    assert not old.exists() and len(cache_files()) == 3


def test_a_store_gives_what_it_was_given(tmp_path):
    store = PixelStore(4, 10**6, tmp_path / "a.pixels", b"key")
    image = torch.randint(0, 256, (3, 5, 7), dtype=torch.uint8)
    mask = torch.randint(0, 1000, (5, 7))
    assert store.put(1, Kept(image, (10, 14), 2, 4)) and store.put(3, Kept(mask, (5, 7), 1, 1))
    for one in (store, PixelStore(4, 10**6, tmp_path / "a.pixels", b"key")):
        assert torch.equal(one.get(1).pixels, image) and torch.equal(one.get(3).pixels, mask)
        assert (one.get(1).size, one.get(1).scale, one.get(1).grid) == ((10, 14), 2, 4)
        assert one.get(0) is None and one.n_kept == 2
        assert not one.put(1, Kept(image, (10, 14), 2, 4))
    assert PixelStore(4, 10**6, tmp_path / "a.pixels", b"other").n_kept == 0


def test_bad_images_are_skipped_with_a_cache_too(root, tmp_path):
    path = shutil.copytree(root, tmp_path / "pictures")
    get_image_files(path / "train")[3].write_bytes(b"\xff\xd8\xff no photo")
    settings = {"on_bad_image": "skip"}
    with pytest.warns(UserWarning, match="1 image does not open"):
        plain = [epoch(loaders(path, [Resize(24)], **settings), k) for k in (0, 1)]
    dls = loaders(path, [Resize(24)], cache="memory", **settings)
    with pytest.warns(UserWarning, match="1 image does not open"):
        some = [epoch(dls, k) for k in (0, 1)]
    assert all(same(*pair) for pair in zip(some, plain, strict=True))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cache": "ram"}, '`cache` is "memory", "disk" or None, got \'ram\''),
        ({"cache_size": 3}, '`cache_size=3` needs `cache="memory"` or `cache="disk"`'),
        (
            {"cache": "disk", "cache_size": 0},
            "`cache_size` is a number of GB above 0, as 0.5, got 0",
        ),
    ],
)
def test_mistakes_are_told_with_a_way_out(root, settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        loaders(root, **settings)


def test_images_that_are_no_files_are_kept_too():
    photos = [np.asarray(picture("red", i)) for i in range(8)]
    settings = {"bs": 3, "seed": 0, "device": "cpu"}
    block = DataBlock((ImageBlock,), splitter=RandomSplitter(0.2, seed=0), item_tfms=Resize(16))
    plain = epoch(block.dataloaders(photos, **settings), 0)
    for where in WHERE:
        for _ in range(2):
            assert same(epoch(block.dataloaders(photos, cache=where, **settings), 0), plain)
    pils = [picture("red", i) for i in range(8)]
    assert same(epoch(block.dataloaders(pils, cache="memory", **settings), 0), plain)
    with pytest.raises(TypeError, match='or bytes|arrays, got a `Image`; .* `cache="memory"`'):
        block.dataloaders(pils, cache="disk", **settings)


def test_loaders_in_one_call_have_it_too(root):
    dls = ImageDataLoaders.from_folder(root, item_tfms=Resize(24), cache="memory", bs=4)
    assert isinstance(dls.train_ds, CachedItems) and isinstance(dls.valid_ds, CachedItems)
    assert dls.vocab == ["blue", "green", "red"]
    assert len(list(dls.test_dl(get_image_files(root)[:3]))) == 1
