"""What a `DataBlock` says of mistakes, and `summary` of the step that failed."""

import re

import numpy as np
import pytest
import torch
from blocks_made import block, last
from pictures import folder_of_pictures, picture

from learnlite.vision.all import (
    BBoxBlock,
    BBoxLblBlock,
    CategoryBlock,
    DataBlock,
    ImageBlock,
    ImageDataLoaders,
    IndexSplitter,
    MultiCategoryBlock,
    Normalize,
    PointBlock,
    RandomSplitter,
    RegexLabeller,
    Resize,
    TransformBlock,
    aug_transforms,
    get_image_files,
    imagenet_stats,
    parent_label,
    using_attr,
)
from learnlite.vision.items import BlockItems


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return folder_of_pictures(tmp_path_factory.mktemp("pictures"))


def test_summary_tells_every_step(root, capsys):
    tfms = [*aug_transforms(size=16), Normalize.from_stats(*imagenet_stats)]
    block(batch_tfms=tfms).summary(root, device="cpu")
    text = capsys.readouterr().out
    assert "itself" not in text and "IntToFloat" not in text and "tensor(" not in text
    for part in (
        "items: 48",
        "36 to train on, 12 to validate",
        "3 classes: blue, green, red",
        "block 1, target: CategoryBlock, 3 classes: blue, green, red\n",
        "  ImageBlock: it is opened as LazyImage",
        "  CategoryBlock: `parent_label` gives",
        "images of bytes are floats from 0 to 1 for them",
        "  Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])\n",
        "3 x 32 x 32 of uint8",
        "what the model gets: Tensor 4 x 3 x 16 x 16 of float32",
    ):
        assert part in text, part


@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ({"get_items": lambda path: []}, "failed while finding the items: ValueError: there are"),
        ({"splitter": lambda items: 1 / 0}, "failed while splitting them: ZeroDivisionError"),
        ({"get_y": lambda file: 1 / 0}, "failed while reading all labels: ZeroDivisionError"),
        ({"item_tfms": lambda item: 1 / 0}, r"opening and changing the item .*jpg: ZeroDivision"),
        ({"batch_tfms": lambda b, k, t: 1 / 0}, "failed while .*batch.*: ZeroDivisionError"),
    ],
)
def test_summary_tells_which_step_failed(root, capsys, changes, step):
    with pytest.raises((ValueError, ZeroDivisionError)):
        block(**changes).summary(root, device="cpu")
    assert re.search(step, capsys.readouterr().out)


def test_summary_names_the_item_at_which_a_step_failed(root, capsys):
    wrong = get_image_files(root)[0]
    files = {f.name: f for f in get_image_files(root, folders="train") if f != wrong}
    with pytest.raises(KeyError):
        block(get_y=using_attr(files.__getitem__, "name")).summary(root)
    text = capsys.readouterr().out
    assert "using_attr(__getitem__, 'name')` read the item" in text and wrong.name in text


def test_summary_names_the_item_of_another_shape(tmp_path, capsys):
    for i in range(12):
        picture("red", i, (20, 26 if i == 8 else 20)).save(tmp_path / f"{i:02}.png")
    made = block(get_y=lambda f: int(f.stem) % 2, splitter=last, item_tfms=None)
    with pytest.warns(UserWarning, match="no item"), pytest.raises(ValueError, match="in shape"):
        made.summary(tmp_path, bs=11)
    text = capsys.readouterr().out
    assert "item 3 ready" in text and "item 4 ready" not in text
    assert re.search(r"item 8 ready.*08\.png is of another shape", text)


def test_unequal_sizes_want_a_resize(tmp_path):
    for i, size in enumerate([(20, 20), (20, 24), (22, 20), (20, 20)]):
        picture("red", i, size).save(tmp_path / f"{i}.png")
    bad = DataBlock(
        (ImageBlock, CategoryBlock),
        get_items=get_image_files,
        get_y=lambda f: int(f.stem) % 2,
        splitter=IndexSplitter([2, 3]),
    )
    said = r"the images of a batch differ in shape, as .* `Resize\(224\)` as the last of"
    with pytest.raises(ValueError, match=said) as caught:
        bad.dataloaders(tmp_path, bs=2, shuffle=False)
    (note,) = caught.value.__notes__
    shapes = r"item 0 \(`.*0\.png`\) has \(3, 20, 20\), item 1 \(`.*1\.png`\) \(3, 20, 24\); they"
    assert re.search(shapes, note)
    numbers = DataBlock(
        (TransformBlock, TransformBlock), get_x=torch.zeros, splitter=IndexSplitter([3])
    )
    with pytest.raises(ValueError, match="items of a batch differ in shape, .* in their getter"):
        numbers.dataloaders([1, 2, 3, 4], bs=2)


def test_a_bad_file_is_named_with_what_was_being_done(root, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff not a photo")
    files = [*get_image_files(root)[:6], tmp_path / "broken.jpg"]
    bad = block(get_items=None, splitter=IndexSplitter([0, 2]), get_y=lambda f: f.suffix)
    with pytest.warns(UserWarning, match="one class only"):
        dls = bad.dataloaders(files[:6], bs=2)
    with pytest.raises(ValueError, match="broken.jpg") as caught:
        list(dls.test_dl(files))
    assert any("while `ImageBlock(PILImage)` opened" in note for note in caught.value.__notes__)


def test_the_getter_that_gave_what_is_no_image_is_named(root):
    def column_of_numbers(file):
        return 3

    with pytest.raises(TypeError, match="an image comes from a path, .* got 3;") as caught:
        block(get_x=column_of_numbers).dataloaders(root)
    told = "opened 3, which `column_of_numbers` gave for the item .*jpg"
    assert any(re.search(told, note) for note in caught.value.__notes__)


def test_names_of_folders_cannot_write_on_the_terminal(tmp_path, capsys):
    for name in ("\x1b[31mred", "\x1b[34mblue"):
        (tmp_path / name).mkdir()
        for i in range(3):
            (tmp_path / name / f"{i}.jpg").write_bytes(b"")
    bad = block(splitter=IndexSplitter([0, 4]))
    for fault in (
        lambda: bad.dataloaders(tmp_path, device="cpu"),
        lambda: bad.summary(tmp_path, device="cpu"),
        lambda: block(get_y=RegexLabeller("([0-9]+)_"), splitter=bad.splitter).datasets(tmp_path),
    ):
        with pytest.raises(ValueError, match="red") as caught:
            fault()
        notes = getattr(caught.value, "__notes__", [])
        text = "\n".join([str(caught.value), *notes, capsys.readouterr().out])
        assert "red" in text and "\x1b" not in text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: block(get_items=None).dataloaders(root), "pass `get_items=get_image_files`"),
        (lambda root: block(get_items=lambda p: []).dataloaders(root), "there are no items"),
        (lambda root: block(get_y=None).datasets(root), "of a file; give `get_y`"),
        (lambda root: block(get_y=[parent_label] * 2), "`get_y` has 2 functions for 1 blocks"),
        (lambda root: DataBlock(ImageBlock, getters=[len] * 3), "1 blocks but 3 `getters`"),
        (lambda root: DataBlock((ImageBlock, CategoryBlock), n_inp=3), "how many of the 2 blocks"),
        (lambda root: DataBlock(3), "a block is a `Block` or makes one, got 3"),
        (lambda root: DataBlock(dl_type=list), "`dl_type` has no meaning here"),
        (
            lambda root: ImageDataLoaders.from_lists(root, ["a", "b"], ["x"]),
            "2 files but 1 labels",
        ),
        (
            lambda root: ImageDataLoaders.from_folder(root, valid="val"),
            "there is no folder `val` in .* only `train`, `valid`",
        ),
        (
            lambda root: block(get_items=None).datasets({"a", "b"}),
            "a length and indices, got a `set`",
        ),
        (lambda root: block(get_items=lambda p: None).datasets(root), "what `get_items` gives"),
        (
            lambda root: block().dataloaders(root).test_dl({"a.jpg", "b.jpg"}),
            "a length and indices, got a `set`; make it a list, in the order",
        ),
        (lambda root: block().dataloaders(root).test_dl(None), "indices, got a `NoneType`"),
        (lambda root: block().dataloaders(root, bs="4"), "`bs` must be a whole number"),
        (lambda root: block().dataloaders(root, bs=0), "`bs` must be .* at least 1, got 0"),
        (lambda root: block().summary(root, bs=0), "`bs` must be .* at least 1, got 0"),
        (lambda root: block().dataloaders(root, val_bs=0), "`val_bs` must be .* at least 1, got 0"),
        (lambda root: block().dataloaders(root, seed="a"), "`seed` is a whole number, .* got 'a'"),
        (lambda root: block().dataloaders(root, seed=1.5), "`seed` is a whole number, .* got 1.5"),
        (lambda root: block().dataloaders(root, subset="0.1"), "`subset='0.1'`: a share .* float"),
        (lambda root: block().dataloaders(root, subset=2), "`subset=2` is 2 of 36 items .* the cl"),
        (lambda root: block().dataloaders(root, device="gpu"), "`device` is \"cpu\", .* got 'gpu'"),
        (lambda root: block().dataloaders(root, cache="memory", cache_size="1GB"), "got '1GB'"),
        (
            lambda root: block().dataloaders(root, cache="memory", cache_size=float("inf")),
            "`cache_size` is a number of GB above 0, as 0.5, got inf",
        ),
        (
            lambda root: block().dataloaders(
                root, weights={"red": 1, "green": 1, "blue": 1, "bleu": 2}
            ),
            "`weights` names `'bleu'`, and the classes are .*; did you mean `blue`",
        ),
        (lambda root: block().dataloaders(root, weights=len), "`weights` is a list of one for"),
        (
            lambda root: DataBlock(
                (ImageBlock, MultiCategoryBlock), get_items=get_image_files, get_y=lambda f: ["a"]
            ).dataloaders(root, balanced=True),
            "`balanced` goes by the one class .* is `MultiCategoryBlock`; give `weights` as a list",
        ),
        (
            lambda root: DataBlock(ImageBlock, get_items=get_image_files).dataloaders(
                root, balanced=True
            ),
            "the last block is `ImageBlock`",
        ),
        (lambda root: block(get_y="label"), r"column of a table give `ColReader\('label'\)`"),
        (lambda root: block(get_y="parent_label"), "without quotes: `get_y=parent_label`"),
        (lambda root: block(get_items=get_image_files(root)), "leave it out, and give the list as"),
        (lambda root: Normalize.from_stats(imagenet_stats), "with a star, as `Normalize.from_st"),
        (lambda root: Normalize(imagenet_stats), r"with a star: `Normalize\(\*imagenet_stats\)`"),
        (lambda root: MultiCategoryBlock(["a"]), r"`MultiCategoryBlock\(vocab=\['a'\]\)`"),
        (lambda root: RegexLabeller("(a"), "the pattern `.a` is no regular expression: missing"),
        (lambda root: block(get_x=[3]), "`get_x` is a function of an item, got 3$"),
        (lambda root: block(get_items="*.jpg"), "`get_items` is a function of an item"),
        (lambda root: block(splitter=RandomSplitter), r"as `RandomSplitter\(\.\.\.\)`"),
        (lambda root: block(splitter=0.2), r"got 0.2; give `RandomSplitter\(0.2\)` for a share"),
        (
            lambda root: DataBlock((ImageBlock, BBoxBlock, BBoxLblBlock), get_y=[len, len]),
            "2 functions for 1 blocks; .* or say by `n_inp` how many of the 3 blocks are inputs",
        ),
        (
            lambda root: DataBlock((ImageBlock, CategoryBlock)).datasets(["a/1.jpg", "b/2.jpg"]),
            "of a file; give `get_y`",
        ),
        (
            lambda root: block(get_y=lambda f: "#na#" if "red" in f.name else "b").datasets(root),
            "training set has the label `#na#` .* rename the class, or let `add_na=True`",
        ),
        (
            lambda root: DataBlock(
                (ImageBlock, BBoxBlock, BBoxLblBlock),
                n_inp=1,
                get_items=get_image_files,
                get_y=[lambda f: [[0, 0, 2, 2]], parent_label],
            ).datasets(root),
            r"the labels of boxes are a list, one for each box, got '\w+'; give `\['\w+'\]`",
        ),
        (lambda root: block().dataloaders(root, batch_size=4), "did you mean `bs`"),
        (lambda root: block().dataloaders(root, item_tfm=1), "`DataBlock` takes `item_tfms`"),
        (lambda root: block(item_tfms=aug_transforms()), "as one of `batch_tfms`"),
        (lambda root: block(batch_tfms=Resize(8)), "`Resize` changes single items; give it as"),
        (
            lambda root: BlockItems(
                [], [BBoxBlock(), BBoxLblBlock()], [len, len], training=True, n_inp=1
            ).collate([(torch.zeros(2, 4), torch.zeros(1))]),
            "2 boxes and 1 labels of boxes",
        ),
        (
            lambda root: block().dataloaders(root).test_dl(root / "a.jpg"),
            r"`test_dl` takes a list of items, got one: `test_dl\(\[",
        ),
        (
            lambda root: block().dataloaders(root).test_dl([root], batch_size=4),
            "`BlockLoader` has no argument `batch_size`; did you mean `bs`",
        ),
        (
            lambda root: DataBlock(
                (TransformBlock, PointBlock), get_y=lambda i: [1, 2]
            ).dataloaders([1, 2, 3, 4]),
            "begin the blocks with `ImageBlock`",
        ),
    ],
)
def test_mistakes_are_told_with_a_way_out(root, make, message):
    with pytest.raises((ValueError, TypeError, OSError), match=message):
        make(root)


def test_a_message_about_a_splitter_does_not_hold_all_items():
    with pytest.raises(ValueError, match="`valid_pct` must be a share") as caught:
        RandomSplitter([f"{i}.jpg" for i in range(9999)])
    assert len(str(caught.value)) < 200


def test_functions_of_executed_code_which_is_of_no_module_are_transforms(root):
    scope = {"block": block, "root": root}
    exec("made = block(item_tfms=lambda x: x, batch_tfms=lambda b, k, t: b)", scope)
    assert scope["made"].datasets(root).train[0][0].shape[0] == 3


def test_a_seed_of_numpy_is_the_same_seed(root):
    plain, of_numpy = (
        block(splitter=RandomSplitter(seed=seed)).dataloaders(root, seed=seed, bs=4)
        for seed in (3, np.int64(3))
    )
    assert torch.equal(plain.one_batch()[0], of_numpy.one_batch()[0])


def test_items_of_text_that_a_getter_finds_files_for_are_labels(root):
    files = {f.parent.name: f for f in get_image_files(root)}
    found = block(get_items=None, get_x=files.get, get_y=None, splitter=IndexSplitter([0, 1]))
    assert found.datasets(["red", "blue"] * 2).vocab == ["blue", "red"]
