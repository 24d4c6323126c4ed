"""Pictures of what was predicted, for each kind of block."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from pictures import folder_of_pictures
from PIL import Image
from tiny import linear_learner, silent
from torch import nn

from learnlite import Learner
from learnlite.vision.all import (
    CategoryBlock,
    DataBlock,
    ImageBlock,
    IndexSplitter,
    MaskBlock,
    MultiCategoryBlock,
    Normalize,
    PointBlock,
    RegressionBlock,
    Resize,
    get_image_files,
    imagenet_stats,
    parent_label,
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root = folder_of_pictures(tmp_path_factory.mktemp("pictures"), n=3, n_valid=1)
    return get_image_files(root / "train")


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


class Constant(nn.Module):
    def __init__(self, values):
        super().__init__()
        self.values = torch.as_tensor(values, dtype=torch.float32)

    def forward(self, x):
        return self.values.expand(len(x), *self.values.shape) + 0 * x.mean()


def shown(files, target, get_y, values, **settings):
    """The panels of `show_results` for a model that always says the same."""
    block = DataBlock(
        (ImageBlock, target),
        get_y=get_y,
        splitter=IndexSplitter([0, 3, 6]),
        item_tfms=Resize(24),
        batch_tfms=Normalize.from_stats(*imagenet_stats),
    )
    dls = block.dataloaders(files, bs=4, device="cpu")
    learn = silent(Learner(dls, Constant(values)))
    return learn, learn.show_results(**{"shuffle": False, **settings})


def titles(panels):
    return [(panel.get_title(), to_hex(panel.title.get_color())) for panel in panels]


def pixels(panel):
    return np.asarray(panel.images[0].get_array())


def test_classes_stand_below_one_another_in_green_or_red(files):
    learn, panels = shown(files, CategoryBlock, parent_label, [0.0, 9.0, 0.0])
    wrong, right = "#cf222e", "#1a7f37"
    assert titles(panels) == [
        ("blue\ngreen", wrong),
        ("green\ngreen", right),
        ("red\ngreen", wrong),
    ]
    x, _ = learn.dls.decode_batch(learn.dls.one_batch(1))[1]
    np.testing.assert_allclose(pixels(panels[1]), x.permute(1, 2, 0), atol=1e-6)


def test_several_classes_and_numbers_stand_so_too(files):
    _, panels = shown(
        files, MultiCategoryBlock, lambda f: ["a", f.parent.name], [9.0, 9.0, -9.0, -9.0]
    )
    assert titles(panels)[0] == ("a; blue\na; blue", "#1a7f37")
    assert titles(panels)[1][1] == "#cf222e"
    _, panels = shown(files, RegressionBlock, lambda f: 1.25, [1.5])
    assert titles(panels)[0] == ("1.25\n1.5", "#000000")


def test_points_are_drawn_on_two_pictures_the_target_on_the_left(files):
    _, panels = shown(files, PointBlock, lambda f: [[8, 0], [28, 20]], [-1.0, -1.0, 0.0, 1.0])
    assert len(panels) == 6
    assert [panel.get_title() for panel in panels[:2]] == ["target", "prediction"]
    np.testing.assert_allclose(panels[1].collections[0].get_offsets(), [[0, 0], [12, 24]])
    np.testing.assert_allclose(panels[0].collections[0].get_offsets(), [[0, 0], [12, 12]])
    np.testing.assert_array_equal(pixels(panels[0]), pixels(panels[1]))


def test_masks_are_drawn_beside_the_image_in_the_colours_that_are_named(files, tmp_path):
    def mask_of(file: Path):
        path = tmp_path / f"{file.stem}.png"
        Image.fromarray((np.array(Image.open(file))[..., 0] > 200).astype(np.uint8)).save(path)
        return path

    values = torch.zeros(2, 24, 24)
    values[1, :12] = 1
    _, panels = shown(files, MaskBlock(["dark", "light"]), mask_of, values)
    assert [panel.get_title() for panel in panels[:3]] == ["", "target", "prediction"]
    assert len(panels) == 9 and len(panels[0].images) == 1
    drawn = np.asarray(panels[2].images[1].get_array())
    assert len(np.unique(drawn[:12])) == len(np.unique(drawn[12:])) == 1
    assert drawn[0, 0] != drawn[-1, 0]
    mask = panels[2].images[1]
    assert mask.get_alpha() == 1
    named = [patch.get_facecolor() for patch in panels[0].figure.legends[0].get_patches()]
    assert named == [tuple(mask.to_rgba(code)) for code in (drawn[-1, 0], drawn[0, 0])]


def test_images_that_are_predicted_are_drawn_beside_the_target(files):
    _, panels = shown(files, ImageBlock, lambda f: f, torch.zeros(3, 24, 24))
    assert len(panels) == 6
    half = pixels(panels[1]).shape[1] // 2
    np.testing.assert_allclose(pixels(panels[1])[:, -half:].mean((0, 1)), imagenet_stats[0], 1e-5)


def test_items_without_targets_have_their_prediction_alone(files):
    learn, _ = shown(files, CategoryBlock, parent_label, [0.0, 9.0, 0.0])
    panels = learn.show_results(dl=learn.dls.test_dl(files[:2]), shuffle=False)
    assert titles(panels) == [("green", "#000000")] * 2


def test_items_are_drawn_at_random_from_any_loader_and_no_more_than_asked(files):
    learn, panels = shown(files, CategoryBlock, parent_label, [0.0, 9.0, 0.0], max_n=2, ncols=1)
    assert len(panels) == 2 and panels[0].get_gridspec().ncols == 1
    torch.manual_seed(0)
    several = {learn.show_results(0, max_n=1)[0].get_title() for _ in range(12)}
    assert several == {"blue\ngreen", "green\ngreen", "red\ngreen"}


def test_a_batch_from_anywhere_can_be_shown(files):
    learn, _ = shown(files, CategoryBlock, parent_label, [0.0, 9.0, 0.0])
    for batch in (learn.dls.one_batch(1), learn.dls.valid.one_batch()):
        *_, decoded = learn.get_preds(dl=[batch], with_decoded=True)
        panels = learn.dls.show_results(batch, decoded)
        assert panels[1].get_title() == "green\ngreen"


def test_plain_loaders_say_that_they_cannot_show():
    with pytest.raises(TypeError, match="does not know how its items are shown"):
        linear_learner().show_results()
