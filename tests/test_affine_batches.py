"""Batches through transforms that move pixels: both paths, their bounds, what goes through."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from affine_made import IMAGE, everything, moved_by, smooth
from reads import Reads
from torchvision.transforms.v2 import functional as vision

from learnlite.vision.affine import (
    Dihedral,
    Flip,
    RandomResizedCropGPU,
    ResizeBatch,
    Rotate,
    Warp,
    Zoom,
)
from learnlite.vision.batch_tfms import BatchTfms
from learnlite.vision.fuse import FusedTransform, changed_images
from learnlite.vision.sampling import levels


@pytest.mark.parametrize("kind", ["bytes", "floats", "channels last", "grey", "four channels"])
@pytest.mark.parametrize("tfms", ["all", "flips", "crop", "size"])
def test_a_device_and_a_cpu_give_the_same(tfms, kind):
    n, channels = 13, {"grey": 1, "four channels": 4}.get(kind, 3)
    x = smooth(n, channels, 64, 64)
    x = x if kind == "floats" else (x * 255).round().to(torch.uint8)
    if kind == "channels last":
        x = x.contiguous(memory_format=torch.channels_last)
    chosen = {
        "all": everything(),
        "flips": [Dihedral()],
        "crop": [RandomResizedCropGPU(16, min_scale=0.1)],
        "size": [ResizeBatch(24)],
    }[tfms]
    stage = FusedTransform(chosen)
    for make in (stage._drawn, stage._fixed):
        sampling = make(x, (64, 64))
        whole = changed_images(x, sampling, [], by_parts=False)
        parts = changed_images(x, sampling, [], by_parts=True)
        assert whole.dtype is parts.dtype is torch.float32
        assert whole.stride() == parts.stride()
        tolerance = 1e-5 if kind == "floats" else 1.01 / 255  # made smaller in bytes on a CPU
        assert (whole - parts).abs().max() < tolerance


@pytest.mark.parametrize("training", [True, False])
def test_no_number_is_read_from_a_device(training):
    x = torch.randint(256, (8, 3, 64, 64), dtype=torch.uint8)
    stage = FusedTransform(everything())
    with Reads() as reads, torch.no_grad():
        sampling = (stage._drawn if training else stage._fixed)(x, (64, 64))
        changed_images(x, sampling, [], by_parts=False)
        sampling.nearest(x[:, 0])
    assert reads.count == 0


def test_large_images_are_averaged_and_not_sampled_here_and_there():
    stripes = (torch.arange(240) % 2).float().expand(2, 3, 240, 240).contiguous()
    for tfms in ([Rotate(p=1.0, draw=3.0, size=60)], [RandomResizedCropGPU(60, min_scale=0.6)]):
        new = moved_by(tfms, stripes)[0]
        assert (new - 0.5).abs().mean() < 0.05


def test_the_sizes_to_sample_from_cover_the_span():
    for low in (0.3, 1.0, 1.7):
        for high in (low, 1.3 * low, 3 * low, 9 * low):
            factors = levels(low, high)
            assert factors[0] == max(low / 1.25, 1.0)
            assert high / factors[-1] <= 1.9
            assert all(a < b for a, b in pairwise(factors))


def test_the_same_seed_gives_the_same_batch_for_any_number_of_threads():
    x = torch.randint(256, (9, 3, 40, 40), dtype=torch.uint8)
    batches = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        torch.manual_seed(5)
        batches.append(moved_by(everything(), x)[0])
    torch.set_num_threads(1)
    assert torch.equal(*batches)


def test_a_sample_does_not_depend_on_the_others():
    x = torch.randint(256, (7, 3, 40, 40), dtype=torch.uint8)
    other = x.clone()
    other[1:] = 0
    torch.manual_seed(1)
    new = moved_by(everything(), x)[0]
    torch.manual_seed(1)
    assert torch.equal(new[0], moved_by(everything(), other)[0][0])


def test_validation_draws_nothing_and_gets_the_size():
    x = torch.randint(256, (4, 3, 40, 60), dtype=torch.uint8)
    tfms = BatchTfms([Flip(), Rotate(), RandomResizedCropGPU(20, ratio=(1, 1))])
    state = torch.get_rng_state()
    batch = (x, x[:, 0], torch.tensor([[[30.0, 20.0]]]).expand(4, 1, 2))
    new, mask, points = tfms(batch, ("image", "mask", "points"), training=False)
    assert torch.equal(state, torch.get_rng_state())
    want = vision.resize(x[..., 10:50], [20, 20], antialias=True).float() / 255
    assert torch.equal(new, want)
    assert mask.shape == (4, 20, 20)
    assert torch.allclose(points, torch.tensor([10.0, 10.0]))


def test_validation_without_a_size_changes_bytes_to_floats_only():
    x = torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8)
    (new,) = BatchTfms([Flip(), Rotate(), Zoom()])((x,), IMAGE, training=False)
    assert torch.equal(new, x.float() / 255)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floats_come_back_as_they_went_in(dtype):
    x = smooth().to(dtype)
    torch.manual_seed(0)
    (new,) = moved_by(everything(), x)
    torch.manual_seed(0)
    (want,) = moved_by(everything(), x.float())
    assert new.dtype is dtype
    assert (new.float() - want).abs().max() < 0.01


def test_a_batch_of_one_and_channels_last_are_kept():
    x = torch.rand(1, 3, 20, 30).contiguous(memory_format=torch.channels_last)
    (new,) = moved_by([Rotate(p=1.0), Warp(p=1.0)], x)
    assert new.is_contiguous(memory_format=torch.channels_last)
    assert not new.requires_grad


def test_the_batch_that_came_in_stays_as_it_was():
    x = smooth()
    before = x.clone()
    for training in (True, False):
        BatchTfms(everything())((x,), IMAGE, training)
        BatchTfms([RandomResizedCropGPU(40, valid_scale=0.5)])((x,), IMAGE, training)
    assert torch.equal(x, before)


def test_pairs_of_images_move_together_each_in_its_own_size():
    small = smooth(3, 3, 20, 20)
    large = F.interpolate(small, scale_factor=2, mode="nearest")
    a, b = moved_by([Rotate(p=1.0), Flip()], (small, large), ("image", "image"))
    assert a.shape[-1] == 20 and b.shape[-1] == 40
    assert (F.avg_pool2d(b, 2) - a).abs().mean() < 0.02


def test_what_is_no_image_goes_through():
    labels = torch.arange(3)
    batch = moved_by([Rotate()], (smooth(3), labels), ("image", None))
    assert batch[1] is labels
    assert moved_by([Rotate()], (labels,), (None,))[0] is labels


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Flip(p=2), "`p` is the part of the images that is changed, 0 to 1; got 2"),
        (lambda: Rotate(mode="linear"), "`mode` is one of"),
        (lambda: Rotate(pad_mode="reflect"), "`pad_mode` is one of"),
        (lambda: Zoom(1.2, 1.1), "`min_zoom` is at most `max_zoom`, got 1.2 and 1.1"),
        (lambda: Warp(0.5), "below 0.5"),
        (lambda: RandomResizedCropGPU(8, min_scale=0), "parts of the image's area"),
        (lambda: RandomResizedCropGPU(8, valid_scale=0), "`valid_scale` is a part of the sides"),
        (lambda: RandomResizedCropGPU(8, ratio=(2, 1)), "`ratio` is the least and the largest"),
        (lambda: ResizeBatch(0), "`size` counts pixels and must be at least 1, got 0"),
    ],
)
def test_arguments_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_is_no_batch_of_images_is_refused():
    with pytest.raises(ValueError, match=r"\(samples, channels, height, width\), got \(3, 4, 4\)"):
        moved_by(Rotate(), torch.zeros(3, 4, 4))
    with pytest.raises(TypeError, match="images are bytes or floats, got torch.int32"):
        moved_by(Rotate(), torch.zeros(1, 3, 4, 4, dtype=torch.int32))
    with pytest.raises(ValueError, match="no images that tell in what size"):
        moved_by(Rotate(), torch.zeros(1, 3, 2), ("points",))
    with pytest.raises(ValueError, match="`draw` has 2 numbers for a batch of 4"):
        moved_by(Rotate(p=1.0, draw=[1.0, 2.0]), smooth())
    with pytest.raises(ValueError, match="has 1 elements but `kinds` tells of 2"):
        moved_by(Rotate(), (smooth(),), ("image", None))
