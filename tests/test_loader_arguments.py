"""The arguments of what makes loaders: named in help, refused with a hint, positions of fastai."""

from inspect import Parameter, signature
from operator import itemgetter

import pytest
from blocks_made import block, same
from pictures import COLOURS, folder_of_pictures

from learnlite.data import Loader
from learnlite.vision.all import (
    CategoryBlock,
    DataBlock,
    ImageBlock,
    ImageDataLoaders,
    RandomSplitter,
    Resize,
    SegmentationDataLoaders,
    aug_transforms,
    get_image_files,
    parent_label,
)

MAKERS = [
    *(getattr(ImageDataLoaders, name) for name in vars(ImageDataLoaders) if name[:5] == "from_"),
    SegmentationDataLoaders.from_label_func,
]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return folder_of_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.__name__)
def test_help_and_completion_name_every_argument_with_its_default(maker):
    told = signature(maker).parameters
    assert not any(p.kind is Parameter.VAR_KEYWORD for p in told.values())
    assert {"path", "valid_pct", "seed", "item_tfms", "batch_tfms", "img_cls"} <= set(told)
    for name, parameter in signature(DataBlock.dataloaders).parameters.items():
        if name not in ("self", "source", "path"):
            assert told[name].default == parameter.default


def test_what_is_told_of_the_loaders_is_what_they_take(root):
    told = signature(DataBlock.dataloaders).parameters
    assert (
        told["prefetch_factor"].default == signature(Loader).parameters["prefetch_factor"].default
    )
    dls = block().dataloaders(root, bs=4, prefetch_factor=3, timeout=7, pin_memory=False)
    assert (dls.train.prefetch_factor, dls.valid.timeout) == (3, 7)


def test_a_share_may_stand_in_fourth_place(root):
    files = get_image_files(root)
    by_place = ImageDataLoaders.from_name_func(root, files, itemgetter(0), 0.5, 3, Resize(16))
    assert len(by_place.valid_ds) == 24
    first = ImageDataLoaders.from_name_re(root, files, r"^(.*)_\d", 0.5, 3, Resize(16))
    again = ImageDataLoaders.from_path_re(root, files, r"/([^/]*)_\d+.jpg$", 0.5, 3, Resize(16))
    assert same(first.train.batches(0), again.train.batches(0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda root: ImageDataLoaders.from_folder(root, batch_size=4),
            "`from_folder` has no argument `batch_size`; did you mean `bs`",
        ),
        (lambda root: ImageDataLoaders.from_folder(root, valid_pc=0.2), "did you mean `valid_pct`"),
        (lambda root: ImageDataLoaders.from_folder(root, tfms=Resize(8)), "you mean `item_tfms`"),
        (lambda root: ImageDataLoaders.from_folder(root, size=8), r"`item_tfms=Resize\(224\)`"),
        (lambda root: ImageDataLoaders.from_folder(root, after_batch=[]), "mean `batch_tfms`"),
        (
            lambda root: ImageDataLoaders.from_folder(root, splitter=RandomSplitter()),
            "no argument `splitter`; `DataBlock` takes `splitter`: give it there",
        ),
        (lambda root: ImageDataLoaders.from_folder(root, zzz=1), "has no argument `zzz`$"),
        (lambda root: ImageDataLoaders.from_folder(None), "`path` is a folder, as .*, got None"),
        (lambda root: ImageDataLoaders.from_csv([root]), r"`path` is a folder, as .*, got \["),
        (lambda root: get_image_files(None), "`path` is a folder, as"),
        (
            lambda root: ImageDataLoaders.from_name_func(root, [], str, batchsize=4),
            "`from_path_func` has no argument `batchsize`",
        ),
        (lambda root: ImageDataLoaders.from_csv(root / "train"), "there is no file"),
        (
            lambda root: ImageDataLoaders.from_df("x.csv"),
            "takes a table, got the path `x.csv`",
        ),
        (
            lambda root: ImageDataLoaders.from_name_re(root, root, "(.)"),
            "`fnames` is a list",
        ),
        (lambda root: ImageDataLoaders(root), "are made by `ImageDataLoaders.from_folder`"),
        (lambda root: DataBlock(spliter=RandomSplitter()), "`DataBlock` has no .*mean `splitter`"),
        (lambda root: DataBlock(get_label=parent_label), "did you mean `get_y`"),
        (lambda root: DataBlock(ImageBlock, CategoryBlock), "blocks are given as one: `Da"),
        (lambda root: DataBlock(ImageBlock, "x"), "`dl_type` has no meaning here"),
        (
            lambda root: block().dataloaders(root, 8),
            "`path` is the folder of the data, got 8",
        ),
        (lambda root: block().dataloaders(root, item_tfm=1), "`DataBlock` takes `item_tfms`: give"),
        (lambda root: aug_transforms(max_rotat=10), "`aug_transforms` has .* mean `max_rotate`"),
        (lambda root: block().dataloaders(root).show_batch(rows=2), "did you mean `nrows`"),
        (lambda root: block().dataloaders(root).train.show_batch(n=4), "did you mean `max_n`"),
        (lambda root: block().dataloaders(root, order=1), "no argument `order`"),
    ],
)
def test_other_arguments_are_refused_with_the_one_that_was_meant(root, make, message):
    with pytest.raises((TypeError, OSError), match=message):
        make(root)


def test_the_path_of_a_table_is_split_for_the_user(root):
    (root / "some.csv").write_text("a,b\n")
    with pytest.raises(NotADirectoryError, match=r"`from_csv\('.*', 'some.csv'\)`"):
        ImageDataLoaders.from_csv(root / "some.csv")


@pytest.mark.parametrize(
    ("folders", "advice"),
    [
        (
            ["train", "val"],
            "no folder `valid` .* only `train`, `val`; give `valid='val'`",
        ),
        (["Training", "test"], "no folder `train` .*; give `train='Training'`, `valid='test'`"),
        (["red", "blue"], "only `blue`, `red`; if the images .* for each class, `valid_pct=0.2`"),
        (["train", "more"], "no folder `valid` .* `valid_pct=0.2`"),
        ([], "nor any other; if the names of files tell the class, use `from_name_func` or"),
    ],
)
def test_a_layout_without_the_folders_leads_to_the_argument_that_is_needed(
    tmp_path, folders, advice
):
    for name in folders:
        (tmp_path / name).mkdir()
    with pytest.raises(FileNotFoundError, match=advice):
        ImageDataLoaders.from_folder(tmp_path)


def test_folders_of_classes_may_be_links(root, tmp_path):
    for colour in COLOURS:
        (tmp_path / colour).symlink_to(root / "train" / colour)
    settings = {"valid_pct": 0.5, "seed": 1, "item_tfms": Resize(16), "bs": 4}
    assert ImageDataLoaders.from_folder(tmp_path, **settings).vocab == sorted(COLOURS)
    with pytest.raises(FileNotFoundError, match="`followlinks=True`"):
        ImageDataLoaders.from_folder(tmp_path, followlinks=False, **settings)
