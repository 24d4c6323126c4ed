"""Item transforms of others: what they see, and that their images stay images for the next one."""

import numpy as np
import pytest
import torch
import torchvision.transforms as old
from blocks_made import block, marked
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2

from learnlite.vision.all import (
    CategoryBlock,
    DataBlock,
    ImageBlock,
    MaskBlock,
    Normalize,
    Resize,
    Rotate,
    aug_transforms,
)
from learnlite.vision.item_stage import ItemStage, OnlyTraining


def smooth(height=20, width=30):
    rows = torch.arange(height).view(-1, 1) * 6 + torch.arange(width) * 3
    return tv_tensors.Image((rows + torch.tensor([0, 20, 40]).view(3, 1, 1)).byte())


def plain(x):
    return x.as_subclass(torch.Tensor)


AS_IT_WAS = {
    "sum": lambda item: (plain(item[0]) + 0, *item[1:]),
    "array": lambda item: (plain(item[0]).permute(1, 2, 0).numpy(), *item[1:]),
    "PIL": lambda item: (v2.functional.to_pil_image(item[0]), *item[1:]),
    "v2.ToPILImage": v2.ToPILImage(),
    "v2.ToPILImage, v2.PILToTensor": [v2.ToPILImage(), v2.PILToTensor()],
    "PIL for a function": [
        v2.ToPILImage(),
        lambda item: (item[0].transpose(Image.Transpose.ROTATE_180), *item[1:]),
        lambda item: (item[0].transpose(Image.Transpose.ROTATE_180), *item[1:]),
    ],
    "only in training": OnlyTraining(lambda item: (plain(item[0]) + 0, *item[1:])),
    "old PILToTensor": old.PILToTensor(),
    "old ToPILImage": [old.ToPILImage(), old.ToPILImage()],
    "old Compose": old.Compose([old.Lambda(lambda x: x.convert("RGB")), old.PILToTensor()]),
}


@pytest.mark.parametrize("name", AS_IT_WAS)
def test_what_they_give_is_an_image_for_the_next_transform(name):
    image = smooth()
    (whole, label) = ItemStage(AS_IT_WAS[name])((image, 3))
    assert type(whole) is tv_tensors.Image and torch.equal(whole, image) and label == 3
    (small, label) = ItemStage([AS_IT_WAS[name], Resize(8)], training=False)((image, 3))
    assert torch.equal(small, Resize(8).eval()(image)) and label == 3


def test_masks_points_and_boxes_stay_what_they_are():
    image = smooth()
    item = (
        image,
        tv_tensors.Mask(image[0]),
        tv_tensors.KeyPoints([[3.0, 4.0]], canvas_size=(20, 30)),
        tv_tensors.BoundingBoxes([[3.0, 4, 9, 9]], format="XYXY", canvas_size=(20, 30)),
        torch.ones(3, 20, 30),
    )

    def everything_plain(elements):
        return tuple(plain(element) + 0 for element in elements)

    changed = ItemStage([everything_plain, Resize(10, "squish")])(item)
    expected = ItemStage(Resize(10, "squish"))(item)
    for one, other in zip(changed, expected, strict=True):
        assert type(one) is type(other) and torch.equal(one, other)
    pil_mask = ItemStage([lambda it: (it[0], Image.fromarray(it[1].numpy())), Resize(10, "squish")])
    assert torch.equal(pil_mask(item[:2])[1], expected[1])


def test_torchvisions_old_pipeline_gives_what_it_gives_there():
    image = smooth()
    tfms = [old.Resize((12, 16)), old.ToTensor(), old.Normalize([0.5] * 3, [0.25] * 3)]
    expected = old.Compose(tfms)(v2.functional.to_pil_image(image))
    for given in (tfms, old.Compose(tfms)):
        (found, label) = ItemStage(given)((image, 1))
        assert torch.allclose(found, expected) and label == 1
    assert ItemStage(old.ToTensor())((image,))[0].max() <= 1


@pytest.mark.parametrize(
    ("tfm", "message"),
    [
        (v2.ToDtype(torch.float32), r"`ToDtype` makes floats up to .* count from 0 to 1"),
        (lambda item: (item[0].float(), item[1]), "divide by 255"),
        (old.FiveCrop(5), "`FiveCrop` must make an image of an image, got a `tuple`"),
        (lambda item: item[0], "must return one as long"),
    ],
)
def test_what_they_may_not_give_is_told(tfm, message):
    with pytest.raises((TypeError, ValueError), match=message):
        ItemStage(tfm)((smooth(), 1))
    scaled = ItemStage(v2.ToDtype(torch.float32, scale=True))((smooth(), 1))[0]
    assert scaled.max() <= 1


def test_a_function_of_the_image_alone_is_told_how_to_stand():
    with pytest.raises(AttributeError) as caught:
        ItemStage(lambda image: image.resize((8, 8)))((smooth(), 1))
    assert any("lambda item: (function(item[0]), *item[1:])" in n for n in caught.value.__notes__)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"item_tfms": 224}, r"224 cannot be called; did you mean `Resize\(224\)`"),
        ({"item_tfms": [(128, 96)]}, r"did you mean `Resize\(\(128, 96\)\)`"),
        ({"item_tfms": "resize"}, "'resize' cannot be called"),
        ({"item_tfms": Resize}, r"`Resize` needs `size`; give `Resize\(224\)`"),
        ({"item_tfms": aug_transforms}, r"makes transforms, .* call it: `aug_transforms\(…\)`"),
        ({"batch_tfms": aug_transforms}, r"`aug_transforms` makes .*: `aug_transforms\(…\)`"),
        ({"batch_tfms": lambda b: b}, r"`tfm\(batch, kinds, training\)`, and .* takes 1"),
        ({"batch_tfms": Normalize}, r"class `Normalize`; call it: `Normalize\(…\)`"),
        ({"batch_tfms": [Rotate(), 3]}, r"`tfm\(batch, kinds, training\)`, got 3"),
    ],
)
def test_transforms_that_cannot_be_are_told_where_the_block_is_made(changes, message):
    with pytest.raises(TypeError, match=message):
        block(**changes)


def test_a_mask_of_another_size_is_told_without_a_transform_too():
    items = [marked((8, 8), (i, i)) for i in range(6)]
    made = DataBlock(
        (ImageBlock, MaskBlock(["a", "b"])), get_y=lambda _: np.zeros((9, 8), np.uint8)
    )
    with pytest.raises(ValueError, match="the image has 8 x 8 pixels, its mask 9 x 8") as caught:
        made.dataloaders(items, bs=2)
    assert any("the item array" in note for note in caught.value.__notes__)
    fine = DataBlock((ImageBlock, CategoryBlock), get_y=lambda _: 1)
    with pytest.warns(UserWarning, match="one class only"):
        assert fine.dataloaders(items, bs=2, device="cpu").one_batch()[0].shape[2:] == (8, 8)
