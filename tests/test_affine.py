"""Flips, turns, zooms, warps and crops of batches: references, places, statistics, both paths."""

import math

import pytest
import torch
from affine_made import drawn, everything, moved_by, smooth
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as vision

from learnlite.vision.affine import (
    Dihedral,
    Flip,
    RandomResizedCropGPU,
    Rotate,
    Warp,
    Zoom,
)
from learnlite.vision.sampling import inverse, product

ALL = ("image", "mask", "points", "boxes")


# References


@pytest.mark.parametrize("pad_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("shape", [(40, 40), (30, 50)])
def test_a_turn_is_torchvisions(shape, pad_mode):
    x = smooth(5, 3, *shape)
    degrees = [-40.0, -7.0, 0.0, 12.0, 90.0]
    new = moved_by(Rotate(p=1.0, draw=degrees, pad_mode=pad_mode), x)[0]
    inside = moved_by(Rotate(p=1.0, draw=degrees, pad_mode="zeros"), torch.ones_like(x))[0].gt(
        0.999
    )
    for i, degree in enumerate(degrees):
        want = vision.affine(x[i], degree, [0.0, 0.0], 1.0, [0.0, 0.0], InterpolationMode.BILINEAR)
        assert inside[i].float().mean() > 0.5
        assert (new[i] - want)[inside[i]].abs().max() < 1e-3


def test_a_zoom_around_a_corner_is_torchvisions_crop_and_resize():
    x = smooth(2, 3, 32, 48)
    new = moved_by(Zoom(p=1.0, draw=2.0, draw_x=[0.0, 1.0], draw_y=[0.0, 1.0]), x)[0]
    for i, (top, left) in enumerate([(0, 0), (16, 24)]):
        # Only the inner part: a crop knows nothing of the pixels beside it.
        want = vision.resized_crop(x[i], top, left, 16, 24, [32, 48], antialias=False)
        assert (new[i] - want)[:, 2:-2, 2:-2].abs().max() < 1e-5


def test_a_warp_is_torchvisions_perspective_between_the_same_corners():
    x = smooth(6, 3, 60, 80)
    u = torch.tensor([0.0, 0.2, -0.2, 0.15, 0.3, -0.1])
    v = torch.tensor([0.2, 0.0, 0.1, -0.2, 0.15, -0.3])
    new = moved_by(Warp(p=1.0, draw_x=u.tolist(), draw_y=v.tolist(), pad_mode="zeros"), x)[0]
    for i in range(len(x)):
        a, b = float(u[i]), float(v[i])
        # The corners that fastai's `Warp` aims at, from the left top on, clockwise.
        there = [(-1 - b, -1 - a), (1 + b, -1 + a), (1 - b, 1 - a), (-1 + b, 1 + a)]
        start = [[0.0, 0.0], [80.0, 0.0], [80.0, 60.0], [0.0, 60.0]]
        end = [[(right + 1) * 40, (down + 1) * 30] for right, down in there]
        want = vision.perspective(x[i], None, None, coefficients=_perspective(start, end))
        difference = (new[i] - want).abs()
        assert difference.median() < 1e-4 and difference.mean() < 2e-3


def _perspective(start, end):
    """The eight numbers that take `end` to `start`."""
    rows, values = [], []
    for (x, y), (u, v) in zip(start, end, strict=True):
        rows += [[u, v, 1, 0, 0, 0, -x * u, -x * v], [0, 0, 0, u, v, 1, -y * u, -y * v]]
        values += [x, y]
    solved = torch.linalg.solve(
        torch.tensor(rows, dtype=torch.float64), torch.tensor(values, dtype=torch.float64)
    )
    return solved.tolist()


@pytest.mark.parametrize("way", range(8))
def test_the_eight_ways_are_those_of_fastai(way):
    x = torch.randint(256, (3, 2, 7, 7), dtype=torch.uint8)
    want = x.flip(-1) if way in (1, 3, 4, 7) else x
    want = want.flip(-2) if way in (2, 4, 5, 7) else want
    want = want.transpose(-1, -2) if way in (3, 5, 6, 7) else want
    new, mask = moved_by(Dihedral(p=1.0, draw=way), (x, x[:, 0]), ("image", "mask"))
    assert torch.equal(new, want.float() / 255)
    assert torch.equal(mask, want[:, 0])


def test_the_eight_ways_are_all_different_and_equally_frequent():
    x = torch.arange(4.0).view(1, 1, 2, 2).expand(8000, 1, 2, 2)
    new = moved_by(Dihedral(p=1.0), x)[0].flatten(1)
    found, counts = new.unique(dim=0, return_counts=True)
    assert len(found) == 8
    assert (counts - 1000).abs().max() < 4.5 * math.sqrt(1000)


def test_a_flip_changes_no_value():
    x = torch.randint(256, (16, 3, 9, 14), dtype=torch.uint8)
    flips = torch.arange(16) % 3 == 0
    new = moved_by(Flip(p=1.0, draw=flips.float().tolist()), x)[0]
    want = torch.where(flips[:, None, None, None], x.flip(-1), x)
    assert torch.equal(new, want.float().div(255))


def test_numbers_that_change_nothing_change_nothing():
    x = smooth(3, 4, 24, 36)
    tfms = [
        Rotate(p=1.0, draw=0.0),
        Zoom(p=1.0, draw=1.0),
        Warp(p=1.0, draw_x=0.0, draw_y=0.0),
    ]
    mask = torch.randint(9, (3, 24, 36))
    points = torch.rand(3, 5, 2) * 24
    boxes = torch.tensor([[[2.0, 3.0, 20.0, 11.0], [0.0, 0.0, 0.0, 0.0]]]).expand(3, 2, 4)
    new = moved_by(tfms, (x, mask, points, boxes), ALL)
    assert torch.allclose(new[0], x, atol=1e-4)
    assert torch.equal(new[1], mask)
    assert torch.allclose(new[2], points, atol=1e-4)
    assert torch.allclose(new[3], boxes, atol=1e-4)


def test_a_chance_of_zero_gives_back_the_batch():
    x = smooth()
    tfms = [Flip(p=0.0), Rotate(p=0.0), Zoom(p=0.0), Warp(p=0.0), Dihedral(p=0.0)]
    assert moved_by(tfms, x)[0] is x


# Where things land


@pytest.mark.parametrize("shape", [(60, 60), (48, 80)])
def test_points_and_masks_land_where_the_pixels_land(shape):
    height, width = shape
    n = 400
    rows, columns = torch.randint(height, (n,)), torch.randint(width, (n,))
    y, x = torch.arange(height).view(-1, 1), torch.arange(width)
    # A soft spot, whose centre of mass is found to a part of a pixel.
    far = (y - rows[:, None, None]) ** 2 + (x - columns[:, None, None]) ** 2
    images = torch.exp(-far / 18)[:, None]
    mask = (far < 9).long() * 7
    points = torch.stack([columns, rows], -1)[:, None] + 0.5
    boxes = torch.cat([points - 3, points + 3], -1)
    new, new_mask, moved, hulls = moved_by(everything("zeros"), (images, mask, points, boxes), ALL)
    assert new.shape[-2:] == new_mask.shape[-2:] == (50, 70)
    seen = 0
    for i in range(n):
        (at_x, at_y), image = moved[i, 0], new[i, 0]
        if not (6 < at_x < 64 and 6 < at_y < 44):
            continue
        seen += 1
        top, left = int(at_y) - 5, int(at_x) - 5
        part = image[top : top + 11, left : left + 11]
        peak = part.flatten().argmax()
        peak_y, peak_x = top + peak // 11 + 0.5, left + peak % 11 + 0.5
        assert abs(peak_y - at_y) < 1.5 and abs(peak_x - at_x) < 1.5
        assert new_mask[i, int(at_y), int(at_x)] == 7
        assert hulls[i, 0, 0] < at_x < hulls[i, 0, 2] and hulls[i, 0, 1] < at_y < hulls[i, 0, 3]
    assert seen > 50


def test_points_see_all_transforms_one_after_the_other():
    torch.manual_seed(3)
    matrices = [drawn([tfm], 50, 40, 60) for tfm in (Warp(p=1.0), Rotate(p=1.0), Zoom(p=1.0))]
    points = torch.rand(50, 3, 2) * 40
    batch = torch.zeros(50, 1, 40, 60), points
    torch.manual_seed(3)
    together = moved_by([Warp(p=1.0), Rotate(p=1.0), Zoom(p=1.0)], batch, ("image", "points"))[1]
    scaled = points / torch.tensor([30.0, 20.0]) - 1
    places = torch.cat([scaled, torch.ones(50, 3, 1)], -1).double()
    for matrix in matrices:
        places = places @ matrix.double().inverse().transpose(1, 2)
        places = places / places[..., 2:]
    want = (places[..., :2] + 1) * torch.tensor([30.0, 20.0])
    assert (together - want).abs().max() < 1e-3


def test_boxes_are_cut_at_the_edges_and_those_outside_become_padding():
    boxes = torch.tensor([[[0.0, 0.0, 10.0, 10.0], [30.0, 30.0, 40.0, 40.0], [0.0, 0.0, 0.0, 0.0]]])
    zoom = Zoom(p=1.0, draw=2.0, draw_x=1.0, draw_y=1.0)  # the right lower quarter
    new = moved_by(zoom, (torch.zeros(1, 3, 40, 40), boxes), ("image", "boxes"))[1]
    assert new.tolist() == [[[0, 0, 0, 0], [20, 20, 40, 40], [0, 0, 0, 0]]]
    turned = moved_by(
        Rotate(p=1.0, draw=45.0), (torch.zeros(1, 3, 40, 40), boxes), ("image", "boxes")
    )
    assert (turned[1] >= 0).all() and (turned[1] <= 40).all()


def test_a_turn_of_an_oblong_image_keeps_lengths():
    points = torch.tensor([[[10.0, 20.0], [30.0, 20.0]]])
    new = moved_by(
        Rotate(p=1.0, draw=33.0), (torch.zeros(1, 1, 40, 80), points), ("image", "points")
    )[1]
    assert torch.dist(new[0, 0], new[0, 1]) == pytest.approx(20, abs=1e-3)


def test_the_inverse_needs_no_solver():
    m = torch.randn(20, 3, 3, dtype=torch.float64)
    back = product(m, inverse(m))
    back = back / back[:, 2:, 2:]
    assert torch.allclose(back, torch.eye(3, dtype=torch.float64).expand(20, 3, 3), atol=1e-8)


# What is drawn


def uniform_in(values, low, high):
    n = len(values)
    assert low - 1e-4 <= values.min() and values.max() <= high + 1e-4
    spread = (high - low) / math.sqrt(12)
    assert values.mean() == pytest.approx((low + high) / 2, abs=4.5 * spread / math.sqrt(n))
    assert values.std() == pytest.approx(spread, rel=0.06)


def test_degrees_are_uniform_between_the_bounds_for_the_part_p():
    m = drawn(Rotate(25, p=0.6))
    degrees = torch.atan2(m[:, 0, 1], m[:, 0, 0]).rad2deg()
    turned = degrees[degrees != 0]
    assert len(turned) / 4000 == pytest.approx(0.6, abs=4.5 * math.sqrt(0.24 / 4000))
    uniform_in(turned, -25, 25)


def test_zooms_and_their_places_are_uniform():
    m = drawn(Zoom(1.2, 1.8, p=1.0))
    uniform_in(1 / m[:, 0, 0], 1.2, 1.8)
    for row in (0, 1):
        uniform_in(m[:, row, 2] / (1 - m[:, 0, 0]), -1, 1)


def test_half_of_the_images_are_flipped():
    m = drawn(Flip())
    assert (m[:, 0, 0] < 0).float().mean() == pytest.approx(0.5, abs=4.5 * 0.5 / math.sqrt(4000))


def test_both_warps_are_uniform_and_independent():
    m = drawn(Warp(0.3, p=1.0))
    # A corner tells both numbers: the left top one moves by (-v, -u).
    corner = inverse(m) @ torch.tensor([-1.0, -1.0, 1.0])
    places = corner[:, :2] / corner[:, 2:]
    u, v = -1 - places[:, 1], -1 - places[:, 0]
    uniform_in(u, -0.3, 0.3)
    uniform_in(v, -0.3, 0.3)
    assert torch.corrcoef(torch.stack([u, v]))[0, 1].abs() < 0.08


def test_crops_have_the_area_and_the_ratio_asked_for_and_lie_inside():
    m = drawn(RandomResizedCropGPU(20, min_scale=0.2, max_scale=0.5), 4000, 300, 400)
    width, height = m[:, 0, 0] * 400, m[:, 1, 1] * 300
    uniform_in(width * height / 120_000, 0.195, 0.505)  # sides are whole pixels
    ratio = (width / height).log()
    uniform_in(ratio, math.log(3 / 4) - 0.01, math.log(4 / 3) + 0.01)
    left = (m[:, 0, 2] - m[:, 0, 0] + 1) * 200
    top = (m[:, 1, 2] - m[:, 1, 1] + 1) * 150
    assert (left > -1e-2).all() and (left + width < 400.01).all()
    assert (top > -1e-2).all() and (top + height < 300.01).all()
    uniform_in((left + 0.5) / (401 - width), 0, 1)


def test_a_crop_that_never_fits_is_the_largest_in_the_centre():
    m = drawn(RandomResizedCropGPU(20, min_scale=0.9, ratio=(1, 1)), 5, 100, 200)
    assert torch.allclose(m, torch.diag(torch.tensor([0.5, 1.0, 1.0])).expand(5, 3, 3))


def test_samples_draw_their_own_numbers_unless_the_batch_shares_them():
    for tfm in (Rotate, Zoom, Warp):
        assert len(drawn(tfm(p=1.0), 50).flatten(1).unique(dim=0)) == 50
        assert len(drawn(tfm(p=0.5, batch=True), 50).flatten(1).unique(dim=0)) == 1
    assert len(drawn(RandomResizedCropGPU(9, batch=True), 50).flatten(1).unique(dim=0)) == 1
