"""Trial runs: short epochs, one batch by heart, and the whole of a fit tried before it begins."""

import copy
import os
import re

import numpy as np
import pytest
import torch
from tiny import digits_loaders, linear_learner, net, silent
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from learnlite import (
    SWA,
    Callback,
    CSVLogger,
    DataLoaders,
    Learner,
    ProgressBar,
    SaveModel,
    TerminateOnNaN,
    accuracy,
    on,
)
from learnlite.callbacks.dry_run import DryRun
from learnlite.callbacks.trial import OverfitBatch, ShortEpoch, ShortEpochCallback
from learnlite.data import Stream


def counted(n_train, n_valid, cb):
    """How many batches of each kind an epoch has with this callback."""
    seen = []
    learn = linear_learner(on(after_batch=lambda learn: seen.append(learn.training)), 40, 30)
    learn.dls = DataLoaders(
        list(learn.dls.train)[:n_train], list(learn.dls.valid)[:n_valid] or None, device="cpu"
    )
    learn.fit(1, cbs=cb)
    return seen.count(True), seen.count(False)


# Short epochs


def test_a_short_epoch_has_so_many_batches_or_that_share_of_them():
    assert counted(40, 30, ShortEpoch(3)) == (3, 3)
    assert counted(40, 30, ShortEpoch(0.1)) == (4, 3)
    assert counted(40, 30, ShortEpoch(0.001)) == (1, 1)
    assert counted(40, 30, ShortEpoch(0.5, short_valid=False)) == (20, 30)
    assert counted(4, 0, ShortEpoch(100)) == (4, 0)


def test_the_name_of_fastai_is_the_same_callback_and_takes_its_argument():
    assert ShortEpochCallback is ShortEpoch
    assert ShortEpochCallback(pct=0.1).n == ShortEpoch(0.1).n
    with pytest.raises(ValueError, match="`n` and `pct` say the same; give one of them, got 20 an"):
        ShortEpoch(20, pct=0.1)


@pytest.mark.parametrize("n", [0, -1, 1.0, 1.5, 0.0, True, "all"])
def test_what_is_neither_a_count_nor_a_share_is_refused(n):
    with pytest.raises((ValueError, TypeError), match="`n` is a whole number of batches, or a"):
        ShortEpoch(n)


def test_a_schedule_comes_to_its_end_in_short_epochs():
    learn = silent(Learner(digits_loaders(), net()))
    learn.fit_one_cycle(2, 0.1, cbs=ShortEpoch(3))
    whole = silent(Learner(DataLoaders(list(digits_loaders().train)[:3], device="cpu"), net()))
    whole.fit_one_cycle(2, 0.1, cbs=[])
    assert learn.recorder.lrs == whole.recorder.lrs
    assert len(learn.recorder.lrs) == 6


def test_validation_by_itself_is_whole():
    learn = silent(Learner(digits_loaders(), net(), cbs=ShortEpoch(1)))
    before = learn.validate()
    learn.fit(1, 0.0)
    seen = []
    learn.validate(cbs=on(after_batch=lambda learn: seen.append(learn.iter)))
    assert len(seen) == len(learn.dls.valid) and len(before) == 1


# One batch by heart


class Counting(nn.CrossEntropyLoss):
    """A loss that counts, in a buffer, how often it trained."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, pred, targ):
        self.calls += torch.is_grad_enabled()
        return super().forward(pred, targ)


def overfit(model, dls=None, lr=0.01, n=100, **kwargs):
    said = []
    learn = silent(Learner(dls or digits_loaders(), model, lr=lr, **kwargs))
    learn.say = said.append
    cb = OverfitBatch(n)
    learn.fit(1, cbs=cb)
    return learn, cb, said


def test_a_model_that_can_learn_is_told_so_by_loss_and_labels():
    learn, cb, said = overfit(net())
    assert cb.learns and said == [cb.verdict]
    found = re.match(
        r"the model can learn: on one batch of 32 the loss went from (\S+) to (\S+) in 100 rounds "
        r"\((\S+) in evaluation\), and (\d+) of 32 labels are right "
        r"\(the commonest label alone gives (\d+)\)",
        cb.verdict,
    )
    first, last, valid, right, commonest = map(float, found.groups())
    assert learn.recorder.last("valid_loss") == pytest.approx(valid, rel=1e-3)
    assert len(learn.dls.loaders) == 2 and len(learn.dls.valid) == 2
    assert float(learn.recorder.raw_losses[0]) == pytest.approx(first, rel=1e-3)
    assert float(learn.recorder.raw_losses[-1]) == pytest.approx(last, rel=1e-3)
    assert right == 32 > commonest


def test_a_model_that_cannot_learn_is_told_where_to_look():
    model = nn.Sequential(nn.Linear(8, 4), nn.Dropout(0.5))
    model[0].weight.requires_grad_(False)
    _, cb, _ = overfit(model, n=20)
    assert cb.learns is False
    assert "did not learn this batch" in cb.verdict
    assert "the 1 frozen tensor of" in cb.verdict and "dropout (up to 0.5)" in cb.verdict


@pytest.mark.parametrize("fitted", [False, True])
def test_model_optimizer_and_loss_are_given_back_unless_they_are_to_be_kept(fitted):
    def weights(learn):
        return copy.deepcopy([learn.model.state_dict(), learn.opt.state_dict()])

    learn = silent(Learner(digits_loaders(), net(0.3), lr=0.01, loss_func=(loss := Counting())))
    learn.say = lambda text: None
    learn.create_opt()
    if fitted:
        learn.fit(1)
    before = weights(learn)
    learn.fit(1, cbs=(cb := OverfitBatch(30)))
    assert cb.learns is not None and same(before, weights(learn)) and loss.calls == 6 * fitted
    learn.fit(1, cbs=OverfitBatch(30, keep=True))
    assert not same(before, weights(learn))


def test_they_are_given_back_after_an_error():
    def fail(learn):
        raise ArithmeticError

    learn = silent(Learner(digits_loaders(), net(), lr=0.01))
    before = copy.deepcopy(learn.model.state_dict())
    with pytest.raises(ArithmeticError):
        learn.fit(1, cbs=[OverfitBatch(), on(after_train=fail)])
    assert same(before, learn.model.state_dict())


@pytest.mark.parametrize("save", [SaveModel(), SaveModel(every_epoch=True), SWA(0)])
def test_weights_that_know_one_batch_are_not_saved(save, tmp_path):
    learn = silent(Learner(digits_loaders(), net(), path=tmp_path))
    with pytest.raises(ValueError, match="both drive `final weights`|that know a single batch"):
        learn.fit(1, cbs=[OverfitBatch(), save])
    assert not list(tmp_path.iterdir())


def test_dropout_does_not_hide_that_a_batch_is_learnt():
    _, cb, _ = overfit(net(0.5), n=400)
    assert cb.learns and "32 of 32 labels are right" in cb.verdict


def test_numbers_as_targets_are_judged_by_the_loss():
    x = torch.randn(16, 3)
    dls = DataLoaders([(x, x.sum(1, keepdim=True))] * 2, device="cpu")
    _, cb, _ = overfit(nn.Linear(3, 1), dls, lr=0.1, n=200, loss_func=nn.MSELoss())
    assert cb.learns and "labels" not in cb.verdict


def test_a_batch_of_one_label_only_is_named():
    dls = DataLoaders([(torch.randn(8, 8), torch.zeros(8, dtype=torch.long))], device="cpu")
    _, cb, _ = overfit(net(), dls)
    assert cb.learns and "all labels of the batch are the same" in cb.verdict.lower()


def test_labels_that_are_ignored_do_not_count():
    y = torch.tensor([0, 1, -100, 3, -100, 2, 2, 2])
    _, cb, _ = overfit(net(), DataLoaders([(torch.randn(8, 8), y)], device="cpu"))
    assert "6 of 6 labels" in cb.verdict and "alone gives 3" in cb.verdict


@pytest.mark.parametrize("axis", [1, -1])
def test_labels_of_several_places_an_item_are_counted_on_the_classes_axis(axis):
    class Places(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(8, 5 * 3)

        def forward(self, x):
            return self.body(x).reshape(-1, 5, 3).movedim(-1, axis)

    x, y = torch.randn(6, 8), torch.randint(3, (6, 5))
    loss = (
        nn.CrossEntropyLoss()
        if axis == 1
        else lambda p, t: nn.functional.cross_entropy(p.movedim(-1, 1), t)
    )
    _, cb, _ = overfit(Places(), DataLoaders([(x, y)], device="cpu"), lr=0.1, n=200, loss_func=loss)
    assert "30 of 30 labels are right" in cb.verdict


def test_the_batch_is_the_same_whatever_was_drawn_before_and_the_loader_comes_back():
    seen = []
    look = on(before_batch=lambda learn: seen.append(learn.xb[0].clone()), order=99)
    for kind in ("ours", "torch"):
        seen.clear()
        for seed in (1, 2):
            x, y = digits_loaders().train.dataset.tensors
            dls = digits_loaders(seed=7)
            if kind == "torch":
                dls = DataLoaders(
                    DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True), device="cpu"
                )
            torch.manual_seed(seed)
            learn = silent(Learner(dls, net(), seed=seed))
            train = dls.train
            learn.say = lambda text: None
            learn.fit(1, cbs=[OverfitBatch(3), look])
            assert learn.dls.train is train
        assert all(torch.equal(seen[0], x) for x in seen) and len(seen) == 8


def test_a_batch_that_is_changed_in_place_is_whole_again_the_next_time():
    seen = []

    def spoil(learn):
        seen.append(learn.xb[0].clone())
        learn.xb[0].mul_(0)

    learn = silent(Learner(digits_loaders(), net()))
    learn.say = lambda text: None
    learn.fit(1, cbs=[OverfitBatch(4), on(before_batch=spoil)])
    assert all(torch.equal(x, seen[0]) for x in seen) and bool(seen[0].any())


def test_the_finder_runs_on_all_batches_and_without_a_verdict(tmp_path):
    said, sizes = [], []
    for cbs in ([], [OverfitBatch(4)]):
        learn = learner(tmp_path, cbs)
        learn.say = said.append
        sizes.append(learn.lr_find(num_it=12, show_plot=False))
    assert not said and sizes[0] == sizes[1]


# The whole of a fit, tried


def state_of(learn, folder):
    """All that a fit changes: weights, optimizer, what is recorded, files, random states."""
    files = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return (
        {name: value.clone() for name, value in learn.model.state_dict().items()},
        None if learn.opt is None else copy.deepcopy(learn.opt.state_dict()),
        [p.grad if p.grad is None else p.grad.clone() for p in learn.model.parameters()],
        [module.training for module in learn.model.modules()],
        (learn.recorder.values, learn.recorder.losses, learn.recorder.log),
        (learn.progress, learn.path, learn.model_dir, learn.dls.loaders[:]),
        (files, sorted(folder.rglob("*"))),
        (torch.get_rng_state(), np.random.get_state()[1].tolist()),  # noqa: NPY002
    )


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def learner(folder, cbs=(), bs=50, **kwargs):
    torch.manual_seed(3)
    kwargs = {"metrics": accuracy, "lr": 0.01} | kwargs
    dls = digits_loaders(bs=bs, seed=1)
    learn = silent(Learner(dls, net(0.3), path=folder, cbs=cbs, seed=2, **kwargs))
    learn.say = lambda text: None
    return learn


def test_a_check_leaves_nothing_behind_before_the_first_fit_and_after_one(tmp_path):
    learn = learner(tmp_path, CSVLogger())
    before = state_of(learn, tmp_path)
    learn.check()
    assert same(before, state_of(learn, tmp_path))
    learn.fit(1)
    learn.save("kept")
    before = state_of(learn, tmp_path)
    learn.check(cbs=[CSVLogger("other.csv"), TerminateOnNaN])
    assert same(before, state_of(learn, tmp_path))


def test_a_check_writes_over_no_file_wherever_it_lies(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    best, table = SaveModel(fname=elsewhere / "best"), CSVLogger(str(elsewhere / "rows.csv"))
    above = SaveModel("accuracy", fname="../best", load_best=False)
    learn = learner(tmp_path / "own", [best, table, above])
    learn.fit(2)
    before = state_of(learn, tmp_path)
    learn.check()
    assert same(before, state_of(learn, tmp_path))
    assert best.fname == elsewhere / "best" and table.fname == str(elsewhere / "rows.csv")
    assert best.last_saved_path == elsewhere / "best.pth" and above.fname == "../best"


def test_a_fit_after_a_check_is_bit_for_bit_a_fit_without_it(tmp_path):
    fits = []
    for check in (False, True):
        learn = learner(tmp_path)
        for _ in range(2):
            if check:
                learn.check()
            learn.fit_one_cycle(2, 0.01)
        fits.append((learn.model.state_dict(), learn.recorder.values, learn.recorder.losses))
    assert same(*fits)


def test_a_check_tries_both_sizes_of_training_batches_and_one_of_validation(tmp_path):
    seen, said = [], []
    note = on(before_batch=lambda learn: seen.append((learn.training, len(learn.xb[0]))))
    learn = learner(tmp_path, note)
    learn.say = said.append
    learn.check()
    assert seen == [(True, 50), (True, 42), (False, 50)]
    (report,) = said
    for line in (
        "first training batch of 50 samples: loss",
        "last training batch of 42 samples: loss",
        "validation batch of 50 samples: loss",
        "written and read",
    ):
        assert line in report


@pytest.mark.parametrize("kind", ["torch", "list", "stream", "dicts"])
def test_a_check_knows_every_kind_of_loader(kind, tmp_path):
    x, y = torch.randn(20, 8), torch.randint(4, (20,))
    batches = list(zip(x.split(8), y.split(8), strict=True))
    train, sizes = {
        "torch": (DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True), [8, 4]),
        "list": (batches, [8, 4]),
        "stream": (Stream(lambda: iter(batches), 3), [8]),
        "dicts": ([{"input": a, "labels": b} for a, b in batches], [8, 4]),
    }[kind]
    seen = []
    model = net()
    if kind == "dicts":
        model.forward = lambda input: nn.Sequential.forward(model, input)
    learn = silent(Learner(DataLoaders(train, device="cpu"), model, path=tmp_path))
    learn.say = lambda text: None
    learn.check(cbs=on(before_batch=lambda learn: seen.append(len(learn.yb[0]))))
    assert seen == sizes


def test_what_others_say_is_hushed_until_the_report(tmp_path, capsys):
    def tell(learn):
        learn.say("too early")

    for front in (ProgressBar(), ProgressBar(bars=False), None):
        learn = learner(tmp_path)
        del learn.say
        learn.add_cb([front] if front else [])
        said = learn.say
        learn.check(cbs=[SaveModel(), on(before_fit=tell, after_batch=tell, after_fit=tell)])
        out = capsys.readouterr().out
        assert "too early" not in out and "the lowest so far" not in out
        assert out.count("dry run: no fault met") == 1
        assert learn.say == said


def test_callbacks_that_set_the_length_of_an_epoch_stand_aside(tmp_path):
    learn = learner(tmp_path, ShortEpoch(1))
    learn.check()
    assert any(isinstance(cb, ShortEpoch) for cb in learn.cbs)


def test_as_a_callback_it_ends_the_fit_after_one_of_each(tmp_path):
    learn = learner(tmp_path, CSVLogger())
    cb = DryRun()
    learn.fit_one_cycle(5, 0.01, cbs=cb)
    assert len(learn.recorder.values) == 1 and len(learn.recorder.losses) == 2
    assert cb.report.startswith("dry run: no fault met")
    assert list(tmp_path.iterdir()) == []


class SaveBest(Callback):
    """A callback of a user's, with the monitor's name to be got wrong."""

    def __init__(self, monitor):
        self.monitor = monitor

    def after_epoch(self):
        self.learn.recorder.last(self.monitor)
        self.learn.save("best")


def broken_metric(pred, targ):
    raise ArithmeticError("no such metric")


def faults(folder):
    """Each fault with the error that names it and the part of the run where it is met."""

    def out_of_range():
        learn = learner(folder)
        y = torch.full((50,), 4)
        learn.dls = DataLoaders([(torch.randn(50, 8), y)], device="cpu")
        return learn, None

    def out_of_range_late():
        learn = learner(folder)
        _, y = learn.dls.train.dataset.tensors
        y[100] = 9
        return learn, None

    def wrong_loss():
        return learner(folder, loss_func=lambda pred, targ: (pred.sum(1) - targ) ** 2), None

    def wrong_monitor():
        return learner(folder), SaveBest("acuracy")

    def no_folder():
        (folder / "file").write_text("")
        return learner(folder / "file"), None

    def no_models():
        (folder / "file").write_text("")
        return learner(folder, model_dir="file"), None

    def one_sample():
        return learner(folder, bs=191), None

    def one_sample_of_torch():
        learn = learner(folder)
        data = TensorDataset(torch.randn(9, 8), torch.randint(4, (9,)))
        learn.dls = DataLoaders(DataLoader(data, batch_size=8), device="cpu")
        return learn, None

    def bad_validation():
        learn = learner(folder)
        learn.dls.loaders[1] = [(torch.randn(4, 7), torch.zeros(4, dtype=torch.long))]
        return learn, None

    def nan():
        return learner(folder, loss_func=lambda pred, targ: pred.sum().log() * float("nan")), None

    return {
        "label": (out_of_range, "the label 4", "on the first training batch of 50"),
        "late label": (out_of_range_late, "the label 9", "on the first training batch of 50"),
        "metric": (
            lambda: (learner(folder, metrics=broken_metric), None),
            "no such metric",
            "on the first training batch",
        ),
        "loss": (wrong_loss, "the loss must be one number", "on the first training batch"),
        "monitor": (wrong_monitor, "did you mean `accuracy`", "at the end of the epoch"),
        "folder": (no_folder, "Not a directory", "as a folder was made"),
        "models": (no_models, "Not a directory", "as a folder was made"),
        "one": (one_sample, "more than 1 value", "on the last training batch of 1 sample"),
        "one of torch": (
            one_sample_of_torch,
            "more than 1 value",
            "on the last training batch of 1 sample",
        ),
        "validation": (bad_validation, "shapes cannot be multiplied", "on the validation batch"),
        "nan": (nan, "the loss of the first training batch of 50 samples is nan", "on the first"),
    }


@pytest.mark.parametrize("fault", faults(None))
def test_a_fault_is_named_with_the_place_where_it_is_met_and_nothing_stays(fault, tmp_path):
    make, message, place = faults(tmp_path)[fault]
    learn, cbs = make()
    before = state_of(learn, tmp_path)
    with pytest.raises(Exception, match=re.escape(message)) as caught:
        learn.check(cbs=cbs)
    notes = "\n".join(caught.value.__notes__)
    assert f"met by the dry run {place}" in notes
    assert same(before, state_of(learn, tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_met(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError) as caught:
        learner(tmp_path).check()
    assert "as a folder was made" in caught.value.__notes__[-1]


def test_too_little_room_for_two_checkpoints_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 100}))
    with pytest.warns(UserWarning, match="there must be room for two"):
        learner(tmp_path).check()


def test_a_last_batch_of_one_is_no_fault_where_it_is_dropped(tmp_path):
    learn = learner(tmp_path)
    learn.dls = digits_loaders(bs=191, drop_last=True)
    learn.check()
