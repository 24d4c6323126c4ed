"""Light and colours of batches, each sample by itself: references, statistics, what is fused."""

import math

import pytest
import torch
from torchvision.transforms.v2 import functional as vision

from learnlite.vision.batch_tfms import BatchTfms, Normalize, imagenet_stats
from learnlite.vision.fuse import FusedTransform, changed_images
from learnlite.vision.lighting import Brightness, Contrast, Hue, Saturation

IMAGE = ("image",)
ALL = [Brightness, Contrast, Saturation, Hue]


def changed(tfms, x, training=True):
    return BatchTfms(tfms)((x,), IMAGE, training)[0]


def logits(x):
    return torch.log(x.double() / (1 - x.double()))


def inner(*shape):
    """Values apart from black and white, where logits are exact."""
    return torch.rand(*shape) * 0.9 + 0.05


def test_brightness_shifts_logits_and_contrast_scales_them():
    x = inner(3, 3, 5, 7)
    greys, factors = [0.4, 0.5, 0.65], [0.8, 1.0, 1.3]
    light = changed(Brightness(p=1.0, draw=greys), x)
    shift = logits(torch.tensor(greys)).view(3, 1, 1, 1)
    assert torch.allclose(light.double(), (logits(x) + shift).sigmoid(), atol=1e-5)
    strong = changed(Contrast(p=1.0, draw=factors), x)
    scale = torch.tensor(factors).view(3, 1, 1, 1)
    assert torch.allclose(strong.double(), (logits(x) * scale).sigmoid(), atol=1e-5)


def test_saturation_mixes_with_the_grey_of_torchvision_in_logits():
    x = inner(3, 3, 5, 7)
    factors = torch.tensor([0.0, 0.7, 1.4])
    new = changed(Saturation(p=1.0, draw=factors.tolist()), x)
    grey = vision.rgb_to_grayscale(logits(x))
    f = factors.view(3, 1, 1, 1)
    assert torch.allclose(new.double(), (logits(x) * f + grey * (1 - f)).sigmoid(), atol=1e-3)


@pytest.mark.parametrize("turn", [-0.4, -0.1, 0.0, 0.05, 1 / 3, 0.5])
def test_a_turn_of_the_hue_is_torchvisions(turn):
    x = torch.rand(2, 3, 9, 9)
    new = changed(Hue(p=1.0, draw=turn), x)
    assert torch.allclose(new, vision.adjust_hue(x, turn), atol=1e-4)
    whole = changed(Hue(p=1.0, draw=turn + 1), x)
    assert torch.allclose(new, whole, atol=1e-4)


def test_one_pass_does_what_all_do_one_after_the_other():
    x = inner(4, 3, 6, 6)
    tfms = [
        Brightness(p=1.0, draw=[0.4, 0.5, 0.6, 0.55]),
        Contrast(p=1.0, draw=[1.2, 0.8, 1.0, 1.1]),
        Saturation(p=1.0, draw=[0.6, 1.5, 1.0, 0.9]),
        Brightness(p=1.0, draw=0.45),
        Contrast(p=1.0, draw=0.9),
        Saturation(p=1.0, draw=1.1),
    ]
    for order in (tfms, tfms[::-1], tfms[2:] + tfms[:2]):
        want = x
        for tfm in order:
            want = changed(tfm, want)
        assert len(FusedTransform(order)._operations(x, True)) == 1
        assert torch.allclose(changed(order, x), want, atol=1e-4)


@pytest.mark.parametrize("make", ALL)
def test_numbers_that_change_nothing_change_nothing(make):
    x = torch.rand(2, 3, 5, 5)
    neutral = {Brightness: 0.5, Hue: 0.0}.get(make, 1.0)
    assert torch.allclose(changed(make(p=1.0, draw=neutral), x), x, atol=1e-5)


@pytest.mark.parametrize("make", ALL)
def test_validation_and_a_chance_of_zero_change_nothing(make):
    x = torch.rand(2, 3, 5, 5)
    state = torch.get_rng_state()
    assert changed(make(p=1.0), x, training=False) is x
    assert changed(make(p=0.0), x) is x
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("make", ALL)
def test_values_stay_between_black_and_white(make):
    x = torch.randint(0, 2, (64, 3, 6, 6)).float()
    new = changed(make(0.9, p=1.0), x)
    assert new.isfinite().all()
    assert new.min() >= 0 and new.max() <= 1


# What is drawn


def numbers(tfm, n=4000):
    """What was drawn for each of many samples, from what it does to known pixels."""
    x = torch.tensor([0.6, 0.5, 0.4]).view(1, 3, 1, 1).expand(n, 3, 1, 1)
    return changed(tfm, x)[:, :, 0, 0].double()


def uniform_in(values, low, high):
    spread = (high - low) / math.sqrt(12)
    assert low - 1e-3 <= values.min() and values.max() <= high + 1e-3
    assert values.mean() == pytest.approx(
        (low + high) / 2, abs=4.5 * spread / math.sqrt(len(values))
    )
    assert values.std() == pytest.approx(spread, rel=0.06)


def test_medium_grey_becomes_uniformly_lighter_or_darker():
    uniform_in(numbers(Brightness(0.3, p=1.0))[:, 1], 0.35, 0.65)


def test_logarithms_of_contrast_and_saturation_are_uniform():
    bound = -math.log(1 - 0.3)
    contrast = logits(numbers(Contrast(0.3, p=1.0))[:, 0]) / math.log(0.6 / 0.4)
    uniform_in(contrast.log(), -bound, bound)
    red, _, blue = logits(numbers(Saturation(0.3, p=1.0))).unbind(1)
    uniform_in(((red - blue) / (2 * math.log(0.6 / 0.4))).log(), -bound, bound)


def test_hues_turn_by_at_most_the_bounds():
    red, green, blue = numbers(Hue(0.1, p=1.0)).unbind(1)
    turned = torch.atan2(3**0.5 * (green - blue), 2 * red - green - blue)
    start = math.atan2(3**0.5 * 0.1, 1.2 - 0.9)
    turned = (turned - start) / (2 * math.pi)
    assert -0.12 < turned.min() < -0.08 and 0.09 < turned.max() < 0.13


@pytest.mark.parametrize("make", ALL)
def test_the_part_p_of_the_samples_is_changed(make):
    new = numbers(make(0.5, p=0.75))
    same = (new - torch.tensor([0.6, 0.5, 0.4])).abs().amax(1) < 1e-5
    assert same.float().mean() == pytest.approx(0.25, abs=4.5 * math.sqrt(0.1875 / 4000) + 1e-3)


@pytest.mark.parametrize("make", ALL)
def test_samples_draw_their_own_numbers_unless_the_batch_shares_them(make):
    assert len(numbers(make(0.5, p=1.0), 50).unique(dim=0)) > 40
    shared = numbers(make(0.5, p=1.0, batch=True), 50)
    assert (shared - shared[0]).abs().max() < 1e-6


# How it is done


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16, torch.bfloat16])
def test_a_device_and_a_cpu_give_the_same(dtype):
    x = (torch.rand(37, 3, 60, 60) * 255).to(dtype)
    x = x if dtype is torch.uint8 else x / 255
    stage = FusedTransform([*(make(p=1.0) for make in ALL), Normalize(*imagenet_stats)])
    ops = stage._operations(x, True)
    whole = changed_images(x, None, ops, by_parts=False)
    parts = changed_images(x, None, ops, by_parts=True)
    assert whole.dtype is parts.dtype is (torch.float32 if dtype is torch.uint8 else dtype)
    assert torch.allclose(whole, parts, atol=1e-5)


def test_grey_images_get_light_and_no_colour():
    x = inner(3, 1, 4, 4)
    torch.manual_seed(0)
    new = changed([Brightness(p=1.0), Saturation(p=1.0), Hue(p=1.0)], x)
    torch.manual_seed(0)
    assert torch.equal(new, changed(Brightness(p=1.0), x))


def test_four_channels_get_light_and_colours_are_refused():
    x = inner(3, 4, 4, 4)
    assert changed([Brightness(p=1.0), Contrast(p=1.0)], x).shape == x.shape
    with pytest.raises(ValueError, match="images of three channels, or one, which stays; got 4"):
        changed(Hue(), x)


@pytest.mark.parametrize("make", ALL)
def test_what_is_out_of_range_is_refused(make):
    with pytest.raises(ValueError, match="must be at least 0 and below 1, got 1"):
        make(1)
    with pytest.raises(ValueError, match="`p` is the part of the images"):
        make(p=-0.1)
