"""Items of image data are found again and drawn."""

import matplotlib.pyplot as plt
import pytest
import torch
from PIL import Image
from torch import nn

from learnlite import Learner
from learnlite.interpret import (
    ClassificationInterpretation,
    Interpretation,
    SegmentationInterpretation,
)
from learnlite.vision import (
    DataBlock,
    ImageBlock,
    ImageDataLoaders,
    MultiCategoryBlock,
    PointBlock,
    RegressionBlock,
    Resize,
    SegmentationDataLoaders,
)
from learnlite.vision.all import IndexSplitter


@pytest.fixture(autouse=True)
def _no_figure_stays():
    yield
    plt.close("all")


class Reds(nn.Module):
    """Says red of what is red, and blue of what is blue."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 2, 1, bias=False)
        with torch.no_grad():
            self.body.weight.copy_(torch.tensor([[0.0, 0, 9], [9, 0, 0]])[:, :, None, None])

    def forward(self, x):
        return self.body(x).mean((2, 3))


@pytest.fixture
def folder(tmp_path):
    for i in range(12):
        name = ("blue", "red")[i % 2]
        colour = {"blue": (20 * i, 0, 255), "red": (255, 0, 10 * i)}[name]
        path = tmp_path / name / f"{i:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (20, 16), colour).save(path)
    odd = tmp_path / "red" / "odd.png"
    Image.new("RGB", (20, 16), (0, 0, 255)).save(odd)  # blue, labelled red
    return tmp_path


def test_the_worst_items_are_files_drawn_under_prediction_label_and_loss(folder):
    dls = ImageDataLoaders.from_folder(
        folder, valid_pct=0.5, seed=1, item_tfms=Resize(16), bs=4, device="cpu"
    )
    interp = ClassificationInterpretation.from_learner(Learner(dls, Reds()), ds_idx=0)
    other = ClassificationInterpretation.from_learner(Learner(dls, Reds()), ds_idx=1)
    interp = interp if any(path.name == "odd.png" for path in dls.train_ds.items) else other
    paths = interp.top_losses(3, items=True)[2]
    assert paths[0] == folder / "red" / "odd.png"
    panels = interp.plot_top_losses(3)
    assert panels[0].get_title().startswith("blue / red\nloss")
    drawn = torch.as_tensor(panels[0].images[0].get_array())
    assert torch.allclose(drawn[0, 0].float(), torch.tensor([0.0, 0.0, 1.0]))
    doubt = interp.wrong_labels()[0]
    assert (doubt.item, doubt.label, doubt.guess) == (paths[0], "red", "blue")
    (doubted,) = interp.plot_wrong_labels(1)
    assert doubted.get_title() == f"red → blue\np {doubt.probability:.2f}"
    assert doubted.figure.get_suptitle().startswith("label → guess")


def test_the_heat_of_gradcam_lies_over_the_image(folder):
    dls = ImageDataLoaders.from_folder(
        folder, valid_pct=0.5, seed=1, item_tfms=Resize(16), bs=4, device="cpu"
    )
    panels = ClassificationInterpretation.from_learner(Learner(dls, Reds())).plot_gradcam(2)
    image, heat = panels[0].images
    assert image.get_extent() == heat.get_extent()
    assert heat.get_array().shape == (16, 16)
    panels[0].figure.canvas.draw()


def test_predicted_masks_are_drawn_beside_the_targets_and_the_image(tmp_path):
    for i in range(4):
        Image.new("RGB", (8, 8), (60 * i, 0, 0)).save(tmp_path / f"{i}.jpg")
        Image.new("L", (8, 8), i % 2).save(tmp_path / f"{i}.png")
    dls = SegmentationDataLoaders.from_label_func(
        tmp_path,
        [tmp_path / f"{i}.jpg" for i in range(4)],
        lambda path: path.with_suffix(".png"),
        valid_pct=0.75,
        seed=1,
        codes=["sky", "sea"],
        bs=2,
        device="cpu",
    )
    model = nn.Conv2d(3, 2, 1)
    nn.init.zeros_(model.weight)
    with torch.no_grad():
        model.bias.copy_(torch.tensor([0.0, 1.0]))  # it is all sea
    interp = SegmentationInterpretation.from_learner(Learner(dls, model))
    assert interp.iou()["sky"] == 0.0
    panels = interp.plot_top_losses(2)
    assert [panel.get_title() for panel in panels[1:3]] == ["target", "prediction"]
    assert len(panels) == 6 and "of pixels right" in panels[0].get_title()
    assert len({float(panel.images[1].get_array()[0, 0]) for panel in panels[2::3]}) == 1
    cells = [text.get_text() for text in interp.plot_confusion_matrix().texts]
    assert cells == ["0.00", "1.00", "0.00", "1.00"]
    counts = [text.get_text() for text in interp.plot_confusion_matrix(normalize=False).texts]
    assert counts == [f"{n:,}" for n in interp.confusion_matrix().ravel()]
    for i, targ in enumerate(interp.targs):
        right = "100" if int(targ[0, 0]) else "0"
        assert interp.note(i).startswith(f"{right}% of pixels right")


def results_of(tmp_path, target, get_y, outputs):
    """The worst items of a model that says the same of each."""
    for i in range(4):
        Image.new("RGB", (8, 8), (60 * i, 0, 0)).save(tmp_path / f"{i}.png")
    files = [tmp_path / f"{i}.png" for i in range(4)]
    block = DataBlock((ImageBlock, target), get_y=get_y, splitter=IndexSplitter([2, 3]))
    dls = block.dataloaders(files, bs=2, device="cpu")
    model = nn.Sequential(nn.Conv2d(3, 1, 1), nn.Flatten(), nn.Linear(64, len(outputs)))
    nn.init.zeros_(model[-1].weight)
    with torch.no_grad():
        model[-1].bias.copy_(torch.tensor(outputs))
    interp = Interpretation.from_learner(Learner(dls, model))
    return interp, interp.plot_top_losses(2)


def test_several_labels_an_item_stand_as_their_names_the_target_above_the_prediction(tmp_path):
    labels = {"0": ["big"], "1": ["dark"], "2": ["big", "dark"], "3": ["dark"]}
    interp, panels = results_of(
        tmp_path, MultiCategoryBlock, lambda file: labels[file.stem], [-9.0, 9.0]
    )
    assert panels[0].get_title() == f"big; dark\ndark\nloss {interp.losses.max():.2f}"
    assert interp.title(1) == f"dark / dark\nloss {interp.losses[1]:.2f}"


def test_numbers_stand_as_they_are(tmp_path):
    _, panels = results_of(tmp_path, RegressionBlock, lambda file: float(file.stem), [1.5])
    assert [panel.get_title() for panel in panels] == ["3\n1.5\nloss 2.25", "2\n1.5\nloss 0.25"]


def test_points_are_drawn_where_they_are_and_where_they_were_predicted(tmp_path):
    interp, panels = results_of(
        tmp_path, PointBlock, lambda file: [[2 * int(file.stem), 4]], [-1.0, 1.0]
    )
    assert [panel.get_title() for panel in panels[:2]] == [
        f"loss {interp.losses.max():.2f}\ntarget",
        "prediction",
    ]
    places = [panel.collections[0].get_offsets().tolist() for panel in panels]
    assert places == [[[6, 4]], [[0, 8]], [[4, 4]], [[0, 8]]]
    heads = interp.plot_gradcam(2)
    assert [head.get_title() for head in heads] == [interp.note(1), interp.note(0)]
