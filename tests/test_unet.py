"""A U-Net joins the maps of any encoder, gives the size of its input, and leaves nothing behind."""

import copy
import random
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import fx, nn
from torchvision import models

from learnlite.layers import ConvLayer, Mish, NormType, SelfAttention
from learnlite.vision.models.stages import find_stages
from learnlite.vision.models.unet import DynamicUnet, UnetBlock
from learnlite.vision.models.xresnet import xresnet18


def three_stages():
    """Halves the size three times; 16 channels at the end."""
    torch.manual_seed(0)
    return nn.Sequential(
        ConvLayer(3, 8, stride=2),
        ConvLayer(8, 8),
        nn.Sequential(ConvLayer(8, 12, stride=2), ConvLayer(12, 12)),
        nn.MaxPool2d(2),
        ConvLayer(12, 16),
    )


class Branched(nn.Module):
    """The same stages, called by a forward of its own."""

    def __init__(self):
        super().__init__()
        self.stem, self.more, self.down, self.pool, self.top = three_stages()

    def forward(self, x):
        x = F.relu(self.stem(x) + self.more(self.stem(x)))
        return self.top(self.pool(self.down(x)))


class Listed(nn.Module):
    """Gives each map, as a feature extractor does."""

    def __init__(self, as_dict=False):
        super().__init__()
        self.stages, self.as_dict = three_stages(), as_dict

    def forward(self, x):
        first = self.stages[:2](x)
        second = self.stages[2](first)
        maps = [first, second, self.stages[3:](second)]
        return {str(i): m for i, m in enumerate(maps)} if self.as_dict else maps


ENCODERS = {
    "row": three_stages,
    "row in a row": lambda: nn.Sequential(three_stages()),
    "graph": lambda: fx.symbolic_trace(Branched()),
    "list": Listed,
    "dict": lambda: Listed(as_dict=True),
    "xresnet": lambda: xresnet18(widen=0.125, stem_szs=(8, 8, 8))[:-4],
    "squeezenet": lambda: models.squeezenet1_1().features[:6],
    "mobilenet": lambda: models.mobilenet_v2(width_mult=0.1).features[:8],
    "resnet": lambda: nn.Sequential(*list(models.resnet18().children())[:6]),
    "convnext": lambda: models.convnext_tiny().features[:4],
    "no padding": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 8, 3, 2), nn.MaxPool2d(2)),
    "patches": lambda: nn.Sequential(nn.Conv2d(3, 8, 8, stride=8)),
    "no smaller": lambda: nn.Sequential(ConvLayer(3, 8), ConvLayer(8, 8)),
}


@pytest.fixture
def x():
    torch.manual_seed(1)
    return torch.randn(2, 3, 37, 50)


@pytest.mark.parametrize("name", ENCODERS)
def test_any_encoder_gives_masks_of_the_size_of_the_images(name):
    unet = DynamicUnet(ENCODERS[name](), 2, (64, 64)).eval()
    for size in ((64, 64), (37, 50), (33, 71)):
        assert unet(torch.randn(1, 3, *size)).shape == (1, 2, *size)


@pytest.mark.parametrize("name", ["row", "row in a row", "list", "dict", "graph"])
def test_the_last_map_of_each_size_is_found_however_the_encoder_gives_it(name):
    stages = find_stages(ENCODERS[name](), 64)
    assert (stages.channels, stages.scale, stages.n_in) == ((8, 12, 16), 2, 3)


def test_each_block_gets_the_encoders_own_map(x):
    encoder = three_stages()
    unet = DynamicUnet(encoder, 2, 64).eval()
    given = []
    for layer in unet:
        if isinstance(layer, UnetBlock):
            layer.register_forward_pre_hook(lambda _, args: given.append(args[1]))
    unet(x)
    first = encoder[:2](x)
    assert torch.equal(given[0], encoder[2](first)) and torch.equal(given[1], first)


def test_a_block_joins_both_maps_before_its_convolutions():
    torch.manual_seed(0)
    block = UnetBlock(8, 6, final_div=False).eval()
    below, skip = torch.randn(2, 8, 4, 5), torch.randn(2, 6, 7, 9)
    up = F.pixel_shuffle(F.conv2d(below, *block.shuf[0][0].parameters()).relu(), 2)
    up = F.interpolate(up, (7, 9))
    # untrained, the norm only adds its bias
    joined = torch.cat([up, skip / (1 + block.bn.eps) ** 0.5 + 1e-3], 1).relu()
    for conv in (block.conv1[0], block.conv2[0]):
        joined = F.conv2d(joined, conv.weight, conv.bias, padding=1).relu()
    assert torch.allclose(block(below, skip), joined, atol=1e-5)
    assert joined.shape[1] == (4 + 6) // 2


@pytest.mark.parametrize("name", ["row", "graph", "list", "xresnet"])
def test_the_encoder_gets_gradients_through_every_map(name, x):
    unet = DynamicUnet(ENCODERS[name](), 2, 64)
    unet(x).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in unet.parameters())
    assert all(p.grad.abs().sum() > 0 for p in unet[0].parameters() if p.ndim > 1 and name == "row")


@pytest.mark.parametrize("name", ["row", "graph", "list"])
def test_looking_at_an_encoder_changes_nothing_of_it_and_draws_nothing(name):
    encoder = ENCODERS[name]()
    next(encoder.children()).eval()
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    modes = [m.training for m in encoder.modules()]
    torch_state, python_state = torch.get_rng_state(), random.getstate()
    find_stages(encoder, (40, 30))
    assert torch.equal(torch.get_rng_state(), torch_state) and random.getstate() == python_state
    assert [m.training for m in encoder.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in encoder.modules())


def test_modes_come_back_when_an_encoder_fails():
    encoder = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(5, 4, 3), nn.Dropout())
    with pytest.raises(RuntimeError, match="to have 5 channels"):
        DynamicUnet(encoder, 2, 64)
    assert all(m.training for m in encoder.modules())


def test_no_map_outlives_the_forward_pass(x):
    unet = DynamicUnet(three_stages(), 2, 64).eval()
    seen = []
    for layer in unet[0]:
        layer.register_forward_hook(lambda _, args, out: seen.append(weakref.ref(out)))
    with torch.no_grad():
        out = unet(x)
    assert len(seen) == 5 and all(ref() is None for ref in seen)
    assert out.shape == (2, 2, 37, 50)
    assert not any(isinstance(v, torch.Tensor) for m in unet.modules() for v in vars(m).values())


@pytest.mark.parametrize("name", ["row", "graph", "list"])
def test_a_copy_gives_the_same_and_is_independent(name, x):
    unet = DynamicUnet(ENCODERS[name](), 2, 64, self_attention=True).eval()
    other = copy.deepcopy(unet)
    assert torch.equal(other(x), unet(x))
    nn.init.zeros_(next(other.parameters()))
    assert not torch.equal(other(x), unet(x))


@pytest.mark.parametrize("name", ["row", "graph", "list"])
def test_weights_go_from_one_network_to_another_built_for_larger_images(name, x):
    unet = DynamicUnet(ENCODERS[name](), 2, 16)
    unet(x)
    other = DynamicUnet(ENCODERS[name](), 2, (200, 300))
    other.load_state_dict(unet.state_dict())
    assert torch.equal(other.eval()(x), unet.eval()(x))


@pytest.mark.parametrize(
    "options",
    [
        {"blur": True, "act_cls": Mish},
        {"blur": True, "blur_final": False, "last_cross": False},
        {"self_attention": True, "norm_type": NormType.Batch},
        {"bottle": True, "norm_type": NormType.Weight},
        {"init": None, "bn_1st": False},
    ],
)
def test_every_option_trains(options, x):
    unet = DynamicUnet(three_stages(), 2, 64, **options)
    unet(x).mean().backward()
    assert unet.eval()(x).shape == (2, 2, 37, 50)


def test_names_stand_for_activations_and_norms(x):
    torch.manual_seed(0)
    by_name = DynamicUnet(three_stages(), 2, 64, act_cls="Mish", norm_type="Batch").eval()
    torch.manual_seed(0)
    by_class = DynamicUnet(three_stages(), 2, 64, act_cls=Mish, norm_type=NormType.Batch).eval()
    assert torch.equal(by_name(x), by_class(x))


def test_attention_stands_in_one_block():
    unet = DynamicUnet(three_stages(), 2, 64, self_attention=True)
    assert sum(isinstance(m, SelfAttention) for m in unet.modules()) == 1


def test_answers_stay_in_their_range(x):
    unet = DynamicUnet(three_stages(), 1, 64, y_range=(-1, 3)).eval()
    out = unet(x * 100)
    assert out.min() >= -1 and out.max() <= 3
    with pytest.raises(
        ValueError, match="`y_range` must be a lower and an upper bound, as \\(0, 5\\), got \\(3"
    ):
        DynamicUnet(three_stages(), 1, 64, y_range=(3, 1))


def test_the_encoder_is_the_first_part_and_can_be_frozen(x):
    encoder = three_stages()
    unet = DynamicUnet(encoder, 2, 64)
    assert unet[0] is encoder and len(unet[1:]) == len(unet) - 1
    encoder.requires_grad_(False)
    unet(x).mean().backward()
    assert all(p.grad is None for p in encoder.parameters())
    assert all(p.grad is not None for p in unet[1:].parameters())


@pytest.mark.parametrize("name", ["row", "graph"])
def test_it_compiles_as_one_graph(name, x):
    unet = DynamicUnet(ENCODERS[name](), 2, 64).eval()
    compiled = torch.compile(unet, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(x), unet(x), atol=1e-5)


def test_torch_export_takes_it(x):
    unet = DynamicUnet(three_stages(), 2, 64).eval()
    assert torch.allclose(torch.export.export(unet, (x,)).module()(x), unet(x), atol=1e-5)


def test_it_is_built_without_memory():
    with torch.device("meta"):
        unet = DynamicUnet(three_stages(), 2, 64).eval()
    assert unet(torch.zeros(1, 3, 9, 9, device="meta")).shape == (1, 2, 9, 9)


def test_images_of_other_channels_are_joined_at_the_end():
    encoder = nn.Sequential(ConvLayer(4, 8, stride=2), ConvLayer(8, 16, stride=2))
    assert DynamicUnet(encoder, 1, 64)(torch.randn(2, 4, 20, 30)).shape == (2, 1, 20, 30)


class Last(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2)

    def forward(self, x):
        return self.conv(x)


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (nn.Sequential(nn.Linear(3, 3)), "this `Sequential` has no `nn.Conv2d`"),
        (Last(), "this `Last` gives only its last one; pass an `nn.Sequential`"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), r"but the last .* \(1, 4, 126, 126\), "),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Upsample(scale_factor=2)), "none larger than the"),
        (nn.Sequential(Listed(), nn.ReLU()), "`Listed` in the encoder gives a list and no tensor"),
        (fx.symbolic_trace(nn.Sequential(Last(), nn.Flatten())), "gives no map at its end"),
    ],
)
def test_an_encoder_without_maps_is_refused_with_what_to_do(encoder, message):
    with pytest.raises(ValueError, match=message):
        DynamicUnet(encoder, 2, 64)


def test_a_size_that_is_none_is_told():
    with pytest.raises(ValueError, match="`img_size` must be a height and a width in pixels"):
        DynamicUnet(three_stages(), 2, (64, 64, 3))


def test_it_learns_where_a_square_is():
    torch.manual_seed(0)
    masks = torch.zeros(8, 32, 32)
    for i, mask in enumerate(masks):
        mask[3 + i : 15 + i, 2 + 2 * i : 12 + 2 * i] = 1
    images = torch.randn(8, 3, 32, 32) * 0.3 + masks[:, None]
    unet = DynamicUnet(three_stages(), 2, 32)
    opt = torch.optim.AdamW(unet.parameters(), 3e-3)
    for _ in range(25):
        loss = F.cross_entropy(unet(images), masks.long())
        opt.zero_grad()
        loss.backward()
        opt.step()
    assert (unet(images).argmax(1) == masks).float().mean() > 0.95
