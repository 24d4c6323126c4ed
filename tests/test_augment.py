"""Erased boxes and growing images: their statistics, their exact shapes, what is refused."""

from math import sqrt

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from learnlite import DataLoaders, Learner, Order, on
from learnlite.callbacks.augment import ProgressiveResize, RandomErasing
from learnlite.vision.blocks import BBoxBlock, BBoxLblBlock, ImageBlock, PointBlock
from learnlite.vision.datablock import DataBlock


class Pooled(nn.Module):
    """Takes images of any size; gives an output per class, or one per class and pixel."""

    def __init__(self, dense=False):
        super().__init__()
        self.conv, self.dense = nn.Conv2d(2, 3, 3, padding=1), dense

    def forward(self, x, **others):
        x = self.conv(x)
        return x if self.dense else x.mean((2, 3))


def fitted(cbs, x, y=None, n_epoch=1, model=None):
    """The training batches as the model got them, and those of validation."""

    def note(learn):
        (train if learn.training else valid).append((learn.xb, learn.yb))

    train, valid = [], []
    y = torch.randint(3, (len(x),)) if y is None else y
    dls = DataLoaders([(x, y)], [(x, y)], device="cpu")
    look = on(after_pred=note, order=Order.NORMAL)
    model = Pooled(dense=y.ndim > 2) if model is None else model
    cbs = [*(cbs if isinstance(cbs, list) else [cbs]), look]
    Learner(dls, model, F.cross_entropy, cbs=cbs, default_cbs=False, seed=3).fit(n_epoch)
    return train, valid


# Random erasing


def spans(mask):
    """First and length of the stretch of true pixels in each row of `mask`; none has a gap."""
    length = mask.sum(1)
    first = mask.int().argmax(1)
    pixels = torch.arange(mask.shape[1])
    inside = (pixels >= first[:, None]) & (pixels < (first + length)[:, None])
    assert torch.equal(mask, inside)
    return first, length


def test_every_image_has_one_rectangle_that_lies_inside():
    boxes = RandomErasing(p=1.0, sl=0.02, sh=0.3).boxes(torch.zeros(500, 3, 40, 60))[:, 0]
    rows, columns = boxes.any(2), boxes.any(1)
    assert torch.equal(boxes, rows[:, :, None] & columns[:, None])
    (_, heights), (_, widths) = spans(rows), spans(columns)
    assert (heights * widths == boxes.sum((1, 2))).all()


@pytest.mark.parametrize("side", [1, 2])
def test_places_are_uniform(side):
    callback = RandomErasing(p=1.0, sl=0.0625, sh=0.0625, min_aspect=1.0)
    boxes = callback.boxes(torch.zeros(20_000, 1, 16, 16))[:, 0]
    first, length = spans(boxes.any(3 - side))
    assert (length == 4).all()
    counts = first.bincount(minlength=13)
    assert len(counts) == 13
    assert (counts - 20_000 / 13).abs().max() < 4.5 * sqrt(20_000 / 13)


def test_areas_are_uniform_and_aspects_as_often_high_as_wide():
    callback = RandomErasing(p=1.0, sl=0.05, sh=0.15, min_aspect=0.4)
    n, side = 2000, 200
    boxes = callback.boxes(torch.zeros(n, 1, side, side))[:, 0]
    _, heights = spans(boxes.any(2))
    _, widths = spans(boxes.any(1))
    area, aspect = heights * widths / side**2, (heights / widths).log()
    assert area.min() > 0.048 and area.max() < 0.153  # whole pixels
    assert abs(area.mean() - 0.1) < 4 * 0.1 / sqrt(12 * n)
    assert abs(area.std() - 0.1 / sqrt(12)) < 0.001
    high = -torch.tensor(0.4).log()
    assert aspect.abs().max() < high + 0.05
    assert abs(aspect.mean()) < 4 * 2 * high / sqrt(12 * n)
    assert abs(aspect.std() - 2 * high / sqrt(12)) < 0.02


def test_each_image_is_erased_with_the_probability_by_itself():
    n = 20_000
    erased = RandomErasing(p=0.3, sl=0.1).boxes(torch.zeros(n, 1, 16, 16)).any(3).any(2).flatten()
    bound = 4 * sqrt(0.3 * 0.7 / n)
    assert abs(erased.float().mean() - 0.3) < bound
    both = (erased[1:] & erased[:-1]).float().mean()  # neighbours know nothing of each other
    assert abs(both - 0.3**2) < 4 * sqrt(0.09 * 0.91 / n) * 1.5
    assert not RandomErasing(p=0.0).boxes(torch.zeros(50, 1, 8, 8)).any()


def test_one_to_max_count_boxes_share_the_area():
    n, side, part = 6000, 64, 0.12
    callback = RandomErasing(p=1.0, sl=part, sh=part, min_aspect=1.0, max_count=3)
    pixels = callback.boxes(torch.zeros(n, 1, side, side)).sum((1, 2, 3))
    squares = {k: round(side * sqrt(part / k)) ** 2 for k in (1, 2, 3)}
    apart = [k * square for k, square in squares.items()]
    assert pixels.max() == max(apart) and pixels.min() >= min(squares.values())
    for k, whole in enumerate(apart, 1):  # several may lie on each other
        share = (pixels == whole).float().mean()
        assert share < 1 / 3 + 4 * sqrt(2 / 9 / n) and share > (0.3 if k == 1 else 0.1)


def test_the_noise_has_each_channels_mean_and_spread_and_the_rest_stays():
    scale = torch.tensor([1.0, 10.0])[:, None, None]
    x = torch.rand(300, 2, 32, 32) * scale + 5 * scale
    torch.manual_seed(5)
    callback = RandomErasing(p=1.0, sl=0.2, sh=0.3)
    erased = callback.erased(x)
    changed = (erased != x).all(1)
    assert torch.equal(changed, (erased != x).any(1))
    for channel in range(2):
        noise = erased[:, channel][changed]
        bound = 5 / sqrt(noise.numel())
        mean, std = x[:, channel].mean(), x[:, channel].std()
        assert abs(noise.mean() - mean) < bound * std
        assert abs(noise.std() / std - 1) < bound


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_stay_and_a_single_pixel_is_no_trouble(dtype):
    for shape in ((4, 2, 8, 6), (1, 1, 1, 1)):
        x = torch.randn(shape).to(dtype)
        erased = RandomErasing(p=1.0, sl=1.0, sh=1.0).erased(x)
        assert erased.dtype == dtype and erased.isfinite().all()


def test_validation_and_targets_stay_and_a_seed_decides():
    x, y = torch.randn(8, 2, 16, 16), torch.randint(3, (8,))
    (first, valid), (second, _) = (fitted(RandomErasing(p=1.0, sl=0.1), x, y) for _ in range(2))
    assert valid[0][0][0] is x and valid[0][1][0] is y
    assert first[0][1][0] is y
    assert not torch.equal(first[0][0][0], x) and torch.equal(first[0][0][0], second[0][0][0])


@pytest.mark.parametrize("callback", [RandomErasing(), ProgressiveResize(8, 16)])
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(4, 2, 16, 16).byte(), r"torch.uint8 of shape \(4, 2, 16, 16\); make .*/ 255`"),
        (torch.zeros(4, 9), r"the batch has torch.float32 of shape \(4, 9\)"),
    ],
)
def test_inputs_that_are_no_images_are_refused(callback, x, message):
    with pytest.raises(ValueError, match=message):
        fitted(callback, x)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"p": 1.5}, "`p` is the part of the images .* got 1.5"),
        ({"sl": 0.4}, "0 <= sl <= sh <= 1; got 0.4 and 0.3"),
        ({"min_aspect": 0.0}, "`min_aspect` is the smallest ratio"),
        ({"max_count": 0}, "`max_count` counts boxes"),
    ],
)
def test_erasing_that_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        RandomErasing(**arguments)


# Progressive resizing


@pytest.mark.parametrize("n_epoch", [1, 2, 3, 8, 20])
@pytest.mark.parametrize(("start", "end", "multiple"), [(96, 224, 32), (100, 150, 16), (64, 64, 1)])
def test_sizes_grow_from_start_to_end_in_multiples(n_epoch, start, end, multiple):
    sizes = ProgressiveResize(start, end, multiple=multiple).sizes(n_epoch)
    assert sizes == sorted(sizes) and sizes[-1] == end
    assert n_epoch == 1 or sizes[0] == start
    assert all(size in (start, end) or size % multiple == 0 for size in sizes)
    assert all(size == end for i, size in enumerate(sizes) if i >= 0.75 * n_epoch)
    assert all(size == start for i, size in enumerate(sizes[:-1]) if i <= 0.25 * n_epoch)


def test_images_grow_over_the_epochs_and_validation_has_them_whole():
    x = torch.randn(4, 2, 32, 32)
    callback = ProgressiveResize(8, 32, multiple=8)
    train, valid = fitted(callback, x, n_epoch=6)
    sizes = [xb[0].shape[-1] for xb, _ in train]
    assert sizes == callback.sizes(6) and len(set(sizes)) > 2
    assert train[-1][0][0] is x
    assert all(xb[0] is x for xb, _ in valid)
    wanted = F.interpolate(x, size=(8, 8), mode="bilinear", antialias=True)
    assert torch.equal(train[0][0][0], wanted)


def test_an_even_image_stays_even_and_means_stay():
    x = torch.rand(2, 2, 1, 1).expand(2, 2, 48, 48) * 1.0
    train, _ = fitted(ProgressiveResize(16, 48), x, n_epoch=2)
    torch.testing.assert_close(train[0][0][0], x[:, :, :16, :16])


@pytest.mark.parametrize("shape", [(32, 64), (64, 32)])
def test_the_shorter_side_has_the_size_and_the_longer_keeps_the_shape(shape):
    train, _ = fitted(ProgressiveResize(16, 32), torch.randn(2, 2, *shape), n_epoch=2)
    assert tuple(train[0][0][0].shape[-2:]) == tuple(side // 2 for side in shape)
    assert tuple(train[1][0][0].shape[-2:]) == shape


@pytest.mark.parametrize("extra", [(), (1,)])
def test_masks_are_resized_by_the_nearest_pixel(extra):
    x, y = torch.randn(2, 2, 24, 24), torch.randint(3, (2, *extra, 24, 24))
    model = Pooled(dense=True)

    def loss(pred, targ):
        return F.cross_entropy(pred, targ.view(pred.shape[0], *pred.shape[-2:]))

    seen = []
    dls = DataLoaders([(x, y)], device="cpu")
    look = on(after_pred=lambda learn: seen.append(learn.yb[0]))
    cbs = [ProgressiveResize(8, 24, multiple=8), look]
    Learner(dls, model, loss, cbs=cbs, default_cbs=False).fit(2)
    assert seen[0].dtype == y.dtype and seen[1] is y
    assert torch.equal(seen[0], y[..., 1::3, 1::3])  # the middle of each 3 x 3
    wanted = F.interpolate(y.view(2, -1, 24, 24).float(), size=(8, 8), mode="nearest-exact")
    assert torch.equal(seen[0].view(wanted.shape).float(), wanted)


def test_masks_at_odd_ratios_are_those_of_torch():
    x, y = torch.randn(2, 2, 30, 21), torch.randint(3, (2, 30, 21))
    train, _ = fitted(ProgressiveResize(13, 21, multiple=1), x, y, n_epoch=2)
    [small] = train[0][1]
    size = train[0][0][0].shape[-2:]
    wanted = F.interpolate(y[:, None].float(), size=size, mode="nearest-exact")[:, 0]
    assert torch.equal(small.float(), wanted)


def test_boxes_lie_on_the_small_images_where_they_lay_and_points_stay():
    pictures = [np.full((24, 48, 3), 40 * i, np.uint8) for i in range(5)]
    block = DataBlock(
        (ImageBlock, PointBlock, BBoxBlock, BBoxLblBlock),
        get_y=[lambda _: [[12.0, 6.0]], lambda _: [[6, 8, 36, 24]], lambda _: ["cat"]],
        n_inp=1,
    )
    seen = []
    look = on(after_pred=lambda learn: seen.append((learn.xb[0].shape[-2:], learn.yb)))
    cbs = [ProgressiveResize(8, 24, multiple=8), look]
    dls = block.dataloaders(pictures, bs=4, device="cpu")

    def loss(pred, points, boxes, labels):
        return (pred.mean() - points.mean()) ** 2

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x):
            return x.mean((2, 3)) * self.scale

    Learner(dls, Net(), loss, cbs=cbs, default_cbs=False).fit(2)
    training = [found for found in seen if found[0] == (8, 16)] + seen[-1:]
    for (height, width), (points, boxes, _) in training:
        assert points[0].tolist() == [[-0.5, -0.5]]
        share = torch.tensor([6 / 48, 8 / 24, 36 / 48, 1])
        assert torch.allclose(boxes[0, 0], share * torch.tensor([width, height] * 2))
    assert seen[0][0] == (8, 16)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_small_images_keep_their_float_type(dtype):
    x = torch.randn(2, 2, 16, 16).to(dtype)
    train, _ = fitted(ProgressiveResize(8, 16), x, n_epoch=2, model=Pooled().to(dtype))
    assert train[0][0][0].dtype == dtype and train[0][0][0].shape[-1] == 8


def test_other_inputs_stay_in_a_dict_too():
    x, extra, y = torch.randn(4, 2, 16, 16), torch.randn(4, 5), torch.randint(3, (4,))
    seen = []
    dls = DataLoaders([{"x": x, "extra": extra, "y": y}], device="cpu", label="y")
    look = on(after_pred=lambda learn: seen.append(learn.xb))
    cbs = [ProgressiveResize(8, 16), RandomErasing(1.0, sl=0.2), look]
    Learner(dls, Pooled(), F.cross_entropy, cbs=cbs, default_cbs=False).fit(2)
    assert list(seen[0]) == ["x", "extra"] and seen[0]["extra"] is extra
    assert [xb["x"].shape[-1] for xb in seen] == [8, 16]


def test_a_model_of_one_size_is_told_what_gave_it_another():
    def fail(learn):
        raise RuntimeError("its own")

    x, y = torch.randn(4, 2, 16, 16), torch.randint(3, (4,))
    fixed = nn.Sequential(nn.Flatten(), nn.Linear(2 * 16 * 16, 3))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as error:
        fitted(ProgressiveResize(8, 16), x, y, model=fixed, n_epoch=2)
    assert error.value.__notes__ == [
        "`ProgressiveResize` gave images of 8 x 8; the model must take any size, for example by "
        "`nn.AdaptiveAvgPool2d` before its last layer"
    ]
    wrong = nn.Sequential(nn.Flatten(), nn.Linear(7, 3))
    for cbs, model in (
        ([ProgressiveResize(8, 16), on(before_batch=fail)], Pooled()),
        ([ProgressiveResize(8, 16), on(after_loss=fail)], Pooled()),
        (ProgressiveResize(16, 16), wrong),
    ):
        with pytest.raises(RuntimeError) as error:
            fitted(cbs, x, y, model=model, n_epoch=2)
        assert "gave images" not in "".join(getattr(error.value, "__notes__", []))


def test_images_that_are_smaller_than_the_end_are_refused():
    message = "ends at 64 pixels, but the images come with 32 x 48: .* give `end=32`"
    with pytest.raises(ValueError, match=message):
        fitted(ProgressiveResize(16, 64), torch.randn(2, 2, 32, 48))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start": 64, "end": 32}, "1 <= start <= end; got 64 and 32"),
        ({"start": 0, "end": 32}, "1 <= start <= end; got 0 and 32"),
        ({"start": 8, "end": 32, "pct_start": 0.9}, "pct_start <= pct_end <= 1; got 0.9 and 0.75"),
        ({"start": 8, "end": 32, "multiple": 0}, "`multiple` counts pixels"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ProgressiveResize(**arguments)


def test_two_that_drive_the_size_are_refused_and_arguments_are_shown():
    with pytest.raises(ValueError, match="both drive `image size`"):
        fitted([ProgressiveResize(8, 16), ProgressiveResize(4, 16)], torch.randn(2, 2, 16, 16))
    shown = "ProgressiveResize(start=8, end=16, pct_start=0.25, pct_end=0.75, multiple=16)"
    assert repr(ProgressiveResize(8, 16)) == shown
    assert repr(RandomErasing()).startswith("RandomErasing(p=0.5, sl=0.0, sh=0.3, min_aspect=0.3")
