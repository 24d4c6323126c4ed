"""From a folder, a list or a table to loaders: what `DataBlock` makes, and what it says."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import COLOURS, folder_of_pictures, picture
from PIL import Image
from torch import nn

from learnlite import Learner, accuracy
from learnlite.vision.all import (
    BBoxBlock,
    BBoxLblBlock,
    CategoryBlock,
    ColReader,
    ColSplitter,
    DataBlock,
    Flip,
    GrandparentSplitter,
    ImageBlock,
    ImageDataLoaders,
    IndexSplitter,
    MaskBlock,
    MultiCategoryBlock,
    Normalize,
    PILImageBW,
    PointBlock,
    RandomResizedCrop,
    RandomSplitter,
    RegressionBlock,
    Resize,
    SegmentationDataLoaders,
    TransformBlock,
    aug_transforms,
    get_image_files,
    imagenet_stats,
    parent_label,
)
from learnlite.vision.items import BlockItems


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return folder_of_pictures(tmp_path_factory.mktemp("pictures"))


def block(**changes):
    settings = {
        "get_items": get_image_files,
        "get_y": parent_label,
        "splitter": GrandparentSplitter(),
        "item_tfms": Resize(32),
    } | changes
    return DataBlock((ImageBlock, CategoryBlock), **settings)


def same(a, b):
    return all(
        torch.equal(x, y)
        for one, two in zip(a, b, strict=True)
        for x, y in zip(one, two, strict=True)
    )


def test_a_folder_becomes_batches_of_plain_tensors(root):
    dls = block(batch_tfms=Normalize.from_stats(*imagenet_stats)).dataloaders(root, bs=8)
    assert (len(dls.train_ds), len(dls.valid_ds)) == (36, 12)
    assert list(dls.vocab) == sorted(COLOURS) and dls.c == 3
    x, y = dls.one_batch()
    assert x.shape == (8, 3, 32, 32) and x.dtype == torch.float32 and type(x) is torch.Tensor
    assert y.dtype == torch.int64 and type(y) is torch.Tensor
    raw, _ = dls.raw_batch()
    assert raw.dtype == torch.uint8
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in imagenet_stats)
    assert torch.allclose(x, (raw / 255 - mean) / std, atol=1e-5)


def test_a_net_learns_the_colours(root):
    dls = block(batch_tfms=[*aug_transforms(size=24), Normalize.from_stats(*imagenet_stats)])
    dls = dls.dataloaders(root, bs=8, seed=1, device="cpu")
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    learn = Learner(dls, net, metrics=accuracy, seed=1)
    with learn.no_logging():
        learn.fit(8, 0.1)
    assert learn.recorder.last("accuracy") > 0.9


@pytest.mark.parametrize("start", [0, 3])
def test_batches_are_the_same_for_any_number_of_workers_and_from_any_batch(root, start):
    def batches(num_workers):
        tfms = [RandomResizedCrop(24, min_scale=0.3)]
        dls = block(item_tfms=tfms).dataloaders(root, bs=8, seed=5, num_workers=num_workers)
        return [*dls.train.batches(2, start), *dls.valid.batches(2)]

    here = batches(0)
    assert len(here) == 5 - start + 2
    assert same(here, batches(1)) and same(here, batches(2))


def test_the_same_seed_gives_the_same_training(root):
    def run(num_workers):
        tfms = [*aug_transforms(size=24), Normalize.from_stats(*imagenet_stats)]
        dls = block(item_tfms=RandomResizedCrop(32), batch_tfms=tfms)
        dls = dls.dataloaders(root, bs=8, seed=5, num_workers=num_workers, device="cpu")
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
        )
        learn = Learner(dls, net, seed=3)
        with learn.no_logging():
            learn.fit(2, 0.05)
        return list(learn.model.parameters())

    assert all(torch.equal(a, b) for a, b in zip(run(0), run(2), strict=True))


def test_validation_is_not_augmented(root):
    dls = block(item_tfms=RandomResizedCrop(24), batch_tfms=aug_transforms()).dataloaders(
        root, bs=12, device="cpu"
    )
    once, again = (dls.receive(batch, training=False) for batch in [*dls.valid.batches(0)] * 2)
    assert torch.equal(once[0][0], again[0][0])
    x, y = (dls.receive(next(dls.train.batches(0)), training=True)[0][0] for _ in range(2))
    assert not torch.equal(x, y)


def test_getters_splitter_and_blocks_of_a_table(root):
    files = get_image_files(root)
    rows = [
        {"file": str(f.relative_to(root)), "colour": f.parent.name, "held": f.parts[-3] == "valid"}
        for f in files
    ]
    dls = DataBlock(
        (ImageBlock(PILImageBW), CategoryBlock),
        get_x=ColReader("file", pref=f"{root}/"),
        get_y=ColReader("colour"),
        splitter=ColSplitter("held"),
        item_tfms=Resize(16),
    ).dataloaders(rows, bs=4)
    assert len(dls.valid_ds) == 12
    assert dls.one_batch()[0].shape == (4, 1, 16, 16)


def test_several_labels_and_numbers(root):
    files = get_image_files(root)
    several = DataBlock(
        (ImageBlock, MultiCategoryBlock),
        get_y=lambda f: ["even"] * (len(f.name) % 2 == 0) + [f.parent.name],
        item_tfms=Resize(16),
        splitter=RandomSplitter(seed=1),
    ).dataloaders(files, bs=4)
    _, y = several.one_batch()
    assert y.shape == (4, 4) and set(y.unique().tolist()) <= {0.0, 1.0}
    assert type(several.loss_func).__name__ == "BCEWithLogitsLossFlat"
    numbers = DataBlock(
        (ImageBlock, RegressionBlock), get_y=lambda f: float(len(f.name)), item_tfms=Resize(16)
    ).dataloaders(files, bs=4)
    assert numbers.one_batch()[1].dtype == torch.float32 and numbers.c == 1


def marked(size, at):
    """A black picture with one white pixel at (x, y)."""
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[at[1], at[0]] = 255
    return pixels


def test_points_are_scaled_and_land_where_their_pixel_lands():
    spots = [(5, 9), (30, 2), (17, 27), (0, 31), (31, 0), (12, 12), (20, 8), (8, 20)]
    items = [(marked((32, 32), at), [[at[0] + 0.5, at[1] + 0.5]]) for at in spots]
    dls = DataBlock(
        (ImageBlock, PointBlock),
        get_x=lambda item: item[0],
        get_y=lambda item: item[1],
        splitter=IndexSplitter([0]),
        batch_tfms=[Flip(p=1.0)],
    ).dataloaders(items, bs=7, shuffle=False, device="cpu")
    assert dls.c == 2
    x, y = dls.one_batch()
    assert y.shape == (7, 1, 2) and y.abs().max() <= 1
    for image, (point,) in zip(x, y, strict=True):
        row, column = divmod(image.sum(0).argmax().item(), 32)
        expected = torch.tensor([column + 0.5, row + 0.5]) / 32 * 2 - 1
        assert torch.allclose(point, expected, atol=0.02)
    (_, decoded), *_ = dls.decode_batch((x, y))
    assert torch.allclose(decoded[0], torch.tensor([32 - 30.5, 2.5]), atol=1e-3)


def test_boxes_of_unequal_number_are_padded_with_their_labels():
    items = [
        (marked((32, 32), (3, 3)), [[2, 2, 10, 12]], ["cat"]),
        (marked((32, 32), (3, 3)), [[0, 0, 4, 4], [8, 8, 30, 31]], ["dog", "cat"]),
        (marked((32, 32), (3, 3)), [[1, 1, 2, 2]], ["dog"]),
        (marked((32, 32), (3, 3)), [[1, 1, 2, 2]], ["cat"]),
    ]
    dls = DataBlock(
        (ImageBlock, BBoxBlock, BBoxLblBlock),
        getters=[lambda item: item[0], lambda item: item[1], lambda item: item[2]],
        splitter=IndexSplitter([2, 3]),
        n_inp=1,
        item_tfms=Resize(64),
    ).dataloaders(items, bs=2, shuffle=False)
    x, boxes, labels = dls.one_batch()
    assert x.shape == (2, 3, 64, 64) and boxes.shape == (2, 2, 4)
    assert boxes[1].tolist() == [[0, 0, 8, 8], [16, 16, 60, 62]] and boxes[0, 1].tolist() == [0] * 4
    assert list(dls.vocab) == ["#na#", "cat", "dog"] and labels.tolist() == [[1, 0], [2, 1]]


def test_masks_keep_their_numbers(tmp_path):
    for i in range(6):
        picture("red", i, (24, 30)).save(tmp_path / f"{i}.png")
        Image.fromarray(np.full((24, 30), i % 3, np.uint8)).save(tmp_path / f"{i}_mask.gif")
    files = [f for f in get_image_files(tmp_path) if "mask" not in f.name]
    dls = SegmentationDataLoaders.from_label_func(
        tmp_path,
        files,
        lambda f: f.with_name(f"{f.stem}_mask.gif"),
        codes=["a", "b", "c"],
        item_tfms=Resize(16),
        batch_tfms=aug_transforms(),
        bs=4,
        seed=1,
    )
    _, y = dls.one_batch()
    assert y.shape == (4, 16, 16) and y.dtype == torch.int64 and dls.c == 3
    assert set(y.unique().tolist()) <= {0, 1, 2}
    assert dls.loss_func(torch.randn(4, 3, 16, 16), y).ndim == 0


def test_without_blocks_items_go_through_twice():
    dsets = DataBlock().datasets(list(range(10)))
    assert len(dsets.train) == 8 and dsets.train[0][0] == dsets.train[0][1]


def test_new_transforms_leave_the_rest(root):
    first = block()
    dls = first.new(item_tfms=Resize(8)).dataloaders(root, bs=4)
    assert dls.one_batch()[0].shape == (4, 3, 8, 8)
    assert first.dataloaders(root, bs=4).one_batch()[0].shape == (4, 3, 32, 32)


def test_a_last_training_batch_of_one_is_left_out(root):
    assert len(block().dataloaders(root, bs=7).train) == 5  # 36 = 5 · 7 + 1
    assert len(block().dataloaders(root, bs=7, drop_last=False).train) == 6
    assert len(block().dataloaders(root, bs=8).train) == 5


def test_a_part_of_each_class_for_a_quick_try(root):
    dls = block().dataloaders(root, bs=3, subset=0.25)
    assert len(dls.train_ds) == 9 and len(dls.valid_ds) == 12
    assert sorted(parent_label(f) for f in dls.train_ds.items) == sorted([*COLOURS] * 3)


def test_balanced_loaders_draw_every_class_as_often(root):
    files = get_image_files(root)
    unequal = [f for f in files if f.parent.name == "red" or f.name.endswith("_0.jpg")]
    dls = block(get_items=None).dataloaders(unequal, bs=4, balanced=True, seed=1)
    drawn = torch.cat([y for epoch in range(20) for _, y in dls.train.batches(epoch)])
    shares = torch.bincount(drawn) / len(drawn)
    assert shares.min() > 0.25


def test_test_items_are_read_as_validation_is(root):
    dls = block(item_tfms=RandomResizedCrop(24)).dataloaders(root, bs=4)
    files = dls.valid_ds.items
    batches = list(dls.test_dl(files))
    assert all(len(batch) == 1 for batch in batches)
    valid = torch.cat([x for x, _ in dls.valid.batches(0)])
    assert torch.equal(torch.cat([x for (x,) in batches]), valid)
    with_labels = list(dls.test_dl(files, with_labels=True))
    assert torch.equal(
        torch.cat([y for _, y in with_labels]), torch.cat([y for _, y in dls.valid.batches(0)])
    )


# ImageDataLoaders


def test_from_folder_by_names_and_by_chance(root):
    dls = ImageDataLoaders.from_folder(root, item_tfms=Resize(16), bs=4)
    assert (len(dls.train_ds), len(dls.valid_ds)) == (36, 12)
    dls = ImageDataLoaders.from_folder(root, valid_pct=0.5, seed=1, item_tfms=Resize(16), bs=4)
    assert (len(dls.train_ds), len(dls.valid_ds)) == (24, 24)


def test_from_names_paths_and_lists(root):
    files = get_image_files(root)
    settings = {"item_tfms": Resize(16), "bs": 4, "seed": 2}
    ways = [
        ImageDataLoaders.from_path_func(root, files, parent_label, **settings),
        ImageDataLoaders.from_name_func(root, files, lambda name: name.split("_")[0], **settings),
        ImageDataLoaders.from_name_re(root, files, r"^(.*)_\d+.jpg$", **settings),
        ImageDataLoaders.from_path_re(root, files, r"/([^/]+)_\d+.jpg$", **settings),
        ImageDataLoaders.from_lists(root, files, [f.parent.name for f in files], **settings),
    ]
    first = [*ways[0].train.batches(0)]
    for dls in ways:
        assert list(dls.vocab) == sorted(COLOURS) and same(first, [*dls.train.batches(0)])


def test_from_csv_with_one_label_several_or_numbers(root):
    files = get_image_files(root)
    with (root / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "colour", "tags", "size"])
        for f in files:
            row = [f.relative_to(root), f.parent.name, f"{f.parent.name} {f.parts[-3]}", "0.5"]
            writer.writerow(row)
    settings = {"item_tfms": Resize(16), "bs": 4}
    one = ImageDataLoaders.from_csv(root, label_col="colour", **settings)
    several = ImageDataLoaders.from_csv(root, label_col="tags", label_delim=" ", **settings)
    number = ImageDataLoaders.from_csv(root, label_col="size", **settings)
    assert list(one.vocab) == sorted(COLOURS)
    assert list(several.vocab) == sorted([*COLOURS, "train", "valid"])
    assert number.vocab is None and number.one_batch()[1].dtype == torch.float32


def test_a_splitter_gets_the_columns_of_a_dataframe(root):
    pandas = pytest.importorskip("pandas")
    files = get_image_files(root)
    table = pandas.DataFrame(
        {"file": files, "label": [parent_label(f) for f in files], "late": [*[0, 1] * 24]}
    )
    made = block(
        get_items=None,
        get_x=lambda row: row.file,
        get_y=lambda row: row["label"],
        splitter=lambda df: (
            df.index[df["late"] == 0].tolist(),
            df.index[df["late"] == 1].tolist(),
        ),
    )
    assert made.datasets(table).valid.items[0].file == files[1]


def test_items_may_come_from_a_generator(root):
    files = get_image_files(root)
    made = block(get_items=None)
    assert len(made.datasets(file for file in files).train) == 36
    assert len(block(get_items=lambda path: iter(files)).datasets(root).train) == 36


def test_one_block_serves_data_of_other_classes(root):
    made = block()
    others = block(get_y=lambda file: parent_label(file) + "!")
    others.blocks = made.blocks
    assert made.datasets(root).vocab != others.datasets(root).vocab


def test_from_a_dataframe(root):
    pandas = pytest.importorskip("pandas")
    files = get_image_files(root)
    df = pandas.DataFrame({"f": [str(f) for f in files], "y": [f.parent.name for f in files]})
    df["f"] = [str(Path(f).relative_to(root)) for f in df["f"]]
    assert list(ImageDataLoaders.from_df(df, root, item_tfms=Resize(16)).vocab) == sorted(COLOURS)


# Looking


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


def colour_of(i):
    return np.full((8, 8, 3), 40 * i, np.uint8)


def last(items):
    return list(range(len(items) - 1)), [len(items) - 1]


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
    axes = dls.test_dl(files, with_labels=True).show_batch(max_n=2, nrows=1)
    assert [ax.get_title() for ax in axes] == [parent_label(file) for file in files[:2]]


def test_codes_of_numpy_are_a_list_of_names():
    assert MaskBlock(np.array(["void", "car"])).vocab == ["void", "car"]


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


def test_summary_tells_every_step(root, capsys):
    block(batch_tfms=aug_transforms(size=16)).summary(root, device="cpu")
    text = capsys.readouterr().out
    for part in (
        "items: 48",
        "36 to train on, 12 to validate",
        "3 classes: blue, green, red",
        "`parent_label` gives",
        "3 x 32 x 32 of uint8",
        "what the model gets: Tensor 4 x 3 x 16 x 16 of float32",
    ):
        assert part in text, part


@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ({"get_items": lambda path: []}, "failed while finding the items: ValueError: there are"),
        ({"splitter": lambda items: 1 / 0}, "failed while splitting them: ZeroDivisionError"),
        ({"get_y": lambda file: 1 / 0}, "failed while reading all labels: ZeroDivisionError"),
        ({"item_tfms": lambda item: 1 / 0}, r"opening and changing the item .*jpg: ZeroDivision"),
        ({"batch_tfms": lambda b, k, t: 1 / 0}, "failed while .*batch.*: ZeroDivisionError"),
    ],
)
def test_summary_tells_which_step_failed(root, capsys, changes, step):
    with pytest.raises((ValueError, ZeroDivisionError)):
        block(**changes).summary(root, device="cpu")
    assert re.search(step, capsys.readouterr().out)


def test_summary_names_the_item_of_another_shape(tmp_path, capsys):
    for i in range(12):
        picture("red", i, (20, 26 if i == 8 else 20)).save(tmp_path / f"{i:02}.png")
    made = block(get_y=lambda f: int(f.stem) % 2, splitter=last, item_tfms=None)
    with pytest.warns(UserWarning, match="no item"), pytest.raises(ValueError, match="in shape"):
        made.summary(tmp_path, bs=11)
    text = capsys.readouterr().out
    assert "item 3 ready" in text and "item 4 ready" not in text
    assert re.search(r"item 8 ready.*08\.png is of another shape", text)


# Bad input


def test_points_and_boxes_that_cannot_be_are_named():
    cases = [
        (PointBlock(), [1, 2, 3], r"f\.jpg: points are pairs \(x, y\), got 3 numbers"),
        (PointBlock(), "left", r"f\.jpg: points are pairs .* of numbers, got 'left'"),
        (PointBlock(), [1, float("nan")], r"f\.jpg: points are pairs .* of finite numbers"),
        (BBoxBlock(), [[1, 2, 3]], r"f\.jpg: boxes are \(left, top, right, bottom\), got 3"),
        (BBoxBlock(), [[30, 2, 10, 8]], r"f\.jpg has the box .* ends before it begins"),
    ]
    for made, source, message in cases:
        with pytest.raises(ValueError, match=message):
            made.open(source, (40, 40), "f.jpg")


def test_unequal_sizes_want_a_resize(tmp_path):
    for i, size in enumerate([(20, 20), (20, 24), (22, 20), (20, 20)]):
        picture("red", i, size).save(tmp_path / f"{i}.png")
    bad = DataBlock(
        (ImageBlock, CategoryBlock),
        get_items=get_image_files,
        get_y=lambda f: int(f.stem) % 2,
        splitter=IndexSplitter([2, 3]),
    )
    with pytest.raises(ValueError, match=r"differ in shape, as .* `item_tfms=Resize\(224\)`"):
        bad.dataloaders(tmp_path, bs=2)


def test_a_bad_file_is_named_with_what_was_being_done(root, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff not a photo")
    files = [*get_image_files(root)[:6], tmp_path / "broken.jpg"]
    bad = block(get_items=None, splitter=IndexSplitter([0, 2]), get_y=lambda f: f.suffix)
    with pytest.warns(UserWarning, match="one class only"):
        dls = bad.dataloaders(files[:6], bs=2)
    with pytest.raises(ValueError, match="broken.jpg") as caught:
        list(dls.test_dl(files))
    assert any("while `ImageBlock(PILImage)` opened" in note for note in caught.value.__notes__)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: block(get_items=None).dataloaders(root), "pass `get_items=get_image_files`"),
        (lambda root: block(get_items=lambda p: []).dataloaders(root), "there are no items"),
        (lambda root: block(get_y=None).datasets(root), "of a file; give `get_y`"),
        (lambda root: block(get_y=[parent_label] * 2), "`get_y` has 2 functions for 1 blocks"),
        (lambda root: DataBlock(ImageBlock, getters=[len] * 3), "1 blocks but 3 `getters`"),
        (lambda root: DataBlock((ImageBlock, CategoryBlock), n_inp=3), "how many of the 2 blocks"),
        (lambda root: DataBlock(3), "a block is a `Block` or makes one, got 3"),
        (lambda root: DataBlock(dl_type=list), "`dl_type` has no meaning here"),
        (
            lambda root: ImageDataLoaders.from_lists(root, ["a", "b"], ["x"]),
            "2 files but 1 labels",
        ),
        (
            lambda root: ImageDataLoaders.from_folder(root, valid="val"),
            "there is no folder `val` in .* only `train`, `valid`",
        ),
        (
            lambda root: block(get_items=None).datasets({"a", "b"}),
            "a length and indices, got a `set`",
        ),
        (lambda root: block(get_items=lambda p: None).datasets(root), "what `get_items` gives"),
        (lambda root: block().dataloaders(root, bs="4"), "`bs` must be a whole number"),
        (lambda root: block().dataloaders(root, batch_size=4), "did you mean `bs`"),
        (lambda root: block().dataloaders(root, item_tfm=Resize(8)), "did you mean `item_tfms`"),
        (lambda root: block(item_tfms=aug_transforms()), "as one of `batch_tfms`"),
        (lambda root: block(batch_tfms=Resize(8)), "`Resize` changes single items; give it as"),
        (
            lambda root: BlockItems(
                [], [BBoxBlock(), BBoxLblBlock()], [len, len], training=True, n_inp=1
            ).collate([(torch.zeros(2, 4), torch.zeros(1))]),
            "2 boxes and 1 labels of boxes",
        ),
        (
            lambda root: block().dataloaders(root).test_dl(root / "a.jpg"),
            r"`test_dl` takes a list of items, got one: `test_dl\(\[",
        ),
        (
            lambda root: DataBlock(
                (TransformBlock, PointBlock), get_y=lambda i: [1, 2]
            ).dataloaders([1, 2, 3, 4]),
            "begin the blocks with `ImageBlock`",
        ),
    ],
)
def test_mistakes_are_told_with_a_way_out(root, make, message):
    with pytest.raises((ValueError, TypeError, OSError), match=message):
        make(root)
