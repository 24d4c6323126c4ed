"""Loaders in one call, by the layout of folders, names and tables."""

import csv
import pickle
from operator import itemgetter
from pathlib import Path

import pytest
import torch
from blocks_made import same
from pictures import COLOURS, folder_of_pictures

from learnlite.vision.all import (
    CategoryBlock,
    ImageDataLoaders,
    Resize,
    get_image_files,
    parent_label,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return folder_of_pictures(tmp_path_factory.mktemp("pictures"))


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


def table_of(root, labels=()):
    """Three pictures a colour, with these labels for the first rows."""
    files = [f for f in get_image_files(root) if f.stem[-1] in "012"]
    rows = [{"name": str(f.relative_to(root)), "colour": f.parent.name} for f in files]
    for row, label in zip(rows, labels, strict=False):
        row["colour"] = label
    return rows


@pytest.mark.parametrize("empty", ["", None, float("nan")])
def test_an_empty_cell_is_a_missing_label_not_a_class(root, empty):
    rows = table_of(root, [empty])
    with pytest.raises(ValueError, match=r"1 of the \w+ set's labels are missing .* `add_na=True`"):
        ImageDataLoaders.from_df(rows, root, item_tfms=Resize(16), bs=4)
    known = CategoryBlock(add_na=True)
    dls = ImageDataLoaders.from_df(rows, root, y_block=known, item_tfms=Resize(16), bs=4)
    assert list(dls.vocab) == ["#na#", *sorted(COLOURS)]
    numbers = table_of(root, [empty, *["0.5"] * 99])
    with pytest.raises(ValueError, match="is missing or not finite; fill it"):
        ImageDataLoaders.from_df(numbers, root, item_tfms=Resize(16), bs=4)


def test_a_csv_file_of_any_encoding(root):
    lines = [f"{row['name']},{'grün' if i % 2 else 'rot'}" for i, row in enumerate(table_of(root))]
    (root / "old.csv").write_text("\n".join(["name,colour", *lines]), encoding="latin-1")
    settings = {"csv_fname": "old.csv", "item_tfms": Resize(16), "bs": 4}
    with pytest.raises(ValueError, match="is not text in utf-8-sig .* name the `encoding`"):
        ImageDataLoaders.from_csv(root, **settings)
    dls = ImageDataLoaders.from_csv(root, encoding="latin-1", **settings)
    assert list(dls.vocab) == ["grün", "rot"]


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({"name": ""}, {}, "row 17 of the table names no file in column `0`: {'name': ''"),
        ({"name": None}, {"fn_col": "name"}, "row 17 of the table names no file in column `name`"),
        ({"name": "/1.jpg"}, {}, "the file name `/1.jpg` is absolute; write it relative to"),
        ({"name": "a/../../1.jpg"}, {}, r"leads out of its folder by `\.\.`"),
        ({}, {"fn_col": "file"}, "there is no column `file` among `name`, `colour`"),
    ],
)
def test_names_that_are_no_files_of_the_folder_are_told_at_once(root, change, settings, message):
    rows = table_of(root)
    rows[17] |= change
    with pytest.raises(ValueError, match=message):
        ImageDataLoaders.from_df(rows, root, item_tfms=Resize(16), bs=4, **settings)


def test_labels_by_a_files_name_go_to_processes_that_are_started_anew(root):
    files = get_image_files(root)
    for dls in (
        ImageDataLoaders.from_name_re(root, files, r"^(.*)_", item_tfms=Resize(16), bs=4),
        ImageDataLoaders.from_name_func(root, files, itemgetter(0), item_tfms=Resize(16), bs=4),
    ):
        again = pickle.loads(pickle.dumps(dls.valid_ds))
        assert torch.equal(again[0][0], dls.valid_ds[0][0]) and again[0][1] == dls.valid_ds[0][1]


def test_from_a_dataframe(root):
    pandas = pytest.importorskip("pandas")
    files = get_image_files(root)
    df = pandas.DataFrame({"f": [str(f) for f in files], "y": [f.parent.name for f in files]})
    df["f"] = [str(Path(f).relative_to(root)) for f in df["f"]]
    assert list(ImageDataLoaders.from_df(df, root, item_tfms=Resize(16)).vocab) == sorted(COLOURS)
