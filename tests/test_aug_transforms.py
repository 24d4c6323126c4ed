"""`aug_transforms`, the composition of batch transforms, `Normalize`, bytes, and erased boxes."""

import math
import pickle

import pytest
import torch
from reads import Reads
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms.v2 import functional as vision

from learnlite.vision.affine import Dihedral, Flip, RandomResizedCropGPU, Rotate, Warp, Zoom
from learnlite.vision.aug import RandomErasing, aug_transforms
from learnlite.vision.batch_tfms import (
    BatchTfms,
    IntToFloatTensor,
    Normalize,
    imagenet_stats,
    mnist_stats,
)
from learnlite.vision.fuse import (
    FusedTransform,
    PixelTransform,
    SpaceTransform,
    changed_images,
)
from learnlite.vision.lighting import Brightness, Contrast, Hue, Saturation

IMAGE = ("image",)


class Calls(TorchDispatchMode):
    """Notes the names of what torch is asked to do."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func._schema.name)
        return func(*args, **(kwargs or {}))


def names(tfms):
    return [type(tfm).__name__ for tfm in tfms]


def photos(n=6, channels=3, height=64, width=64):
    return torch.randint(256, (n, channels, height, width), dtype=torch.uint8)


# What `aug_transforms` gives


def test_the_defaults_are_those_of_fastai():
    tfms = aug_transforms()
    assert names(tfms) == ["Flip", "Warp", "Rotate", "Zoom", "Brightness", "Contrast"]
    flip, warp, rotate, zoom, brightness, contrast = tfms
    assert flip.p == 0.5 and rotate.max_deg == 10.0 and warp.magnitude == 0.2
    assert (zoom.min_zoom, zoom.max_zoom) == (1.0, 1.1)
    assert rotate.p == warp.p == zoom.p == brightness.p == contrast.p == 0.75
    assert brightness.max_lighting == contrast.max_lighting == 0.2
    assert {tfm.pad_mode for tfm in tfms[:4]} == {"reflection"}


def test_arguments_choose_what_there_is():
    assert names(aug_transforms(do_flip=False, max_warp=0, max_lighting=0)) == ["Rotate", "Zoom"]
    assert names(aug_transforms(flip_vert=True))[0] == "Dihedral"
    assert names(aug_transforms(max_zoom=1))[:3] == ["Flip", "Warp", "Rotate"]
    assert names(aug_transforms(size=32))[4] == "ResizeBatch"
    assert names(aug_transforms(size=32, min_scale=0.5))[4] == "RandomResizedCropGPU"
    assert names(aug_transforms(xtra_tfms=[RandomErasing()]))[-1] == "RandomErasing"
    assert names(aug_transforms(xtra_tfms=RandomErasing()))[-1] == "RandomErasing"


def test_mult_makes_rotation_light_and_warp_stronger():
    _, warp, rotate, zoom, brightness, _ = aug_transforms(mult=2.0)
    assert (warp.magnitude, rotate.max_deg, brightness.max_lighting) == (0.4, 20.0, 0.4)
    assert zoom.max_zoom == 1.1


def test_a_crop_without_a_size_is_refused():
    with pytest.raises(ValueError, match="`min_scale=0.5` crops, and a crop fills `size`"):
        aug_transforms(min_scale=0.5)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("shape", [(64, 64), (50, 80)])
@pytest.mark.parametrize("given", [{}, {"size": 24}, {"size": (24, 40), "min_scale": 0.6}])
def test_any_images_pass_in_training_and_in_validation(given, shape, channels):
    x = photos(1, channels, *shape)
    tfms = BatchTfms([*aug_transforms(**given), Normalize.from_stats(*mnist_stats)])
    size = given.get("size", shape)
    size = (size, size) if isinstance(size, int) else size
    for training in (True, False):
        (new,) = tfms((x,), IMAGE, training)
        assert new.shape == (1, channels, *size)
        assert new.dtype is torch.float32 and new.isfinite().all() and not new.requires_grad


def test_the_whole_recipe_reads_pixels_once():
    stages = BatchTfms([*aug_transforms(size=32, min_scale=0.75), Normalize(*imagenet_stats)])
    assert [type(stage) for stage in stages._stages] == [FusedTransform]
    with Calls() as calls:
        stages((photos(1),), IMAGE, True)
    assert calls.names.count("aten::grid_sampler_2d") == 1


def test_no_corner_is_black_with_reflection():
    x = torch.full((200, 1, 32, 32), 200, dtype=torch.uint8)
    for pad_mode in ("reflection", "border"):
        tfms = aug_transforms(mult=2, max_lighting=0, pad_mode=pad_mode, min_zoom=0.6)
        assert torch.allclose(BatchTfms(tfms)((x,), IMAGE, True)[0], torch.tensor(200 / 255))
    tfms = aug_transforms(mult=2, max_lighting=0, pad_mode="zeros", min_zoom=0.6)
    assert BatchTfms(tfms)((x,), IMAGE, True)[0].min() == 0


def test_without_chances_only_the_size_is_changed():
    tfms = aug_transforms(do_flip=False, p_affine=0, p_lighting=0, size=20)
    x = photos()
    train, valid = (BatchTfms(tfms)((x,), IMAGE, training)[0] for training in (True, False))
    assert torch.equal(train, valid)
    want = vision.resize(x, [20, 20], antialias=True).float() / 255
    assert torch.equal(train, want)


def test_the_same_seed_gives_the_same_batch():
    tfms = BatchTfms([*aug_transforms(size=24, min_scale=0.5), RandomErasing()])
    x = photos()
    batches = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        batches.append(tfms((x,), IMAGE, True)[0])
    assert torch.equal(batches[0], batches[1])
    assert not torch.equal(batches[0], batches[2])


def test_validation_is_always_the_same():
    tfms = BatchTfms([*aug_transforms(size=24, min_scale=0.5), RandomErasing()])
    x = photos(height=50)
    first, second = (tfms((x,), IMAGE, False)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_all_images_can_share_what_is_drawn():
    x = photos(1).expand(5, 3, 64, 64)
    for tfms in (aug_transforms(batch=True), aug_transforms(batch=True, size=20, min_scale=0.5)):
        (new,) = BatchTfms(tfms)((x,), IMAGE, True)
        assert (new - new[0]).abs().max() < 1e-6
    (new,) = BatchTfms(aug_transforms())((x,), IMAGE, True)
    assert (new[1:] - new[0]).abs().amax((1, 2, 3)).min() > 1e-3


# Composition


def test_transforms_run_in_their_order_and_others_keep_their_place():
    def mine(batch, kinds, training):
        return batch

    def first(batch, kinds, training):
        return batch

    tfms = BatchTfms([first, Normalize(*mnist_stats), [Rotate(), mine], Contrast(), Flip()])
    assert [getattr(tfm, "__name__", type(tfm).__name__) for tfm in tfms.tfms] == [
        "first",
        "Rotate",
        "mine",
        "Flip",
        "Contrast",
        "Normalize",
    ]
    assert BatchTfms(tfms).tfms == tfms.tfms
    assert BatchTfms(None).tfms == BatchTfms([]).tfms == ()


def test_different_padding_is_not_fused():
    apart = BatchTfms([Rotate(pad_mode="zeros"), Zoom(pad_mode="border")])
    assert len(apart._stages) == 2
    assert len(BatchTfms([Rotate(), Zoom(), Flip(), Warp(), Dihedral()])._stages) == 1


def test_what_is_no_transform_is_refused():
    with pytest.raises(TypeError, match="got the class `Flip`"):
        BatchTfms([Flip])
    with pytest.raises(TypeError, match="got 3"):
        BatchTfms([Flip(), 3])


def test_a_device_is_not_read():
    x = photos()
    stage = FusedTransform(
        list(BatchTfms([*aug_transforms(size=24, min_scale=0.1), Normalize(*imagenet_stats)]).tfms)
    )
    with Reads() as reads, torch.no_grad():
        ops = stage._operations(x, True)
        changed_images(x, stage._drawn(x, (64, 64)), ops, by_parts=False)
    assert reads.count == 0


@pytest.mark.parametrize("training", [True, False])
def test_all_is_made_where_the_batch_lies(training):
    """A device without numbers refuses those of another, and to be read."""
    x = photos().to("meta")
    batch = x, x[:, 0], torch.zeros(6, 2, 2, device="meta"), torch.zeros(6, 2, 4, device="meta")
    extra = [Saturation(), Hue(), RandomErasing()]
    for size in ({}, {"size": 24}, {"size": 24, "min_scale": 0.1}):
        tfms = [*aug_transforms(flip_vert=True, xtra_tfms=extra, **size), IntToFloatTensor()]
        tfms = BatchTfms([*tfms, Normalize(*imagenet_stats)])
        new = tfms(batch, ("image", "mask", "points", "boxes"), training)
        assert all(part.device.type == "meta" for part in new)
        assert new[0].shape[-1] == new[1].shape[-1] == size.get("size", 64)


# Normalize and bytes


def test_normalizing_is_torchvisions_and_can_be_undone():
    x = photos()
    tfms = BatchTfms(Normalize.from_stats(*imagenet_stats))
    (new,) = tfms((x,), IMAGE, True)
    assert torch.allclose(new, vision.normalize(x.float() / 255, *imagenet_stats), atol=1e-6)
    (back,) = tfms.decode((new,), IMAGE)
    assert torch.allclose(back, x.float() / 255, atol=1e-6)


def test_statistics_come_from_a_batch_as_validation_sees_it():
    x = photos(16, 3, 32, 32)
    tfms = BatchTfms([Normalize(), *aug_transforms(size=16)])
    with pytest.raises(RuntimeError, match="no mean and standard deviation yet"):
        tfms((x,), IMAGE, True)
    tfms.setup((x, torch.zeros(16)), ("image", None))
    (new,) = tfms((x,), IMAGE, False)
    assert new.mean((0, 2, 3)).abs().max() < 1e-4
    assert torch.allclose(new.std((0, 2, 3)), torch.ones(3), atol=1e-4)
    before = tfms.tfms[-1].mean
    tfms.setup((x * 0, torch.zeros(16)), ("image", None))
    assert tfms.tfms[-1].mean is before


def test_a_transform_survives_pickling():
    tfms = BatchTfms([*aug_transforms(), Normalize(*imagenet_stats)])
    x = photos()
    tfms((x,), IMAGE, False)
    (want,), (new,) = (
        some((x,), IMAGE, False) for some in (tfms, pickle.loads(pickle.dumps(tfms)))
    )
    assert torch.equal(want, new)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5], None), "needs both `mean` and `std`"),
        (([0.5], [0.5, 0.5]), "a number for each channel, got 1 and 2"),
        (([0.5], [0.0]), "`std` must be above 0, got"),
    ],
)
def test_statistics_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Normalize(*arguments)


def test_as_many_statistics_as_channels():
    with pytest.raises(ValueError, match="has 3 means, but the images have 1 channels"):
        Normalize(*imagenet_stats)((photos(2, 1),), IMAGE, True)


def test_bytes_become_floats_whatever_stands_around():
    x, mask = photos(), photos(6, 1)[:, 0]
    plain = BatchTfms(IntToFloatTensor())((x, mask), ("image", "mask"), True)
    assert torch.equal(plain[0], x.float() / 255)
    assert plain[1].dtype is torch.int64
    around = BatchTfms([IntToFloatTensor(), Normalize(*imagenet_stats)])
    assert len(around._stages) == 2 and type(around._stages[0]) is FusedTransform
    want = vision.normalize(x.float() / 255, *imagenet_stats)
    assert torch.allclose(around((x,), IMAGE, True)[0], want, atol=1e-6)
    deep = torch.full((1, 1, 2, 2), 65535, dtype=torch.int32)
    tfms = BatchTfms([Normalize([0.5], [0.5]), IntToFloatTensor(div=65535)])
    assert torch.equal(tfms((deep,), IMAGE, True)[0], torch.ones(1, 1, 2, 2))


# Erased boxes


def test_boxes_have_the_area_asked_for_after_a_change_of_size():
    tfm = RandomErasing(p=1.0, sl=0.1, sh=0.3)
    x = torch.zeros(400, 1, 60, 80)
    (new,) = BatchTfms([tfm, RandomResizedCropGPU((100, 100))])((x,), IMAGE, True)
    share = (new != 0).float().mean((1, 2, 3))
    assert share.min() > 0.05 and share.max() < 0.31
    assert share.mean() == pytest.approx(0.2, abs=0.02)


def test_the_noise_is_standard_normal_and_fills_a_box():
    (new,) = RandomErasing(p=1.0, sl=0.2, sh=0.2)((torch.zeros(50, 3, 40, 40),), IMAGE, True)
    noise = new[new != 0]
    assert noise.mean() == pytest.approx(0, abs=4.5 / math.sqrt(len(noise)))
    assert noise.std() == pytest.approx(1, rel=0.02)
    for image in new[:, 0] != 0:
        rows, columns = image.any(1), image.any(0)
        assert torch.equal(image, rows[:, None] & columns)


def test_half_of_the_images_are_erased_in_training_alone():
    x = torch.zeros(1000, 1, 20, 20)
    (new,) = RandomErasing(0.5, sl=0.1)((x,), IMAGE, True)
    part = (new != 0).any(3).any(2).float().mean()
    assert part == pytest.approx(0.5, abs=4.5 * 0.5 / math.sqrt(1000))
    assert RandomErasing()((x,), IMAGE, False)[0] is x


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"p": 2}, "`p` is the part of the images"),
        ({"sl": 0.5, "sh": 0.2}, "0 <= sl <= sh <= 1; got 0.5 and 0.2"),
        ({"min_aspect": 0}, "smallest ratio of a box's sides"),
        ({"max_count": 0}, "`max_count` counts boxes"),
    ],
)
def test_boxes_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        RandomErasing(**arguments)


# Of your own


def test_a_base_class_and_one_that_lacks_its_method_cannot_be_made():
    class Shear(SpaceTransform):
        pass

    class Invert(PixelTransform):
        pass

    for made, lacks in ((Shear, "matrix"), (Invert, "operation"), (PixelTransform, "operation")):
        with pytest.raises(TypeError, match=f"{made.__name__} .*method '?{lacks}"):
            made()


def test_what_was_not_given_is_not_shown():
    assert repr(Flip()) == "Flip(mode='bilinear', pad_mode='reflection', p=0.5, batch=False)"
    assert "draw=0.5" in repr(Flip(draw=0.5))


def test_an_error_names_the_transform_and_what_it_was_given():
    def broken(batch, kinds, training):
        raise KeyError("key")

    batch, kinds = (photos(2, 4, 8, 8), torch.zeros(2)), ("image", None)
    with pytest.raises(KeyError) as caught:
        BatchTfms([Flip(), broken])(batch, kinds, True)
    (note,) = caught.value.__notes__
    assert "`broken` changed image (2, 4, 8, 8) of float32, a tensor (2,) of float32" in note
    with pytest.raises(ValueError, match="3 means, but the images have 4 channels") as caught:
        BatchTfms([Flip(), Normalize(*imagenet_stats)])(batch, kinds, True)
    (note,) = caught.value.__notes__
    assert "`Flip(" in note and " + Normalize(" in note and "image (2, 4, 8, 8) of uint8" in note


@pytest.mark.parametrize(
    ("given", "told"), [(None, "a `NoneType`"), ((1,), "a `tuple` of 1"), (torch.ones(2), "Tensor")]
)
def test_a_batch_transform_must_give_the_batch_back(given, told):
    with pytest.raises(TypeError, match=f"`<lambda>` must return .* of 2 elements, got .*{told}"):
        BatchTfms(lambda b, k, t: given)((torch.ones(1), torch.ones(1)), (None, None), True)


# On a GPU


@pytest.mark.gpu
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_gpu_gives_what_a_cpu_gives(channels_last):
    x = photos(8, 3, 96, 96)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    tfms = BatchTfms(
        [
            Dihedral(p=1.0, draw=[0, 1, 2, 3, 4, 5, 6, 7]),
            Warp(p=1.0, draw_x=0.1, draw_y=-0.2),
            Rotate(p=1.0, draw=20.0),
            Zoom(p=1.0, draw=1.1, draw_x=0.2, draw_y=0.9, size=48),
            Brightness(p=1.0, draw=0.6),
            Normalize(*imagenet_stats),
        ]
    )
    mask, points = x[:, 0].long(), torch.rand(8, 4, 2) * 96
    batch, kinds = (x, mask, points), ("image", "mask", "points")
    there = tuple(part.cuda() for part in batch)
    for training in (True, False):
        want = tfms(batch, kinds, training)
        new = tfms(there, kinds, training)
        assert new[0].is_contiguous(memory_format=torch.channels_last) == channels_last
        assert (new[0].cpu() - want[0]).abs().max() < 0.03
        assert (new[1].cpu() == want[1]).float().mean() > 0.999
        assert torch.allclose(new[2].cpu(), want[2], atol=1e-3)
