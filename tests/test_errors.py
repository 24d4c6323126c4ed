"""What goes wrong first is said at once: what is wrong, what was given, what to do."""

import pytest
import torch
from tiny import digits_loaders, linear_learner, net, silent
from torch import nn

from learnlite import DataLoaders, Learner, accuracy, on
from learnlite.data import Loader
from learnlite.losses import CrossEntropyLossFlat


def classifier(batches=None, model=None, **kwargs):
    dls = (
        digits_loaders()
        if batches is None
        else DataLoaders(batches, device="cpu", vocab=kwargs.pop("vocab", None))
    )
    return silent(Learner(dls, model or net(), **kwargs))


def batches(targets, n=3):
    return [(torch.randn(len(targets), 8), targets) for _ in range(n)]


def steps_of(learn):
    """How many steps the learner takes until it fails: none, if the message came in time."""
    steps = []
    learn.add_cb(on(after_step=lambda learn: steps.append(1)))
    return steps


def test_no_training_batches():
    with pytest.raises(ValueError, match="no training batches"):
        DataLoaders([], device="cpu")


def test_what_is_no_loader():
    with pytest.raises(TypeError, match="wrap the loaders: `DataLoaders"):
        Learner([1, 2], net())


def test_a_loader_that_yields_no_batch():
    learn = classifier([3, 4], loss_func=nn.CrossEntropyLoss())
    with pytest.raises(TypeError, match="a batch must be a tuple or list .* got `int`"):
        learn.fit(1)


def test_a_model_class_instead_of_a_model():
    with pytest.raises(TypeError, match="`model` must be an instance .*call it: `Linear"):
        Learner(digits_loaders(), nn.Linear)


def test_a_loss_class_instead_of_a_loss():
    with pytest.raises(TypeError, match=r"call it: `CrossEntropyLoss\(\)`"):
        Learner(digits_loaders(), net(), nn.CrossEntropyLoss)


def test_model_and_batch_on_different_devices():
    learn = classifier(
        loss_func=nn.CrossEntropyLoss(), cbs=on(before_train=lambda learn: learn.model.to("meta"))
    )
    with pytest.raises(ValueError, match="the batch is on cpu but the model is on meta"):
        learn.fit(1)


@pytest.mark.parametrize("loss_func", [None, nn.CrossEntropyLoss(), nn.functional.cross_entropy])
@pytest.mark.parametrize("bad", [4, -1])
def test_a_label_outside_the_models_classes(loss_func, bad):
    learn = classifier(
        batches(torch.tensor([0, 1, bad])), loss_func=loss_func, vocab=["a", "b", "c", "d", "e"]
    )
    steps = steps_of(learn)
    with pytest.raises(ValueError, match=rf"(?s){bad}.*4"):
        learn.fit(1)
    assert not steps


def test_a_label_outside_the_classes_on_a_later_batch():
    good, bad = batches(torch.tensor([0, 1, 2])), batches(torch.tensor([0, 1, 7]), 1)
    learn = classifier(good + bad, loss_func=nn.CrossEntropyLoss())
    with pytest.raises(ValueError, match=r"(?s)7.*4"):
        learn.fit(1)


def test_float_targets_for_cross_entropy():
    learn = classifier(batches(torch.rand(4)), loss_func=nn.CrossEntropyLoss())
    steps = steps_of(learn)
    with pytest.raises(ValueError, match="float"):
        learn.fit(1)
    assert not steps


def test_integer_targets_for_mse():
    learn = classifier(batches(torch.randint(4, (4, 4))), loss_func=nn.MSELoss())
    with pytest.raises(ValueError, match="int"):
        learn.fit(1)


def test_a_loss_that_is_no_scalar():
    learn = linear_learner(default_cbs=True, loss_func=nn.MSELoss(reduction="none"))
    with pytest.raises(ValueError, match='one number, got the shape .* `reduction="mean"`'):
        learn.fit(1)


def test_a_loss_that_is_no_tensor():
    learn = linear_learner(
        default_cbs=True, loss_func=lambda pred, targ: ((pred - targ) ** 2).mean().item()
    )
    with pytest.raises(TypeError, match="the loss must be a tensor, got float"):
        learn.fit(1)


def test_a_loss_without_gradient():
    learn = linear_learner(
        default_cbs=True, loss_func=lambda pred, targ: ((pred.detach() - targ) ** 2).mean()
    )
    with pytest.raises(ValueError, match="the loss has no gradient"):
        learn.fit(1)


def test_all_parameters_frozen():
    learn = classifier()
    learn.model.requires_grad_(False)
    with pytest.raises(ValueError, match="all are frozen.*`learn.unfreeze"):
        learn.fit(1)


def test_a_metric_that_fails_is_named_before_the_first_step():
    def broken(pred, targ):
        return pred.no_such_thing

    learn = classifier(metrics=[accuracy, broken])
    steps = steps_of(learn)
    with pytest.raises(AttributeError, match="no_such_thing") as caught:
        learn.fit(1)
    assert any(
        "raised by the metric `broken`, given prediction and target of shapes" in note
        for note in caught.value.__notes__
    )
    assert not steps


def test_no_targets_for_a_loss_that_needs_them():
    learn = classifier(
        [{"x": torch.randn(4, 8)}], loss_func=nn.CrossEntropyLoss(), model=_Keywords()
    )
    with pytest.raises(ValueError, match="the batches have no targets"):
        learn.fit(1)


class _Keywords(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, x):
        return self.layer(x)


def test_a_loss_of_the_prediction_alone_needs_no_targets():
    learn = classifier(
        [{"x": torch.randn(4, 8)}], loss_func=lambda pred: (pred**2).mean(), model=_Keywords()
    )
    learn.fit(2, 0.01)
    assert learn.recorder.raw_losses[1] < learn.recorder.raw_losses[0]


@pytest.mark.parametrize("n_epoch", [-1, 1.5, "3"])
def test_a_number_of_epochs_that_is_none(n_epoch):
    with pytest.raises(ValueError, match="`n_epoch` counts epochs and comes first"):
        classifier().fit(n_epoch)


def test_the_loss_cannot_be_chosen_from_two_targets():
    with pytest.raises(ValueError, match="pass `loss_func=…`"):
        Learner(
            DataLoaders(
                [(torch.zeros(2, 8), torch.zeros(2), torch.zeros(2))], n_inp=1, device="cpu"
            ),
            net(),
        )


def test_inputs_of_another_kind_than_the_weights():
    images = [(torch.zeros(4, 8, dtype=torch.uint8), torch.randint(4, (4,)))]
    with pytest.raises(RuntimeError) as caught:
        classifier(images, loss_func=nn.CrossEntropyLoss()).fit(1)
    assert any(
        "torch.uint8 and the weights torch.float32" in note for note in caught.value.__notes__
    )
    assert any("x.float() / 255" in note for note in caught.value.__notes__)


def test_a_model_that_gives_several_outputs():
    class Two(nn.Linear):
        def forward(self, x):
            return super().forward(x), x

    with pytest.raises((TypeError, AttributeError)) as caught:
        classifier(model=Two(8, 4)).fit(1)
    assert any("gave a tuple of 2" in note for note in caught.value.__notes__)


def test_a_metric_where_the_loss_belongs():
    with pytest.raises(TypeError, match="pass it as `metrics=accuracy`"):
        Learner(digits_loaders(), net(), accuracy)


def test_arguments_in_the_wrong_order():
    with pytest.raises(TypeError, match=r"the data comes first: `Learner\(dls, model\)`"):
        Learner(net(), digits_loaders())
    with pytest.raises(
        ValueError, match=r"comes first, as in `fit_one_cycle\(5, 3e-3\)`; got 0.003"
    ):
        classifier().fit_one_cycle(3e-3, 5)


def test_loaders_in_a_list():
    dls = digits_loaders()
    with pytest.raises(TypeError, match=r"`DataLoaders\(train, valid\)`"):
        DataLoaders([dls.train, dls.valid])


@pytest.mark.parametrize("call", ["fit", "fit_one_cycle"])
def test_a_rate_that_is_text(call):
    with pytest.raises(TypeError, match="`lr` is a number, got '3e-3'"):
        getattr(classifier(), call)(1, "3e-3")


def test_a_loss_that_became_nan_is_told_once():
    learn = classifier(
        cbs=on(after_loss=lambda learn: setattr(learn, "loss", learn.loss * float("nan")))
    )
    with pytest.warns(UserWarning, match="the loss is nan since batch 0 .*TerminateOnNaN") as told:
        learn.fit(3)
    assert len(told) == 1


def test_a_loader_given_first_to_validate():
    learn = classifier(metrics=accuracy)
    assert learn.validate(learn.dls.valid) == learn.validate()


def test_a_last_batch_of_one_item_is_too_little_for_a_batch_norm():
    items = [(torch.randn(8), i % 4) for i in range(33)]

    def learner(bs=8, **kwargs):
        dls = DataLoaders(Loader(items, bs, **kwargs), device="cpu")
        return silent(Learner(dls, net(), nn.CrossEntropyLoss()))

    learn = learner()
    steps = steps_of(learn)
    with pytest.raises(ValueError, match=r"\(33 in batches of 8\), and `1`, a `BatchNorm1d`"):
        learn.fit(1)
    assert not steps
    assert not learn.model[1]._forward_pre_hooks
    for sound in (learner(drop_last=True), learner(7)):
        sound.fit(1)
        assert not sound.model[1]._forward_pre_hooks
    maps = nn.Sequential(nn.Unflatten(1, (2, 4)), nn.BatchNorm1d(2), nn.Flatten(), nn.Linear(8, 4))
    learn = silent(Learner(learner().dls, maps, nn.CrossEntropyLoss()))
    learn.fit(1)


@pytest.mark.parametrize("loss_func", [nn.CrossEntropyLoss(), CrossEntropyLossFlat()])
def test_labels_that_the_loss_leaves_out_one_and_all(loss_func):
    learn = classifier(batches(torch.full((4,), -100)), loss_func=loss_func)
    steps = steps_of(learn)
    with pytest.raises(ValueError, match="every label of the first batch is -100, which `Cross"):
        learn.fit(1)
    assert not steps
    classifier(batches(torch.tensor([-100, 1, 2, -100])), loss_func=loss_func).fit(1)
