"""What each block makes of its sources, in an item, a batch, and back."""

from operator import itemgetter

import numpy as np
import pytest
import torch
from blocks_made import marked
from pictures import folder_of_pictures, picture
from PIL import Image
from torchvision import tv_tensors

from learnlite.vision.all import (
    BBoxBlock,
    BBoxLblBlock,
    CropPad,
    DataBlock,
    Flip,
    ImageBlock,
    IndexSplitter,
    MaskBlock,
    MultiCategoryBlock,
    PointBlock,
    RandomSplitter,
    RegressionBlock,
    Resize,
    SegmentationDataLoaders,
    Zoom,
    aug_transforms,
    get_image_files,
)
from learnlite.vision.blocks import Block


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return folder_of_pictures(tmp_path_factory.mktemp("pictures"))


def test_several_labels_and_numbers(root):
    files = get_image_files(root)
    several = DataBlock(
        (ImageBlock, MultiCategoryBlock),
        get_y=lambda f: ["even"] * (len(f.name) % 2 == 0) + [f.parent.name],
        item_tfms=Resize(16),
        splitter=RandomSplitter(seed=1),
    ).dataloaders(files, bs=4)
    _, y = several.one_batch()
    assert y.shape == (4, 4) and set(y.unique().tolist()) <= {0.0, 1.0}
    assert type(several.loss_func).__name__ == "BCEWithLogitsLossFlat"
    numbers = DataBlock(
        (ImageBlock, RegressionBlock), get_y=lambda f: float(len(f.name)), item_tfms=Resize(16)
    ).dataloaders(files, bs=4)
    assert numbers.one_batch()[1].dtype == torch.float32 and numbers.c == 1


def test_points_are_scaled_and_land_where_their_pixel_lands():
    spots = [(5, 9), (30, 2), (17, 27), (0, 31), (31, 0), (12, 12), (20, 8), (8, 20)]
    items = [(marked((32, 32), at), [[at[0] + 0.5, at[1] + 0.5]]) for at in spots]
    dls = DataBlock(
        (ImageBlock, PointBlock),
        get_x=lambda item: item[0],
        get_y=lambda item: item[1],
        splitter=IndexSplitter([0]),
        batch_tfms=[Flip(p=1.0)],
    ).dataloaders(items, bs=7, shuffle=False, device="cpu")
    assert dls.c == 2
    x, y = dls.one_batch()
    assert y.shape == (7, 1, 2) and y.abs().max() <= 1
    for image, (point,) in zip(x, y, strict=True):
        row, column = divmod(image.sum(0).argmax().item(), 32)
        expected = torch.tensor([column + 0.5, row + 0.5]) / 32 * 2 - 1
        assert torch.allclose(point, expected, atol=0.02)
    (_, decoded), *_ = dls.decode_batch((x, y))
    assert torch.allclose(decoded[0], torch.tensor([32 - 30.5, 2.5]), atol=1e-3)


def boxed(*targets, **tfms):
    """Loaders of black pictures with these boxes and their labels, two of which validate."""
    items = [(marked((32, 32), (3, 3)), *target) for target in targets]
    return DataBlock(
        (ImageBlock, BBoxBlock, BBoxLblBlock),
        getters=[lambda item: item[0], lambda item: item[1], lambda item: item[2]],
        splitter=IndexSplitter([len(items) - 2, len(items) - 1]),
        n_inp=1,
        **tfms,
    ).dataloaders(items, bs=2, shuffle=False, device="cpu")


def test_boxes_of_one_class_are_told_from_the_background():
    pictures = [np.zeros((32, 32, 3), np.uint8)] * 8
    dls = DataBlock(
        (ImageBlock, BBoxBlock, BBoxLblBlock),
        n_inp=1,
        get_y=[lambda _: [[1, 1, 9, 9]], lambda _: ["dog"]],
    ).dataloaders(pictures, bs=2)  # a warning of one class would be an error
    assert dls.vocab == ["#na#", "dog"]


ONE_EACH = [([[1, 1, 2, 2]], ["dog"]), ([[1, 1, 2, 2]], ["cat"])]


def test_boxes_of_unequal_number_are_padded_with_their_labels():
    two = ([[0, 0, 4, 4], [8, 8, 30, 31]], ["dog", "cat"])
    dls = boxed(([[2, 2, 10, 12]], ["cat"]), two, *ONE_EACH, item_tfms=Resize(64))
    x, boxes, labels = dls.one_batch()
    assert x.shape == (2, 3, 64, 64) and boxes.shape == (2, 2, 4)
    assert boxes[1].tolist() == [[0, 0, 8, 8], [16, 16, 60, 62]] and boxes[0, 1].tolist() == [0] * 4
    assert list(dls.vocab) == ["#na#", "cat", "dog"] and labels.tolist() == [[1, 0], [2, 1]]


@pytest.mark.parametrize(
    "tfms",
    [
        {"item_tfms": CropPad(16)},  # the middle
        {"batch_tfms": [Zoom(1, 2, p=1.0, draw=2.0, draw_x=0.5, draw_y=0.5, size=16)]},
    ],
)
def test_the_label_of_a_box_that_leaves_the_image_goes_with_it(tfms):
    outside, inside = [0, 0, 8, 8], [10, 12, 20, 20]
    dls = boxed(([outside, inside], ["dog", "cat"]), ([outside], ["dog"]), *ONE_EACH, **tfms)
    _, boxes, labels = dls.one_batch()
    cat = list(dls.vocab).index("cat")
    assert labels.tolist() == [[0, cat], [0, 0]]
    assert boxes[labels == 0].eq(0).all()
    assert boxes[labels > 0].tolist() == [[2, 4, 12, 12]]


def test_labels_may_come_before_their_boxes_and_stay_with_them():
    outside, inside = [0, 0, 8, 8], [10, 12, 20, 20]
    items = [
        (marked((32, 32), (3, 3)), ["dog", "cat"], [outside, inside]),
        (marked((32, 32), (3, 3)), ["cat"], [inside]),
        *[(marked((32, 32), (3, 3)), [label], [inside]) for label in ("dog", "cat")],
    ]
    dls = DataBlock(
        (ImageBlock, BBoxLblBlock, BBoxBlock),
        getters=[itemgetter(i) for i in range(3)],
        splitter=IndexSplitter([2, 3]),
        item_tfms=CropPad(16),
        n_inp=1,
    ).dataloaders(items, bs=2, shuffle=False, device="cpu")
    _, labels, boxes = dls.one_batch()
    assert labels.tolist() == [[0, 1], [1, 0]] and boxes[labels == 0].eq(0).all()
    drawn = [[text.get_text() for text in ax.texts] for ax in np.ravel(dls.show_batch())]
    assert drawn == [["cat"], ["cat"]]


def test_a_batch_without_any_box_is_trained_on():
    none = ([], [])
    tfms = {"item_tfms": Resize(16), "batch_tfms": aug_transforms()}
    dls = boxed(none, none, *ONE_EACH, *ONE_EACH, **tfms)
    _, boxes, labels = dls.one_batch()
    assert boxes.shape == (2, 0, 4) and labels.shape == (2, 0)


def test_boxes_and_labels_of_unequal_number_are_told_with_their_item():
    two = [[0, 0, 4, 4], [8, 8, 30, 31]]
    with pytest.raises(ValueError, match="(?s)array.* has 2 boxes and 1 label of boxes"):
        boxed((two, ["dog"]), *ONE_EACH, *ONE_EACH)

    def drops(item):
        return item[0], item[1][:1], item[2]

    with pytest.raises(ValueError, match="`item_tfms` leave an item 1 boxes and 2 labels"):
        boxed((two, ["dog", "cat"]), *ONE_EACH, item_tfms=drops)


@pytest.mark.parametrize(
    "opened",
    [
        lambda source: tv_tensors.Image(torch.tensor(source).permute(2, 0, 1)),
        lambda source: torch.tensor(source).permute(2, 0, 1),
        Image.fromarray,
    ],
)
def test_a_block_of_images_of_ones_own_carries_points_and_is_resized(opened):
    class Own(Block):
        kind = "image"

        def open(self, source, size, item):
            return opened(source)

    items = [marked((32, 32), (8, 16)) for _ in range(6)]
    dls = DataBlock(
        (Own, PointBlock), get_y=lambda _: [[8.0, 16.0]], item_tfms=Resize(16)
    ).dataloaders(items, bs=2, device="cpu")
    x, points = dls.one_batch()
    assert x.shape == (2, 3, 16, 16) and points[0].tolist() == [[-0.5, 0.0]]


def test_masks_keep_their_numbers(tmp_path):
    for i in range(6):
        picture("red", i, (24, 30)).save(tmp_path / f"{i}.png")
        Image.fromarray(np.full((24, 30), i % 3, np.uint8)).save(tmp_path / f"{i}_mask.gif")
    files = [f for f in get_image_files(tmp_path) if "mask" not in f.name]
    dls = SegmentationDataLoaders.from_label_func(
        tmp_path,
        files,
        lambda f: f.with_name(f"{f.stem}_mask.gif"),
        codes=["a", "b", "c"],
        item_tfms=Resize(16),
        batch_tfms=aug_transforms(),
        bs=4,
        seed=1,
    )
    _, y = dls.one_batch()
    assert y.shape == (4, 16, 16) and y.dtype == torch.int64 and dls.c == 3
    assert set(y.unique().tolist()) <= {0, 1, 2}
    assert dls.loss_func(torch.randn(4, 3, 16, 16), y).ndim == 0


def test_codes_of_numpy_are_a_list_of_names():
    assert MaskBlock(np.array(["void", "car"])).vocab == ["void", "car"]


def test_points_and_boxes_that_cannot_be_are_named():
    cases = [
        (PointBlock(), [1, 2, 3], r"f\.jpg: points are pairs \(x, y\), got 3 numbers"),
        (PointBlock(), "left", r"f\.jpg: points are pairs .* of numbers, got 'left'"),
        (PointBlock(), [1, float("nan")], r"f\.jpg: points are pairs .* of finite numbers"),
        (BBoxBlock(), [[1, 2, 3]], r"f\.jpg: boxes are \(left, top, right, bottom\), got 3"),
        (BBoxBlock(), [[30, 2, 10, 8]], r"f\.jpg has the box .* ends before it begins"),
    ]
    for made, source, message in cases:
        with pytest.raises(ValueError, match=message):
            made.open(source, (40, 40), "f.jpg")
