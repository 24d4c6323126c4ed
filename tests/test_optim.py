"""Optimizers: equal to their formulas, made with layer groups; hyper-parameters by name."""

import copy
import io
import re
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from learnlite import optim
from learnlite.optim import (
    SGD,
    Adam,
    Lamb,
    RAdam,
    RMSProp,
    check_state,
    default_splitter,
    freeze_to,
    get_hyper,
    hyper_names,
    hyper_reader,
    hyper_setter,
    layer_groups,
    make_optimizer,
    norm_or_bias_parameters,
    set_hyper,
    spread_lr,
    trainable,
)

OURS = [Adam, SGD, RAdam, RMSProp, Lamb]


def small_model(seed=0):
    torch.manual_seed(seed)
    body = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    return nn.Sequential(body, nn.Linear(4, 2))


def body_and_head(model):
    return [model[0], model[1]]


def made(opt_func=Adam, model=None, splitter=body_and_head, **kwargs):
    model = small_model() if model is None else model
    return make_optimizer(opt_func, model, layer_groups(model, splitter), **kwargs)


def train(model, opt, steps=3, seed=1):
    torch.manual_seed(seed)
    for _ in range(steps):
        opt.zero_grad()
        model(torch.randn(8, 3)).square().mean().backward()
        opt.step()


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


# The optimizers, against formulas and against torch


def steps_of(opt_func, *, n=5, **kwargs):
    """Parameter values after each of `n` steps on fixed gradients, and those gradients."""
    torch.manual_seed(0)
    p = nn.Parameter(torch.randn(4, 3, dtype=torch.float64))
    gradients = torch.randn(n, 4, 3, dtype=torch.float64)
    opt = opt_func([p], **kwargs)
    values = [p.detach().clone()]
    for gradient in gradients:
        p.grad = gradient.clone()
        opt.step()
        values.append(p.detach().clone())
    return values, gradients


def adam_parts(gradients, mom=0.9, sqr_mom=0.99, eps=1e-5):
    average = square = torch.zeros_like(gradients[0])
    for i, g in enumerate(gradients, 1):
        average = mom * average + (1 - mom) * g
        square = sqr_mom * square + (1 - sqr_mom) * g**2
        yield (average / (1 - mom**i)) / ((square / (1 - sqr_mom**i)).sqrt() + eps)


def test_adam_decays_the_weights_and_not_the_gradient():
    values, gradients = steps_of(Adam, lr=0.1, wd=0.2)
    for before, after, step in zip(values, values[1:], adam_parts(gradients), strict=False):
        torch.testing.assert_close(after, before * (1 - 0.1 * 0.2) - 0.1 * step)


def test_lamb_scales_the_step_of_adam_by_its_trust():
    values, gradients = steps_of(Lamb, lr=0.1, wd=0.2)
    for before, after, step in zip(values, values[1:], adam_parts(gradients), strict=False):
        decayed = before * (1 - 0.1 * 0.2)
        trust = min(decayed.norm() / step.norm(), 10)
        torch.testing.assert_close(after, decayed - 0.1 * trust * step)


def test_lamb_trusts_fully_where_weights_or_steps_are_zero():
    p, q = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.ones(3))
    opt = Lamb([p, q], lr=0.1)
    p.grad, q.grad = torch.ones(3), torch.zeros(3)
    opt.step()
    torch.testing.assert_close(p.detach(), torch.full((3,), -0.1), rtol=1e-4, atol=0)
    torch.testing.assert_close(q.detach(), torch.ones(3))


def test_lamb_counts_the_steps_of_each_parameter():
    together, apart = small_model(), small_model()
    first, second = Lamb(together.parameters(), lr=0.01), Lamb(apart.parameters(), lr=0.01)
    train(together, first)
    for p in apart[1].parameters():
        p.requires_grad_(False)
    train(apart, second, steps=1)
    for p in apart[1].parameters():
        p.requires_grad_(True)
    train(apart, second, steps=1)
    steps = {name: second.state[p]["step"] for name, p in apart.named_parameters()}
    assert steps["0.0.weight"] == 2
    assert steps["1.weight"] == 1


def test_lamb_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match=re.escape("`mom` must be at least 0 and below 1, got 1")):
        Lamb([nn.Parameter(torch.zeros(1))], mom=1)
    table = nn.Embedding(3, 2, sparse=True)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match="sparse=False"):
        Lamb(table.parameters()).step()


def test_sgd_is_that_of_torch():
    torch_sgd = partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.01)
    for ours, theirs in zip(
        steps_of(SGD, lr=0.1, mom=0.9, wd=0.01)[0], steps_of(torch_sgd)[0], strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_l2_is_in_the_gradient_if_decay_is_not_decoupled():
    torch_adam = partial(torch.optim.Adam, lr=0.1, betas=(0.9, 0.99), eps=1e-5, weight_decay=0.01)
    ours, _ = steps_of(Adam, lr=0.1, decouple_wd=False)
    torch.testing.assert_close(ours[-1], steps_of(torch_adam)[0][-1])


@pytest.mark.parametrize("opt_func", [Adam, SGD, partial(SGD, mom=0.9, wd=0.1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_fused_step_equals_the_plain_one(opt_func, dtype):
    models = [small_model().to(dtype) for _ in range(2)]
    opts = [
        opt_func(m.parameters(), lr=0.01, fused=f)
        for m, f in zip(models, (None, False), strict=True)
    ]
    assert opts[0].param_groups[0]["fused"] is True
    for model, opt in zip(models, opts, strict=True):
        torch.manual_seed(2)
        for _ in range(5):
            for p in model.parameters():
                p.grad = torch.randn_like(p)
            opt.step()
    tolerance = {"rtol": 0.05, "atol": 0.01} if dtype is torch.bfloat16 else {}
    torch.testing.assert_close(weights(models[0]), weights(models[1]), **tolerance)


def test_without_a_fused_kernel_the_plain_step_is_taken():
    p = nn.Parameter(torch.ones(2, dtype=torch.complex64))
    opt = Adam([p], lr=0.1)
    assert not opt.param_groups[0]["fused"]
    p.grad = torch.ones_like(p)
    opt.step()
    assert p.detach().abs().max() < 1


@pytest.mark.parametrize("opt_func", OURS)
def test_ours_take_parameters_groups_lists_names_and_generators(opt_func):
    model = small_model()
    assert len(opt_func(model.parameters()).param_groups) == 1
    assert len(opt_func(model.named_parameters()).param_groups) == 1
    groups = [{"params": model[0].parameters()}, {"params": model[1].weight}]
    assert [len(group["params"]) for group in opt_func(groups).param_groups] == [4, 1]
    lists = [list(model[0].parameters()), list(model[1].parameters())]
    assert [len(group["params"]) for group in opt_func(lists).param_groups] == [4, 2]


@pytest.mark.parametrize("opt_func", OURS)
def test_an_optimizer_goes_on_from_its_saved_state(opt_func):
    straight, broken = small_model(), small_model()
    opt = made(opt_func, straight, lr=0.01, wd=0.1)
    train(straight, opt, seed=1)
    train(straight, opt, seed=2)

    first = made(opt_func, broken, lr=0.01, wd=0.1)
    train(broken, first, seed=1)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    second = made(opt_func, broken, lr=1.0)
    check_state(saved, second, broken)
    second.load_state_dict(saved)
    train(broken, second, seed=2)
    assert torch.equal(weights(straight), weights(broken))


# Making an optimizer


def names_of(model, opt):
    names = {id(p): name for name, p in model.named_parameters()}
    return [sorted(names[id(p)] for p in group["params"]) for group in opt.param_groups]


def test_norm_layers_and_biases_do_not_decay():
    model = small_model()
    opt = made(model=model)
    assert names_of(model, opt) == [
        ["0.0.weight"],
        ["0.0.bias", "0.1.bias", "0.1.weight"],
        ["1.weight"],
        ["1.bias"],
    ]
    assert [group["weight_decay"] for group in opt.param_groups] == [0.01, 0.0, 0.01, 0.0]
    assert [group["layer_group"] for group in opt.param_groups] == [0, 0, 1, 1]
    assert [group["decay"] for group in opt.param_groups] == [True, False, True, False]


def test_norm_layers_and_biases_stay_where_the_gradient_is_zero():
    model = small_model()
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(1.0)
            p.grad = torch.zeros_like(p)
    made(model=model, lr=0.1, wd=0.5).step()
    for name, p in model.named_parameters():
        undecayed = "bias" in name or name.startswith("0.1.")
        assert torch.all(p == (1.0 if undecayed else 1 - 0.1 * 0.5)), name


def test_everything_decays_if_told():
    opt = made(wd_bn_bias=True, wd=0.1)
    assert len(opt.param_groups) == 2
    assert [group["weight_decay"] for group in opt.param_groups] == [0.1, 0.1]


def test_without_decay_a_layer_group_is_one_group_of_torch():
    opt = made(torch.optim.SGD)
    assert len(opt.param_groups) == 2
    set_hyper(opt, "wd", [0.1, 0.0])
    assert [group["weight_decay"] for group in opt.param_groups] == [0.1, 0.0, 0.0]
    assert get_hyper(opt, "wd") == [0.1, 0.0]


def test_weight_decay_never_reaches_a_layer_group_of_biases():
    model = small_model()
    biases = [p for name, p in model.named_parameters() if name.endswith("bias")]
    others = [p for name, p in model.named_parameters() if not name.endswith("bias")]
    opt = make_optimizer(Adam, model, [others, biases], wd=0.3)
    assert get_hyper(opt, "wd") == [0.3, 0.0]
    hyper_setter(opt, "wd")(0.5)
    assert [group["weight_decay"] for group in opt.param_groups] == [0.5, 0.0, 0.0]
    get_hyper(opt, "lr")


def test_splitting_a_group_keeps_its_state():
    straight, split = small_model(), small_model()
    opts = [made(partial(torch.optim.SGD, lr=0.1, momentum=0.9), m) for m in (straight, split)]
    train(straight, opts[0], steps=2)
    train(split, opts[1], steps=2)
    set_hyper(opts[1], "wd", 0.1)
    set_hyper(opts[1], "wd", 0.0)
    assert len(opts[1].param_groups) == 4
    train(straight, opts[0], seed=3)
    train(split, opts[1], seed=3)
    assert torch.equal(weights(straight), weights(split))


def test_states_of_split_and_whole_groups_load_into_each_other():
    model = small_model()
    sgd = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
    whole, split = made(sgd, model), made(sgd, model, wd=0.1)
    train(model, split)
    for source, target in ((split, made(sgd, model)), (whole, made(sgd, model, wd=0.2))):
        saved = copy.deepcopy(source.state_dict())
        check_state(saved, target, model)
        target.load_state_dict(saved)
        assert names_of(model, target) == names_of(model, source)
        assert get_hyper(target, "wd") == get_hyper(source, "wd")
        for p in model.parameters():
            ours, theirs = target.state[p], source.state[p]
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    set_hyper(target, "wd", 0.5)
    assert [group["decay"] for group in target.param_groups] == [True, False, True, False]


def test_a_state_from_elsewhere_keeps_norm_layers_from_decay():
    model = small_model()
    opt = made(torch.optim.AdamW, model)
    plain = torch.optim.AdamW([{"params": group["params"]} for group in opt.param_groups])
    opt.load_state_dict(plain.state_dict())
    set_hyper(opt, "wd", 0.3)
    assert [group["weight_decay"] for group in opt.param_groups] == [0.3, 0.01, 0.3, 0.01]
    assert len(get_hyper(opt, "lr")) == 2


def test_an_opt_func_is_called_once_and_gets_lr_only_if_it_takes_it():
    calls = []

    def only_params(params):
        calls.append("only")
        return torch.optim.SGD(params, lr=0.5)

    def any_keywords(params, **kwargs):
        calls.append(kwargs)
        return torch.optim.SGD(params, **kwargs)

    assert get_hyper(made(only_params), "lr") == [0.5, 0.5]
    assert get_hyper(made(only_params, lr=0.1), "lr") == [0.1, 0.1]
    assert get_hyper(made(any_keywords, lr=0.1), "lr") == [0.1, 0.1]
    assert get_hyper(made(any_keywords), "lr") == [1e-3, 1e-3]
    assert calls == ["only", "only", {"lr": 0.1}, {}]
    assert (
        get_hyper(made(lambda params, lr: torch.optim.SGD(params, lr), lr=0.2), "lr") == [0.2] * 2
    )


def test_a_partial_keeps_its_settings_unless_a_rate_is_given():
    opt_func = partial(torch.optim.AdamW, lr=0.3, amsgrad=True, maximize=True)
    opt = made(opt_func)
    assert get_hyper(opt, "lr") == [0.3, 0.3]
    assert all(group["amsgrad"] and group["maximize"] for group in opt.param_groups)
    assert get_hyper(made(opt_func, lr=slice(0.1, 0.4)), "lr") == [0.1, 0.4]


@pytest.mark.parametrize(
    "opt_func",
    [
        *OURS,
        torch.optim.Adadelta,
        torch.optim.Adafactor,
        torch.optim.Adagrad,
        torch.optim.Adam,
        torch.optim.Adamax,
        torch.optim.AdamW,
        torch.optim.ASGD,
        torch.optim.NAdam,
        torch.optim.RAdam,
        torch.optim.RMSprop,
        torch.optim.Rprop,
        torch.optim.SGD,
    ],
    ids=lambda kind: f"{kind.__module__.split('.')[0]}.{kind.__name__}",
)
def test_every_optimizer_trains_and_answers_to_its_hyper_parameters(opt_func):
    model = small_model()
    opt = made(opt_func, model)
    before = weights(model)
    for name in hyper_names(opt):
        values = get_hyper(opt, name)
        assert len(values) == 2
        set_hyper(opt, name, values)
        hyper_setter(opt, name)(values[0])
        assert get_hyper(opt, name) == [values[0]] * 2
        assert hyper_reader(opt, name)() == values[0]
    set_hyper(opt, "lr", 0.01)
    train(model, opt)
    assert not torch.equal(before, weights(model))


def test_an_opt_func_that_is_none_is_refused():
    with pytest.raises(
        TypeError, match=r"got one that is made; pass `SGD` itself, or `partial\(SGD"
    ):
        made(torch.optim.SGD([torch.zeros(1)]))
    with pytest.raises(
        TypeError, match="must be an optimizer class or a function that makes one, got 'adam'"
    ):
        made("adam")
    with pytest.raises(TypeError, match="`<lambda>` gives a int, not an optimizer"):
        made(lambda params: 3)
    with pytest.raises(
        ValueError, match="`<lambda>` needs a learning rate and has none of its own"
    ):
        made(lambda params, lr: torch.optim.SGD(params, lr))


@pytest.mark.parametrize(
    "opt_func",
    [torch.optim.LBFGS, partial(torch.optim.LBFGS, lr=1), lambda params: torch.optim.LBFGS(params)],
)
def test_lbfgs_is_refused_with_the_reason(opt_func):
    with pytest.raises(ValueError, match="`LBFGS` needs a closure"):
        made(opt_func, splitter=default_splitter)


# Layer groups


def test_a_splitter_may_give_modules_parameters_and_generators():
    model = small_model()
    expected = [list(model[0].parameters()), list(model[1].parameters())]
    for splitter in (
        body_and_head,
        lambda m: [[m[0][0], m[0][1]], [m[1]]],
        lambda m: [m[0].parameters(), m[1].parameters()],
        lambda m: (part for part in m),
        lambda m: [[layer.parameters() for layer in m[0]], [m[1].weight, m[1].bias]],
    ):
        groups = layer_groups(model, splitter)
        assert [[id(p) for p in group] for group in groups] == [
            [id(p) for p in g] for g in expected
        ]


def test_a_flat_list_of_parameters_or_the_model_itself_is_one_group():
    model = small_model()
    assert len(layer_groups(model)) == 1
    assert len(layer_groups(model, lambda m: list(m.parameters()))) == 1
    assert len(layer_groups(model, lambda m: m)) == 1


def test_an_empty_layer_group_keeps_its_place():
    model = small_model()
    opt = made(model=model, splitter=lambda m: [m[0], nn.ReLU(), m[1]], lr=slice(1e-4, 1e-2))
    assert get_hyper(opt, "lr") == pytest.approx([1e-4, 1e-3, 1e-2])
    train(model, opt)


def test_frozen_parameters_are_in_the_optimizer():
    model = small_model()
    model.requires_grad_(False)
    opt = made(model=model)
    assert sum(len(group["params"]) for group in opt.param_groups) == 6


def test_a_forgotten_parameter_is_named():
    with pytest.raises(
        ValueError, match=re.escape("leaves out 2 of 6 parameters: `1.weight`, `1.bias`;")
    ):
        layer_groups(small_model(), lambda m: [m[0]])


def test_a_parameter_in_two_groups_is_named():
    with pytest.raises(ValueError, match=re.escape("gives twice: `1.bias` (groups 1 and 2)")):
        layer_groups(small_model(), lambda m: [m[0], m[1], [m[1].bias]])


def test_a_shared_parameter_appears_once_in_the_first_group():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    groups = layer_groups(model, body_and_head)
    assert [len(group) for group in groups] == [2, 1]
    assert groups[0][0] is model[0].weight
    assert [len(group) for group in layer_groups(model, lambda m: [list(m)])] == [3]


def test_a_splitter_that_gives_something_else_is_refused():
    with pytest.raises(TypeError, match="gives groups of parameters or modules, got 'body' in one"):
        layer_groups(small_model(), lambda m: ["body"])
    with pytest.raises(ValueError, match="a `ReLU`, has no parameters; there is nothing to train"):
        layer_groups(nn.ReLU())


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm1d(4),
        nn.BatchNorm2d(4),
        nn.BatchNorm3d(4),
        nn.SyncBatchNorm(4),
        nn.InstanceNorm2d(4, affine=True),
        nn.GroupNorm(2, 4),
        nn.LayerNorm(4),
        nn.RMSNorm(4),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_every_norm_layer_is_known(layer):
    assert norm_or_bias_parameters(nn.Sequential(layer)) == {id(p) for p in layer.parameters()}


def test_a_norm_layer_of_ones_own_is_known_by_its_name():
    class ScaleNorm2d(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.ones(3))

    class Normalizer(ScaleNorm2d):
        pass

    assert len(norm_or_bias_parameters(ScaleNorm2d())) == 1
    assert not norm_or_bias_parameters(Normalizer())


def test_biases_of_attention_and_vectors_that_are_none():
    attention = nn.MultiheadAttention(4, 2, add_bias_kv=True)
    kept = norm_or_bias_parameters(attention)
    names = {name for name, p in attention.named_parameters() if id(p) in kept}
    assert names == {"in_proj_bias", "out_proj.bias", "bias_k", "bias_v"}
    assert not norm_or_bias_parameters(nn.PReLU(3))


def trained(model):
    return [name for name, p in model.named_parameters() if p.requires_grad]


def test_freezing_counts_from_either_end():
    model = small_model()
    groups = layer_groups(model, body_and_head)
    norm = ["0.1.weight", "0.1.bias"]
    head = ["1.weight", "1.bias"]
    for n, expected in ((1, norm + head), (-1, norm + head), (2, norm), (0, 6), (-2, 6)):
        freeze_to(groups, n, model)
        assert trained(model) == expected or len(trained(model)) == expected
    freeze_to(groups, 1, model, train_bn=False)
    assert trained(model) == head
    assert len(trainable(model.parameters())) == 2


def test_freezing_what_is_not_there_is_refused():
    model = small_model()
    groups = layer_groups(model, body_and_head)
    for n in (3, -3):
        with pytest.raises(
            ValueError, match=f"has 2 layer groups, so `n` must be between -2 and 2, got {n}"
        ):
            freeze_to(groups, n, model)
    with pytest.raises(
        ValueError, match="one layer group, so there is no body to freeze; pass a `splitter`"
    ):
        freeze_to(layer_groups(model), -1, model)


# Hyper-parameters


def test_hyper_parameters_go_by_one_name_on_every_optimizer():
    kinds = torch.optim
    expected = {
        kinds.SGD: ["lr", "mom", "wd", "dampening"],
        kinds.AdamW: ["lr", "mom", "sqr_mom", "wd", "eps"],
        kinds.RMSprop: ["lr", "mom", "sqr_mom", "wd", "eps"],
        kinds.Rprop: ["lr"],
        kinds.ASGD: ["lr", "wd", "lambd", "alpha", "t0"],
    }
    for kind, names in expected.items():
        assert hyper_names(kind([torch.zeros(1)])) == names


def test_names_of_fastai_and_of_torch_mean_the_same():
    opt = made()
    for ours, others in (
        ("mom", ["beta1", "momentum"]),
        ("sqr_mom", ["beta2"]),
        ("wd", ["weight_decay"]),
    ):
        for i, other in enumerate(others):
            set_hyper(opt, other, 0.5 + i / 10)
            assert get_hyper(opt, ours) == get_hyper(opt, other) == [0.5 + i / 10] * 2
    assert [group["weight_decay"] for group in opt.param_groups] == [0.5, 0.0, 0.5, 0.0]
    assert all(group["betas"] == (0.6, 0.5) for group in opt.param_groups)


@pytest.mark.parametrize(
    "function", [get_hyper, hyper_setter, hyper_reader, lambda o, n: set_hyper(o, n, 1)]
)
def test_an_unknown_hyper_parameter_is_named_with_those_there_are(function):
    message = (
        "`momentun` is not a hyper-parameter of `AdamW`; did you mean `mom`? "
        "it has `lr`, `mom`, `sqr_mom`, `wd`, `eps`"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        function(made(), "momentun")
    with pytest.raises(ValueError, match="`wd` is not a hyper-parameter of `Rprop`; it has `lr`"):
        function(made(torch.optim.Rprop), "wd")


def test_values_are_one_for_all_or_one_for_each():
    opt = made()
    for value, expected in (
        (0.1, [0.1, 0.1]),
        ([0.1, 0.2], [0.1, 0.2]),
        (np.array([0.3, 0.4]), [0.3, 0.4]),
        (np.float64(0.5), [0.5, 0.5]),
        (torch.tensor([0.5, 0.25]), [0.5, 0.25]),
        ((0.7,), [0.7, 0.7]),
        (1, [1.0, 1.0]),
    ):
        for write in (partial(set_hyper, opt, "lr"), hyper_setter(opt, "lr")):
            set_hyper(opt, "lr", 9.0)
            write(value)
            assert get_hyper(opt, "lr") == expected
            assert all(type(group["lr"]) is float for group in opt.param_groups)
    set_hyper(opt, "lr", slice(0.1))
    assert get_hyper(opt, "lr") == [0.01, 0.1]
    for write in (partial(set_hyper, opt, "lr"), hyper_setter(opt, "lr")):
        with pytest.raises(ValueError, match="got 3 values of `lr` for 2 layer groups"):
            write([0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("lr", -1, "`lr` must be at least 0 and finite, got -1.0"),
        ("lr", float("nan"), "`lr` must be at least 0 and finite, got nan"),
        ("mom", 1.0, "`mom` must be at least 0 and below 1, got 1.0"),
        ("wd", [0.1, -0.1], "`wd` must be at least 0 and finite, got -0.1"),
    ],
)
def test_values_out_of_range_are_refused(name, value, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        set_hyper(made(), name, value)


def test_the_rate_of_a_split_layer_group_is_written_to_both_parts():
    opt = made()
    hyper_setter(opt, "lr")([0.1, 0.2])
    assert [group["lr"] for group in opt.param_groups] == [0.1, 0.1, 0.2, 0.2]
    hyper_setter(opt, "mom")(0.5)
    assert [group["betas"] for group in opt.param_groups] == [(0.5, 0.99)] * 4


def test_setters_and_readers_outlive_splitting_and_loading():
    opt = made(partial(torch.optim.SGD, lr=0.1))
    set_lr, read = hyper_setter(opt, "lr"), hyper_reader(opt, "lr")
    set_lr(0.2)
    assert read() == 0.2
    hyper_setter(opt, "wd")(0.1)
    set_lr(0.3)
    assert [group["lr"] for group in opt.param_groups] == [0.3] * 4
    opt.load_state_dict(copy.deepcopy(opt.state_dict()))
    set_lr(0.4)
    assert [group["lr"] for group in opt.param_groups] == [0.4] * 4
    assert read() == 0.4


def test_rates_that_are_tensors_are_filled_in_place():
    lr = torch.tensor(0.1)
    opt = made(partial(torch.optim.AdamW, lr=lr))
    tensors = [group["lr"] for group in opt.param_groups]
    hyper_setter(opt, "lr")([0.25, 0.5])
    assert all(
        group["lr"] is tensor for group, tensor in zip(opt.param_groups, tensors, strict=True)
    )
    assert [float(tensor) for tensor in tensors] == [0.25, 0.25, 0.5, 0.5]
    assert get_hyper(opt, "lr") == [0.25, 0.5]
    assert hyper_reader(opt, "lr")() == 0.5
    assert lr == 0.1  # the user's own


def test_slices_spread_as_in_fastai():
    assert spread_lr(slice(1e-4, 1e-2), 3) == pytest.approx([1e-4, 1e-3, 1e-2])
    assert spread_lr(slice(1e-2), 3) == pytest.approx([1e-3, 1e-3, 1e-2])
    assert spread_lr(0.1, 2) == [0.1, 0.1]
    assert spread_lr(np.array([1, 2]), 2) == [1.0, 2.0]
    for wrong in (slice(None), slice(-1, 1), slice(0.1, -1)):
        with pytest.raises(ValueError, match="`lr` as a slice is"):
            spread_lr(wrong, 2)


def test_a_slice_with_one_layer_group_is_explained():
    message = "`lr` is slice(0.1, 0.2), which spreads over layer groups, but there is one: it gets"
    with pytest.warns(UserWarning, match=re.escape(message)):
        assert spread_lr(slice(0.1, 0.2), 1) == [0.2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert spread_lr([0.1], 1) == [0.1]


# Saved states


def test_a_state_that_fits_is_taken():
    model = small_model()
    opt = made(model=model)
    check_state(opt.state_dict(), opt, model)
    train(model, opt)
    check_state(opt.state_dict(), made(model=model), model)


def test_wrong_shapes_are_named():
    large = nn.Sequential(nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)), nn.Linear(4, 2))
    opt = made(model=large)
    large(torch.randn(8, 5)).sum().backward()
    opt.step()
    message = "`exp_avg` of `0.0.weight`: expected (4, 3), got (4, 5)"
    model = small_model()
    with pytest.raises(ValueError, match=re.escape(message)):
        check_state(opt.state_dict(), made(model=model), model)


def test_wrong_counts_are_named():
    model = small_model()
    one = made(model=model, splitter=default_splitter)
    with pytest.raises(
        ValueError, match="layer groups: expected 2, got 1; was the `splitter` the same"
    ):
        check_state(one.state_dict(), made(model=model), model)
    small = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="parameters in layer group 0: expected 4, got 2"):
        check_state(made(model=small).state_dict(), made(model=model), model)
    with pytest.raises(ValueError, match=r"\n  groups: expected 4, got 1"):
        check_state(torch.optim.AdamW(model.parameters()).state_dict(), made(model=model), model)


def test_the_state_of_another_optimizer_is_refused():
    model = small_model()
    opt = made(model=model)
    with pytest.raises(
        ValueError, match="expected those of `AdamW`, got groups without `betas`, `eps`; use the"
    ):
        check_state(made(torch.optim.SGD, model).state_dict(), opt, model)
    with pytest.raises(ValueError, match="is not the state of an optimizer"):
        check_state({"weights": 1}, opt, model)


def test_the_public_names_are_there():
    assert optim.__all__ == sorted(
        optim.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name)
    )
    assert all(hasattr(optim, name) for name in optim.__all__)
