"""A loss of one's own: what its outputs mean is taken from the data, or said to be unknown."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from exported import PICTURES, Linear, of_images, parity
from PIL import Image
from tiny import silent
from told import told
from torch import nn

from learnlite import DataLoaders, Learner, load_learner
from learnlite.cli import main
from learnlite.export import ExportError
from learnlite.export.losses import MissingLoss
from learnlite.interpret import ClassificationInterpretation
from learnlite.losses.outputs import activation_of, decodes_of
from learnlite.vision import CategoryBlock, ImageBlock, MultiCategoryBlock


class Doubled(nn.Module):
    def forward(self, pred, targ):
        return 2 * F.cross_entropy(pred, targ)


LOSSES = {"module": Doubled(), "lambda": lambda pred, targ: F.cross_entropy(pred, targ) ** 2}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def of_rows(loss, model=None, **settings):
    torch.manual_seed(0)
    x = torch.randn(40, 4)
    y = (x[:, 0] > 0).long()
    settings = {"vocab": ["low", "high"]} | settings
    dls = DataLoaders.from_tensors((x, y), (x, y), bs=16, device="cpu", **settings)
    return Learner(dls, model or Linear(4, 2), loss)


def of_kind(kind, loss, tmp_path):
    return of_images(tmp_path, loss=loss) if kind == "images" else of_rows(loss)


def items_of(kind):
    return PICTURES[:4] if kind == "images" else torch.randn(4, 4)


def outputs_of(learn, items):
    return learn.get_preds(dl=learn.dls.test_dl(items), act=lambda pred: pred)[0]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", ["images", "rows"])
def test_the_largest_output_is_the_class_before_and_after_export(kind, loss, tmp_path):
    learn = silent(of_kind(kind, LOSSES[loss], tmp_path))
    items = items_of(kind)
    again = silent(load_learner(learn.export()))
    expected = outputs_of(learn, items)
    for each in (learn, again):
        with each.no_logging():
            found = each.predict_batch(items)
            table = each.predictions_table(items, with_classes=True)
        for (label, index, outputs), theirs in zip(found, expected, strict=True):
            assert index == int(theirs.argmax()) and label == learn.dls.vocab[index]
            torch.testing.assert_close(outputs, theirs)
        assert table["prediction"] == [label for label, *_ in found]
        assert "probability" not in table.columns
        torch.testing.assert_close(torch.tensor(table["output"]), expected.max(1).values)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", ["images", "rows"])
def test_it_is_said_once_that_outputs_are_shown_as_they_are(kind, loss, tmp_path, capsys):
    learn = of_kind(kind, LOSSES[loss], tmp_path)
    items = items_of(kind)
    for each in (learn, load_learner(learn.export())):
        capsys.readouterr()
        each.predict(items[0])
        said = capsys.readouterr().out
        assert said.count("does not tell what makes probabilities of the outputs") == 1
        assert "`act=torch.nn.Softmax(1)`" in said
        each.predict(items[1])
        each.predictions_table(items)
        assert "probabilities" not in capsys.readouterr().out


def test_both_ways_out_that_are_named_make_probabilities(capsys):
    for loss in (Doubled(), lambda pred, targ: F.cross_entropy(pred, targ)):
        learn = silent(of_rows(loss))
        x = torch.randn(4, 4)
        expected = outputs_of(learn, x).softmax(1)
        act = torch.nn.Softmax(1)
        by_argument = torch.stack([chances for *_, chances in learn.predict_batch(x, act=act)])
        assert "probability" in learn.predictions_table(x, act=act).columns
        torch.testing.assert_close(learn.predict(x[0], act=act)[2], expected[0])
        learn.loss_func.activation = act
        by_loss, _ = learn.get_preds(dl=learn.dls.test_dl(x))
        torch.testing.assert_close(by_argument, expected)
        torch.testing.assert_close(by_loss, expected)
        assert "probability" in learn.predictions_table(x).columns
        again = load_learner(learn.export())
        torch.testing.assert_close(again.predict(x[0])[2], expected[0])
    assert "does not tell" not in capsys.readouterr().out


def test_outputs_that_are_probabilities_are_taken_as_such(capsys):
    learn = silent(of_rows(LOSSES["module"], nn.Sequential(nn.Linear(4, 2), nn.Softmax(1))))
    table = learn.predictions_table()
    assert "probability" in table.columns and "does not tell" not in capsys.readouterr().out


def test_numbers_need_no_activation(capsys):
    x = torch.randn(8, 2)
    dls = DataLoaders.from_tensors((x, x.sum(1)), (x, x.sum(1)), device="cpu")
    learn = silent(
        Learner(dls, nn.Linear(2, 1), lambda pred, targ: (pred[:, 0] - targ).abs().max())
    )
    assert isinstance(learn.predict(x[0])[0], float)
    assert "does not tell" not in capsys.readouterr().out


@pytest.mark.parametrize("blocks", [MultiCategoryBlock, CategoryBlock])
def test_an_output_for_yes_or_no_is_decoded(tmp_path, blocks):
    def yes_or_no(pred, targ):
        return F.binary_cross_entropy_with_logits(pred, targ.float().reshape(pred.shape))

    several = blocks is MultiCategoryBlock
    labels = (lambda p: [parity(p)]) if several else parity
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2 if several else 1))
    learn = silent(
        of_images(tmp_path, model, blocks=(ImageBlock, blocks), get_y=labels, loss=yes_or_no)
    )
    label, code, outputs = learn.predict(PICTURES[0])
    yes = [name for name, output in zip(learn.dls.vocab, outputs, strict=False) if output > 0.5]
    assert label == (yes if several else learn.dls.vocab[int(outputs > 0.5)])
    assert torch.equal(code, outputs > 0.5)


def test_several_targets_are_decoded_each_by_its_block(tmp_path):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x):
            out = self.layer(x.mean((2, 3)))
            return out, -out

    def both(pred, *targs):
        return sum(F.cross_entropy(p, t) for p, t in zip(pred, targs, strict=True))

    learn = silent(
        of_images(
            tmp_path,
            Two(),
            blocks=(ImageBlock, CategoryBlock, CategoryBlock),
            get_y=[parity, parity],
            n_inp=1,
            loss=both,
        )
    )
    (one, other), codes, _ = learn.predict(PICTURES[0])
    assert {one, other} == {"even", "odd"} and int(codes[0]) == 1 - int(codes[1])


def test_an_interpretation_counts_and_refuses_what_needs_probabilities():
    learn = silent(of_rows(LOSSES["module"]))
    interp = ClassificationInterpretation.from_learner(learn)
    preds, targs, decoded = learn.get_preds(with_decoded=True)
    assert interp.confusion_matrix().trace() == int((decoded == targs).sum())
    expected = 2 * F.cross_entropy(preds, targs, reduction="none")
    torch.testing.assert_close(interp.losses, expected)
    assert "output" in interp.title(0) and "p " not in interp.title(0)
    for ask in (interp.calibration, interp.wrong_labels):
        with pytest.raises(ValueError, match=r"from_learner\(learn, act=torch.nn.Softmax\(1\)\)"):
            ask()
    sure = ClassificationInterpretation.from_learner(learn, act=torch.nn.Softmax(1))
    assert 0 <= sure.calibration().ece <= 1 and "p " in sure.title(0)


class Subclassed(nn.CrossEntropyLoss):
    pass


@pytest.mark.parametrize(
    ("loss", "act"),
    [
        (nn.CrossEntropyLoss(), F.softmax),
        (F.cross_entropy, F.softmax),
        (partial(F.cross_entropy, label_smoothing=0.1), F.softmax),
        (Subclassed(), F.softmax),
        (nn.NLLLoss(), lambda pred, dim: pred.exp()),
        (F.nll_loss, lambda pred, dim: pred.exp()),
    ],
    ids=told,
)
def test_losses_of_torch_are_known(loss, act):
    pred = torch.randn(5, 3)
    chances = activation_of(loss)(pred)
    torch.testing.assert_close(chances, act(pred, dim=1))
    assert torch.equal(decodes_of(loss)(chances), pred.argmax(1))


def test_an_activation_that_a_file_cannot_hold_is_asked_for(tmp_path):
    loss = Doubled()
    loss.activation = lambda pred: pred.softmax(1)
    learn = silent(of_rows(loss))
    try:
        again = load_learner(learn.export())
    except ExportError:  # it may as well be refused
        return
    with pytest.raises(RuntimeError, match="`learn.loss_func = Doubled"):
        again.predict(torch.zeros(4))
    again.loss_func = loss
    assert again.predict(torch.zeros(4))[0] in ("low", "high")


@pytest.mark.parametrize(
    ("act", "says"), [(3, "got 3; give a function"), (nn.Softmax, r"call it: `Softmax\(…\)`")]
)
def test_an_activation_that_is_none_is_told(act, says):
    learn = silent(of_rows(nn.CrossEntropyLoss()))
    with pytest.raises(TypeError, match=f"`act` is called with outputs.*{says}"):
        learn.predict(torch.zeros(4), act=act)
    learn.loss_func = lambda pred, targ: pred.mean()
    learn.loss_func.activation = act
    with pytest.raises(TypeError, match=f"the loss's `activation` is called with.*{says}"):
        learn.predict(torch.zeros(4))


def test_a_graph_says_that_it_gives_outputs(capsys):
    learn = of_rows(LOSSES["module"])
    x = torch.randn(3, 4)
    assert torch.equal(learn.to_program().module()(x), learn.model(x))
    assert "does not tell what makes probabilities" in capsys.readouterr().out
    of_rows(nn.CrossEntropyLoss()).to_program()
    assert "does not tell" not in capsys.readouterr().out


def test_a_name_from_a_file_cannot_move_the_cursor(capsys):
    learn = of_rows(MissingLoss("\33[2Jgone" + "x" * 999))
    learn.predict(torch.zeros(4))
    said = capsys.readouterr().out
    assert "the loss `\\x1b[2Jgone" in said and "\33" not in said and len(said) < 500
    with pytest.raises(RuntimeError, match=r"`learn.loss_func = …`"):
        learn.loss_func(None, None)


def test_the_command_keeps_what_it_says_apart_from_what_it_predicts(tmp_path, capsys):
    learn = silent(of_images(tmp_path, loss=LOSSES["lambda"]))
    Image.fromarray(PICTURES[0]).save("0.png")
    learn.export("own.ll")
    capsys.readouterr()
    assert main(["predict", "own.ll", "0.png"]) == 0
    said = capsys.readouterr()
    assert said.out in ("0.png  odd\n", "0.png  even\n")
    assert "does not tell what makes probabilities" in said.err
