import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from exported import ALIKE, of_images, of_tensors
from torch import Tensor, nn

from learnlite import load_learner
from learnlite.export import ExportError, onnx
from learnlite.vision import (
    CategoryBlock,
    ImageBlock,
    MultiCategoryBlock,
    Normalize,
    PILImageBW,
    PointBlock,
    RandomResizedCropGPU,
    RegressionBlock,
    Resize,
    ResizeBatch,
    aug_transforms,
    imagenet_stats,
)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def runtime() -> Any:
    for name in ("onnx", "onnxscript"):
        pytest.importorskip(name, reason=f"`{name}`, of the extra `onnx`, is not installed")
    return pytest.importorskip("onnxruntime", reason="`onnxruntime` is not installed")


def session(path: Path) -> Any:
    return runtime().InferenceSession(str(path), providers=["CPUExecutionProvider"])


def raw(learn: Any, n: int) -> Tensor:
    """A batch of images before the batch stage."""
    return next(iter(learn.dls.test_dl(ALIKE[:n], bs=n)))[0]


# --- the graph of torch


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_graph_gives_the_predictions_for_any_number_of_bytes(tmp_path: Path, n: int) -> None:
    tfms = [*aug_transforms(), Normalize.from_stats(*imagenet_stats)]
    learn = of_images(tmp_path, batch_tfms=tfms)
    graph = learn.to_program().module()
    images = raw(learn, n)
    assert images.dtype is torch.uint8
    wanted = learn.get_preds(dl=learn.dls.test_dl(ALIKE[:n]))[0]
    assert torch.allclose(graph(images), wanted, atol=1e-6)


def test_a_loaded_learner_gives_the_same_graph(tmp_path: Path) -> None:
    learn = of_images(tmp_path, batch_tfms=Normalize.from_stats(*imagenet_stats))
    again = load_learner(learn.export())
    images = raw(learn, 3)
    ours, theirs = (each.to_program().module()(images) for each in (learn, again))
    assert torch.equal(ours, theirs)


def test_a_loaded_learner_of_tensors_asks_for_an_example(tmp_path: Path) -> None:
    learn = of_tensors(tmp_path)
    again = load_learner(learn.export())
    with pytest.raises(ExportError, match="give a batch: `example=x`"):
        again.to_program()
    x = torch.randn(3, 4)
    program = again.to_program(example=torch.randn(7, 4))
    assert torch.allclose(program.module()(x), learn.get_preds(dl=learn.dls.test_dl(x))[0])


def test_making_a_graph_leaves_the_learner_as_it_was(tmp_path: Path) -> None:
    learn = of_images(tmp_path)
    learn.model.train()
    before = {n: t.clone() for n, t in learn.model.state_dict().items()}
    state = torch.get_rng_state()
    learn.to_program()
    assert learn.model.training and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[n], t) for n, t in learn.model.state_dict().items())


RESIZES = [
    aug_transforms(size=12),
    [RandomResizedCropGPU((10, 14), valid_scale=0.8), Normalize.from_stats(*imagenet_stats)],
    [ResizeBatch(40), RandomResizedCropGPU(16, ratio=(1, 1))],
]


@pytest.mark.parametrize("tfms", RESIZES, ids=lambda tfms: type(tfms[0]).__name__)
def test_a_graph_resizes_bytes_as_the_batch_stage_does(tmp_path: Path, tfms: Any) -> None:
    learn = of_images(tmp_path, batch_tfms=tfms, item_tfms=Resize((30, 20)))
    wanted = learn.get_preds(dl=learn.dls.test_dl(ALIKE, bs=12))[0]
    assert torch.allclose(learn.to_program().module()(raw(learn, 12)), wanted, atol=1e-6)


@pytest.mark.parametrize(("old", "new"), [(30, 12), (12, 31), (224, 128), (7, 7), (100, 99)])
def test_bytes_are_resized_to_the_bit(old: int, new: int) -> None:
    images = torch.randint(256, (2, 3, old, old + 3), dtype=torch.uint8)
    wanted = F.interpolate(images, size=(new, 20), mode="bilinear", antialias=True)
    assert torch.equal(onnx._Resized((0, 0, old, old + 3), (new, 20))(images), wanted)


def test_a_batch_stage_that_a_graph_cannot_hold_is_named(tmp_path: Path) -> None:
    learn = of_images(tmp_path, batch_tfms=ResizeBatch(12, mode="nearest"))
    with pytest.raises(ExportError, match="`ResizeBatch` with `mode='nearest'`; it can resize by"):
        learn.to_program()


def test_a_model_whose_way_depends_on_its_numbers_is_refused(tmp_path: Path) -> None:
    class Wayward(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if x.sum() > 0 else x[:, :2]

    with pytest.raises(ExportError, match="cannot make one graph of this `Wayward`: "):
        of_tensors(tmp_path, Wayward(4, 2)).to_program()


# --- the file for other runtimes


def points(_: Any) -> list[list[int]]:
    return [[1, 2], [10, 12]]


def some(picture: Any) -> list[str]:
    return ["a", "b"][: picture[0, 0, 0] % 3]


def numbers(_: Any) -> list[float]:
    return [0.5, 1.5]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "classes"),
        ({"batch_tfms": aug_transforms(size=12)}, "resized"),
        (
            {
                "blocks": (ImageBlock, MultiCategoryBlock),
                "get_y": some,
            },
            "labels",
        ),
        ({"blocks": (ImageBlock, RegressionBlock(2)), "get_y": numbers}, "numbers"),
        ({"blocks": (ImageBlock, PointBlock), "get_y": points}, "points"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_runtime_gives_the_same_predictions(
    tmp_path: Path, changes: dict[str, Any], name: str
) -> None:
    runtime()
    usual = {"batch_tfms": Normalize.from_stats(*imagenet_stats), "pictures": ALIKE}
    learn = of_images(tmp_path, **(usual | changes))
    run = session(learn.to_onnx(f"{name}.onnx"))
    for n in (1, 2, 7):
        images = raw(learn, n)
        wanted = learn.get_preds(dl=learn.dls.test_dl(ALIKE[:n]))[0].numpy()
        (found,) = run.run(None, {"input": images.numpy()})
        assert np.abs(found - wanted).max() <= 1e-4 and found.shape == wanted.shape


def test_grey_images_and_learned_statistics_go_along(tmp_path: Path) -> None:
    runtime()
    model = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16, 2))
    learn = of_images(
        tmp_path, model, blocks=(ImageBlock(PILImageBW), CategoryBlock), batch_tfms=Normalize()
    )
    run = session(learn.to_onnx())
    wanted = learn.get_preds(dl=learn.dls.test_dl(ALIKE))[0].numpy()
    (found,) = run.run(None, {"input": raw(learn, 12).numpy()})
    assert np.abs(found - wanted).max() <= 1e-4


def test_the_file_names_the_classes(tmp_path: Path) -> None:
    runtime()
    run = session(of_images(tmp_path).to_onnx())
    assert run.get_inputs()[0].shape == ["batch", 3, 16, 16]
    assert json.loads(run.get_modelmeta().custom_metadata_map["vocab"]) == ["even", "odd"]


def test_learners_of_tensors_have_files_too(tmp_path: Path) -> None:
    runtime()
    learn = of_tensors(tmp_path)
    x = torch.randn(9, 4)
    (found,) = session(learn.to_onnx()).run(None, {"input": x.numpy()})
    wanted = learn.get_preds(dl=learn.dls.test_dl(x))[0].numpy()
    assert np.abs(found - wanted).max() <= 1e-4


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    if importlib.util.find_spec("onnx") is None:
        monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r'the package `onnx.*`pip install "learnlite\[onnx\]"`'):
        of_tensors(tmp_path).to_onnx()
