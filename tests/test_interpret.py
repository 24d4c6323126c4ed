"""What a model gets wrong: counts, losses, doubts, and the pictures of them."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from sklearn.metrics import classification_report, confusion_matrix
from torch import nn

from learnlite import DataLoaders, Learner
from learnlite.data import Loader
from learnlite.interpret import (
    ClassificationInterpretation,
    GradCAM,
    Interpretation,
    SegmentationInterpretation,
    calibration,
)


@pytest.fixture(autouse=True)
def _no_figure_stays():
    yield
    plt.close("all")


class Given(nn.Module):
    """A model whose outputs are its inputs, with a weight so that it can be trained."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return x * self.scale


def learner_of(logits, targs, vocab=None):
    sets = (logits, targs)
    dls = DataLoaders.from_tensors(sets, sets, bs=7, vocab=vocab, device="cpu")
    return Learner(dls, Given())


@pytest.fixture
def many():
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(200, 4, generator=generator)
    targs = torch.randint(0, 3, (200,), generator=generator)  # the last class is never there
    return logits, targs


def test_the_confusion_matrix_and_the_report_are_those_of_scikit_learn(many, capsys):
    logits, targs = many
    names = ["ant", "bee", "cat", "dog"]
    interp = ClassificationInterpretation.from_learner(learner_of(logits, targs, names))
    said = logits.argmax(1)
    expected = confusion_matrix(targs, said, labels=range(4))
    assert np.array_equal(interp.confusion_matrix(), expected)

    theirs = classification_report(
        targs, said, labels=range(4), target_names=names, output_dict=True, zero_division=0
    )
    ours = interp.classification_report()
    for name in (*names, "macro avg", "weighted avg"):
        mine = ours[name]
        assert mine["support"] == theirs[name]["support"]
        for key, column in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
            assert mine[key] == pytest.approx(theirs[name][column])
    accuracy = (said == targs).float().mean().item()
    assert ours["accuracy"]["f1"] == pytest.approx(accuracy)

    interp.print_classification_report()
    printed = capsys.readouterr().out
    assert all(name in printed for name in (*names, "weighted avg"))
    assert f"{accuracy:.2f}" in printed


def test_most_confused_lists_the_pairs_off_the_diagonal_most_items_first():
    logits = torch.eye(3)[[0, 1, 1, 1, 2, 0, 0]] * 9
    targs = torch.tensor([0, 0, 0, 1, 1, 2, 2])
    interp = ClassificationInterpretation.from_learner(learner_of(logits, targs, ["a", "b", "c"]))
    assert interp.most_confused() == [("a", "b", 2), ("c", "a", 2), ("b", "c", 1)]
    assert interp.most_confused(min_val=2) == [("a", "b", 2), ("c", "a", 2)]


def test_top_losses_are_the_largest_of_each_item_with_their_places_in_the_data(many):
    logits, targs = many
    interp = Interpretation.from_learner(learner_of(logits, targs))
    expected = nn.functional.cross_entropy(logits, targs, reduction="none")
    losses, indices = interp.top_losses(5)
    assert torch.allclose(losses, expected.sort(descending=True).values[:5])
    assert torch.allclose(expected[indices], losses)
    smallest, places = interp.top_losses(2, largest=False)
    assert torch.allclose(smallest, expected.sort().values[:2])
    assert interp.top_losses(2, largest=False, items=True)[2] == places
    assert len(interp.top_losses()[0]) == 200


def test_a_shuffled_training_loader_is_interpreted_in_the_datas_order(many):
    logits, targs = many
    interp = ClassificationInterpretation.from_learner(learner_of(logits, targs), ds_idx=0)
    assert torch.equal(interp.targs, targs)
    assert torch.allclose(interp.preds, logits.softmax(1))


@pytest.mark.parametrize("kind", ["ours", "torch", "list"])
def test_an_item_is_found_again_in_every_kind_of_loader(many, kind):
    logits, targs = many
    pairs = list(zip(logits, targs, strict=True))
    loader = {
        "ours": lambda: Loader(pairs, bs=16, shuffle=True),
        "torch": lambda: torch.utils.data.DataLoader(pairs, batch_size=16, shuffle=True),
        "list": lambda: list(zip(logits.split(16), targs.split(16), strict=True)),
    }[kind]()
    interp = Interpretation.from_learner(learner_of(logits, targs), dl=loader)
    assert torch.equal(interp.targs, targs)
    xb, yb = interp._rows.batch([150, 3])
    assert torch.equal(xb, logits[[150, 3]])
    assert torch.equal(yb, targs[[150, 3]])


def test_calibration_is_the_mean_distance_of_accuracy_and_confidence_over_the_items():
    generator = torch.Generator().manual_seed(1)
    probs = torch.rand(500, 3, generator=generator).softmax(1)
    targs = torch.randint(0, 3, (500,), generator=generator)
    found = calibration(probs, targs, n_bins=10)
    expected, largest = 0.0, 0.0
    confidence, said = probs.max(1)
    for i in range(10):
        inside = (confidence >= i / 10) & (confidence < (i + 1) / 10)
        if inside.any():
            distance = abs(confidence[inside].mean() - (said == targs)[inside].float().mean())
            expected += float(distance) * int(inside.sum()) / 500
            largest = max(largest, float(distance))
    assert found.ece == pytest.approx(expected, abs=1e-6)
    assert found.mce == pytest.approx(largest, abs=1e-6)
    assert found.counts.sum() == 500


def test_probabilities_that_come_true_as_often_as_they_say_are_calibrated():
    generator = torch.Generator().manual_seed(2)
    p = torch.rand(50_000, generator=generator) / 2 + 0.5
    probs = torch.stack([p, 1 - p], 1)
    targs = (torch.rand(50_000, generator=generator) > p).long()
    assert calibration(probs, targs).ece < 0.02
    assert calibration(probs, 1 - targs).ece > 0.4


def test_labels_that_were_changed_are_the_first_to_be_doubted():
    generator = torch.Generator().manual_seed(3)
    truth = torch.randint(0, 3, (300,), generator=generator)
    logits = 6 * torch.eye(3)[truth] + 0.5 * torch.randn(300, 3, generator=generator)
    changed = [5, 77, 200]
    targs = truth.clone()
    targs[changed] = (truth[changed] + 1) % 3
    interp = ClassificationInterpretation.from_learner(learner_of(logits, targs, ["a", "b", "c"]))
    doubts = interp.wrong_labels(3)
    assert sorted(doubt.index for doubt in doubts) == changed
    names = np.array(["a", "b", "c"])
    for doubt in doubts:
        assert doubt.label == names[targs[doubt.index]]
        assert doubt.guess == names[truth[doubt.index]]


def test_a_model_that_is_right_doubts_nothing():
    targs = torch.arange(30) % 3
    interp = ClassificationInterpretation.from_learner(learner_of(5.0 * torch.eye(3)[targs], targs))
    assert interp.wrong_labels() == []


def test_the_class_of_a_name_that_is_a_formula_or_moves_the_cursor_is_drawn_as_text(many, capsys):
    names = ["$x", "<b>", "a\x1b[2J\nb", "=cmd"]
    interp = ClassificationInterpretation.from_learner(learner_of(*many, names))
    ax = interp.plot_confusion_matrix()
    ax.figure.canvas.draw()
    assert ax.get_xticklabels()[0].get_text() == r"\$x"
    interp.print_classification_report()
    printed = capsys.readouterr().out
    assert "\x1b" not in printed and "a[2Jb" in printed


def test_the_confusion_matrix_is_drawn_with_the_numbers_it_has(many):
    interp = ClassificationInterpretation.from_learner(learner_of(*many))
    ax = interp.plot_confusion_matrix()
    counts = interp.confusion_matrix()
    assert [text.get_text() for text in ax.texts] == [str(n) for n in counts.flatten()]
    shares = interp.plot_confusion_matrix(normalize=True, norm_dec=1)
    assert shares.texts[0].get_text() == f"{counts[0, 0] / counts[0].sum():.1f}"
    assert not interp.plot_confusion_matrix(plot_txt=False).texts
    sized = interp.plot_confusion_matrix(figsize=(4, 3), dpi=60).figure
    assert sized.get_size_inches().tolist() == [4, 3] and sized.dpi == 60
    with pytest.raises(TypeError, match="no argument `figzise`"):
        interp.plot_confusion_matrix(figzise=(2, 2))


def test_nothing_that_is_asked_later_runs_the_model_again(many):
    logits, targs = many
    learn = learner_of(logits, targs)
    interp = ClassificationInterpretation.from_learner(learn)
    calls = []
    learn.model.register_forward_hook(lambda *_: calls.append(1))
    interp.plot_confusion_matrix()
    interp.most_confused()
    interp.classification_report()
    interp.plot_calibration()
    interp.wrong_labels()
    interp.top_losses(3)
    assert not calls


@pytest.mark.parametrize(
    ("logits", "targs", "said"),
    [
        (torch.randn(8, 3), torch.rand(8, 3).round(), "one class an item"),
        (torch.randn(8, 1), torch.randn(8, 1), "one class an item"),
        (torch.randn(8, 3, 4, 4), torch.zeros(8, 4, 4).long(), "SegmentationInterpretation"),
    ],
)
def test_what_is_no_classification_is_told_so(logits, targs, said):
    with pytest.raises(TypeError, match=said):
        ClassificationInterpretation.from_learner(learner_of(logits, targs))


def test_a_loader_without_targets_is_told_so(many):
    learn = learner_of(*many)
    with pytest.raises(ValueError, match="targets"):
        Interpretation.from_learner(learn, dl=learn.dls.test_dl(many[0]))
    with pytest.raises(ValueError, match="no loader 2 to interpret"):
        Interpretation.from_learner(learn, ds_idx=2)


# Masks


def test_the_overlap_of_each_class_of_masks_is_counted_over_all_pixels():
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(5, 3, 6, 6, generator=generator)
    targs = torch.randint(0, 3, (5, 6, 6), generator=generator)
    targs[0, 0] = 255  # no class: left out
    learn = learner_of(logits, targs, ["sky", "sea", "sand"])
    learn.loss_func.ignore_index = 255
    interp = SegmentationInterpretation.from_learner(learn)
    said, kept = logits.argmax(1), targs != 255
    for i, name in enumerate(["sky", "sea", "sand"]):
        both = ((said == i) & (targs == i) & kept).sum()
        either = (((said == i) | (targs == i)) & kept).sum()
        assert interp.iou()[name] == pytest.approx(float(both / either))
    assert interp.decoded.dtype == torch.uint8
    per_pixel = nn.functional.cross_entropy(logits, targs, reduction="none", ignore_index=255)
    assert torch.allclose(interp.losses, per_pixel.flatten(1).mean(1))


def test_segmentation_refuses_outputs_that_are_no_masks(many):
    with pytest.raises(TypeError, match="ClassificationInterpretation"):
        SegmentationInterpretation.from_learner(learner_of(*many))


# Grad-CAM


class Corner(nn.Module):
    """Sees class 1 where channel 0 is bright, class 0 where channel 1 is."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 2, 1, bias=False)
        with torch.no_grad():
            self.body.weight.copy_(torch.tensor([[0.0, 1, 0], [1, 0, 0]])[:, :, None, None])

    def forward(self, x):
        return self.body(x).mean((2, 3))


def test_gradcam_finds_the_place_that_speaks_for_a_class():
    image = torch.zeros(1, 3, 8, 8)
    image[0, 0, :4, :4] = 2.0  # upper left: class 1
    image[0, 1, 4:, 4:] = 1.0  # lower right: class 0
    model = Corner().requires_grad_(False)  # a frozen body
    largest = GradCAM(model)(image)[0]
    assert largest[:4, :4].min() == 1 and largest[4:, 4:].max() == 0
    other = GradCAM(model)(image, targets=[0])[0]
    assert other[4:, 4:].min() == 1 and other[:4, :4].max() == 0


def test_gradcam_leaves_the_model_as_it_was():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(4, 2),
    )  # fmt: skip
    model.train()
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        heat = GradCAM(model)(torch.rand(2, 3, 16, 16))
    assert heat.shape == (2, 16, 16) and not heat.requires_grad
    assert heat.min() >= 0 and heat.max() <= 1
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert model.training and not model[1].training
    assert not any(module._forward_hooks for module in model.modules())


def test_gradcam_says_what_it_cannot_do():
    with pytest.raises(ValueError, match="no layer of the model gives an output with a height"):
        GradCAM(nn.Linear(4, 2))(torch.randn(3, 4))
    with pytest.raises(TypeError, match=r"outputs \(items, classes\)"):
        GradCAM(nn.Conv2d(3, 2, 1))(torch.randn(3, 3, 8, 8))
    with pytest.raises(ValueError, match="`layer` is no module of the model"):
        GradCAM(Corner(), nn.Linear(1, 1))
