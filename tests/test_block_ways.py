"""Each kind of target goes through each way to predict, before and after export."""

import warnings
from contextlib import suppress

import pytest
import torch
from exported import ALIKE, of_images, parity
from PIL import Image
from tiny import silent
from torch import nn

from learnlite import L1LossFlat, MSELossFlat, load_learner, mae
from learnlite.checks import check_targets
from learnlite.interpret import ClassificationInterpretation, Interpretation
from learnlite.vision import (
    CategoryBlock,
    ImageBlock,
    MaskBlock,
    MultiCategoryBlock,
    PointBlock,
    RegressionBlock,
    Resize,
    TransformBlock,
    aug_transforms,
)
from learnlite.vision.learner import unet_learner, vision_learner
from learnlite.vision.models.xresnet import xresnet18


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def two_points(picture):
    return [[4, 6], [10, 12]]


KINDS = {
    "class": (CategoryBlock, parity),
    "classes": (MultiCategoryBlock, lambda p: [parity(p), "all"]),
    "number": (RegressionBlock, lambda p: float(p[0, 0, 0]) / 99),
    "numbers": (RegressionBlock(3), lambda p: [0.5, 1.0, float(p[0, 0, 0])]),
    "point": (PointBlock, lambda p: [4, 6]),
    "points": (PointBlock, two_points),
    "mask": (MaskBlock(["sky", "sea"]), lambda p: p[..., 0] % 2),
    "plain": (TransformBlock, lambda p: 1.5),
}
SHAPES = {"point": (1, 2), "points": (2, 2), "mask": (32, 32)}
LOSSES = {
    "usual": None,
    "own": lambda pred, targ: (pred.float().mean() - targ.float().mean()).square() + 1,
}


def tiny():
    return xresnet18(widen=0.125, stem_szs=(8, 8, 8))


def learner_of(kind, loss, tmp_path):
    block, get_y = KINDS[kind]
    dls = of_images(
        tmp_path,
        nn.Flatten(),
        blocks=(ImageBlock, block),
        get_y=get_y,
        item_tfms=Resize(32),
        batch_tfms=aug_transforms(do_flip=False),
        pictures=ALIKE,
        loss=LOSSES["own"],
    ).dls
    make = unet_learner if kind == "mask" else vision_learner
    settings = {"n_out": 1} if kind == "plain" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        learn = make(
            dls, tiny, pretrained=False, seed=1,
            loss_func=LOSSES[loss], path=tmp_path, **settings,
        )  # fmt: skip
    return silent(learn)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_way_to_predict_agrees_for_each_kind_of_target(kind, loss, tmp_path, monkeypatch):
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="`matplotlib` is not installed")
    learn = learner_of(kind, loss, tmp_path)
    if loss == "usual":
        learn.fit(1, 1e-4)
    items = [ALIKE[0], Image.fromarray(ALIKE[1]), ALIKE[2]]
    with learn.no_logging():
        again = silent(load_learner(learn.export()))
    found = {}
    for name, each in (("here", learn), ("loaded", again)):
        with each.no_logging():
            rows = each.predict_batch(iter(items))
            preds, targs = each.get_preds(dl=each.dls.test_dl(items))
            assert targs is None and len(rows) == len(preds) == 3
            for item, row, pred in zip(items, rows, preds, strict=True):
                label, _, outputs = each.predict(item)
                torch.testing.assert_close(outputs, row[2], atol=1e-5, rtol=1e-4)
                torch.testing.assert_close(row[2], pred, atol=1e-5, rtol=1e-4)
                assert_same_label(label, row[0])
                shape = SHAPES.get(kind)
                assert shape is None or tuple(torch.as_tensor(label).shape) == shape
            table = None
            with suppress(ValueError):  # masks and points are no cells
                table = each.predictions_table(items)
            assert (table is None) == (kind in SHAPES)
            if table is not None:
                assert str(table["prediction"]) == str([_cell(label) for label, *_ in rows])
                names = {"probability", "output"} & set(table.columns)
                assert names == (
                    set() if kind != "class" else {"probability" if loss == "usual" else "output"}
                )
        found[name] = preds
    assert torch.equal(found["here"], found["loaded"])
    with learn.no_logging():
        averaged, targs = learn.tta(n=2)
        plain, same = learn.get_preds()
        panels = learn.show_results(max_n=2)
        interpretation = ClassificationInterpretation if kind == "class" else Interpretation
        interp = interpretation.from_learner(learn)
    assert averaged.shape == plain.shape and torch.equal(targs, same)
    assert len(panels) in (2, 6 if kind == "mask" else 4) and len(interp.losses) == len(plain)
    pyplot.close("all")


def _cell(label):
    return label.item() if isinstance(label, torch.Tensor) else label


def assert_same_label(one, other):
    if isinstance(one, float):
        assert one == pytest.approx(other, abs=1e-4)
    elif isinstance(one, torch.Tensor):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)
    elif isinstance(one, list) and one and isinstance(one[0], float):
        assert one == pytest.approx(other, abs=1e-4)
    else:
        assert one == other


@pytest.mark.parametrize("loss", [MSELossFlat(), L1LossFlat(), MSELossFlat(reduction="none")])
def test_points_are_compared_with_their_coordinates_in_a_row(loss):
    pred, targ = torch.randn(8, 4), torch.randn(8, 2, 2)
    expected = loss(pred, targ.reshape(8, 4))
    assert torch.equal(loss(pred, targ), expected)
    assert torch.equal(loss(pred.reshape(8, 2, 2), targ).mean(), expected.mean())
    assert mae(pred, targ) == mae(pred.reshape(8, 2, 2), targ)
    with pytest.raises(ValueError, match=r"`targ.reshape\(8, 4\)`, or use `MSELossFlat\(\)`"):
        check_targets(torch.nn.MSELoss(), pred, targ)
    with pytest.raises(ValueError, match=r"got \(8, 4\) and \(4, 4, 2\)"):
        loss(pred, torch.randn(4, 4, 2))
