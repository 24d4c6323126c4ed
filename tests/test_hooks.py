"""Hooks see what passes, and nothing of them stays on the model."""

import copy
import gc
import io
import weakref

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from learnlite.hooks import (
    Hook,
    Hooks,
    check_hookable,
    has_params,
    hook_output,
    hook_outputs,
    leaf_modules,
    tensors_in,
)


def hooks_on(model):
    return sum(
        len(m._forward_hooks) + len(m._backward_hooks) + len(m._forward_pre_hooks)
        for m in model.modules()
    )


@pytest.fixture
def model():
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def test_a_hook_stores_what_its_function_gives(model):
    x = torch.randn(5, 3)
    with Hook(model[0], lambda m, i, o: (m, i[0] is x, o.requires_grad)) as hook:
        assert hook.stored is None
        model(x)
    assert hook.stored == (model[0], False, False)
    assert hooks_on(model) == 0


def test_without_detach_the_graph_stays(model):
    with hook_output(model[0], detach=False) as hook:
        model(torch.randn(5, 3))
    assert hook.stored.grad_fn is not None


def test_stored_outputs_are_those_of_the_layers(model):
    x = torch.randn(5, 3)
    with hook_outputs(model) as hooks, torch.no_grad():
        out = model(x)
    first = x @ model[0].weight.T + model[0].bias
    assert torch.allclose(hooks[0].stored, first)
    assert torch.allclose(hooks.stored[1], first.clamp(min=0))
    assert torch.equal(hooks[-1].stored, out)
    assert len(hooks) == len(list(hooks)) == len(hooks[:]) == 3


@pytest.mark.parametrize("kind", ["hook", "hooks"])
def test_after_an_error_nothing_stays(model, kind):
    hooks = hook_output(model[0]) if kind == "hook" else hook_outputs(model, grad=True)
    with pytest.raises(RuntimeError, match="shapes"), hooks:
        model(torch.randn(2, 99))
    assert hooks_on(model) == 0


def test_hooks_that_cannot_all_be_set_are_none(model):
    with pytest.raises(AttributeError):
        Hooks([model[0], "no module"], lambda m, i, o: None)
    assert hooks_on(model) == 0


def test_remove_may_be_called_again_and_leaves_other_hooks(model):
    mine, other = hook_output(model[0]), hook_output(model[0])
    mine.remove()
    mine.remove()
    model(torch.randn(2, 3))
    assert mine.stored is None and other.stored is not None
    other.remove()


def test_the_gradient_of_an_output_is_autograds(model):
    x = torch.randn(5, 3)
    with hook_outputs(model, grad=True) as grads, hook_outputs(model, detach=False) as outputs:
        loss = model(x).square().sum()
        expected = torch.autograd.grad(loss, outputs.stored, retain_graph=True)
        loss.backward()
    for (found,), wanted in zip(grads.stored, expected, strict=True):
        assert torch.equal(found, wanted)


def test_the_gradient_before_a_layer_in_place_is_there():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True))
    with hook_output(model[0], grad=True) as hook:
        out = model(torch.randn(5, 3))
        out.sum().backward()
    assert torch.equal(hook.stored[0], (out > 0).float())


def test_a_backward_hook_gets_the_gradients_of_inputs_and_outputs(model):
    with Hook(model[2], lambda m, i, o: (i[0], o[0]), is_forward=False) as hook:
        model(torch.randn(5, 3)).sum().backward()
    grad_input, grad_output = hook.stored
    assert torch.equal(grad_output, torch.ones(5, 2))
    assert torch.allclose(grad_input, grad_output @ model[2].weight)


def test_a_backward_hook_before_a_layer_in_place_says_what_to_do():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.ReLU(inplace=True))
    with pytest.raises(RuntimeError) as info, Hook(model[1], lambda m, i, o: None, False):
        model(torch.randn(5, 3))
    assert "inplace=False" in info.value.__notes__[0]


def test_nested_outputs_are_detached_as_they_are_nested():
    lstm = nn.LSTM(3, 4)
    with hook_output(lstm) as hook:
        lstm(torch.randn(7, 2, 3))
    out, (h, c) = hook.stored
    assert [tuple(t.shape) for t in (out, h, c)] == [(7, 2, 4), (1, 2, 4), (1, 2, 4)]
    assert not any(t.requires_grad for t in tensors_in(hook.stored))


def test_a_copy_of_the_model_has_no_working_hook_and_copies_nothing_else(model):
    class Large:
        def __deepcopy__(self, memo):
            raise AssertionError("copied")

    large = Large()
    with Hook(model[0], lambda m, i, o: large) as hook:
        twin = copy.deepcopy(model)
        torch.save(model, io.BytesIO())
        twin(torch.randn(2, 3))
        assert hook.stored is None
        model(torch.randn(2, 3))
        assert hook.stored is large


def test_a_removed_hook_does_not_keep_the_model_alive():
    model = nn.Linear(2, 2)
    with hook_output(model):
        model(torch.randn(1, 2))
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_gather_is_the_tensor_itself_in_one_process(model):
    x = torch.randn(2, 3)
    with Hook(model[0], lambda m, i, o: i[0], gather=True) as hook:
        model(x)
    assert torch.equal(hook.stored, x)


def test_leaf_modules_are_named_once_and_in_order():
    shared = nn.Linear(2, 2)
    model = nn.Sequential(shared, nn.ModuleDict({"a": nn.ReLU()}), nn.Sequential(), shared)
    model.register_module("heads", nn.ModuleList())
    assert list(leaf_modules(model)) == ["0", "1.a", "2"]
    assert list(leaf_modules(shared)) == ["model"]


def test_what_calls_nothing_inside_is_one_layer():
    layer = nn.TransformerEncoderLayer(4, 2, 8)
    names = list(leaf_modules(layer))
    assert names[0] == "self_attn" and "self_attn.out_proj" not in names
    assert list(leaf_modules(nn.Sequential(spectral_norm(nn.Linear(2, 2))))) == ["0"]


def test_has_params_looks_inside():
    assert has_params(nn.Sequential(nn.Sequential(nn.Linear(1, 1))))
    assert not has_params(nn.Sequential(nn.ReLU()))


def test_a_compiled_model_is_refused_by_name(model):
    check_hookable(model)
    model[2].compile()
    with pytest.raises(ValueError, match="`2` is compiled, and hooks are not called inside"):
        check_hookable(model)
