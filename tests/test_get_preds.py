"""Predictions for whole loaders: in the data's order, with what is asked for, and no trace."""

import pytest
import torch
import torch.nn.functional as F
from tiny import digits_loaders, linear_learner, net, silent
from torch import nn
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset, WeightedRandomSampler

from learnlite import (
    Callback,
    CancelBatchException,
    DataLoaders,
    Learner,
    accuracy,
)
from learnlite.data import Loader, Stream, TensorItems, WeightedOrder


def digits_learner(loss_func=None, cbs=None, **settings):
    return silent(Learner(digits_loaders(**settings), net(0.3), loss_func, cbs=cbs, lr=0.01))


def outputs(learn, x):
    learn.model.eval()
    with torch.no_grad():
        return learn.model(x)


def test_predictions_are_the_activation_of_the_outputs_with_the_targets_beside():
    learn = digits_learner()
    x, y = learn.dls.valid.dataset.tensors
    preds, targs = learn.get_preds()
    torch.testing.assert_close(preds, outputs(learn, x).softmax(1))
    assert torch.equal(targs, y)


def test_all_that_can_be_asked_for_comes_in_fastais_order():
    learn = digits_learner()
    x, y = learn.dls.valid.dataset.tensors
    inputs, preds, targs, decoded, losses = learn.get_preds(
        with_input=True, with_decoded=True, with_loss=True
    )
    assert torch.equal(inputs, x) and torch.equal(targs, y)
    assert torch.equal(decoded, preds.argmax(1))
    torch.testing.assert_close(losses, F.cross_entropy(outputs(learn, x), y, reduction="none"))


def test_a_shuffled_training_loader_is_read_whole_and_in_the_datas_order():
    learn = digits_learner(bs=50, drop_last=True)
    inputs, _, targs = learn.get_preds(ds_idx=0, with_input=True)
    x, y = learn.dls.train.dataset.tensors
    assert torch.equal(inputs, x) and torch.equal(targs, y)


def test_without_reorder_a_loader_is_read_as_it_is():
    learn = digits_learner(bs=50, drop_last=True)
    inputs, _, _ = learn.get_preds(ds_idx=0, with_input=True, reorder=False)
    x, _ = learn.dls.train.dataset.tensors
    assert len(inputs) == len(x) // 50 * 50
    assert not torch.equal(inputs, x[: len(inputs)])


def test_items_that_training_draws_more_often_are_predicted_once():
    items = TensorItems(torch.arange(6.0).reshape(6, 1), torch.arange(6.0))
    loader = Loader(items, bs=4, order=WeightedOrder([0, 0, 1, 1, 5, 5]))
    learn = linear_learner()
    learn.model = nn.Identity()
    preds, targs = learn.get_preds(dl=loader)
    assert torch.equal(preds[:, 0], targs) and targs.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("how", ["shuffled", "subset", "weighted", "sequential"])
def test_loaders_of_torch_are_read_in_the_datas_order(how):
    x = torch.arange(20.0).reshape(20, 1)
    data = TensorDataset(x, x)
    sampler = {
        "subset": SubsetRandomSampler([7, 3, 11, 5]),
        "weighted": WeightedRandomSampler([1.0] * 20, 8),
    }.get(how)
    loader = DataLoader(data, batch_size=3, shuffle=how == "shuffled", sampler=sampler)
    learn = linear_learner()
    learn.model = nn.Identity()
    preds, targs = learn.get_preds(dl=loader)
    assert torch.equal(preds, targs)
    assert torch.equal(targs, targs.sort(0).values)
    if how == "subset":
        assert targs.flatten().tolist() == [3, 5, 7, 11]
    if how in ("shuffled", "sequential"):
        assert torch.equal(targs, x)


def test_a_list_of_batches_and_a_stream_are_loaders_too():
    learn = linear_learner()
    learn.model = nn.Identity()
    batches = [(torch.ones(2, 3), torch.ones(2)), (torch.zeros(1, 3), torch.zeros(1))]
    for loader in (batches, Stream(lambda: batches, 2)):
        preds, targs = learn.get_preds(dl=loader)
        assert preds.shape == (3, 3) and targs.tolist() == [1, 1, 0]


def test_data_without_targets_has_none_and_needs_no_loss():
    learn = digits_learner()
    x = learn.dls.valid.dataset.tensors[0]
    preds, targs, decoded = learn.get_preds(dl=learn.dls.test_dl(x), with_decoded=True)
    assert targs is None
    assert torch.equal(preds, learn.get_preds()[0]) and len(decoded) == len(x)


def test_a_loss_without_targets_says_how_to_get_some():
    learn = digits_learner()
    loader = learn.dls.test_dl(learn.dls.valid.dataset.tensors[0])
    with pytest.raises(ValueError, match="a loss for each sample needs targets"):
        learn.get_preds(dl=loader, with_loss=True)
    with pytest.raises(ValueError, match=r"no targets, .* `dls.test_dl\(items, with_labels="):
        learn.validate(dl=loader)
    assert len(learn.validate()) == 1 + len(learn.metrics)


@pytest.mark.parametrize("loss_func", [nn.CrossEntropyLoss(), F.cross_entropy])
def test_torchs_own_losses_give_probabilities_and_a_loss_for_each_sample(loss_func):
    learn = digits_learner(loss_func)
    x, y = learn.dls.valid.dataset.tensors
    preds, _, decoded, losses = learn.get_preds(with_decoded=True, with_loss=True)
    torch.testing.assert_close(preds, outputs(learn, x).softmax(1))
    torch.testing.assert_close(losses, F.nll_loss(preds.log(), y, reduction="none"))
    assert torch.equal(decoded, preds.argmax(1))
    assert learn.loss_func is loss_func


def test_a_loss_of_ones_own_is_asked_about_each_sample():
    def mine(pred, targ):
        return (pred - targ).abs().mean()

    learn = linear_learner(loss_func=mine)
    preds, targs, losses = learn.get_preds(with_loss=True)
    torch.testing.assert_close(losses, (preds - targs).abs().flatten())
    assert learn.loss_func is mine


def test_a_loss_that_cannot_tell_samples_apart_is_named():
    learn = linear_learner()

    class Sum(nn.Module):
        reduction = "mean"

        def forward(self, pred, targ):
            return (pred - targ).sum()

    learn.loss_func = Sum()
    with pytest.raises(ValueError, match="of a batch of 4 it gives"):
        learn.get_preds(with_loss=True)
    assert learn.loss_func.reduction == "mean"


def test_a_sample_of_many_pixels_has_the_mean_of_their_losses():
    x, y = torch.randn(6, 3, 4, 4), torch.randint(2, (6, 4, 4))
    dls = DataLoaders.from_tensors((x, y), (x, y), bs=4, device="cpu")
    learn = silent(Learner(dls, nn.Conv2d(3, 2, 1)))
    *_, losses = learn.get_preds(with_loss=True)
    expected = F.cross_entropy(learn.model(x), y, reduction="none").mean((1, 2))
    torch.testing.assert_close(losses, expected)


def test_an_activation_can_be_given():
    learn = digits_learner()
    raw, _ = learn.get_preds(act=lambda pred: pred)
    torch.testing.assert_close(raw, outputs(learn, learn.dls.valid.dataset.tensors[0]))


def test_dict_batches_and_outputs_that_are_dicts_or_tuples_keep_their_form():
    class Two(nn.Module):
        def forward(self, ids, mask):
            return {"sum": ids + mask, "both": (ids, mask), "scale": torch.tensor(2.0)}

    batches = [
        {"ids": torch.ones(n, 2), "mask": torch.zeros(n, 2), "labels": torch.zeros(n).long()}
        for n in (3, 1)
    ]
    dls = DataLoaders(batches, batches, device="cpu")
    learn = Learner(dls, Two(), F.cross_entropy, default_cbs=False)
    inputs, preds, targs = learn.get_preds(with_input=True)
    assert inputs["ids"].shape == (4, 2) and targs.shape == (4,)
    assert torch.equal(preds["sum"], torch.ones(4, 2))
    assert [part.shape for part in preds["both"]] == [(4, 2), (4, 2)]
    assert len(preds["scale"]) == 2  # one a batch


def test_rows_that_differ_in_shape_from_batch_to_batch_come_as_a_list():
    learn = linear_learner()
    learn.model = nn.Identity()
    batches = [(torch.ones(2, 3),), (torch.zeros(1, 5),)]
    preds, _ = learn.get_preds(dl=batches)
    assert [row.shape for row in preds] == [(3,), (3,), (5,)]


def test_half_floats_come_as_floats_activated_as_such():
    learn = digits_learner().to_bf16()
    preds, _ = learn.get_preds()
    assert preds.dtype is torch.float32
    torch.testing.assert_close(preds.sum(1), torch.ones(len(preds)))


def test_callbacks_see_a_validation_without_losses():
    events = []

    class Seen(Callback):
        def before_validate(self):
            assert not self.learn.training and not self.model.training
            events.append("before_validate")

        def after_loss(self):
            events.append("after_loss")

        def after_pred(self):
            self.pred = self.pred + 1

        def after_validate(self):
            events.append("after_validate")

    learn = digits_learner(bs=64)
    preds, _ = learn.get_preds(act=lambda pred: pred, cbs=Seen())
    assert events == ["before_validate", "after_validate"]
    plain, _ = learn.get_preds(act=lambda pred: pred)
    torch.testing.assert_close(preds, plain + 1)


def test_a_batch_that_a_callback_cancels_is_left_out_of_everything():
    class Second(Callback):
        def before_batch(self):
            if self.iter == 1:
                raise CancelBatchException

    learn = linear_learner()
    learn.model = nn.Identity()
    batches = [(torch.full((2, 1), i), torch.full((2,), i)) for i in range(3)]
    preds, targs = learn.get_preds(dl=batches, cbs=Second())
    assert preds.flatten().tolist() == targs.tolist() == [0, 0, 2, 2]


def test_predicting_leaves_no_trace():
    learn = digits_learner()
    learn.metrics = [accuracy]
    learn.fit(1)
    before = torch.get_rng_state(), list(learn.recorder.values), list(learn.recorder.losses)
    cbs, table = learn.cbs, learn.callbacks.listeners
    learn.model.train()
    learn.model[1].eval()
    learn.get_preds(0, with_loss=True)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (learn.recorder.values, learn.recorder.losses) == before[1:]
    assert learn.cbs == cbs and learn.callbacks.listeners == table
    assert learn.model.training and not learn.model[1].training
    assert learn.pred is None and learn.dl is None and learn.xb == ()
    assert learn.loss_func.reduction == "mean" and learn.has_loss


def test_a_fit_that_predicts_on_its_way_ends_with_the_same_bits():
    class Predicts(Callback):
        def after_batch(self):
            if self.training and self.iter == 1:
                self.learn.get_preds(inner=True, with_loss=True)

    weights = []
    for cbs in (None, Predicts()):
        torch.manual_seed(3)
        learn = silent(Learner(digits_loaders(seed=1), net(0.3), cbs=cbs, lr=0.01, seed=5))
        learn.fit(2)
        weights.append((learn.model[0].weight, learn.recorder.values[-1][:2]))
    assert torch.equal(weights[0][0], weights[1][0]) and weights[0][1] == weights[1][1]


def test_an_interrupt_leaves_the_learner_usable():
    class Stop(Callback):
        def after_pred(self):
            if self.iter == 1:
                raise KeyboardInterrupt

    learn = digits_learner(bs=16)
    with pytest.raises(KeyboardInterrupt):
        learn.get_preds(cbs=Stop(), with_loss=True)
    assert not any(isinstance(cb, Stop) for cb in learn.cbs)
    assert learn.has_loss and learn.loss_func.reduction == "mean" and learn.model.training
    learn.fit(1)
    assert len(learn.get_preds()[0]) == 64


def test_a_loader_that_is_not_there_is_named():
    learn = linear_learner(n_valid=0)
    with pytest.raises(ValueError, match="there is no loader 1"):
        learn.get_preds()
    with pytest.raises(ValueError, match="no batch"):
        learn.get_preds(dl=[])
