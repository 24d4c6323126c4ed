"""The residual networks: their sizes, their first values, and how they are built again."""

import copy
import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from torchvision import models

from learnlite.layers import MaxBlurPool, Mish, NormType, ResBlock, SimpleSelfAttention
from learnlite.recipe import build, recipe_of, why_no_recipe
from learnlite.vision.models.xresnet import (
    XRESNETS,
    XResNet,
    xresnet18,
    xresnet50,
    xse_resnext18,
    xse_resnext50,
)

SMALL = {"widen": 0.125, "stem_szs": (8, 8, 8), "n_out": 5}


def small(**options):
    torch.manual_seed(0)
    return xresnet18(**(SMALL | options))


def n_params(model):
    return sum(p.numel() for p in model.parameters())


@pytest.fixture
def x():
    torch.manual_seed(1)
    return torch.randn(2, 3, 33, 40)


@pytest.mark.parametrize("name", XRESNETS)
def test_every_network_is_built_without_memory_and_tells_its_recipe(name):
    with torch.device("meta"):
        model = XRESNETS[name](n_out=10)
    assert recipe_of(model).name == name == XRESNETS[name].__name__
    assert model[-1].out_features == 10
    assert 5e6 < n_params(model) < 4e8


@pytest.mark.parametrize("name", [name for name in XRESNETS if "18" in name])
def test_a_recipe_builds_the_same_network(name):
    with torch.device("meta"):
        model = XRESNETS[name](n_out=10)
        again = build(recipe_of(model))
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    assert {key: value.shape for key, value in again.state_dict().items()} == shapes


def stem_params(widths):
    """Of a row of 3 by 3 convolutions, each with the weight and bias of a norm."""
    return sum(9 * ni * nf + 2 * nf for ni, nf in pairwise(widths))


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("xresnet18", "resnet18"),
        ("xresnet34", "resnet34"),
        ("xresnet50", "resnet50"),
        ("xresnet101", "resnet101"),
        ("xresnet152", "resnet152"),
        ("xresnext50", "resnext50_32x4d"),
    ],
)
def test_but_for_the_stem_there_are_as_many_parameters_as_in_a_resnet(name, peer):
    with torch.device("meta"):
        ours, theirs = XRESNETS[name](), getattr(models, peer)()
    own = stem_params([3, 32, 32, 64])
    assert n_params(ours) - own == n_params(theirs) - (64 * 3 * 7 * 7 + 2 * 64)


@pytest.mark.parametrize(
    ("expansion", "make"),
    [
        (1, lambda: models.resnet.BasicBlock(64, 64)),
        (4, lambda: models.resnet.Bottleneck(256, 64)),
    ],
)
def test_a_block_computes_what_torchvisions_does(expansion, make):
    theirs, ours = make(), ResBlock(expansion, 64, 64)
    for ours_value, value in zip(ours.parameters(), theirs.parameters(), strict=True):
        ours_value.data.copy_(torch.randn_like(value))
    for ours_value, value in zip(ours.parameters(), theirs.parameters(), strict=True):
        value.data.copy_(ours_value)
    x = torch.randn(2, 64 * expansion, 6, 6)
    assert torch.allclose(ours(x), theirs(x), rtol=1e-4, atol=1e-4)


def test_each_block_begins_as_its_shortcut_and_each_convolution_with_kaimings_spread():
    model = xresnet18()
    for module in model.modules():
        if isinstance(module, ResBlock):
            assert module.convpath[-1][1].weight.eq(0).all()
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            assert module.weight.std().item() == pytest.approx(math.sqrt(2 / fan_in), rel=0.1)
    assert all(p.eq(0).all() for name, p in model.named_parameters() if name.endswith("bias"))


def test_the_variants_of_the_leaderboard_differ_in_what_their_arguments_say(x):
    model = small(act_cls=Mish, sa=True, sym=True, pool=MaxBlurPool, p=0.5)
    assert not any(isinstance(m, nn.ReLU) for m in model.modules())
    assert sum(isinstance(m, nn.Mish) for m in model.modules()) == 3 + 8 * 2
    attention = [name for name, m in model.named_modules() if isinstance(m, SimpleSelfAttention)]
    assert attention == ["4.1.convpath.2"]
    assert sum(isinstance(m, MaxBlurPool) for m in model.modules()) == 3
    assert model(x).shape == (2, 5)


@pytest.mark.parametrize(
    ("by_class", "by_name"),
    [
        ({"act_cls": Mish}, {"act_cls": "Mish"}),
        ({"pool": MaxBlurPool}, {"pool": "MaxBlurPool"}),
        ({"norm_type": NormType.Instance}, {"norm_type": "Instance"}),
        ({"norm_type": None}, {}),
    ],
)
def test_a_recipe_names_what_a_call_gave_as_a_class(by_class, by_name, x):
    model = small(**by_class)
    recipe = recipe_of(model)
    assert all(recipe.args[key] == value for key, value in by_name.items())
    again = build(recipe)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.eval()(x), model.eval()(x))


def test_an_activation_of_the_users_own_works_and_says_why_there_is_no_recipe(x):
    class Steep(nn.Module):
        def forward(self, x):
            return x.clamp(0, 1)

    model = small(act_cls=Steep)
    assert model(x).shape == (2, 5)
    assert recipe_of(model) is None
    assert why_no_recipe(model) == (
        "`xresnet18` was called with `act_cls=Steep`, which is no plain value"
    )


@pytest.mark.parametrize("make", [xresnet18, xse_resnext50])
def test_weights_that_do_not_exist_are_told_before_anything_is_built(make):
    with pytest.raises(ValueError, match=f"no pretrained weights for `{make.__name__}`"):
        make(pretrained=True)


def test_true_is_no_number_of_outputs():
    for call in (lambda: xresnet50(True), lambda: xse_resnext18(10, 3)):
        with pytest.raises(TypeError, match="write `x\\w+\\(n_out=10, pretrained=False\\)`"):
            call()


def test_arguments_that_do_not_fit_are_told():
    with pytest.raises(ValueError, match="`ks` must be odd, so that sizes can stay; got 4"):
        xresnet18(ks=4)
    with pytest.raises(ValueError, match="`stem_szs` must end with a multiple of 4"):
        xresnet50(stem_szs=(8, 10))
    with pytest.raises(ValueError, match="did you mean `Mish`?"):
        xresnet18(act_cls="mich")


@pytest.mark.parametrize("ndim", [1, 3])
def test_networks_come_for_series_and_volumes(ndim):
    model = XResNet(ResBlock, 1, [1, 1], n_out=2, c_in=1, ndim=ndim, stem_szs=(8, 8, 8), widen=0.1)
    assert model(torch.randn(2, 1, *[16] * ndim)).shape == (2, 2)


def test_images_may_have_any_number_of_channels_and_any_size():
    model = small(c_in=5)
    for size in (1, 7, 32, 45):
        assert model.eval()(torch.randn(1, 5, size, size + 3)).shape == (1, 5)


def test_a_copy_is_independent_and_gives_the_same(x):
    model = small(sa=True)
    other = copy.deepcopy(model)
    assert recipe_of(other) == recipe_of(model)
    assert torch.equal(other.eval()(x), model.eval()(x))
    nn.init.zeros_(other[-1].weight)
    assert not torch.equal(other(x), model(x))


def test_the_layout_of_the_memory_changes_no_result_and_is_kept(x):
    model = small().eval()
    expected = model(x)
    model.to(memory_format=torch.channels_last)
    maps = model[:-4](x.to(memory_format=torch.channels_last))
    assert maps.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(model(x.to(memory_format=torch.channels_last)), expected, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"sa": True, "act_cls": Mish, "pool": MaxBlurPool}])
def test_torch_export_takes_a_network_for_batches_of_any_size(x, options):
    model = small(**options).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: batch},))
    many = torch.cat([x, x + 1, x])
    assert torch.allclose(program.module()(many), model(many), atol=1e-5)


def test_a_network_learns():
    torch.manual_seed(0)
    x, y = torch.randn(16, 3, 16, 16), torch.arange(16) % 5
    model = small(act_cls="Mish", pool="MaxBlurPool")
    opt = torch.optim.AdamW(model.parameters(), 1e-2)
    losses = []
    for _ in range(12):
        loss = nn.functional.cross_entropy(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4
