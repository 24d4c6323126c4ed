"""Where a network's body ends, and what it takes."""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.overrides import TorchFunctionMode
from torchvision import models

from learnlite.vision.models.body import (
    adapt_input,
    create_body,
    feature_shape,
    num_features_model,
)

FAMILIES = [
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3",
    "maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf",
    "regnet_y_400mf", "resnet18", "resnext50_32x4d", "shufflenet_v2_x0_5", "squeezenet1_1",
    "swin_t", "swin_v2_t", "vgg11_bn", "vit_b_32",
]  # fmt: skip
OTHERS = sorted(set(models.list_models(module=torchvision.models)) - set(FAMILIES))
NAMES = [*FAMILIES, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]


class WithoutNumbers(TorchFunctionMode):
    """New weights have shapes and no numbers, so that the largest network takes no time."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        made = func in (torch.empty, torch.ones, torch.zeros, torch.rand, torch.randn)
        return func(*args, **(kwargs or {}) | ({"device": "meta"} if made else {}))


def made(name, **options):
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = False  # else it warns
    return models.get_model(name, **options)


def without_numbers(name):
    with torch.device("meta") if name.startswith("swin") else WithoutNumbers():
        return made(name)


def pooled(x):
    return x.mean((2, 3))


@pytest.mark.parametrize("name", NAMES)
def test_every_classifier_of_torchvision_is_cut_where_its_pooling_begins(name):
    model = without_numbers(name)
    body = create_body(model)
    assert len(feature_shape(body)) == (1 if name.startswith("vit") else 3)
    inside = set(body.modules())
    linear = [m for m in model.modules() if isinstance(m, nn.Linear)]
    assert not linear or linear[-1] not in inside
    assert all(
        module in inside
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d)
        and max(module.kernel_size) > 1  # SqueezeNet's classifier has one of a single pixel
        and not name.lower().startswith("aux")  # a head that helps training
    )


@pytest.mark.parametrize(
    "name",
    ["resnet18", "densenet121", "mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x0_5",
     "mnasnet0_5", "regnet_y_400mf", "efficientnet_b0"],
)  # fmt: skip
def test_the_pooled_map_of_the_body_is_what_the_classifier_got(name):
    model = made(name).eval()
    got = []
    last = next(m for m in model.modules() if isinstance(m, nn.Linear))
    last.register_forward_pre_hook(lambda module, args: got.append(args[0]))
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        model(x)
        body = create_body(model).eval()
        torch.testing.assert_close(pooled(body(x)), got[0])
    assert num_features_model(body) == got[0].shape[1]


def test_the_body_of_a_vision_transformer_gives_what_its_classifier_got():
    model = models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5).eval()
    x = torch.randn(2, 3, 32, 32)
    head = model.heads
    with torch.no_grad():
        expected = model(x)
        body = create_body(model).eval()
        assert feature_shape(body) == (16,)
        torch.testing.assert_close(head(body(x)), expected)


def test_googlenet_keeps_what_it_does_to_the_image_before_the_first_layer():
    model = made("googlenet", transform_input=True, aux_logits=False).eval()
    got = []
    model.avgpool.register_forward_pre_hook(lambda module, args: got.append(args[0]))
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        model(x)
        torch.testing.assert_close(create_body(model).eval()(x), got[0])


def test_a_body_of_parts_in_a_row_is_a_sequential_with_their_names():
    body = create_body(made("resnet18"))
    names = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]
    assert type(body) is nn.Sequential
    assert [name for name, _ in body.named_children()] == names
    assert isinstance(create_body(made("squeezenet1_1"))[0], nn.Sequential)  # as in fastai: m[0][0]


# --- networks of one's own


class Functional(nn.Module):
    """Handwritten, with functions in its forward, and one convolution called twice."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.fc = nn.Linear(8, 2)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.a(x)), 2)
        x = x + F.relu(self.b(F.relu(self.b(x))))
        return self.fc(x.mean((-1, -2)))


class Wrapped(nn.Module):
    """Calls one part that holds both body and head."""

    def __init__(self):
        super().__init__()
        self.adapter = nn.Conv2d(3, 3, 1)
        self.net = made("resnet18")

    def forward(self, x):
        return self.net(self.adapter(x))


class Looks(nn.Module):
    """Looks at the size of its image, which cannot be traced."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2)
        self.more = nn.Sequential(nn.ReLU(), nn.Conv2d(4, 6, 3))
        self.fc = nn.Linear(6, 2)

    def forward(self, x):
        if x.shape[-1] < 8:
            raise ValueError("too small")
        return self.fc(self.more(self.stem(x)).mean((2, 3)))


class Forks(Looks):
    """As `Looks`, but its parts are not in a row."""

    def forward(self, x):
        if x.shape[-1] < 8:
            raise ValueError("too small")
        x = self.stem(x)
        return self.fc(self.more(x * 2).mean((2, 3)))


@pytest.mark.parametrize("net", [Functional, Wrapped, Looks])
def test_a_network_of_ones_own_is_cut_before_its_pooling(net):
    model = net().eval()
    got = []
    last = next(m for m in model.modules() if isinstance(m, nn.Linear))
    last.register_forward_pre_hook(lambda module, args: got.append(args[0]))
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        model(x)
        torch.testing.assert_close(pooled(create_body(model).eval()(x)), got[0])


def test_a_network_that_takes_one_size_only_is_cut_all_the_same():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 20 * 20, 2)
    )
    assert feature_shape(create_body(model), size=20) == (4, 20, 20)


def test_a_network_that_ends_with_its_maps_is_a_body_already():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    body = create_body(model)
    assert type(body) is nn.Sequential and list(body) == list(model)


def test_a_network_without_convolutions_is_cut_before_its_last_linear_layer():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 28 * 28, 7), nn.ReLU(), nn.Linear(7, 2))
    assert feature_shape(create_body(model)) == (7,)


def test_where_the_cut_is_not_clear_it_is_asked_for():
    with pytest.raises(ValueError, match=r"`Forks` ends is not clear: .*; pass `cut=`"):
        create_body(Forks())
    body = create_body(Forks(), cut=lambda model: nn.Sequential(model.stem, model.more))
    assert num_features_model(body) == 6


def test_a_cut_of_ones_own_is_a_number_of_children_or_a_function():
    model = made("resnet18")
    assert len(create_body(model, cut=-3)) == 7
    assert create_body(model, cut=lambda model: model.layer1) is model.layer1
    with pytest.raises(TypeError, match=r"`cut` is a number of children or a function"):
        create_body(model, cut="layer4")
    with pytest.raises(ValueError, match=r"`cut=0` keeps none of the 10 children"):
        create_body(model, cut=0)


def test_looking_for_the_cut_changes_nothing():
    model = made("resnet18").train()
    model.layer1.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    body = create_body(model)
    assert body.training and model.training and not model.layer1.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


# --- images of other channels


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "vit_b_32"])
@pytest.mark.parametrize("n_in", [1, 2, 5])
def test_the_first_convolution_takes_as_many_channels_as_asked(name, n_in):
    model = without_numbers(name)
    first = next(m for m in adapt_input(model, n_in).modules() if isinstance(m, nn.Conv2d))
    assert first.in_channels == n_in


def test_a_grey_image_gives_what_the_same_image_in_colour_gave():
    model = made("squeezenet1_1").features.eval()  # whose first convolution has a bias
    nn.init.normal_(model[0].bias)
    grey = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        expected = model(grey.expand(-1, 3, -1, -1))
        torch.testing.assert_close(adapt_input(model, 1)(grey), expected)


def test_further_channels_say_nothing_at_first():
    model = made("resnet18").eval()
    x = torch.randn(1, 5, 64, 64)
    with torch.no_grad():
        expected = model(x[:, :3])
        torch.testing.assert_close(adapt_input(model, 5)(x), expected)


def test_a_first_convolution_of_other_channels_is_left_to_the_user():
    with pytest.raises(ValueError, match=r"begins with `Conv2d\(2, 4, .*build the model for 1"):
        adapt_input(nn.Conv2d(2, 4, 3), 1)
