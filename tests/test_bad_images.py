"""Images that do not open: what takes their place, and what is said about it."""

import copy
import warnings
from io import BytesIO

import pytest
import torch
from pictures import picture
from PIL import Image

from learnlite.vision.all import CategoryBlock, DataBlock, FlipItem, ImageBlock, IndexSplitter


def files_with(tmp_path, bad, n=30):
    """Pictures of which those in `bad` do not open, each in its own way."""
    files = [tmp_path / f"{i:02}.png" for i in range(n)]
    for i, file in enumerate(files):
        picture("red", i, (24, 24)).save(file)
    for k, i in enumerate(bad):
        whole = files[i].read_bytes()
        files[i].write_bytes([b"", b"no image at all", whole[: len(whole) // 2]][k % 3])
    return files


def block(valid=(27, 28, 29)):
    return DataBlock(
        (ImageBlock, CategoryBlock),
        get_y=parity,
        splitter=IndexSplitter(list(valid)),
        item_tfms=FlipItem(0.5),
    )


def loaders(files, bad="skip", **settings):
    settings = {"bs": 5, "shuffle": False, "seed": 3, "device": "cpu"} | settings
    return block().dataloaders(files, on_bad_image=bad, **settings)


def test_the_next_image_takes_the_place_of_one_that_does_not_open(tmp_path):
    files = files_with(tmp_path, [1, 2])
    with pytest.warns(UserWarning, match="2 images do not open"):
        dls = loaders(files)
    with torch.random.fork_rng():
        for i, place in ((0, 0), (1, 3), (2, 3), (3, 3)):
            torch.manual_seed(0)
            _, label = dls.train_ds[i]
            assert label == place % 2
    assert dls.train_ds.bad.found == [1, 2]


def test_images_that_the_getter_opens_are_left_out_too(tmp_path):
    files = files_with(tmp_path, [])
    whole = files[3].read_bytes()
    files[3].write_bytes(whole[: len(whole) // 2])
    made = DataBlock(
        (ImageBlock, CategoryBlock),
        get_x=lambda file: Image.open(BytesIO(file.read_bytes())),
        get_y=parity,
        splitter=IndexSplitter([27, 28, 29]),
        item_tfms=FlipItem(0.5),
    )
    with pytest.warns(UserWarning, match=r"item 3 .* is cut off: its data end before"):
        made.dataloaders(files, on_bad_image="skip", bs=27, device="cpu")


def test_each_bad_image_is_named_once_with_its_fault(tmp_path):
    files = files_with(tmp_path, [0, 12])
    with pytest.warns(UserWarning, match=r"1 image does not open, .*00.png`\) is empty"):
        dls = loaders(files)
    with pytest.warns(UserWarning, match=r"1 image does not open, .*12.png`\) is") as told:
        list(dls.train)
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(dls.train)


@pytest.mark.parametrize("n_workers", [1, 2])
def test_workers_put_the_same_images_in_place_and_tell(tmp_path, n_workers):
    files = files_with(tmp_path, [7, 13])
    here, there = (loaders(files, num_workers=n, shuffle=True) for n in (0, n_workers))
    told = []
    batches = []
    for dls in (here, there):
        dls.train_ds.bad._told.clear()
        dls.train_ds.bad._flags.zero_()
        with pytest.warns(UserWarning, match="not open") as messages:
            batches.append([list(dls.train), list(dls.train)])
        told.append(" ".join(str(message.message) for message in messages))
        dls.train.close()
    for one, two in zip(*batches, strict=True):
        for (x, y), (v, w) in zip(one, two, strict=True):
            assert torch.equal(x, v) and torch.equal(y, w)
    for text in told:
        assert "07.png" in text and "13.png" in text


def test_spawned_workers_tell_too(tmp_path):
    files = files_with(tmp_path, [20], n=24)
    made = DataBlock((ImageBlock, CategoryBlock(["odd", "even"])), splitter=last, get_y=parity)
    settings = {"bs": 12, "shuffle": False, "device": "cpu", "on_bad_image": "skip"}
    loader = made.dataloaders(files, num_workers=1, start_method="spawn", **settings).train
    with pytest.warns(UserWarning, match=r"20\.png"):
        list(loader)
    loader.close()


def parity(file):
    return ("even", "odd")[int(file.stem) % 2]


def last(items):
    return list(range(len(items) - 2)), [len(items) - 2, len(items) - 1]


def test_a_copy_with_workers_tells_too(tmp_path):
    files = files_with(tmp_path, [20])
    dls = copy.deepcopy(loaders(files))
    loader = dls.train
    loader.num_workers = 1
    with pytest.warns(UserWarning, match=r"20\.png"):
        list(loader)
    loader.close()


@pytest.mark.parametrize("n_workers", [0, 1])
def test_too_many_bad_images_raise(tmp_path, n_workers):
    files = files_with(tmp_path, [6, 12, 18])
    loader = loaders(files, num_workers=n_workers).train
    for _ in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(ValueError, match="more than 2 of 27 images do not open"):
                list(loader)
    loader.close()


def test_a_loader_like_it_tells_too(tmp_path):
    dls = loaders(files_with(tmp_path, [20]))
    with pytest.warns(UserWarning, match=r"20\.png"):
        list(dls.train.like(dls.train_ds, bs=27))


def test_a_run_of_bad_images_raises_at_once(tmp_path):
    files = files_with(tmp_path, range(27))
    with pytest.raises(ValueError, match="more than 2 of 27 .* the first: .*00.png"):
        loaders(files)


def test_validation_tells_of_its_own(tmp_path):
    dls = loaders(files_with(tmp_path, [28]))
    with pytest.warns(UserWarning, match=r"28\.png"):
        (batch,) = dls.valid
    assert batch[1].tolist() == [1, 1, 1]


def test_items_to_predict_are_never_replaced(tmp_path):
    files = files_with(tmp_path, [28])
    with pytest.raises(ValueError, match=r"28\.png.*is empty"):
        list(loaders(files).test_dl(files))


def test_by_default_a_bad_image_raises(tmp_path):
    with pytest.raises(ValueError, match=r"00\.png.*is empty"):
        loaders(files_with(tmp_path, [0]), bad="raise")
    with pytest.raises(ValueError, match='`on_bad_image` is "raise" or "skip", got \'warn\''):
        loaders(files_with(tmp_path, [0]), bad="warn")


def test_other_faults_of_an_item_raise(tmp_path):
    files = files_with(tmp_path, [])
    dls = block().new(item_tfms=lambda item: 1 / 0).datasets(files)
    dls.train.bad = loaders(files).train_ds.bad
    with pytest.raises(ZeroDivisionError):
        dls.train[0]
