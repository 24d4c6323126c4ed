"""Transforms called by hand, on one image or on a batch of them, as in fastai."""

import numpy as np
import pytest
import torch
from pictures import picture
from PIL import Image

from learnlite.vision.all import (
    IntToFloatTensor,
    Normalize,
    PILImage,
    PILMask,
    RandomCrop,
    RandomErasing,
    Resize,
    Rotate,
    ToTensor,
    aug_transforms,
    imagenet_stats,
)
from learnlite.vision.batch_tfms import BatchTfms
from learnlite.vision.image import read_image


def test_an_image_goes_in_and_an_image_comes_out():
    image = picture("red")
    small = Resize(16)(image)
    assert isinstance(small, Image.Image) and small.size == (16, 16)
    pixels = ToTensor()(image)
    assert torch.equal(pixels, read_image(image))
    assert torch.equal(ToTensor()(pixels), pixels) and Resize(16)(pixels).shape == (3, 16, 16)
    both = Resize(16)((pixels, 3))
    assert both[0].shape == (3, 16, 16) and both[1] == 3


def test_images_and_masks_of_fastais_classes_stay_what_they_are():
    codes = np.arange(64, dtype=np.uint8).reshape(8, 8) % 3 * 7
    image, mask = PILImage.create(picture("red")), PILMask.create(codes)
    assert type(Resize(16)(image)) is PILImage and Resize(16)(image).shape == (16, 16)
    small = Resize(5)(mask)
    assert type(small) is PILMask and set(np.unique(small)) <= {0, 7, 14}


def test_split_idx_chooses_between_training_and_validation():
    image, crop = read_image(picture("red")), RandomCrop(8)
    middle = [crop(image, split_idx=1) for _ in range(4)]
    assert all(torch.equal(one, crop.eval()(image)) for one in middle)
    assert len({crop(image, split_idx=0).sum().item() for _ in range(8)}) > 1
    assert not crop.training
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(Rotate(p=1.0)(x, split_idx=1), x)


@pytest.mark.parametrize(
    "tfm", [Rotate(p=1.0), RandomErasing(p=1.0), BatchTfms(aug_transforms()), IntToFloatTensor()]
)
def test_a_batch_transform_takes_images_alone_and_one_image(tfm):
    batch = torch.randint(256, (4, 3, 16, 16), dtype=torch.uint8)
    torch.manual_seed(0)
    alone = tfm(batch)
    torch.manual_seed(0)
    assert torch.equal(alone, tfm((batch,), ("image",), True)[0])
    assert tfm(read_image(picture("red"))).shape == (3, 40, 56)


def test_normalize_by_hand_is_undone():
    x = torch.rand(2, 3, 4, 4)
    tfm = Normalize.from_stats(*imagenet_stats)
    assert torch.allclose(tfm.decode((tfm(x),), ("image",))[0], x, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Resize(8)("a.jpg"), "`Resize` changes images, from `PILImage.create`.*'a.jpg'"),
        (lambda: Resize(8)(np.zeros((4, 4, 3))), "`Resize` changes images"),
        (lambda: Resize(8)(3), "`Resize` changes images, .*; got 3"),
        (lambda: Rotate()(picture("red")), r"got a `Image`: make it a tensor, as `ToTensor\(\)"),
        (lambda: Rotate()((torch.zeros(1, 3, 4, 4), 0)), r"give kinds too: `Rotate\(…\)\(batch"),
        (lambda: aug_transforms(size="224"), r"`size` is a number of pixels or .*, got '224'"),
        (lambda: aug_transforms(max_rotate="10"), "`max_rotate` must be a number, got '10'"),
    ],
)
def test_what_they_cannot_change_is_told(call, message):
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_zoom": 0.5}, "`min_zoom` is at most `max_zoom`, got 1.0 and 0.5"),
        ({"max_rotate": float("nan")}, "`max_rotate` must be a finite number, got nan"),
        ({"size": 0}, "`size` counts pixels and must be at least 1"),
    ],
)
def test_augmentation_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        aug_transforms(**settings)
