import copy
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from exported import PICTURES, Linear, net, note_of, of_images, of_tensors, with_note
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from learnlite import (
    EMA,
    BCEWithLogitsLossFlat,
    CrossEntropyLossFlat,
    DataLoaders,
    FocalLoss,
    LabelSmoothingCrossEntropy,
    Learner,
    MSELossFlat,
    load_learner,
    register_model,
    tensor_file,
)
from learnlite.export import ExportError
from learnlite.tensor_file import FileError


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def same_bits(one: nn.Module, other: nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


# --- what comes back


def test_predictions_of_the_loaded_learner_are_the_same_numbers(tmp_path: Path) -> None:
    learn = of_images(tmp_path)
    again = load_learner(learn.export())
    ours, _ = learn.get_preds(dl=learn.dls.test_dl(PICTURES))
    theirs, _ = again.get_preds(dl=again.dls.test_dl(PICTURES))
    assert torch.equal(ours, theirs)
    label, index, chances = again.predict(PICTURES[0])
    assert label == again.dls.vocab[index] and torch.equal(chances, ours[0])
    assert again.dls.vocab == learn.dls.vocab == ["even", "odd"] and again.dls.c == 2
    assert same_bits(again.model, learn.model) and not again.model.training


def test_a_learner_of_tensors_comes_back(tmp_path: Path) -> None:
    learn = of_tensors(tmp_path)
    again = load_learner(learn.export("deep/in/t.ll"))
    x = torch.randn(5, 4)
    assert torch.equal(
        again.get_preds(dl=again.dls.test_dl(x))[0], learn.get_preds(dl=learn.dls.test_dl(x))[0]
    )
    assert again.predict(x[0])[1] == learn.predict(x[0])[1]


def test_a_learner_of_plain_torch_loaders_comes_back(tmp_path: Path) -> None:
    data = TensorDataset(torch.randn(12, 4), torch.randint(2, (12,)))
    dls = DataLoaders(DataLoader(data, 4), DataLoader(data, 4), device="cpu", vocab=["a", "b"])
    learn = Learner(dls, Linear(4, 2), CrossEntropyLossFlat(), path=tmp_path)
    again = load_learner(learn.export())
    assert torch.equal(again.get_preds(dl=DataLoader(data, 4))[0], learn.get_preds()[0])
    assert again.validate(dl=DataLoader(data, 4)) == learn.validate()
    assert again.dls.vocab == ["a", "b"]


def test_what_was_loaded_exports_to_the_same_bytes(tmp_path: Path) -> None:
    path = of_images(tmp_path).export("one.ll")
    again = load_learner(path)
    again.path = tmp_path
    assert again.export("two.ll").read_bytes() == path.read_bytes()


def test_a_file_says_what_wrote_it_and_opens_as_tensors_of_others(tmp_path: Path) -> None:
    learn = of_tensors(tmp_path)
    path = learn.export()
    note = note_of(path)
    assert note["format"] == 1 and note["torch"] == torch.__version__ and note["version"]
    theirs = pytest.importorskip("safetensors.torch", reason="`safetensors` is not installed")
    assert torch.equal(theirs.load_file(path)["weight"], learn.model.weight)


def test_the_file_holds_the_averaged_weights_that_save_would_save(tmp_path: Path) -> None:
    learn = of_tensors(tmp_path, cbs=EMA())
    with learn.no_logging():
        learn.fit(1, 0.1)
    exported = load_learner(learn.export())
    learn.save("saved", with_opt=False)
    saved = Linear(4, 2)
    saved.load_state_dict(torch.load(tmp_path / "models/saved.pth", weights_only=True)["model"])
    assert same_bits(exported.model, saved)


def test_exporting_changes_nothing_and_draws_nothing(tmp_path: Path) -> None:
    learn = of_images(tmp_path)
    before, state = copy.deepcopy(learn.model), torch.get_rng_state()
    learn.model.train()
    learn.export()
    assert torch.equal(torch.get_rng_state(), state) and learn.model.training
    assert same_bits(before, learn.model)


def test_weights_that_are_tied_are_written_once_and_come_back_tied(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    learn = of_tensors(tmp_path, model)
    with learn.no_logging():
        path = learn.export()
    assert "1.weight" not in tensor_file.read(path).entries
    other = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    assert same_bits(load_learner(path, model=other).model, model)


def test_weights_of_every_type_come_back(tmp_path: Path) -> None:
    def make() -> nn.Module:
        model = nn.Linear(4, 2).bfloat16()
        model.register_buffer("mask", torch.tensor([True, False]))
        model.register_buffer("counts", torch.tensor([1, 2**40]))
        return model

    learn = of_tensors(tmp_path, make())
    with learn.no_logging():
        path = learn.export()
    assert same_bits(load_learner(path, model=make()).model, learn.model)


def test_a_model_of_short_floats_stays_one(tmp_path: Path) -> None:
    model = Linear(4, 2).bfloat16()
    x = torch.randn(3, 4).bfloat16()
    again = load_learner(of_tensors(tmp_path, model).export()).model
    assert again.weight.dtype is torch.bfloat16 and torch.equal(again(x), model(x))


def test_a_compiled_model_is_exported_as_what_was_compiled(tmp_path: Path) -> None:
    learn = of_tensors(tmp_path, torch.compile(Linear(4, 2)))
    assert type(load_learner(learn.export()).model) is Linear


@pytest.mark.parametrize(
    "loss",
    [
        CrossEntropyLossFlat(axis=1, weight=[0.5, 2.0], label_smoothing=0.1),
        LabelSmoothingCrossEntropy(0.2, spread="others"),
        FocalLoss(1.5),
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0])),
        F.cross_entropy,
        partial(F.cross_entropy, label_smoothing=0.1),
        nn.NLLLoss(),
    ],
    ids=lambda loss: getattr(loss, "__name__", type(loss).__name__),
)
def test_losses_of_classes_come_back(tmp_path: Path, loss: object) -> None:
    learn = of_tensors(tmp_path, loss_func=loss)
    again = load_learner(learn.export())
    pred, targ = torch.randn(6, 2).log_softmax(1), torch.randint(2, (6,))
    assert torch.equal(again.loss_func(pred, targ), learn.loss_func(pred, targ))
    x = torch.randn(3, 4)
    ours, theirs = (each.get_preds(dl=each.dls.test_dl(x))[0] for each in (learn, again))
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    "loss",
    [
        MSELossFlat(),
        BCEWithLogitsLossFlat(thresh=0.3, pos_weight=[1.0, 2.0]),
        nn.SmoothL1Loss(beta=0.5),
        nn.BCEWithLogitsLoss(pos_weight=torch.tensor([2.0, 1.0])),
        nn.HuberLoss(delta=0.3),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_losses_of_numbers_come_back(tmp_path: Path, loss: object) -> None:
    again = load_learner(of_tensors(tmp_path, loss_func=loss).export())
    pred, targ = torch.randn(6, 2), torch.rand(6, 2)
    assert torch.equal(again.loss_func(pred, targ), loss(pred, targ))


# --- what the file cannot hold


def own_loss(pred: Tensor, targ: Tensor) -> Tensor:
    return F.cross_entropy(pred, targ)


class OwnLoss(nn.Module):
    def forward(self, pred: Tensor, targ: Tensor) -> Tensor:
        return F.cross_entropy(pred, targ)

    def activation(self, pred: Tensor) -> Tensor:
        return pred.softmax(1)


def test_a_loss_of_yours_is_told_of_and_predictions_without_one_are_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learn = of_tensors(tmp_path, loss_func=own_loss)
    again = load_learner(learn.export())
    assert "does not hold the loss `own_loss`" in capsys.readouterr().out
    x = torch.randn(3, 4)
    ours, theirs = (each.get_preds(dl=each.dls.test_dl(x))[0] for each in (learn, again))
    assert torch.equal(ours, theirs)
    with pytest.raises(RuntimeError, match="give it: `learn.loss_func = own_loss`"):
        again.validate(dl=[(x, torch.zeros(3).long())])


def test_a_loss_of_yours_with_an_activation_keeps_from_predicting_other_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = load_learner(of_tensors(tmp_path, loss_func=OwnLoss()).export())
    assert "predictions need it" in capsys.readouterr().out
    with pytest.raises(RuntimeError, match="the loss `OwnLoss` was not in the file"):
        again.predict(torch.randn(4))


def test_a_model_without_a_recipe_is_told_of_and_given_when_loading(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learn = of_tensors(tmp_path, nn.Linear(4, 2))
    path = learn.export()
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "load_learner(f, model=Linear(…))" in said
    assert '@register_model("my_net")' in said
    with pytest.raises(FileError, match=r"holds the weights of a `Linear` .*model=Linear\(…\)\)`"):
        load_learner(path)
    assert same_bits(load_learner(path, model=nn.Linear(4, 2)).model, learn.model)


def test_a_model_that_was_changed_after_it_was_built_is_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = net()
    model[2] = nn.GELU()
    of_images(tmp_path, model).export()
    assert "as `2` was ReLU() when `exported/net` built it" in capsys.readouterr().out


def test_a_given_model_must_fit_and_be_an_instance(tmp_path: Path) -> None:
    path = of_tensors(tmp_path).export()
    with pytest.raises(FileError, match=r"`weight` is \(2, 4\) in the file, \(3, 4\) in"):
        load_learner(path, model=nn.Linear(4, 3))
    with pytest.raises(TypeError, match="call it: `Linear\\(…\\)`"):
        load_learner(path, model=nn.Linear)


def test_a_registered_model_that_is_not_known_where_it_is_loaded_is_named(tmp_path: Path) -> None:
    path = of_tensors(tmp_path).export()
    note = note_of(path)
    note["model"]["name"] = "elsewhere/net"
    with pytest.raises(FileError, match=r"needs the model `elsewhere/net`, which is not reg") as at:
        load_learner(with_note(path, note))
    assert '@register_model("elsewhere/net")' in str(at.value) and "model=…" in str(at.value)


def test_parameters_without_a_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="parameters without a size yet; run one batch"):
        of_tensors(tmp_path, nn.LazyLinear(2)).export()
    assert list(tmp_path.iterdir()) == []


def test_state_that_is_no_tensor_is_named(tmp_path: Path) -> None:
    class Stateful(nn.Linear):
        def get_extra_state(self) -> dict[str, int]:
            return {"seen": 1}

    learn = of_tensors(tmp_path, Stateful(4, 2))
    with pytest.raises(ExportError, match="the model's `_extra_state` is a dict"):
        learn.export()


# --- a learner without data


@pytest.mark.parametrize("make", [of_images, of_tensors])
def test_what_needs_data_says_how_to_give_some(make: object, tmp_path: Path) -> None:
    again = load_learner(make(tmp_path).export())
    asks = (
        lambda: again.fit(1),
        lambda: again.lr_find(),
        lambda: again.validate(),
        lambda: again.get_preds(),
        lambda: again.dls.one_batch(),
        lambda: len(again.dls.train),
        lambda: next(iter(again.dls.valid)),
    )
    for ask in asks:
        with again.no_logging(), pytest.raises(RuntimeError, match="has no data .* `learn.dls = d"):
            ask()
    if make is of_images:
        with again.no_logging(), pytest.raises(RuntimeError, match="has no data"):
            again.show_results()
    assert repr(again.dls) == "DataLoaders(no data, on cpu)"


def test_test_time_augmentation_says_why_it_cannot_be(tmp_path: Path) -> None:
    again = load_learner(of_images(tmp_path).export())
    with pytest.raises(RuntimeError, match="has no augmentation"):
        again.tta(dl=again.dls.test_dl(PICTURES))


def test_a_loaded_learner_trains_on_when_it_is_given_data(tmp_path: Path) -> None:
    learn = of_images(tmp_path)
    again = load_learner(learn.export())
    again.dls = learn.dls
    with again.no_logging():
        again.fit(1, 1e-3)
    assert not same_bits(again.model, learn.model)


# --- files that are not what they should be


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = of_tensors(tmp_path).export()
    with_note(path, note_of(path) | {"format": 2, "version": "9.1"})
    with pytest.raises(FileError, match="by learnlite '9.1' in format 2, and this .*update it"):
        load_learner(path)


def test_files_of_other_programs_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_learner(tmp_path / "none.ll")
    (tmp_path / "export.ll").touch()
    with pytest.raises(FileNotFoundError, match=r"no file .*export.pkl, but .*export.ll: `learn"):
        load_learner(tmp_path / "export.pkl")
    torch.save({"a": 1}, tmp_path / "pickle.pkl")
    with pytest.raises(FileError, match="is a pickle, as `torch.save` and fastai's `export`"):
        load_learner(tmp_path / "pickle.pkl")
    tensor_file.write(tmp_path / "plain", {"w": torch.ones(1)}, {})
    with pytest.raises(FileError, match="holds tensors and nothing of a learner"):
        load_learner(tmp_path / "plain")


@register_model("exported/counted")
def counted(n: int) -> nn.Module:
    """A model that needs numbers to be built, so that it cannot be without memory."""
    return nn.Linear(4, int(torch.ones(n).sum().item()))


@pytest.mark.parametrize(
    ("name", "args", "says"),
    [
        ("exported/linear", {"n_in": 10**6, "n_out": 10**6}, "`weight` is \\(2, 4\\) in the file"),
        ("exported/counted", {"n": 10**9}, "much larger than the weights in it"),
    ],
)
def test_a_recipe_that_asks_for_more_than_the_file_holds_takes_no_memory(
    tmp_path: Path, name: str, args: dict[str, int], says: str
) -> None:
    path = of_tensors(tmp_path).export()
    note = note_of(path)
    note["model"] |= {"name": name, "args": args}
    with pytest.raises(FileError, match=says):
        load_learner(with_note(path, note))


def test_a_model_that_needs_numbers_to_be_built_comes_back(tmp_path: Path) -> None:
    model = counted(2)
    assert same_bits(load_learner(of_tensors(tmp_path, model).export()).model, model)


@pytest.mark.parametrize("args", [{"n_in": -4, "n_out": 2}, {"n_in": "4", "n_out": 2}, {"x": 1}])
def test_arguments_that_build_no_model_are_told(tmp_path: Path, args: dict[str, object]) -> None:
    path = of_tensors(tmp_path).export()
    note = note_of(path)
    note["model"]["args"] = args
    with pytest.raises(FileError, match="with arguments it cannot be built with"):
        load_learner(with_note(path, note))
