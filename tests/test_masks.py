"""Masks of class numbers: which numbers may be in them, and what is said of the others."""

import numpy as np
import pytest
import torch
from pictures import picture
from PIL import Image

from learnlite.vision.all import (
    DataBlock,
    ImageBlock,
    IntToFloatTensor,
    MaskBlock,
    RandomSplitter,
    get_image_files,
)
from learnlite.vision.image import load_mask


def folder_of_masks(root, codes):
    """Pictures, and in a folder beside them masks with these numbers, one row each."""
    for name in ("images", "masks"):
        (root / name).mkdir()
    for i in range(6):
        picture("red", i, (20, 20)).save(root / "images" / f"{i}.png")
        mask = np.zeros((20, 20), np.uint8)
        mask[: len(codes)] = np.array(codes)[:, None]
        Image.fromarray(mask).save(root / "masks" / f"{i}.png")


def loaders(root, names, **settings):
    block = DataBlock(
        (ImageBlock, MaskBlock(names)),
        get_items=get_image_files,
        get_y=lambda file: root / "masks" / file.name,
        splitter=RandomSplitter(seed=0),
        **settings,
    )
    return block.dataloaders(root / "images", bs=3, device="cpu")


def test_numbers_without_a_class_are_told_with_the_file_before_training(tmp_path):
    folder_of_masks(tmp_path, [0, 1, 7])
    said = r"masks.*\.png` holds the numbers `0`, `1`, `7`, and `codes` names 2 classes, 0 to 1;"
    with pytest.raises(ValueError, match=said):
        loaders(tmp_path, ["sky", "tree"])
    assert set(loaders(tmp_path, None).one_batch()[1].unique().tolist()) == {0, 1, 7}


def test_black_and_white_masks_are_told_how_to_be_two_classes(tmp_path):
    folder_of_masks(tmp_path, [0, 255])
    with pytest.raises(ValueError, match=r"IntToFloatTensor\(div_mask=255\)` makes them 0 and 1"):
        loaders(tmp_path, ["sky", "tree"])
    whole = loaders(tmp_path, ["sky", "tree"], batch_tfms=IntToFloatTensor(div_mask=255))
    assert whole.one_batch()[1].unique().tolist() == [0, 1]


def test_what_a_loss_leaves_out_may_be_255_or_below_0(tmp_path):
    folder_of_masks(tmp_path, [0, 1, 255])
    assert loaders(tmp_path, ["sky", "tree"]).one_batch()[1].unique().tolist() == [0, 1, 255]
    arrays = [(np.zeros((8, 8, 3), np.uint8), np.array([[-1, 1]] * 8, np.int8)) for _ in range(4)]
    block = DataBlock(
        (ImageBlock, MaskBlock(["sky", "tree"])),
        get_x=lambda item: item[0],
        get_y=lambda item: np.repeat(item[1], 4, 1),
    )
    assert block.dataloaders(arrays, bs=3, device="cpu").one_batch()[1].unique().tolist() == [-1, 1]


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32])
def test_numbers_below_0_stay(dtype):
    assert load_mask(np.array([[-1, 2]], dtype)).tolist() == [[-1, 2]]
    assert load_mask(np.array([[0, 2]], np.int8)).dtype == torch.uint8


@pytest.mark.parametrize("codes", ["codes.txt", 3, len])
def test_codes_that_are_no_list_are_refused(codes, tmp_path):
    with pytest.raises(TypeError, match="a vocabulary is a list of classes, got"):
        MaskBlock(codes)
    with pytest.raises(TypeError, match=r"list of classes, got (Posix|Windows)?Path\("):
        MaskBlock(tmp_path)
