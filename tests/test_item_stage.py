"""The stage that changes items: what may be in it, ours or of others, and what an item holds."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from items_made import jpeg, smooth
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as V

from learnlite.vision.image import LazyImage, read_image
from learnlite.vision.item_stage import ItemStage, OnArrays, OnlyTraining
from learnlite.vision.item_tfms import (
    CropPad,
    DihedralItem,
    FlipItem,
    ItemTransform,
    RandomCrop,
    RandomResizedCrop,
    Resize,
    ToTensor,
)


def test_an_item_may_hold_images_of_several_sizes() -> None:
    stage = ItemStage([Resize(32), FlipItem()])
    first, second, label = stage((LazyImage(jpeg(410, 533)), LazyImage(jpeg(90, 70)), 3))
    assert first.shape == second.shape == (3, 32, 32) and label == 3


def test_an_image_and_its_full_mask_stay_together_when_the_image_is_decoded_smaller() -> None:
    height, width = 410, 533
    codes = (smooth(height, width)[0] > 120).to(torch.uint8)
    stage = ItemStage([RandomResizedCrop(48, min_scale=0.3), DihedralItem()])
    for trial in range(10):
        torch.manual_seed(trial)
        image, mask = stage((LazyImage(jpeg(height, width)), tv_tensors.Mask(codes)))
        assert ((image[0] > 120) == (mask > 0)).float().mean() > 0.95


def test_a_mask_of_another_size_is_told() -> None:
    mask = tv_tensors.Mask(torch.zeros(40, 30, dtype=torch.uint8))
    with pytest.raises(ValueError, match="the image has 80 x 100 pixels, its mask 40 x 30; they"):
        ItemStage(Resize(8))((tv_tensors.Image(smooth(80, 100)), mask))


def test_images_without_a_transform_are_read_whole() -> None:
    data = jpeg(41, 53)
    image, label = ItemStage()((LazyImage(data), 5))
    assert torch.equal(image, read_image(data)) and label == 5


def test_transforms_of_others_go_where_ours_go() -> None:
    data = jpeg(96, 160)
    whole = read_image(data)
    seen: list[Any] = []

    def look(elements: tuple[Any, ...]) -> tuple[Any, ...]:
        seen.extend(elements)
        return elements

    stage = ItemStage([look, v2.Compose([v2.Resize(48), Resize(24)]), v1.CenterCrop(16)])
    image, label = stage((LazyImage(data), 9))
    assert torch.equal(seen[0], whole) and seen[1] == label == 9
    assert type(image) is tv_tensors.Image and image.shape == (3, 16, 16)


def test_a_class_of_a_transform_stands_for_one_without_settings() -> None:
    assert isinstance(ItemStage(ToTensor).tfms[0], ToTensor)


def test_a_function_that_forgets_an_element_is_told() -> None:
    def forget(elements: tuple[Any, ...]) -> Any:
        return elements[0]

    with pytest.raises(TypeError, match="`forget` is called with the item, a tuple of 2 elements"):
        ItemStage(forget)((tv_tensors.Image(smooth(8, 8)), 1))


def test_transforms_for_training_alone_leave_validation_as_it_is() -> None:
    image = tv_tensors.Image(smooth(8, 9))
    tfm = OnlyTraining(v2.RandomHorizontalFlip(1.0))
    assert torch.equal(ItemStage(tfm)((image,))[0], image.flip(-1))
    assert torch.equal(ItemStage(tfm, training=False)((image,))[0], image)


def test_transforms_of_arrays_get_image_and_mask_and_a_seed() -> None:
    class Crop:
        """In the form of albumentations', with a random generator of its own."""

        def set_random_seed(self, seed: int) -> None:
            self.generator = np.random.default_rng(seed)

        def __call__(self, image: Any, mask: Any) -> dict[str, Any]:
            assert image.shape == (20, 30, 3) and mask.shape == (20, 30)
            x = int(self.generator.integers(20))
            return {"image": image[:, x : x + 10], "mask": mask[:, x : x + 10]}

    stage = ItemStage(OnArrays(Crop()))
    elements = (tv_tensors.Image(smooth(20, 30)), tv_tensors.Mask(smooth(20, 30)[0]), 1)
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        image, mask, label = stage(elements)
        assert type(image) is tv_tensors.Image and type(mask) is tv_tensors.Mask and label == 1
        assert torch.equal(image[0], mask) and image.shape == (3, 20, 10)
        results.append(image)
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])
    with pytest.raises(ValueError, match="not points; use a transform"):
        stage((*elements, tv_tensors.KeyPoints([[1.0, 1.0]], canvas_size=(20, 30))))


def test_the_stage_can_be_copied_and_says_what_it_does() -> None:
    stage = copy.deepcopy(ItemStage([Resize(8)], training=False))
    assert "Resize" in repr(stage) and "training=False" in repr(stage)


@pytest.mark.parametrize("p", [0.0, 1.0])
@pytest.mark.parametrize("flip", [v2.RandomHorizontalFlip, v2.RandomVerticalFlip])
@pytest.mark.parametrize("wrap", [lambda tfm: tfm, OnlyTraining, lambda tfm: v2.Compose([tfm])])
def test_points_go_with_their_pixel_in_torchvisions_flips(wrap: Any, flip: Any, p: float) -> None:
    pixels = torch.zeros(1, 20, 30, dtype=torch.uint8)
    pixels[0, 4, 7] = 255
    points = tv_tensors.KeyPoints([[7.5, 4.5]], canvas_size=(20, 30))
    image, (point,) = ItemStage(wrap(flip(p)))((tv_tensors.Image(pixels), points))
    y, x = divmod(int(image.argmax()), 30)
    assert point.tolist() == [x + 0.5, y + 0.5]


def test_a_transform_without_steps_cannot_be_made() -> None:
    class Wave(ItemTransform):
        pass

    with pytest.raises(TypeError, match="Wave .*method '?steps"):
        Wave()  # type: ignore[abstract]


def test_boxes_are_cut_at_the_edges_and_those_outside_can_be_dropped() -> None:
    boxes = tv_tensors.BoundingBoxes(
        [[0.0, 0, 30, 30], [90, 60, 100, 80]], format="XYXY", canvas_size=(80, 100)
    )
    elements = (tv_tensors.Image(smooth(80, 100)), boxes, torch.tensor([1, 2]))
    moved = ItemStage(CropPad(40))(elements)
    assert moved[1].tolist() == [[0, 0, 0, 10], [40, 40, 40, 40]]
    kept = ItemStage(
        [RandomCrop((40, 80)), v2.SanitizeBoundingBoxes(labels_getter=lambda item: item[2])],
        training=False,
    )(elements)
    assert kept[1].tolist() == [[0, 0, 20, 10]] and kept[2].tolist() == [1]
    with pytest.raises(ValueError, match="boxes are moved as XYXY .* got CXCYWH"):
        CropPad(8)(
            V.convert_bounding_box_format(boxes, new_format=tv_tensors.BoundingBoxFormat.CXCYWH)
        )


def test_real_photos_lose_nothing_to_the_smaller_decode(test_data: Path, tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(test_data / "data" / "hymenoptera_data.tar") as archive:
        members = [member for member in archive if member.name.endswith(".jpg")][:12]
        photos = [archive.extractfile(member).read() for member in members]
    stage = ItemStage(RandomResizedCrop(96, min_scale=0.35))
    for i, data in enumerate(photos):
        torch.manual_seed(i)
        (small,) = stage((LazyImage(data),))
        torch.manual_seed(i)
        (full,) = stage((read_image(data),))
        assert (small.float() - full.float()).abs().mean() < 12
