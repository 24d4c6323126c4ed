"""Loaders in one call, by the layout of folders, names and tables."""

import csv
from pathlib import Path

import pytest
import torch
from blocks_made import same
from pictures import COLOURS, folder_of_pictures

from learnlite.vision.all import (
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


def test_from_a_dataframe(root):
    pandas = pytest.importorskip("pandas")
    files = get_image_files(root)
    df = pandas.DataFrame({"f": [str(f) for f in files], "y": [f.parent.name for f in files]})
    df["f"] = [str(Path(f).relative_to(root)) for f in df["f"]]
    assert list(ImageDataLoaders.from_df(df, root, item_tfms=Resize(16)).vocab) == sorted(COLOURS)
