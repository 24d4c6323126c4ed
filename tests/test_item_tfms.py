"""Item transforms: what they do to pixels, and that all else of an item moves with them."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from items_made import jpeg, smooth
from PIL import Image
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as V

from learnlite.vision.image import LazyImage, read_image
from learnlite.vision.item_stage import ItemStage
from learnlite.vision.item_tfms import (
    CropPad,
    DihedralItem,
    FlipItem,
    ItemTransform,
    PadMode,
    RandomCrop,
    RandomResizedCrop,
    RatioResize,
    Resize,
    ResizeMethod,
    ToTensor,
)

MAKERS: dict[str, Callable[[], ItemTransform]] = {
    "crop": lambda: Resize(32),
    "crop wide": lambda: Resize((24, 60)),
    "crop bicubic": lambda: Resize(32, resamples=("bicubic", "nearest")),
    "pad": lambda: Resize(32, "pad"),
    "pad zeros": lambda: Resize((40, 20), ResizeMethod.Pad, PadMode.Zeros),
    "pad border": lambda: Resize(50, "pad", "border"),
    "squish": lambda: Resize((30, 44), "squish"),
    "enlarge": lambda: Resize(150),
    "random resized crop": lambda: RandomResizedCrop(32, min_scale=0.35),
    "random resized crop wide": lambda: RandomResizedCrop((20, 48)),
    "crop pad": lambda: CropPad((40, 120)),
    "crop pad reflected": lambda: CropPad((100, 120), "reflection"),
    "random crop": lambda: RandomCrop((40, 50)),
    "random crop of more": lambda: RandomCrop(110),
    "ratio": lambda: RatioResize(48),
    "flip": lambda: FlipItem(),
    "dihedral": lambda: DihedralItem(1.0),
    "nothing": lambda: ToTensor(),
}
each = pytest.mark.parametrize("name", MAKERS)
each_mode = pytest.mark.parametrize("training", [True, False])


def item(height: int, width: int, y: int, x: int) -> tuple[Any, ...]:
    """An image with one bright square around a pixel; a mask, a point and a box that say where."""
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    mask = torch.zeros(height, width, dtype=torch.int64)
    image[:, y - 3 : y + 4, x - 3 : x + 4] = 250
    mask[y - 3 : y + 4, x - 3 : x + 4] = 700
    size = {"canvas_size": (height, width)}
    points = tv_tensors.KeyPoints([[x + 0.5, y + 0.5]], **size)
    boxes = tv_tensors.BoundingBoxes([[x - 3.0, y - 3, x + 4, y + 4]], format="XYXY", **size)
    return tv_tensors.Image(image), tv_tensors.Mask(mask), points, boxes, "label"


def middle(weights: Tensor) -> Tensor:
    """The (x, y) of the centre of mass, counted from the outer edge."""
    weights = weights.double()
    y = (weights.sum(1) * (torch.arange(weights.shape[0]) + 0.5)).sum() / weights.sum()
    x = (weights.sum(0) * (torch.arange(weights.shape[1]) + 0.5)).sum() / weights.sum()
    return torch.stack([x, y])


@each
@each_mode
def test_mask_point_and_box_land_where_the_pixels_land(name: str, training: bool) -> None:
    stage = ItemStage(MAKERS[name](), training=training)
    n_seen = 0
    for trial in range(40):
        torch.manual_seed(trial)
        y, x = random.randint(16, 63), random.randint(16, 83)
        image, mask, points, boxes, label = stage(item(80, 100, y, x))
        assert label == "label" and image.shape[-2:] == mask.shape
        assert points.canvas_size == boxes.canvas_size == tuple(mask.shape)
        assert image.dtype == torch.uint8 and set(mask.unique().tolist()) <= {0, 700}
        size = torch.tensor([mask.shape[1], mask.shape[0]])
        low, high = boxes[0][:2], boxes[0][2:]
        assert (low >= 0).all() and (low <= high).all() and (high <= size).all()
        margin = 2 + 3 * (high - low) / 7  # 3 pixels of the old image, as far as a filter sees
        if ((low < margin) | (high > size - margin)).any():
            continue
        n_seen += 1
        assert torch.allclose((low + high) / 2, points[0], atol=1e-3)
        left, top, right, bottom = [*(low - margin).int(), *(high + margin).ceil().int()]
        alone = torch.zeros(mask.shape)  # beyond it, a reflection may stand
        alone[top:bottom, left:right] = 1
        assert torch.allclose(middle(image[0] * alone), points[0].double(), atol=0.1)
        assert torch.allclose(middle((mask > 0) * alone), points[0].double(), atol=0.51)
    assert n_seen >= 2


@each
@each_mode
@pytest.mark.parametrize("turn", [1, 6])
def test_an_image_decoded_smaller_shows_the_same_place(
    name: str, training: bool, turn: int
) -> None:
    data = jpeg(410, 533, turn)
    stage = ItemStage(MAKERS[name](), training=training)
    full = read_image(data)
    for trial in range(3):
        torch.manual_seed(trial)
        lazily, points = stage((LazyImage(data), _grid(full)))
        torch.manual_seed(trial)
        reference, reference_points = stage((tv_tensors.Image(full), _grid(full)))
        assert lazily.shape == reference.shape
        assert (lazily.float() - reference.float()).abs().mean() < 3
        # Cuts lie on whole pixels of the smaller image, so places differ by less than one of them.
        height, width = reference.shape[-2:]
        inside = ((reference_points > 0) & (reference_points < torch.tensor([width, height]))).all(
            1
        )
        assert (points - reference_points)[inside].abs().max() < 1


def _grid(image: Tensor) -> tv_tensors.KeyPoints:
    height, width = image.shape[-2:]
    grid = torch.cartesian_prod(torch.arange(0.5, width, 8), torch.arange(0.5, height, 8))
    return tv_tensors.KeyPoints(grid, canvas_size=(height, width))


@pytest.mark.parametrize("size", [(410, 533), (400, 528), (97, 300)])
def test_points_fit_the_pixels_of_an_image_decoded_smaller(size: tuple[int, int]) -> None:
    height, width = size
    data = jpeg(*size)
    stage = ItemStage(RandomResizedCrop(24, min_scale=0.3))
    grid = _grid(smooth(*size))
    for trial in range(8):
        torch.manual_seed(trial)
        image, points = stage((LazyImage(data), grid))
        inside = ((points > 2) & (points < 22)).all(1)
        # The red of the photo says x, the green says y.
        shown = image[:2, points[inside][:, 1].long(), points[inside][:, 0].long()].T
        expected = grid[inside] * 240 / torch.tensor([width, height])
        pixel = 240 * 0.5 * (grid[inside].max(0).values - grid[inside].min(0).values) / 20
        assert ((shown - expected).abs() < pixel / torch.tensor([width, height]) + 4).all()


@each
def test_the_same_seed_gives_the_same_item_and_validation_none_but_one(name: str) -> None:
    image = tv_tensors.Image(smooth(80, 100))
    tfm = MAKERS[name]()
    train, valid = ItemStage(tfm), ItemStage(tfm, training=False)

    def run(stage: ItemStage, seed: int) -> Tensor:
        torch.manual_seed(seed)
        return stage((image,))[0]

    assert torch.equal(run(train, 1), run(train, 1))
    state = torch.get_rng_state()
    results = [valid((image,))[0] for _ in range(3)]
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(result, results[0]) for result in results)
    assert tfm.training and not valid.tfms[0].training


@each
def test_a_transform_called_by_itself_does_what_the_stage_does(name: str) -> None:
    tfm = MAKERS[name]()
    elements = item(80, 100, 40, 50)
    torch.manual_seed(5)
    by_stage = ItemStage(tfm)(elements)
    torch.manual_seed(5)
    alone = tfm(*elements)
    torch.manual_seed(5)
    in_compose = v2.Compose([tfm])(elements)
    for a, b, c in zip(by_stage[:4], alone[:4], in_compose[:4], strict=True):
        assert type(a) is type(b) is type(c) and torch.equal(a, b) and torch.equal(a, c)
    torch.manual_seed(5)
    image = V.to_pil_image(elements[0])
    if isinstance(tfm, ToTensor):
        assert torch.equal(tfm(image), elements[0])
        return
    pil = tfm(image)
    assert np.array_equal(np.asarray(pil), by_stage[0].permute(1, 2, 0))
    torch.manual_seed(5)
    assert torch.equal(tfm(elements[0].as_subclass(Tensor)), by_stage[0].as_subclass(Tensor))


@each
@each_mode
def test_the_smallest_size_said_to_do_is_large_enough_for_all_draws(
    name: str, training: bool
) -> None:
    tfm = MAKERS[name]().train(training)
    for size in ((800, 1000), (700, 401), (2000, 200)):
        least = tfm.at_least(*size)
        for _ in range(50):
            needed = tfm.plan(size).at_least()
            assert (least is None) or (needed is not None)
            if least is not None:
                assert needed[0] <= least[0] <= size[0] and needed[1] <= least[1] <= size[1]


def test_validation_takes_the_middle_as_torchvision_does() -> None:
    image = tv_tensors.Image(smooth(96, 160))
    reference = V.center_crop(image, [96, 96])
    assert torch.equal(Resize(96).eval()(image), reference)
    whole = V.resize(image, [144, 144], antialias=True)
    assert torch.equal(
        RandomResizedCrop(128, val_xtra=0.14).eval()(image),
        V.resize(image, [152, 152])[:, 12:140, 12:140],
    )
    assert torch.equal(
        RandomResizedCrop(128, val_xtra=0.125).eval()(image), V.center_crop(whole, [128, 128])
    )
    assert torch.equal(CropPad((40, 50))(image), V.center_crop(image, [40, 50]))
    assert torch.equal(CropPad(200)(image), V.center_crop(image, [200, 200]))
    assert torch.equal(RandomCrop(40).eval()(image), V.center_crop(image, [40, 40]))


def test_pixels_are_those_of_torchvision_and_near_those_of_pil() -> None:
    image = tv_tensors.Image(smooth(96, 160))
    squished = Resize((40, 44), "squish")(image)
    assert torch.equal(squished, V.resize(image, [40, 44], antialias=True))
    pil = V.to_pil_image(image).resize((44, 40), Image.Resampling.BILINEAR)
    assert (squished.permute(1, 2, 0).int() - torch.tensor(np.asarray(pil)).int()).abs().max() <= 3
    assert torch.equal(FlipItem(1)(image), V.horizontal_flip(image))
    bicubic = Resize((40, 44), "squish", resamples=(InterpolationMode.BICUBIC, "nearest"))(image)
    assert torch.equal(
        bicubic, V.resize(image, [40, 44], InterpolationMode.BICUBIC, antialias=True)
    )
    floats = tv_tensors.Image(image.float() / 255)
    resized = Resize((40, 44), "squish")(floats)
    assert torch.allclose(resized, V.resize(floats, [40, 44], antialias=True), atol=1e-6)


@pytest.mark.parametrize(
    ("pad_mode", "torch_mode"),
    [("reflection", "reflect"), ("border", "replicate"), ("zeros", "constant")],
)
def test_what_is_missing_is_filled_up_as_torch_does(pad_mode: Any, torch_mode: str) -> None:
    image = smooth(20, 30)
    padded = CropPad((40, 50), pad_mode)(tv_tensors.Image(image))
    reference = nn.functional.pad(image[None].float(), (10, 10, 10, 10), torch_mode)[0]
    assert torch.equal(padded.as_subclass(Tensor).float(), reference)
    wide = CropPad((20, 400), pad_mode)(tv_tensors.Image(image))  # more than torch reflects
    assert wide.shape == (3, 20, 400) and torch.equal(wide[..., 185:215], image)


def test_pad_shows_the_whole_image_and_crop_fills_the_whole_square() -> None:
    white = tv_tensors.Image(torch.full((1, 60, 90), 255, dtype=torch.uint8))
    padded = Resize(30, "pad", "zeros")(white)
    assert (padded == 255).sum() == 20 * 30 and padded.shape == (1, 30, 30)
    assert (Resize(30)(white) == 255).all()


def test_random_resized_crop_draws_areas_and_shapes_as_torchvision_does() -> None:
    tfm, reference = (
        RandomResizedCrop(32, min_scale=0.2),
        v2.RandomResizedCrop(32, scale=(0.2, 1.0)),
    )
    image = tv_tensors.Image(torch.zeros(3, 300, 400))
    ours, theirs = [], []
    for _ in range(1500):
        cut = tfm.plan((300, 400)).steps[0]
        ours.append((cut.top, cut.left, cut.height, cut.width))
        params = reference.make_params([image])
        theirs.append(tuple(params[key] for key in ("top", "left", "height", "width")))
    a, b = torch.tensor(ours).double(), torch.tensor(theirs).double()
    error = ((a.var(0) + b.var(0)) / len(a)).sqrt()
    assert ((a.mean(0) - b.mean(0)).abs() < 4 * error).all()
    assert ((a.std(0) / b.std(0)).log().abs() < 0.15).all()
    areas = a[:, 2] * a[:, 3] / 120_000
    assert areas.min() > 0.19 and areas.max() <= 1
    assert (
        (a[:, :2] >= 0).all()
        and (a[:, 0] + a[:, 2] <= 300).all()
        and (a[:, 1] + a[:, 3] <= 400).all()
    )


def test_a_crop_of_a_very_long_image_lies_in_it() -> None:
    for size in ((10, 900), (900, 10), (1, 500), (1, 1)):
        image = tv_tensors.Image(torch.ones(3, *size))
        for _ in range(10):
            assert (RandomResizedCrop(16, min_scale=0.9)(image) == 1).all()
            assert (Resize(16)(image) == 1).all()
            assert RatioResize(16)(image).shape[-1] >= 1


def test_flips_come_as_often_as_asked_and_all_eight_ways_are_taken() -> None:
    image = tv_tensors.Image(torch.arange(12).view(1, 3, 4))
    share = np.mean([not torch.equal(FlipItem(0.3)(image), image) for _ in range(1000)])
    assert abs(share - 0.3) < 0.06
    square = tv_tensors.Image(torch.arange(9).view(1, 3, 3))
    ways = {tuple(DihedralItem()(square).flatten().tolist()) for _ in range(200)}
    assert len(ways) == 8


def test_places_are_drawn_evenly_to_both_ends() -> None:
    tops = [RandomCrop(8).plan((12, 8)).steps[0].top for _ in range(1000)]
    counts = np.bincount(tops)
    assert len(counts) == 5 and counts.min() > 130


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Resize(0), "`size` is a number of pixels or .height, width., got 0"),
        (lambda: Resize((3, 4, 5)), "`size` is a number"),
        (lambda: Resize(2.5), "`size` is a number of pixels"),
        (lambda: Resize(8, method="stretch"), "`method` is one of .*'squish'.*, got 'stretch'"),
        (lambda: Resize(8, pad_mode="mirror"), "`pad_mode` is one of"),
        (lambda: Resize(8, resamples=("lanczos", "nearest")), "`resamples` is one of .*'lanczos'"),
        (lambda: RandomResizedCrop(8, min_scale=0), "`min_scale` and `max_scale` are shares"),
        (lambda: RandomResizedCrop(8, ratio=(2, 1)), "`ratio` is .least, largest."),
        (lambda: FlipItem(p=2), "`p` is a probability from 0 to 1, got 2"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def test_fastai_settings_are_taken() -> None:
    tfm = Resize(
        (4, 8), ResizeMethod.Pad, pad_mode=PadMode.Border, resamples=(Image.Resampling.BICUBIC, 0)
    )
    assert (tfm.method, tfm.pad_mode, tfm.resample) == ("pad", "border", "bicubic")
    assert "size=(4, 8)" in repr(tfm)
