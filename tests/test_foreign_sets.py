"""Datasets of torchvision and of Hugging Face's kind, in one call."""

import shutil

import pytest
import torch
from pictures import COLOURS, folder_of_pictures, picture
from torch import nn
from torch.utils.data import ConcatDataset, IterableDataset, Subset
from torchvision import datasets

from learnlite import Learner, accuracy
from learnlite.vision.all import (
    ImageDataLoaders,
    MaskBlock,
    PILImageBW,
    RandomResizedCrop,
    Resize,
    aug_transforms,
)

CPU = {"device": "cpu", "seed": 2, "bs": 4}


class Names:
    """As `datasets.ClassLabel`."""

    def __init__(self, *names):
        self.names = list(names)


class Image:
    """As `datasets.Image`, known by its name."""


class Hugging:
    """As `datasets.Dataset`: rows are dicts, a name gives a column; rows read are counted."""

    def __init__(self, n=12, **columns):
        self.features = {"image": Image(), "label": Names(*COLOURS)} | columns
        self.n = n
        self.n_read = 0

    def __len__(self):
        return self.n

    def __getitem__(self, key):
        if isinstance(key, str):
            return [self._label(i) for i in range(self.n)]
        if not 0 <= key < self.n:
            raise IndexError(key)
        self.n_read += 1
        row = dict.fromkeys(self.features, "?")
        return row | {"image": picture(list(COLOURS)[key % 3], key), "label": self._label(key)}

    def _label(self, i):
        return i % 3


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return folder_of_pictures(tmp_path_factory.mktemp("pictures"), n=4, n_valid=2)


def shown_labels(dls, batch):
    return [item[1] for item in dls.decode_batch(batch, max_n=99)]


def colours(batch):
    """The name of the colour that each picture of a batch has."""
    names = {"red": 0, "green": 1, "blue": 2}
    strongest = batch[0].mean((2, 3)).argmax(1).tolist()
    return [list(names)[i] for i in strongest]


def test_an_image_folder_keeps_its_classes_and_its_labels(root):
    train, valid = (datasets.ImageFolder(root / part) for part in ("train", "valid"))
    dls = ImageDataLoaders.from_dataset(train, valid, item_tfms=Resize(32), **CPU)
    assert dls.vocab == ["blue", "green", "red"] == train.classes
    assert (len(dls.train_ds), len(dls.valid_ds)) == (12, 6)
    for loader in dls.loaders:
        for batch in loader:
            batch = dls.transformed(batch, training=False)
            assert shown_labels(dls, batch) == colours(batch)


def test_rows_of_hugging_face_are_read_no_oftener_than_needed():
    rows = Hugging()
    dls = ImageDataLoaders.from_dataset(rows, Hugging(6), item_tfms=Resize(32), **CPU)
    before = rows.n_read
    for batch in dls.train:
        batch = dls.transformed(batch, training=False)
        assert shown_labels(dls, batch) == colours(batch)
    assert rows.n_read == before + len(rows)
    assert before <= 6, "making the loaders reads one batch and a look or two"
    assert len(dls.valid_ds) == 6


def test_samples_without_a_list_of_labels_are_read_once_each():
    class Pairs:
        n_read = 0

        def __len__(self):
            return 8

        def __getitem__(self, i):
            self.n_read += 1
            return picture("red", i), f"class {i % 2}"

    pairs = Pairs()
    dls = ImageDataLoaders.from_dataset(pairs, pairs, item_tfms=Resize(16), **CPU)
    before = pairs.n_read
    assert len(list(dls.train)) == 2
    assert pairs.n_read == before + 8
    assert dls.vocab == ["class 0", "class 1"]


@pytest.mark.parametrize("n_workers", [0, 2])
def test_batches_are_the_same_with_workers(n_workers):
    fake = datasets.FakeData(20, (3, 24, 24), 2)
    settings = CPU | {"item_tfms": RandomResizedCrop(16), "num_workers": n_workers}
    one = ImageDataLoaders.from_dataset(fake, **settings)
    two = ImageDataLoaders.from_dataset(fake, **settings | {"num_workers": 0})
    for (x, y), (v, w) in zip(one.train, two.train, strict=True):
        assert torch.equal(x, v) and torch.equal(y, w)
    one.train.close()


def test_random_transforms_of_the_dataset_depend_on_the_epoch_alone():
    noisy = datasets.FakeData(2, (3, 8, 8), 2, transform=lambda image: torch.rand(3, 8, 8))
    settings = CPU | {"bs": 1}
    dls = ImageDataLoaders.from_dataset(noisy, noisy, **settings)
    first = [x for epoch in (0, 1) for x, _ in dls.valid.batches(epoch)]
    again = [x for epoch in (1, 0) for x, _ in dls.valid.batches(epoch)]
    assert all(map(torch.equal, first, again[2:] + again[:2]))
    assert not torch.equal(first[0], first[2])


def test_parts_and_sums_of_datasets_keep_names_and_labels(root):
    train, valid = (datasets.ImageFolder(root / part) for part in ("train", "valid"))
    both = ConcatDataset([Subset(train, range(0, 12, 2)), valid])
    dls = ImageDataLoaders.from_dataset(both, both, item_tfms=Resize(32), **CPU)
    assert dls.vocab == train.classes
    for batch in dls.valid:
        batch = dls.transformed(batch, training=False)
        assert shown_labels(dls, batch) == colours(batch)


def test_grey_images_a_share_to_validate_and_a_net_that_learns():
    rows = Hugging(24)
    dls = ImageDataLoaders.from_dataset(
        rows,
        valid_pct=0.5,
        img_cls=PILImageBW,
        item_tfms=Resize(16),
        batch_tfms=aug_transforms(size=12),
        **CPU,
    )
    assert dls.one_batch()[0].shape == (4, 1, 12, 12)
    assert (len(dls.train_ds), len(dls.valid_ds)) == (12, 12)
    net = nn.Sequential(nn.Flatten(), nn.Linear(144, 3))
    learn = Learner(dls, net, metrics=accuracy)
    learn.fit(1)


def test_test_items_are_a_dataset_or_images(root):
    rows = Hugging()
    dls = ImageDataLoaders.from_dataset(rows, rows, item_tfms=Resize(16), **CPU)
    (x,) = next(iter(dls.test_dl(rows, bs=12)))
    (alone,) = next(iter(dls.test_dl([rows[i]["image"] for i in range(12)], bs=12)))
    assert torch.equal(x, alone)
    _, labels = next(iter(dls.test_dl(rows, with_labels=True, bs=12)))
    assert dls.vocab == list(COLOURS) and labels.tolist() == [0, 1, 2] * 4


@pytest.mark.parametrize("vocab", [None, ["sea", "wood", "fire"]])
def test_labels_of_another_set_are_found_by_the_names_of_their_classes(root, tmp_path, vocab):
    folder_of_pictures(tmp_path / "less", n=2, n_valid=1)
    shutil.rmtree(tmp_path / "less" / "train" / "blue")
    train, less = (datasets.ImageFolder(part / "train") for part in (root, tmp_path / "less"))
    assert less.class_to_idx == {"green": 0, "red": 1}
    settings = CPU | {"item_tfms": Resize(32), "vocab": vocab}
    with pytest.warns(UserWarning, match="no item of the validation set is of class"):
        dls = ImageDataLoaders.from_dataset(train, less, **settings)
    name_of = dict(zip(train.classes, vocab or train.classes, strict=True))
    for loader in (dls.valid, dls.test_dl(less, with_labels=True)):
        for batch in loader:
            batch = dls.transformed(batch, training=False)
            assert shown_labels(dls, batch) == [name_of[colour] for colour in colours(batch)]


def test_a_class_that_was_not_trained_on_is_refused(root, tmp_path):
    folder_of_pictures(tmp_path / "more", n=1, n_valid=1)
    (tmp_path / "more" / "train" / "red").rename(tmp_path / "more" / "train" / "pink")
    train, more = (datasets.ImageFolder(part / "train") for part in (root, tmp_path / "more"))
    with pytest.raises(ValueError, match="set has the label `'pink'` .* not among the 3 classes"):
        ImageDataLoaders.from_dataset(train, more, item_tfms=Resize(32), **CPU)
    with pytest.raises(ValueError, match="parts of the dataset number their classes differently"):
        ImageDataLoaders.from_dataset(ConcatDataset([train, more]), **CPU)


def test_masks_as_targets():
    samples = [(picture("red", i), picture("blue", i).convert("L").point(bool)) for i in range(6)]
    dls = ImageDataLoaders.from_dataset(
        samples, y_block=MaskBlock(["void", "thing"]), item_tfms=Resize(16), **CPU
    )
    assert dls.one_batch()[1].shape == (4, 16, 16) and dls.vocab == ["void", "thing"]


def test_names_that_are_there_twice_stay_two_classes():
    samples = [(picture("red", i), i % 3) for i in range(9)]
    dls = ImageDataLoaders.from_dataset(
        samples, samples, vocab=[("crane", "bird"), "crane", "crane"], **CPU
    )
    assert dls.vocab == ["crane, bird", "crane (1)", "crane (2)"]


def test_undecoded_images_are_opened(root):
    file = next(root.rglob("*.jpg"))
    for image in ({"bytes": file.read_bytes(), "path": None}, {"bytes": None, "path": str(file)}):
        rows = [{"image": image, "label": i % 2} for i in range(6)]
        dls = ImageDataLoaders.from_dataset(rows, rows, x="image", **CPU)
        assert dls.one_batch()[0].shape == (4, 3, 40, 56)


def test_a_bad_file_of_an_image_folder_is_named_or_left_out(root, tmp_path):
    folder_of_pictures(tmp_path / "copy", n=4, n_valid=1)
    bad = tmp_path / "copy" / "train" / "green" / "green_2.jpg"
    bad.write_bytes(b"no image")
    train = datasets.ImageFolder(tmp_path / "copy" / "train")
    settings = CPU | {"item_tfms": Resize(16), "shuffle": False}
    dls = ImageDataLoaders.from_dataset(train, train, **settings)
    with pytest.raises(ValueError, match=r"green_2.jpg` cannot be read"):
        list(dls.train)
    dls = ImageDataLoaders.from_dataset(train, train, on_bad_image="skip", **settings)
    with pytest.warns(UserWarning, match=r"green_2.jpg.* cannot be read"):
        assert sum(len(y) for _, y in dls.train) == 12


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x - 0.5, "not from 0 to 1; take `Normalize` out"),
        (lambda x: x * 255, "not from 0 to 1; give bytes, of the type uint8, or divide by 255"),
    ],
)
def test_numbers_beyond_0_to_1_are_refused_in_few_words(change, message):
    fake = datasets.FakeData(4, (3, 8, 8), 2, transform=lambda image: change(torch.rand(3, 8, 8)))
    with pytest.raises(ValueError, match=message) as caught:
        ImageDataLoaders.from_dataset(fake, fake, **CPU)
    assert str(caught.value).startswith("sample ") and len(str(caught.value)) < 250


def test_later_items_without_labels_have_none(root):
    pairs = [(picture("red", i), i % 2) for i in range(6)]
    dls = ImageDataLoaders.from_dataset(pairs, pairs, item_tfms=Resize(16), **CPU)
    files = list(root.rglob("*.jpg"))
    with pytest.raises(TypeError, match="these items have no labels, the first is a"):
        dls.test_dl(files, with_labels=True)
    assert next(iter(dls.test_dl(files)))[0].shape == (4, 3, 16, 16)
    assert next(iter(dls.test_dl(pairs)))[0].shape == (4, 3, 16, 16)


class Unlabelled(Hugging):
    def _label(self, i):
        return -1


class Endless(IterableDataset):
    def __iter__(self):
        return iter(())


@pytest.mark.parametrize(
    ("dataset", "settings", "message"),
    [
        ({"train": Hugging(), "test": Hugging()}, {}, r'from_dataset\(dataset\["train"\]'),
        (Endless(), {}, "`__len__` and `__getitem__` is needed, got a `Endless`"),
        (Hugging(0), {}, "the dataset is empty"),
        ([picture("red")] * 4, {}, "a sample of the dataset is a `Image`"),
        (Hugging(), {"y": "colour"}, "no `y='colour'`; there is `image`, `label`"),
        (Hugging(coarse=Names("a")), {}, "which is the label .* name it by `y=`"),
        (Unlabelled(), {}, "sample .* has the label -1, and there are 3 classes"),
        ([("", 1)] * 4, {"x": 3}, "samples have 2 elements, so `x` is from 0 to 1, got 3"),
        ([("", torch.eye(2)[0])] * 4, {}, r"label tensor\(\[1., 0.\]\) of item 0.* not one class"),
    ],
)
def test_mistakes_are_told_with_a_way_out(dataset, settings, message):
    with pytest.raises((TypeError, ValueError), match=message):
        ImageDataLoaders.from_dataset(dataset, **settings)
