"""From items to batches by a `DataBlock`: getters, splits, transforms, seeds, workers."""

import pickle
from inspect import signature

import pytest
import torch
from blocks_made import block, same
from pictures import COLOURS, folder_of_pictures
from torch import nn

from learnlite import Learner, accuracy
from learnlite.vision.all import (
    CategoryBlock,
    ColReader,
    ColSplitter,
    DataBlock,
    ImageBlock,
    IndexSplitter,
    Normalize,
    PILImageBW,
    RandomResizedCrop,
    Resize,
    aug_transforms,
    get_image_files,
    imagenet_stats,
    parent_label,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return folder_of_pictures(tmp_path_factory.mktemp("pictures"))


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


def test_without_blocks_items_go_through_twice():
    dsets = DataBlock().datasets(list(range(10)))
    assert len(dsets.train) == 8 and dsets.train[0][0] == dsets.train[0][1]


def test_new_transforms_leave_the_rest(root):
    first = block()
    dls = first.new(item_tfms=Resize(8)).dataloaders(root, bs=4)
    assert dls.one_batch()[0].shape == (4, 3, 8, 8)
    assert first.dataloaders(root, bs=4).one_batch()[0].shape == (4, 3, 32, 32)
    augmented = first.new(Resize(8), aug_transforms())
    assert augmented.batch_tfms and not augmented.new(Resize(8)).batch_tfms  # as in fastai


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


def test_items_of_pandas_are_taken_by_their_position(root):
    pandas = pytest.importorskip("pandas")
    files = get_image_files(root)
    table = pandas.DataFrame({"file": map(str, files), "label": map(parent_label, files)})
    table = table.sample(frac=1, random_state=0)[3:]  # with the index of another order
    column = table.file
    mixed = column.tolist()
    held = [0, 3, 5, 7, 11, 20]
    settings = {"get_items": None, "splitter": IndexSplitter(held)}
    by_file = block(get_y=parent_label, **settings)
    assert by_file.datasets(column).valid.items == [mixed[i] for i in held]
    by_row = block(get_x=ColReader("file"), get_y=ColReader("label"), **settings)
    sets = by_row.datasets(table)
    assert [row["file"] for row in sets.valid.items] == [mixed[i] for i in held]
    dls = by_row.dataloaders(table, bs=8)
    wanted = torch.cat([x for (x,) in by_file.dataloaders(mixed, bs=8).test_dl(mixed)])
    for items in (column, table, table.to_dict("list"), iter(mixed), dict.fromkeys(mixed).keys()):
        assert torch.equal(torch.cat([x for (x,) in dls.test_dl(items)]), wanted)
    x, y = next(iter(dls.test_dl(table[5:], with_labels=True)))
    assert torch.equal(x, wanted[5:13])
    assert [dls.vocab[i] for i in y] == table.label.tolist()[5:13]


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


def test_one_batch_of_a_loader_is_what_the_model_gets(root):
    dls = block(batch_tfms=aug_transforms(size=16)).dataloaders(root, bs=4, val_bs=3, seed=5)
    loaders = (dls.train, dls.valid, dls.test_dl(get_image_files(root)[:2]), dls.train.new(bs=2))
    for loader, n in zip(loaders, (4, 3, 2, 2), strict=True):
        x = loader.one_batch()[0]
        assert x.shape == (n, 3, 16, 16) and x.dtype == torch.float32
        raw = next(loader.batches(0))[0]
        assert raw.dtype == torch.uint8 and torch.equal(raw, loader.raw_batch()[0])
    for i, loader in enumerate(dls):
        assert same(dls.one_batch(i), loader.one_batch())
    (x,), _ = dls.receive(next(iter(dls.valid)), training=False)
    assert torch.equal(x, dls.valid.one_batch()[0])


def test_what_the_loaders_tell_and_copies_of_them_have_names_as_in_fastai(root):
    dls = block().dataloaders(root, bs=4)
    assert dls.bs == 4 and dls.new(bs=2).bs == 2 and dls.train.new(bs=2).shuffle
    assert not dls.valid.new(bs=2).shuffle and dls.valid.new(bs=2).n == 12
    assert "max_n" in signature(dls.train.show_batch).parameters
    assert "another augmentation" in dls.train.show_batch.__doc__
    assert torch.equal(pickle.loads(pickle.dumps(dls)).one_batch()[1], dls.one_batch()[1])
