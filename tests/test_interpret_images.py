"""Items of image data are found again and drawn."""

import matplotlib.pyplot as plt
import pytest
import torch
from PIL import Image
from torch import nn

from learnlite import Learner
from learnlite.interpret import ClassificationInterpretation, SegmentationInterpretation
from learnlite.vision import ImageDataLoaders, Resize, SegmentationDataLoaders


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
    assert interp.plot_wrong_labels(1)[0].get_title().startswith("blue / red")


def test_the_heat_of_gradcam_lies_over_the_image(folder):
    dls = ImageDataLoaders.from_folder(
        folder, valid_pct=0.5, seed=1, item_tfms=Resize(16), bs=4, device="cpu"
    )
    panels = ClassificationInterpretation.from_learner(Learner(dls, Reds())).plot_gradcam(2)
    image, heat = panels[0].images
    assert image.get_extent() == heat.get_extent()
    assert heat.get_array().shape == (16, 16)
    panels[0].figure.canvas.draw()


def test_predicted_masks_are_drawn_instead_of_the_targets(tmp_path):
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
    told, targets = interp.plot_predictions(2), interp.plot_top_losses(2)
    assert len({float(panel.images[1].get_array()[0, 0]) for panel in told}) == 1
    assert len(targets) == 2 and "of pixels right" in targets[0].get_title()
    for i, targ in enumerate(interp.targs):
        right = "100" if int(targ[0, 0]) else "0"
        assert interp.title(i).startswith(f"{right}% of pixels right")
