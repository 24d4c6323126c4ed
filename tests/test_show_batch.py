"""Looking at batches: what is drawn of each kind of element, with which colours and titles."""

import numpy as np
import pytest
import torch
from blocks_made import block, colour_of, last, marked
from pictures import COLOURS, folder_of_pictures

from learnlite.vision.all import (
    BBoxBlock,
    CategoryBlock,
    DataBlock,
    ImageBlock,
    IndexSplitter,
    MaskBlock,
    Normalize,
    PILImage,
    PILImageBW,
    PointBlock,
    aug_transforms,
    get_image_files,
    imagenet_stats,
    parent_label,
    show_image,
    show_images,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return folder_of_pictures(tmp_path_factory.mktemp("pictures"))


def test_show_batch_draws_every_kind(root, tmp_path):
    import matplotlib.pyplot as plt

    dls = block(batch_tfms=[*aug_transforms(), Normalize.from_stats(*imagenet_stats)])
    dls = dls.dataloaders(root, bs=9, device="cpu")
    panels = dls.show_batch(max_n=4)
    assert len(panels) == 4 and {ax.get_title() for ax in panels} <= set(COLOURS)
    shown = np.asarray(panels[0].images[0].get_array())
    assert shown.shape == (32, 32, 3) and shown.min() >= 0 and shown.max() <= 1
    titles = {ax.get_title() for ax in dls.train.show_batch(max_n=6, nrows=2, unique=True)}
    assert len(titles) == 1
    assert len(dls.valid.show_batch(max_n=3)) == 3
    plt.close("all")


def test_show_batch_draws_points_masks_and_boxes():
    import matplotlib.pyplot as plt

    image = marked((32, 32), (3, 3))
    cases = [
        ((ImageBlock, PointBlock), [[3.0, 4.0]], lambda ax: len(ax.collections)),
        ((ImageBlock, MaskBlock), np.ones((32, 32), np.uint8), lambda ax: len(ax.images) - 1),
        ((ImageBlock, BBoxBlock), [[2, 2, 9, 9]], lambda ax: len(ax.patches)),
    ]
    for blocks, target, count in cases:
        items = [(image, target)] * 4
        dls = DataBlock(blocks, get_x=lambda item: item[0], get_y=lambda item: item[1]).dataloaders(
            items, bs=3, device="cpu"
        )
        assert count(dls.show_batch(max_n=1)[0]) == 1
    plt.close("all")


def drawn(ax):
    """The pixels of each picture drawn in a panel, as matplotlib would colour them."""
    return [image.to_rgba(image.get_array())[..., :3] for image in ax.images]


def test_a_class_has_one_colour_in_all_masks():
    masks = [np.full((8, 8), code, np.uint8) for code in (1, 1, 2, 1, 1, 1)]
    masks[0][:4] = 7  # a larger code beside it changes nothing
    made = DataBlock((ImageBlock, MaskBlock), getters=[colour_of, masks.__getitem__], splitter=last)
    dls = made.dataloaders(range(6), bs=5, shuffle=False, device="cpu")
    first, second = (drawn(ax)[1] for ax in dls.show_batch(max_n=2))
    assert np.array_equal(first[-1, 0], second[-1, 0])
    assert not np.array_equal(first[0, 0], first[-1, 0])


def test_the_classes_that_are_in_the_masks_are_named_below_in_their_colours():
    masks = [np.full((8, 8), code, np.uint8) for code in (0, 3, 3, 0, 9, 1)]
    names = ["sky", "road", "tree", "c$r", *"efghijk"]
    made = DataBlock(
        (ImageBlock, MaskBlock(names)), getters=[colour_of, masks.__getitem__], splitter=last
    )
    dls = made.dataloaders(range(6), bs=5, shuffle=False, device="cpu")
    panels = dls.show_batch(max_n=4)
    (legend,) = panels[0].figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["sky", r"c\$r"]
    first, second = (drawn(ax)[1][0, 0] for ax in panels[:2])
    colours = [patch.get_facecolor() for patch in legend.get_patches()]
    assert np.allclose(colours[0][:3], first) and np.allclose(colours[1][:3], second)
    given = dls.show_batch(max_n=4, cmap="viridis", vmin=0, vmax=9)
    (patch, _) = given[0].figure.legends[0].get_patches()
    assert np.allclose(patch.get_facecolor()[:3], drawn(given[0])[1][0, 0])
    dls.valid.dataset.blocks[1].codes = None
    dls.train.dataset.blocks[1].codes = None
    assert not dls.show_batch(max_n=4)[0].figure.legends


def test_grey_pictures_are_as_dark_as_they_are():
    getters = [lambda i: np.full((8, 8), 100 + 5 * i, np.uint8), lambda i: i % 2]
    made = DataBlock((ImageBlock(PILImageBW), CategoryBlock), getters=getters, splitter=last)
    with pytest.warns(UserWarning, match="no item of the validation set"):
        dls = made.dataloaders(range(6), bs=5, shuffle=False, device="cpu")
    for batch in (dls.one_batch(), dls.raw_batch()):
        for i, ax in enumerate(dls.show_batch(batch)):
            assert np.allclose(drawn(ax)[0], (100 + 5 * i) / 255, atol=1 / 255)


def test_titles_keep_to_the_width_of_their_picture():
    ax = show_image(np.zeros((8, 8, 3), np.uint8), title="a long title about $ and more " * 3)
    assert max(len(line) for line in ax.get_title().split("\n")) <= 32 + 1
    assert ax.get_title().count(r"\$") == ax.get_title().count("$") == 2
    ax.figure.canvas.draw()


def test_two_images_of_an_item_stand_side_by_side():
    getters = [colour_of, lambda i: np.full((6, 4, 3), 200, np.uint8), lambda i: i % 2]
    made = DataBlock((ImageBlock, ImageBlock, CategoryBlock), getters=getters, splitter=last)
    with pytest.warns(UserWarning, match="no item of the validation set"):
        dls = made.dataloaders(range(6), bs=5, shuffle=False, device="cpu")
    (ax,) = dls.show_batch(max_n=1)
    (pixels,) = drawn(ax)
    assert pixels.shape == (8, 8 + 1 + 4, 3)
    assert (pixels[:, :8] == 0).all() and (pixels[:, 8] == 1).all()
    assert np.allclose(pixels[:6, 9:], 200 / 255, atol=1e-6)


def test_batches_before_their_transforms_and_inputs_alone_can_be_shown(root):
    dls = block(batch_tfms=Normalize.from_stats(*imagenet_stats)).dataloaders(
        root, bs=4, shuffle=False, device="cpu"
    )
    raw, _ = next(iter(dls.train))
    x, _ = dls.transformed((raw, torch.zeros(4).long()), training=False)
    shown = [dls.decode_batch(batch) for batch in (raw, (raw,), x)]
    for one, two, three in zip(*shown, strict=True):
        assert torch.equal(one[0], two[0])
        assert torch.allclose(one[0] / 255, three[0], atol=1e-5)
    assert len(dls.show_batch(x, max_n=2)) == 2


def test_a_loader_of_other_items_can_be_shown(root):
    dls = block().dataloaders(root, bs=4, device="cpu")
    files = get_image_files(root)[:3]
    axes = dls.test_dl(files).show_batch()
    assert len(axes) == 3
    assert len(dls.new(bs=8, shuffle=False).show_batch(max_n=5)) == 5
    axes = dls.test_dl(files, with_labels=True).show_batch(max_n=2, nrows=1)
    assert [ax.get_title() for ax in axes] == [parent_label(file) for file in files[:2]]


def test_each_look_is_another_batch_and_training_does_not_notice(root):
    import matplotlib.pyplot as plt

    def pictures(panels):
        return [np.asarray(ax.images[0].get_array()) for ax in panels]

    def loaders():
        return block(batch_tfms=aug_transforms()).dataloaders(root, bs=9, seed=3, device="cpu")

    dls, untouched = loaders(), loaders()
    state = torch.get_rng_state()
    looks = [pictures(dls.show_batch()) for _ in range(3)]
    assert torch.equal(state, torch.get_rng_state()) and dls.train.epoch == 0
    assert all(
        not np.array_equal(one[0], other[0])
        for one, other in [(looks[0], looks[1]), (looks[1], looks[2])]
    )
    assert all(map(np.array_equal, looks[1], [pictures(untouched.show_batch()) for _ in "ab"][1]))
    plt.close("all")
    often = [ax.get_title() for _ in range(8) for ax in dls.show_batch(max_n=2, unique=True)]
    assert often[::2] == often[1::2] and len(set(often)) > 1
    fixed = [pictures(dls.valid.show_batch()) for _ in range(2)]
    assert all(map(np.array_equal, *fixed))
    pairs = zip(dls.train, loaders().train, strict=True)
    assert all(torch.equal(one, other) for a, b in pairs for one, other in zip(a, b, strict=True))
    plt.close("all")


def test_the_grid_says_how_many_are_drawn(root):
    import matplotlib.pyplot as plt

    dls = block().dataloaders(root, bs=20, device="cpu")
    assert len(dls.show_batch(nrows=4, ncols=4)) == len(dls.train.show_batch(None, 16)) == 16
    assert len(dls.show_batch(nrows=4, ncols=4, max_n=5)) == 5 and len(dls.show_batch()) == 9
    with pytest.raises(TypeError, match="takes a batch first, got 5; .* give `max_n=5`"):
        dls.show_batch(5)
    plt.close("all")


def test_a_notebook_shows_the_pictures_and_no_list_of_axes(root):
    import matplotlib.pyplot as plt

    formatters = pytest.importorskip("IPython.core.formatters")
    dls = block().dataloaders(root, bs=4, device="cpu")
    panels = dls.show_batch()
    assert formatters.DisplayFormatter().format(panels) == ({}, {})
    assert repr(panels) == "<4 pictures>" and isinstance(panels, list)
    plt.close("all")


def test_settings_of_matplotlib_go_to_the_masks_or_to_the_images():
    import matplotlib.pyplot as plt

    items = [np.full((8, 8, 3), 30 * i, np.uint8) for i in range(5)]
    masks = DataBlock((ImageBlock, MaskBlock), get_y=lambda _: np.full((8, 8), 3, np.uint8))
    dls = masks.dataloaders(items, bs=2, device="cpu")
    image, mask = dls.show_batch(alpha=0.7, vmin=1, vmax=30)[0].images
    assert mask.get_alpha() == 0.7 and (mask.norm.vmin, mask.norm.vmax) == (1, 30)
    assert image.get_alpha() is None and np.unique(mask.get_array()).tolist() == [3]
    ax = dls.train.show_batch(cmap="gray")[0]
    assert ax.images[1].get_cmap().name == "gray"
    one = plt.subplots()[1]
    assert show_image(items[0], ctx=one) is one
    panels = show_images(items[:2], suptitle="two", alpha=0.5)
    assert panels[0].figure.get_suptitle() == "two" and panels[1].images[0].get_alpha() == 0.5
    plt.close("all")


@pytest.mark.parametrize("scale", [1, 1 / 255])
def test_grey_with_opacity_is_drawn_over_white(scale):
    import matplotlib.pyplot as plt

    pixels = torch.tensor([[[0, 200]], [[255, 0]]], dtype=torch.uint8)
    ax = show_image(pixels if scale == 1 else pixels * scale)
    assert np.allclose(ax.images[0].get_array(), np.array([[0, 255]]) * scale)
    block_of_greys = DataBlock(ImageBlock(type("Grey", (PILImage,), {"mode": "LA"})))
    greys = [np.full((8, 8, 2), 50 * i, np.uint8) for i in range(5)]
    assert len(block_of_greys.dataloaders(greys, bs=4, device="cpu").show_batch()) == 4
    plt.close("all")


def test_a_label_cannot_begin_a_formula(tmp_path):
    import matplotlib.pyplot as plt

    items = [(marked((8, 8), (1, 1)), "$x\x1b[31m$")] * 4 + [(marked((8, 8), (1, 1)), "b")] * 4
    dls = DataBlock(
        (ImageBlock, CategoryBlock),
        get_x=lambda item: item[0],
        get_y=lambda item: item[1],
        splitter=IndexSplitter([3, 7]),
    ).dataloaders(items, bs=6, device="cpu")
    panels = dls.show_batch(max_n=6)
    assert {ax.get_title() for ax in panels} == {r"\$x[31m\$", "b"}
    plt.gcf().canvas.draw()
    plt.close("all")
