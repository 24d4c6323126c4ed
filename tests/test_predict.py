"""Predictions for single items, in whatever form they come, and as a table."""

import csv
import io
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pictures import COLOURS, folder_of_pictures
from PIL import Image
from tiny import digits_loaders, linear_learner, net, silent
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from learnlite import DataLoaders, Learner
from learnlite.predictions import PredictionTable
from learnlite.vision.all import (
    CategoryBlock,
    DataBlock,
    ImageBlock,
    ImageDataLoaders,
    IndexSplitter,
    MultiCategoryBlock,
    Normalize,
    PointBlock,
    RegressionBlock,
    Resize,
    SegmentationDataLoaders,
    get_image_files,
    imagenet_stats,
    parent_label,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return folder_of_pictures(tmp_path_factory.mktemp("pictures"))


class MeanColour(nn.Module):
    """The mean of each channel as outputs: blue, green, red, in the order of the alphabet."""

    def forward(self, x):
        return 10 * x.mean((2, 3)).flip(1)


def colours_learner(root, **settings):
    torch.manual_seed(0)
    dls = ImageDataLoaders.from_folder(
        root,
        valid="valid",
        item_tfms=Resize(24),
        batch_tfms=Normalize.from_stats(*imagenet_stats),
        bs=8,
        device="cpu",
        **settings,
    )
    learn = silent(Learner(dls, MeanColour()))
    assert list(dls.vocab) == sorted(COLOURS)
    return learn


def test_an_image_in_any_form_is_the_same_item(root):
    learn = colours_learner(root)
    file = root / "valid" / "green" / "green_1.jpg"
    label, index, probabilities = learn.predict(file)
    assert (label, index) == ("green", 1) and probabilities.shape == (3,)
    array = np.array(Image.open(file))
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    for item in (str(file), Image.open(file), file.read_bytes(), array, tensor):
        assert torch.equal(learn.predict(item)[2], probabilities)


def test_items_one_by_one_and_together_are_what_get_preds_says(root):
    learn = colours_learner(root)
    files = learn.dls.valid_ds.items
    preds, _ = learn.get_preds()
    together = learn.predict_batch(files)  # more than a batch
    for file, expected, (label, index, probabilities) in zip(files, preds, together, strict=True):
        torch.testing.assert_close(probabilities, expected)
        alone = learn.predict(file)
        assert alone[:2] == (label, index) == (file.parent.name, int(expected.argmax()))
        torch.testing.assert_close(alone[2], expected)
    assert learn.predict_batch([]) == []


def test_a_batch_may_be_of_items_in_any_form_and_from_anywhere(root):
    learn = colours_learner(root)
    files = learn.dls.valid_ds.items[:3]
    expected = [learn.predict(file) for file in files]
    opened = [Image.open(file) for file in files]
    arrays = [np.array(image) for image in opened]
    mixed = [files[0], opened[1], str(files[2])]
    also = [opened[0], str(files[1]), files[2].read_bytes()]
    for items in (iter(files), (f for f in files), dict.fromkeys(files).keys(), mixed, also):
        for ours, theirs in zip(learn.predict_batch(items), expected, strict=True):
            assert ours[:2] == theirs[:2]
            torch.testing.assert_close(ours[2], theirs[2])
    stacked = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
    assert [label for label, *_ in learn.predict_batch(stacked)] == [e[0] for e in expected]
    assert learn.predict_batch(iter([])) == []


def test_rows_of_a_table_and_images_may_be_mixed(root):
    files = get_image_files(root / "train")
    rows = [{"name": str(f.relative_to(root)), "label": f.parent.name} for f in files]
    dls = ImageDataLoaders.from_df(rows, root, seed=1, item_tfms=Resize(24), bs=8, device="cpu")
    learn = silent(Learner(dls, MeanColour()))
    found = learn.predict_batch([rows[0], files[1], Image.open(files[2]), rows[3]])
    assert [label for label, *_ in found] == [row["label"] for row in rows[:4]]


@pytest.mark.parametrize("kind", ["text", "path", "image", "bytes", "array", "number"])
def test_one_item_instead_of_several_is_refused(root, kind):
    learn = colours_learner(root)
    file = learn.dls.valid_ds.items[0]
    item = {
        "text": str(file),
        "path": file,
        "image": Image.open(file).copy(),
        "bytes": file.read_bytes(),
        "array": np.array(Image.open(file)),
        "number": 3,
    }[kind]
    text = np.array([str(file), str(file)])
    assert len(learn.predict_batch(text)) == 2
    with pytest.raises(TypeError, match=r"`predict` takes one item, got a list of 2; use"):
        learn.predict([file, file])
    with pytest.raises(TypeError, match=r"takes several items.*got one: .*`predict\(item\)`"):
        learn.predict_batch(item)


def test_predicting_an_item_starts_no_process_and_shows_no_bar(root, capsys, monkeypatch):
    learn = colours_learner(root, num_workers=2)
    monkeypatch.setattr("learnlite.data.loader.WorkerPool", None)  # to start one would fail
    learn.predict(root / "valid" / "red" / "red_0.jpg")
    assert capsys.readouterr() == ("", "")


def test_a_table_of_files_predicts_rows_and_files_alike(root):
    files = get_image_files(root / "train")
    rows = [
        {"name": str(f.relative_to(root)), "label": f.parent.name, "valid": i % 4 == 0}
        for i, f in enumerate(files)
    ]
    dls = ImageDataLoaders.from_df(
        rows, root, valid_col="valid", item_tfms=Resize(24), bs=8, device="cpu"
    )
    learn = silent(Learner(dls, MeanColour()))
    row = learn.predict(rows[3])
    file = learn.predict(files[3])
    assert row[0] == file[0] == rows[3]["label"] and torch.equal(row[2], file[2])
    preds, targs = learn.get_preds(dl=dls.test_dl(files[:5]))
    assert targs is None and torch.equal(preds[3], file[2])
    labelled, targs = learn.get_preds(dl=dls.test_dl(rows[:5], with_labels=True))
    assert torch.equal(preds, labelled)
    assert [dls.vocab[i] for i in targs] == [row["label"] for row in rows[:5]]


def test_paths_as_text_go_through_getters_that_want_paths(root):
    block = DataBlock(
        (ImageBlock, CategoryBlock),
        get_items=get_image_files,
        get_x=lambda path: path.parent / path.name,
        get_y=parent_label,
        splitter=IndexSplitter(range(0, 36, 4)),
        item_tfms=Resize(24),
    )
    dls = block.dataloaders(root / "train", bs=8, device="cpu")
    learn = silent(Learner(dls, MeanColour()))
    file = root / "valid" / "blue" / "blue_0.jpg"
    assert learn.predict(str(file))[0] == learn.predict(Image.open(file))[0] == "blue"


@pytest.mark.parametrize("kind", ["ours", "torch", "batches"])
def test_rows_are_items_of_plain_loaders(kind):
    x, y = torch.randn(40, 8), torch.arange(40) % 4
    if kind == "ours":
        dls = DataLoaders.from_tensors((x, y), (x, y), bs=16, device="cpu")
    elif kind == "torch":
        dls = DataLoaders(*[DataLoader(TensorDataset(x, y), 16)] * 2, device="cpu")
    else:
        dls = DataLoaders([(x, y)], [(x, y)], device="cpu")
    learn = silent(Learner(dls, net(), F.cross_entropy))
    preds, _ = learn.get_preds()
    for item in (x[7], x[7].numpy(), x[7].tolist()):
        label, index, probabilities = learn.predict(item)
        assert label == index == int(preds[7].argmax())  # there are no names
        torch.testing.assert_close(probabilities, preds[7])
    for (_, _, alone), expected in zip(learn.predict_batch(x), preds, strict=True):
        torch.testing.assert_close(alone, expected)


def test_several_inputs_and_dicts_are_items_too():
    class Sum(nn.Module):
        def forward(self, a, b):
            return (a + b).sum(1, keepdim=True)

    a, b = torch.randn(6, 2), torch.randn(6, 2)
    y = (a + b).sum(1, keepdim=True)
    dls = DataLoaders.from_tensors((a, b, y), (a, b, y), n_inp=2, device="cpu")
    value, _, _ = silent(Learner(dls, Sum())).predict((a[0], b[0]))
    assert value == pytest.approx(float(y[0]))
    batch = {"a": a, "b": b, "labels": y}
    learn = Learner(DataLoaders([batch], device="cpu"), Sum(), nn.MSELoss(), default_cbs=False)
    assert learn.predict({"a": a[0], "b": b[0]})[0] == pytest.approx(float(y[0]))


def test_what_is_no_item_is_told():
    learn = silent(Learner(digits_loaders(), net()))
    with pytest.raises(TypeError, match="an item must be what the loader's dataset gives"):
        learn.predict("a photo.jpg")


def blocks_learner(files, target, get_y, model):
    block = DataBlock(
        (ImageBlock, target),
        get_y=get_y,
        splitter=IndexSplitter([0, 4, 8]),
        item_tfms=Resize(24),
    )
    return silent(Learner(block.dataloaders(files, bs=4, device="cpu"), model))


class Constant(nn.Module):
    def __init__(self, values):
        super().__init__()
        self.values = torch.tensor(values)

    def forward(self, x):
        return self.values.expand(len(x), *self.values.shape) + 0 * x.mean()


def test_other_blocks_are_decoded_as_they_are(root):
    files = get_image_files(root / "valid")
    several = blocks_learner(
        files, MultiCategoryBlock, lambda f: ["a", f.parent.name], Constant([9.0, -9.0, 9.0, -9.0])
    )
    label, decoded, chances = several.predict(files[0])
    assert label == ["a", "green"] and decoded.tolist() == [True, False, True, False]
    torch.testing.assert_close(chances, torch.tensor([9.0, -9.0, 9.0, -9.0]).sigmoid())

    number = blocks_learner(files, RegressionBlock, lambda f: 1.5, Constant([2.5]))
    assert number.predict(files[0])[0] == 2.5

    points = blocks_learner(
        files, PointBlock, lambda f: [[0, 0], [4, 4]], Constant([-1.0, -1.0, 0.0, 1.0])
    )
    assert points.predict(files[0])[0].tolist() == [[0.0, 0.0], [12.0, 24.0]]  # of 24 x 24


def test_a_mask_is_predicted_pixel_by_pixel(root, tmp_path):
    def mask_of(file):
        path = tmp_path / f"{file.stem}.png"
        Image.fromarray((np.array(Image.open(file))[..., 0] > 200).astype(np.uint8)).save(path)
        return path

    files = get_image_files(root / "valid")
    dls = SegmentationDataLoaders.from_label_func(
        root, files, mask_of, codes=["dark", "light"], item_tfms=Resize(24), bs=4, device="cpu"
    )
    learn = silent(Learner(dls, nn.Conv2d(3, 2, 1)))
    decoded, codes, probabilities = learn.predict(files[0])
    assert decoded.shape == (24, 24) and torch.equal(decoded, codes)
    assert torch.equal(probabilities.argmax(0), codes)


def test_a_loss_of_ones_own_still_names_the_class(root):
    learn = colours_learner(root)
    learn.loss_func = lambda pred, targ: F.cross_entropy(pred, targ) * 2
    label, index, outputs = learn.predict(root / "valid" / "red" / "red_2.jpg")
    assert (label, index) == ("red", int(outputs.argmax()))


def test_the_input_comes_along_if_asked(root):
    learn = colours_learner(root)
    file = learn.dls.valid_ds.items[0]
    x, *rest = learn.predict(file, with_input=True)
    torch.testing.assert_close(x, learn.dls.one_batch(1)[0][0])
    assert rest[:2] == list(learn.predict(file)[:2])


def test_threads_may_share_a_learner():
    learn = silent(Learner(digits_loaders(), net(0.5)))
    x = learn.dls.valid.dataset.tensors[0]
    expected, _ = learn.get_preds()
    wrong = []

    def ask(start):
        preds = [learn.predict(row)[2] for row in x[start : start + 8]]
        if not torch.allclose(torch.stack(preds), expected[start : start + 8], atol=1e-6):
            wrong.append(start)

    threads = [threading.Thread(target=ask, args=(8 * k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# Tables


def test_a_table_names_files_classes_and_probabilities(root, tmp_path):
    learn = colours_learner(root)
    files = get_image_files(root / "valid")
    table = learn.predictions_table(files, with_classes=True)
    assert table["item"] == [str(file) for file in files]
    assert table["prediction"] == [file.parent.name for file in files]
    for row in table:
        assert row["probability"] == max(row[colour] for colour in COLOURS)
    table["id"] = [file.stem for file in files]
    path = table.to_csv(tmp_path / "submission.csv", columns={"id": "id", "prediction": "label"})
    with path.open(newline="") as lines:
        rows = list(csv.reader(lines))
    assert rows[0] == ["id", "label"] and len(rows) == len(files) + 1
    assert rows[1] == [files[0].stem, files[0].parent.name]


def test_a_table_of_a_loader_has_its_targets(root):
    table = colours_learner(root).predictions_table()
    assert table["target"] == table["prediction"] and len(table) == 12
    assert "target" in repr(table) and "… and 2 more" in repr(table)


def test_numbers_are_predicted_in_a_table():
    learn = linear_learner()
    learn.model = nn.Identity()
    table = learn.predictions_table(dl=[(torch.tensor([[1.5], [-2.0]]), torch.tensor([1.0, 2.0]))])
    assert table.columns == {"item": [0, 1], "target": [1.0, 2.0], "prediction": [1.5, -2.0]}
    assert table.to_csv(columns=["prediction"]) == "prediction\n1.5\n-2.0"


def test_a_cell_cannot_begin_a_formula():
    bad = ["=1+1", "+1+1", "-2+3", "@SUM(A1)", "\t=1", " =1", "|calc"]
    table = PredictionTable({"=item": bad, "label": [["a", "b"]] * len(bad)})
    rows = list(csv.reader(io.StringIO(table.to_csv())))
    assert rows[0] == ["'=item", "label"]
    assert all(row == [f"'{cell}", "a b"] for row, cell in zip(rows[1:], bad, strict=True))
    assert PredictionTable({"x": ["-1.5", -1.5]}).to_csv() == "x\n-1.5\n-1.5"


def test_a_column_that_is_not_there_or_too_short_is_named():
    table = PredictionTable({"item": [1, 2]})
    with pytest.raises(KeyError, match="did you mean"):
        table.to_csv(columns=["items"])
    with pytest.raises(ValueError, match="3 values, but there are 2 rows"):
        table["more"] = [1, 2, 3]
