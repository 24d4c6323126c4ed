"""A summary counts what is there, whatever the model is built of, and leaves nothing behind."""

import pytest
import torch
from test_hooks import hooks_on
from test_inspect import Shared, dict_loaders
from tiny import digits_loaders, net, silent
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from learnlite import SGD, Adam, DataLoaders, Learner, MixUp
from learnlite.summary import summarize


class Vit(nn.Module):
    """Parameters of its own beside its layers, and attention."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Linear(4, 8)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.more = nn.ParameterList([torch.zeros(8), torch.zeros(8)])
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = weight_norm(nn.Linear(8, 3))
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        x = self.patches(x) + self.token + self.more[0] + self.more[1]
        return self.head(self.block(x).mean(1))


def rows_of(summary):
    return {row.name: row for row in summary.rows}


@pytest.mark.parametrize("model", [net(), Vit(), nn.Linear(8, 4)], ids=["net", "vit", "linear"])
def test_every_parameter_is_counted_once(model):
    xb = (torch.zeros(5, 6, 4),) if isinstance(model, Vit) else (torch.zeros(5, 8),)
    summary = summarize(model, xb)
    total = sum(p.numel() for p in model.parameters())
    assert summary.parameters == summary.trainable == sum(r.parameters for r in summary.rows)
    assert summary.parameters == total and f"{total:,}: {total:,} trainable, 0 frozen" in str(
        summary
    )
    assert summary.parameter_bytes == summary.gradient_bytes == 4 * total


def test_layers_stand_in_the_order_of_their_calls_with_their_shapes():
    summary = summarize(Vit(), (torch.zeros(5, 6, 4),))
    names = [row.name for row in summary.rows]
    assert names[:4] == ["token", "more.0", "more.1", "patches"]
    assert names[-2:] == ["head", "unused"]
    rows = rows_of(summary)
    assert rows["token"].output == (1, 1, 8) and rows["token"].type == "Parameter"
    assert rows["patches"].output == (5, 6, 8) and rows["head"].output == (5, 3)
    assert rows["block.self_attn"].parameters == 4 * 8 * 8 + 4 * 8
    assert rows["block.linear1"].output == (5, 6, 16)
    assert rows["unused"].calls == 0 and "not called" in str(summary)


def test_a_shared_layer_and_a_shared_weight_count_once():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.mix, self.out = nn.Embedding(9, 4), nn.Linear(4, 4), nn.Linear(4, 9)
            self.out.weight = self.words.weight

        def forward(self, x):
            return self.out(self.mix(self.mix(self.words(x))))

    rows = rows_of(summary := summarize(Tied(), (torch.zeros(2, 3, dtype=torch.int64),)))
    assert rows["words"].parameters == 36 and rows["out"].parameters == 9
    assert rows["mix"].calls == 2 and "Linear (2 calls)" in str(summary)
    assert summary.parameters == 36 + 20 + 9


def test_frozen_layers_are_told_apart():
    learn = silent(Learner(digits_loaders(), net(), splitter=lambda m: [m[:4], m[4]]))
    learn.model[4].bias.requires_grad_(False)
    learn.freeze()
    learn.model[4].bias.requires_grad_(False)
    summary = learn.summary()
    assert {r.name: r.trainable for r in summary.rows} == {
        "0": "no",
        "1": "yes",  # a norm layer trains in a frozen group
        "2": "",
        "3": "",
        "4": "part",
    }
    assert "2, frozen to 1" in str(summary)
    assert summary.trainable == 32 + 64 and summary.gradient_bytes == 4 * summary.trainable


def test_activations_are_what_autograd_keeps():
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    summary = summarize(model, (torch.zeros(10, 8),))
    assert summary.activation_bytes == 10 * 16 * 4  # relu's output, for itself and the next layer
    model.requires_grad_(False)
    model[2].requires_grad_(True)
    assert summarize(model, (torch.zeros(10, 8),)).activation_bytes == 10 * 16 * 4
    assert summarize(model.requires_grad_(False), (torch.zeros(10, 8),)).activation_bytes == 0


@pytest.mark.parametrize(
    ("opt_func", "copies"), [(Adam, 2), (SGD, 0), (torch.optim.RMSprop, 1), (torch.optim.AdamW, 2)]
)
def test_the_optimizers_memory_is_that_of_its_state(opt_func, copies):
    learn = silent(Learner(digits_loaders(), net(), opt_func=opt_func, lr=0.01))
    before = learn.summary()
    assert before.optimizer_bytes == copies * before.gradient_bytes
    learn.fit(1)
    after = learn.summary()
    assert after.optimizer_bytes == pytest.approx(before.optimizer_bytes, abs=64)


def test_an_optimizer_that_cannot_be_tried_is_unknown():
    def picky(params):
        raise RuntimeError

    summary = summarize(net(), (torch.zeros(2, 8),), opt_func=picky)
    assert summary.optimizer_bytes is None and "unknown optimizer" in str(summary)


def test_nothing_remains_of_it():
    learn = silent(Learner(digits_loaders(), net(0.5), seed=0))
    learn.model[0].eval()
    before = {name: t.clone() for name, t in learn.model.state_dict().items()}
    modes = [m.training for m in learn.model.modules()]
    random = torch.get_rng_state()
    learn.summary()
    assert torch.equal(random, torch.get_rng_state())
    assert modes == [m.training for m in learn.model.modules()] and hooks_on(learn.model) == 0
    assert all(torch.equal(t, before[name]) for name, t in learn.model.state_dict().items())
    assert all(p.grad is None for p in learn.model.parameters())


def test_after_an_error_of_the_model_nothing_remains():
    model = Vit()
    with pytest.raises(RuntimeError):
        summarize(model, (torch.zeros(5, 6, 99),))
    assert hooks_on(model) == 0 and all(m.training for m in model.modules())


def test_dict_batches_and_nested_outputs():
    summary = silent(Learner(dict_loaders(), Shared())).summary()
    assert summary.inputs == {"x": (16, 8), "scale": (16, 1)}
    rows = rows_of(summary)
    assert rows["lstm"].output == [(16, 8), [(1, 8), (1, 8)]]
    assert "(16 x 8, (1 x 8, 1 x 8))" in str(summary) and rows["never"].output is None


def test_the_learners_own_is_named():
    learn = silent(Learner(digits_loaders(), net(), cbs=MixUp(0.3), opt_func=SGD))
    text = str(learn.summary())
    for line in ("optimizer", "SGD", "CrossEntropyLoss", "1, none is frozen", "MixUp(alpha=0.3)"):
        assert line in text
    assert repr(learn.summary()) == text


def test_in_half_precision_the_activations_take_half():
    x = torch.zeros(10, 8)
    dls = DataLoaders([(x, x[:, :1])], device="cpu")
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
    full = Learner(dls, model, nn.MSELoss()).summary().activation_bytes
    half = Learner(dls, model, nn.MSELoss()).to_bf16().summary().activation_bytes
    weights = 2 * sum(p.numel() for p in model.parameters())  # their copies in bfloat16
    assert half <= full / 2 + weights + 2 * x.numel()


def test_a_lazy_layer_is_named():
    with pytest.raises(ValueError, match="`0.weight` has no shape yet, as its layer is lazy: run"):
        summarize(nn.Sequential(nn.LazyLinear(3)), (torch.zeros(2, 3),))


def test_three_hundred_layers_are_one_row_each():
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(300)))
    assert [row.name for row in summarize(model, (torch.zeros(2, 4),)).rows] == [
        str(i) for i in range(300)
    ]
