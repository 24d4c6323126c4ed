"""Layers, against the same sums written with torch's functions."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from learnlite.layers import (
    ACTIVATIONS,
    NORM_TYPES,
    POOLS,
    AdaptiveConcatPool1d,
    AdaptiveConcatPool2d,
    AvgPool,
    BlurPool,
    ConvLayer,
    Embedding,
    Flatten,
    Lambda,
    LinBnDrop,
    MaxBlurPool,
    MaxPool,
    MergeLayer,
    Mish,
    Module,
    NormType,
    PixelShuffle_ICNR,
    ResBlock,
    ResizeBatch,
    SEBlock,
    SelfAttention,
    SEModule,
    SequentialEx,
    SEResNeXtBlock,
    SigmoidRange,
    SimpleSelfAttention,
    Swish,
    View,
    apply_init,
    icnr_init,
    init_cnn,
    init_default,
    name_of,
    named,
    sequential,
)
from learnlite.layers.conv import BatchNorm, InstanceNorm


@pytest.fixture
def x():
    torch.manual_seed(0)
    return torch.randn(4, 16, 9, 7)


def in_training(x, norm):
    return F.batch_norm(x, None, None, norm.weight, norm.bias, training=True)


# --- convolutions


def test_a_conv_layer_is_a_convolution_a_norm_and_a_relu(x):
    layer = ConvLayer(16, 8, stride=2)
    expected = F.conv2d(x, layer[0].weight, stride=2, padding=1)
    assert torch.allclose(layer(x), in_training(expected, layer[1]).relu(), atol=1e-6)


def test_the_norm_may_come_last(x):
    layer = ConvLayer(16, 8, ks=1, bn_1st=False, act_cls=Mish)
    expected = in_training(F.mish(F.conv2d(x, layer[0].weight)), layer[2])
    assert torch.allclose(layer(x), expected, atol=1e-6)


def test_a_transposed_conv_layer_is_not_padded(x):
    layer = ConvLayer(16, 8, stride=2, transpose=True, norm_type=None, act_cls=None)
    conv = layer[0]
    expected = F.conv_transpose2d(x, conv.weight, conv.bias, stride=2)
    assert torch.equal(layer(x), expected)


def test_an_instance_norm_looks_at_each_image_alone(x):
    layer = ConvLayer(16, 8, norm_type=NormType.Instance, act_cls=None).requires_grad_(False)
    assert torch.allclose(layer(x)[:1], layer(x[:1]), atol=1e-6)
    assert torch.allclose(layer(x).mean((2, 3)), torch.tensor(1e-3), atol=1e-5)


def test_a_weight_norm_keeps_direction_and_length_apart(x):
    layer = ConvLayer(16, 8, norm_type=NormType.Weight, act_cls=None)
    length, direction = layer[0].parametrizations.weight.parameters()
    expected = length * direction / direction.flatten(1).norm(dim=1)[:, None, None, None]
    assert torch.allclose(layer[0].weight, expected, atol=1e-6)


def test_a_spectral_norm_bounds_what_a_layer_can_magnify(x):
    layer = ConvLayer(16, 8, norm_type=NormType.Spectral, act_cls=None)
    for _ in range(200):  # one step of its power iteration each
        layer(x)
    assert torch.linalg.matrix_norm(layer[0].weight.flatten(1), 2).item() == pytest.approx(1, 1e-2)


@pytest.mark.parametrize("kind", [None, *NormType])
def test_a_convolution_has_a_bias_only_where_no_norm_adds_one(kind):
    adds_one = isinstance(kind, NormType) and kind.name.startswith(("Batch", "Instance"))
    assert (ConvLayer(3, 8, norm_type=kind)[0].bias is None) == adds_one


def test_norms_of_the_kind_zero_begin_with_zero():
    for make, kind in ((BatchNorm, NormType.Batch), (InstanceNorm, NormType.Instance)):
        assert make(3, norm_type=kind).weight.tolist() == [1, 1, 1]
        zero = make(3, norm_type=NormType[f"{kind.name}Zero"])
        assert zero.weight.tolist() == [0, 0, 0] and zero.bias.eq(1e-3).all()


@pytest.mark.parametrize(
    ("act_cls", "gain"), [(nn.ReLU, math.sqrt(2)), (Mish, math.sqrt(2)), (Swish, math.sqrt(2))]
)
def test_a_convolution_before_a_relu_begins_with_kaimings_values(act_cls, gain):
    weight = ConvLayer(64, 64, act_cls=act_cls)[0].weight
    bound = gain * math.sqrt(3 / (64 * 9))
    assert weight.abs().max().item() == pytest.approx(bound, rel=0.01)


def test_a_convolution_before_a_sigmoid_begins_with_xaviers_values():
    weight = ConvLayer(64, 64, act_cls=nn.Sigmoid)[0].weight
    assert weight.abs().max().item() == pytest.approx(math.sqrt(3 / (64 * 9)), rel=0.01)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_layers_come_in_one_two_and_three_dimensions(ndim):
    x = torch.randn(2, 4, *[6] * ndim)
    assert ConvLayer(4, 8, ndim=ndim)(x).shape == (2, 8, *[6] * ndim)
    for make in POOLS.values():
        assert make(2, ndim=ndim)(x).shape == (2, 4, *[3] * ndim)


def test_more_dimensions_than_three_are_refused():
    for make in (lambda: ConvLayer(1, 1, ndim=4), lambda: MaxPool(ndim=0), lambda: BlurPool(2, 4)):
        with pytest.raises(ValueError, match="`ndim` must be 1, 2 or 3, got [04]"):
            make()


def test_arguments_that_are_no_names_of_theirs_are_told():
    with pytest.raises(TypeError, match="`norm_type` must be a `NormType` or None, got 'batch'"):
        ConvLayer(3, 8, norm_type="batch")
    with pytest.raises(ValueError, match='`init` must be "auto", None or a function'):
        ConvLayer(3, 8, init="kaiming")
    with pytest.raises(ValueError, match="did you mean `ReLU`\\?"):
        named("relu", ACTIVATIONS, "act_cls")
    with pytest.raises(ValueError, match="known are AvgPool, MaxPool"):
        named("xyz", POOLS, "pool")


@pytest.mark.parametrize("table", [ACTIVATIONS, POOLS, NORM_TYPES], ids=["act", "pool", "norm"])
def test_what_has_a_name_is_found_by_it(table):
    for value in table.values():
        assert named(name_of(value, table), table, "it") is value
        assert named(value, table, "it") is value


def test_a_linear_block_has_its_norm_first_or_last():
    x = torch.randn(8, 5)
    first, last = LinBnDrop(5, 3, act=nn.ReLU()), LinBnDrop(5, 3, lin_first=True, p=0.5)
    expected = F.linear(in_training(x, first[0]), first[1].weight).relu()
    assert torch.allclose(first(x), expected, atol=1e-6)
    assert [type(layer) for layer in last] == [nn.Linear, nn.BatchNorm1d, nn.Dropout]
    assert LinBnDrop(5, 3, bn=False)[0].bias is not None


def test_an_embedding_begins_near_zero():
    weight = Embedding(1000, 8, std=0.1).weight
    assert weight.abs().max() <= 0.2
    assert weight.std().item() == pytest.approx(0.1, rel=0.3)


# --- pooling and shapes


def test_a_concat_pool_has_the_maxima_and_then_the_means(x):
    expected = torch.cat([x.amax((2, 3)), x.mean((2, 3))], 1)
    assert torch.allclose(AdaptiveConcatPool2d()(x).flatten(1), expected, atol=1e-6)
    line = x[:, :, 0]
    expected = torch.cat([line.amax(2), line.mean(2)], 1)
    assert torch.allclose(AdaptiveConcatPool1d()(line).flatten(1), expected, atol=1e-6)


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("size", [7, 8, 1])
def test_a_pool_of_a_shortcut_rounds_up_as_a_convolution_does(name, size):
    x = torch.randn(2, 4, size, size)
    conv = nn.Conv2d(4, 4, 3, stride=2, padding=1)
    assert POOLS[name](2, ndim=2, ceil_mode=True)(x).shape == conv(x).shape


def test_a_blur_pool_takes_every_second_of_the_blurred_pixels(x):
    line = torch.tensor([0.25, 0.5, 0.25])
    kernel = (line[:, None] * line).expand(16, 1, 3, 3)
    inside = F.conv2d(x, kernel, groups=16)[:, :, 1::2, 1::2]
    assert torch.allclose(BlurPool(2)(x)[:, :, 1:4, 1:3], inside, atol=1e-6)


def test_a_blur_pool_leaves_a_plain_surface_as_it_is():
    assert torch.allclose(BlurPool(3)(torch.full((1, 2, 7, 8), 0.7)), torch.tensor(0.7))
    assert BlurPool(2, ceil_mode=False)(torch.zeros(1, 1, 7, 9)).shape == (1, 1, 3, 4)


def test_a_max_blur_pool_blurs_the_maxima_of_all_windows(x):
    wide = F.pad(x, (0, 1, 0, 1), value=-99.0)
    maxima = F.max_pool2d(wide, 2, stride=1)
    assert torch.equal(MaxBlurPool(2)(x), BlurPool(2)(maxima))
    assert MaxBlurPool(2)(x.bfloat16()).isfinite().all()


def test_a_blur_has_nothing_to_save_and_follows_its_model():
    assert list(MaxBlurPool(2).state_dict()) == []
    assert BlurPool(2).double()(torch.ones(1, 1, 4, 4).double()).dtype == torch.float64


def test_shapes_change_and_values_stay_in_any_memory_format(x):
    last = x.to(memory_format=torch.channels_last)
    assert torch.equal(Flatten()(last), x.flatten(1))
    assert torch.equal(Flatten(full=True)(last), x.flatten())
    assert torch.equal(View(8, -1)(last), x.reshape(8, -1))
    assert torch.equal(ResizeBatch(7, 144)(last), x.reshape(4, 7, 144))


def test_sequential_takes_functions_and_names():
    model = sequential(nn.Linear(2, 2), torch.relu, lambda x: x * 0)
    assert model(torch.ones(1, 2)).tolist() == [[0, 0]]
    assert list(sequential({"a": torch.exp, "b": nn.ReLU()})._modules) == ["a", "b"]
    with pytest.raises(TypeError, match="`Lambda` needs a function to call, got 3"):
        Lambda(3)


def test_a_sigmoid_range_reaches_from_low_to_high(x):
    out = SigmoidRange(-2, 5)(x)
    assert torch.allclose(out, -2 + 7 / (1 + (-x).exp()), atol=1e-5)


def test_a_merge_layer_adds_or_appends_what_the_row_began_with(x):
    row = [nn.ReLU(), nn.Tanh()]
    assert torch.equal(SequentialEx(*row, MergeLayer())(x), x.relu().tanh() + x)
    dense = SequentialEx(*row, MergeLayer(dense=True))(x)
    assert torch.equal(dense, torch.cat([x.relu().tanh(), x], 1))


def test_a_module_is_ready_before_its_own_init():
    class Net(Module):
        def __init__(self, n):
            self.layer = nn.Linear(n, 1)

        def forward(self, x):
            return self.layer(x)

    net = Net(3)
    assert list(net.state_dict()) == ["layer.weight", "layer.bias"]
    x = torch.ones(1, 3)
    assert torch.equal(copy.deepcopy(net)(x), net(x))


# --- first values


@pytest.mark.parametrize("norm_type", [NormType.Weight, NormType.Spectral, NormType.Batch, None])
@pytest.mark.parametrize("scale", [2, 3])
def test_what_enlarges_begins_as_pixels_repeated(norm_type, scale, x):
    layer = PixelShuffle_ICNR(16, 4, scale=scale, norm_type=norm_type)
    out = layer.eval()(x)
    small = out[:, :, ::scale, ::scale]
    assert torch.allclose(out, small.repeat_interleave(scale, 2).repeat_interleave(scale, 3))
    assert out.std() > 0.1


def test_blurred_enlargement_keeps_the_size(x):
    assert PixelShuffle_ICNR(16, blur=True)(x).shape == (4, 16, 18, 14)


def test_icnr_needs_whole_squares_of_filters():
    with pytest.raises(ValueError, match="scale=3 needs a multiple of 9 filters, got 8"):
        icnr_init(torch.zeros(8, 1, 1, 1), scale=3)


def test_init_leaves_norms_alone():
    model = sequential(ConvLayer(3, 4, norm_type=None), nn.BatchNorm2d(4), nn.PReLU(4))
    apply_init(model, nn.init.ones_)
    assert model[0][0].weight.eq(1).all() and model[0][0].bias.eq(0).all()
    assert model[2].weight.eq(0.25).all()
    assert init_default(nn.Linear(2, 2), nn.init.ones_).weight.eq(1).all()


def test_init_leaves_frozen_layers_alone():
    model = nn.Sequential(nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 2))
    before = model[0].weight.clone()
    apply_init(model, nn.init.ones_)
    assert torch.equal(model[0].weight, before) and model[1].weight.eq(1).all()


def test_init_cnn_gives_convolutions_kaimings_spread_and_no_bias():
    model = nn.Sequential(nn.Conv2d(64, 64, 3), nn.BatchNorm2d(64), nn.Linear(256, 256))
    init_cnn(model)
    assert model[0].weight.std().item() == pytest.approx(math.sqrt(2 / 576), rel=0.05)
    assert model[2].weight.std().item() == pytest.approx(math.sqrt(2 / 256), rel=0.05)
    assert all(layer.bias.eq(0).all() for layer in model)


# --- attention and blocks


def test_self_attention_adds_what_each_place_finds_at_the_others(x):
    layer = SelfAttention(16).eval()
    nn.init.constant_(layer.gamma, 0.7)
    flat = x.flatten(2)
    query, key, value = layer.query(flat), layer.key(flat), layer.value(flat)
    weights = (query.mT @ key).softmax(1)  # (batch, places that give, places that get)
    expected = 0.7 * value @ weights + flat
    assert torch.allclose(layer(x), expected.reshape(x.shape), atol=1e-5)


@pytest.mark.parametrize("sym", [False, True])
def test_simple_self_attention_mixes_channels_by_their_likeness(x, sym):
    layer = SimpleSelfAttention(16, sym=sym).eval()
    nn.init.constant_(layer.gamma, 0.3)
    weight = layer.conv.weight[:, :, 0]
    flat = x.flatten(2)
    mixed = ((weight + weight.T) / 2 if sym else weight) @ flat
    expected = 0.3 * (flat @ flat.mT) @ mixed + flat
    assert torch.allclose(layer(x), expected.reshape(x.shape), rtol=1e-4, atol=1e-4)


def test_attention_needs_channels_enough():
    with pytest.raises(ValueError, match="`SelfAttention` needs 8 channels or more, got 4"):
        SelfAttention(4)
    with pytest.raises(ValueError, match="`sym=True` needs a convolution of size 1, got ks=3"):
        SimpleSelfAttention(8, ks=3, sym=True)


@pytest.mark.parametrize("expansion", [1, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_begins_as_its_shortcut(x, expansion, stride):
    block = ResBlock(expansion, 16 // expansion, 8, stride=stride)
    nn.init.zeros_(block.convpath[-1][1].bias)
    assert torch.allclose(block(x), block.idpath(x).relu())


def test_a_block_that_changes_nothing_else_has_no_shortcut_to_compute(x):
    assert len(ResBlock(1, 16, 16).idpath) == 0


@pytest.mark.parametrize("pool", POOLS.values())
@pytest.mark.parametrize("pool_first", [True, False])
def test_blocks_take_any_pool_and_odd_sizes(x, pool, pool_first):
    block = ResBlock(1, 16, 8, stride=2, pool=pool, pool_first=pool_first)
    assert block(x).shape == (4, 8, 5, 4)


def test_squeeze_and_excitation_weighs_whole_channels(x):
    layer = SEModule(16, 4)
    ratio = layer(x) / x
    pooled = x.mean((2, 3), keepdim=True)
    expected = torch.sigmoid(layer[2][0](layer[1][0](pooled).relu()))
    assert torch.allclose(ratio, expected.expand_as(x), atol=1e-5)
    with pytest.raises(ValueError, match="`reduction` must be at most the 4 channels, got 16"):
        SEModule(4, 16)


LAYERS = {
    "conv": lambda: ConvLayer(16, 8),
    "weight norm": lambda: ConvLayer(16, 8, norm_type=NormType.Weight),
    "spectral norm": lambda: ConvLayer(16, 8, norm_type=NormType.Spectral),
    "attention": lambda: SelfAttention(16),
    "simple attention": lambda: SimpleSelfAttention(16),
    "shuffle": lambda: PixelShuffle_ICNR(16),
    "blur": lambda: MaxBlurPool(2),
    "concat": AdaptiveConcatPool2d,
    "block": lambda: ResBlock(4, 4, 8, stride=2, reduction=2, sa=True, pool=AvgPool),
    "se": lambda: SEBlock(1, 16, 16),
    "se next": lambda: SEResNeXtBlock(4, 4, 64, stride=2),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_copied_saved_and_laid_out_otherwise_with_the_same_results(name, x):
    layer = LAYERS[name]().eval()
    expected = layer(x)
    assert torch.equal(copy.deepcopy(layer)(x), expected)
    other = LAYERS[name]()
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.eval()(x), expected)
    layer.to(memory_format=torch.channels_last)
    out = layer(x.to(memory_format=torch.channels_last))
    assert torch.allclose(out, expected, rtol=1e-4, atol=1e-4)
