"""Fine-tuning: what `vision_learner` and `unet_learner` make of data, a network and weights."""

import copy
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from pictures import folder_of_pictures
from torch import nn
from torchvision.models import VisionTransformer, get_model, squeezenet1_1

from learnlite import Callback, DataLoaders, optim
from learnlite.recipe import build, recipe_of, register_model
from learnlite.vision import (
    DataBlock,
    ImageBlock,
    ImageDataLoaders,
    MaskBlock,
    Normalize,
    PILImageBW,
    RegressionBlock,
    Resize,
    cnn_learner,
    create_vision_model,
    default_split,
    imagenet_stats,
    params,
    unet_learner,
    vision_learner,
)
from learnlite.vision.models import arch as architectures
from learnlite.vision.models.groups import find_splitter
from learnlite.vision.models.xresnet import xresnet18


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(2)
    return squeezenet1_1().state_dict()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return folder_of_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture
def dls(folder):
    return loaders(folder)


def loaders(folder, size=64, **settings):
    settings = {"bs": 6, "item_tfms": Resize(size), "device": "cpu", "seed": 1} | settings
    return ImageDataLoaders.from_folder(folder, **settings)


def tensors(c=2, size=64, channels=3, n=8, **settings):
    x, y = torch.rand(n, channels, size, size), torch.arange(n) % 2
    return DataLoaders([(x, y)], [(x, y)], device="cpu", c=c, **settings)


def normalizes(dls):
    tfms = [each for tfm in dls.batch_tfms for each in tfm.tfms]
    return [tfm for tfm in tfms if isinstance(tfm, Normalize)]


def small_net():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    )  # fmt: skip


# --- the data's part


def test_the_outputs_the_loss_and_the_normalization_come_from_the_data_and_the_weights(
    dls, weights, capsys
):
    learn = vision_learner(dls, squeezenet1_1, weights=weights)
    assert learn.model[1][-1].out_features == 3
    mean, std = imagenet_stats
    (normalize,) = normalizes(dls)
    assert normalize.mean.flatten().tolist() == pytest.approx(mean)
    assert normalize.std.flatten().tolist() == pytest.approx(std)
    said = capsys.readouterr().out
    assert "squeezenet1_1 starts from the weights that were given" in said
    assert "224 pixels" in said and "normalized as theirs were" in said
    assert "64 x 64 pixels, less than half of that" in said


def test_a_second_learner_of_the_same_data_normalizes_once(dls, weights):
    for _ in range(2):
        vision_learner(dls, squeezenet1_1, weights=weights)
    assert len(normalizes(dls)) == 1


def test_data_that_are_normalized_otherwise_are_warned_of(folder, weights):
    dls = loaders(folder, batch_tfms=Normalize([0.5] * 3, [0.5] * 3))
    with pytest.warns(UserWarning, match=r"other means than those .*; leave `Normalize` out of"):
        vision_learner(dls, squeezenet1_1, weights=weights)
    vision_learner(dls, squeezenet1_1, weights=weights, normalize=False)


def test_new_weights_want_no_normalization(dls):
    vision_learner(dls, squeezenet1_1, pretrained=False)
    assert normalizes(dls) == []


def test_plain_loaders_are_normalized_unless_they_are_already(weights):
    dls = tensors()
    before = dls.one_batch()[0]
    vision_learner(dls, squeezenet1_1, weights=weights)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in imagenet_stats)
    torch.testing.assert_close(dls.one_batch()[0], (before - mean) / std)
    normalized = DataLoaders([(torch.randn(4, 3, 64, 64), torch.arange(4) % 2)], device="cpu", c=2)
    vision_learner(normalized, squeezenet1_1, weights=weights)
    assert normalized.batch_tfms == []


def test_what_does_not_suit_is_told_before_anything_is_loaded(folder):
    grey = loaders(folder, img_cls=PILImageBW)
    with pytest.raises(ValueError, match=r"the images have 1 channel, but the .* pass `n_in=1`"):
        vision_learner(grey, squeezenet1_1)
    with pytest.raises(ValueError, match=r"outputs .* cannot be found from the data; pass `n_out="):
        vision_learner(tensors(c=None), squeezenet1_1)
    with pytest.raises(TypeError, match=r"the data comes first"):
        vision_learner(squeezenet1_1, grey)


def test_grey_images_train(folder, weights):
    learn = vision_learner(
        loaders(folder, img_cls=PILImageBW), squeezenet1_1, weights=weights, n_in=1
    )
    with learn.no_logging():
        learn.fit(1)


def test_images_that_a_network_does_not_take_are_told(dls):
    vit = VisionTransformer(32, 8, 2, 2, 16, 32)
    with pytest.raises(ValueError, match=r"64 x 64 pixels do not go through `VisionTransformer`"):
        vision_learner(dls, vit, pretrained=False)


# --- the network's part


@pytest.mark.parametrize(
    "arch",
    [squeezenet1_1, xresnet18, partial(xresnet18, act_cls=nn.Mish, sa=True), "xresnet18",
     "torchvision/resnet18", small_net, small_net()],
)  # fmt: skip
def test_any_kind_of_architecture_makes_a_learner(arch):
    learn = vision_learner(tensors(), arch, pretrained=False)
    with learn.no_logging():
        learn.fit(1)


def test_a_network_of_ones_own_that_is_trained_keeps_its_weights_and_is_frozen_at_first(capsys):
    net = small_net()
    learn = vision_learner(tensors(), net)
    assert learn.model[0][0] is net[0]
    assert not net[0].weight.requires_grad
    assert "counts as pretrained, so its body is frozen" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision/resnet43", r'did you mean `"torchvision/resnet34"`'),
        (
            "resnet18",
            r'not installed: `pip install "learnlite\[timm\]"`, or .*torchvision/resnet18',
        ),
    ],
)
def test_a_name_that_is_not_known_here_says_what_is(name, message):
    if name == "resnet18" and find_spec("timm"):
        pytest.skip("timm is installed")
    with pytest.raises((ValueError, ImportError), match=message):
        vision_learner(tensors(), name, pretrained=False)


def test_the_head_is_as_asked_for(weights):
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 2))
    learn = vision_learner(tensors(), squeezenet1_1, weights=weights, custom_head=head)
    assert learn.model[1] is head
    learn = vision_learner(tensors(), squeezenet1_1, weights=weights, lin_ftrs=[], ps=0.1)
    assert [m.p for m in learn.model[1] if isinstance(m, nn.Dropout)] == [0.1]


def test_the_head_begins_as_torch_makes_it_unless_init_fills_it(weights, dls):
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 3))
    before = copy.deepcopy(head.state_dict())
    learn = vision_learner(dls, squeezenet1_1, weights=weights, custom_head=head)
    after = learn.model[1].state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    filled = vision_learner(dls, squeezenet1_1, weights=weights, init=nn.init.zeros_)
    assert all(not layer.weight.any() for layer in filled.model[1] if isinstance(layer, nn.Linear))


def test_the_first_learner_of_a_process_has_the_weights_of_the_next(monkeypatch):
    monkeypatch.setattr(architectures, "_DEFAULTS", {})
    first, second = (
        vision_learner(tensors(), "xresnet18", pretrained=False, seed=1).model.state_dict()
        for _ in range(2)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_one_seed_makes_the_same_learner_twice(weights):
    dls = tensors()

    def head(seed):
        learn = vision_learner(dls, squeezenet1_1, weights=weights, seed=seed)
        return learn.model[1][4].weight

    before = torch.get_rng_state()
    first = head(1)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first, head(1)) and not torch.equal(first, head(2))


def test_y_range_bounds_what_is_predicted():
    def grey(i):
        return np.full((40, 40, 3), i, np.uint8)

    block = DataBlock((ImageBlock, RegressionBlock), get_x=grey, get_y=float)
    dls = block.dataloaders(list(range(12)), bs=4, device="cpu", seed=1)
    learn = vision_learner(dls, small_net, pretrained=False, y_range=(0, 12))
    with learn.no_logging():
        learn.fit(1, 0.1)
    pred = learn.get_preds()[0]
    assert pred.shape[1:] == (1,) and pred.min() >= 0 and pred.max() <= 12


def test_the_old_name_works_and_says_the_new_one():
    with pytest.warns(FutureWarning, match=r"`cnn_learner` is now `vision_learner`"):
        cnn_learner(tensors(), small_net, pretrained=False)


# --- layer groups


def names_of(model, group):
    inside = {id(p) for p in group}
    return [name for name, p in model.named_parameters() if id(p) in inside]


@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
def test_layer_groups_are_those_of_fastai(name):
    model = create_vision_model(f"torchvision/{name}", 2, pretrained=False)
    body = model[0]
    first = body[:6] if name.startswith("resnet") else body[0][:7]
    rest = body[6:] if name.startswith("resnet") else body[0][7:]
    expected = [params(first), params(rest), params(model[1])]
    assert [list(map(id, group)) for group in find_splitter(model)(model)] == [
        list(map(id, group)) for group in expected
    ]


@pytest.mark.parametrize("name", ["regnet_y_400mf", "mobilenet_v3_small"])
def test_layer_groups_hold_each_parameter_once_the_early_ones_first(name):
    model = create_vision_model(f"torchvision/{name}", 2, pretrained=False)
    groups = optim.layer_groups(model, find_splitter(model))
    assert len(groups) == 3
    order = [name for group in groups for name in names_of(model, group)]
    assert order == [name for name, _ in model.named_parameters()]


def test_a_splitter_of_ones_own_is_used(weights):
    def four(model):
        return [params(model[0][0][:3]), params(model[0][0][3:6]), params(model[0][0][6:]),
                params(model[1])]  # fmt: skip

    learn = vision_learner(tensors(), squeezenet1_1, weights=weights, splitter=four)
    assert len(learn.layer_groups) == 4
    learn = vision_learner(tensors(), squeezenet1_1, weights=weights, splitter=default_split)
    assert len(learn.layer_groups) == 2


def test_a_body_that_makes_no_maps_is_one_group():
    vit = VisionTransformer(32, 16, 2, 2, 16, 32)
    model = create_vision_model(vit, 2)
    assert list(map(len, find_splitter(model)(model))) == [
        len(params(model[0])), len(params(model[1]))
    ]  # fmt: skip


def trains(model):
    return {name for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("train_bn", [True, False])
def test_a_frozen_body_keeps_its_batch_norms_training_as_train_bn_says(train_bn):
    learn = vision_learner(tensors(), small_net(), train_bn=train_bn)
    head = {name for name in trains(learn.model) if name.startswith("1.")}
    norms = {"0.1.weight", "0.1.bias"} if train_bn else set()
    assert trains(learn.model) == head | norms
    learn.unfreeze()
    assert trains(learn.model) == {name for name, _ in learn.model.named_parameters()}


def test_new_weights_are_not_frozen():
    learn = vision_learner(tensors(), xresnet18, pretrained=False)
    assert trains(learn.model) == {name for name, _ in learn.model.named_parameters()}


def test_a_compiled_model_freezes_too():
    learn = vision_learner(tensors(), small_net())
    plain = trains(learn.model)
    learn.unfreeze()
    learn.model = torch.compile(learn.model, backend="eager")
    learn.freeze()
    assert {name.removeprefix("_orig_mod.") for name in trains(learn.model)} == plain


class Rates(Callback):
    """Notes the rate of each layer group, and what trains."""

    def __init__(self):
        self.rates, self.frozen = [], []

    def before_fit(self):
        self.rates.append([])
        first = next(self.learn.model.parameters())
        self.frozen.append(not first.requires_grad)

    def after_batch(self):
        if self.training:
            self.rates[-1].append([group["lr"] for group in self.learn.opt.param_groups])


def test_fine_tune_trains_the_head_first_then_all_with_rates_that_grow_to_it():
    x, y = torch.rand(2, 3, 32, 32), torch.arange(2) % 2
    dls = DataLoaders([(x, y)] * 50, device="cpu", c=2)
    learn = vision_learner(dls, small_net(), splitter=default_split, cbs=[rates := Rates()])
    with learn.no_logging():
        learn.fine_tune(1, 0.01)
    assert rates.frozen == [True, False]
    head, all_of_it = (np.array(each).max(0) for each in rates.rates)
    assert set(head.round(5)) == {0.01, 0.001}  # `slice(lr)` gives a tenth to all but the last
    assert set(all_of_it.round(7)) == {0.005, 0.00005}  # half of it, and a hundredth of that
    start = np.array(rates.rates[1])[0].max()
    assert start == pytest.approx(0.005 / 5)  # div
    assert np.array(rates.rates[1])[:, -1].argmax() == pytest.approx(0.3 * 50, abs=1)  # pct_start


# --- what it becomes


def test_the_recipe_of_a_model_builds_one_that_takes_its_weights(weights):
    for arch in (squeezenet1_1, partial(xresnet18, act_cls="Mish"), "xresnet18"):
        given = weights if arch is squeezenet1_1 else None
        model = create_vision_model(arch, 3, given is not None, weights=given, lin_ftrs=[16])
        again = build(recipe_of(model))
        again.load_state_dict(model.state_dict())
        x = torch.rand(2, 3, 64, 64)
        torch.testing.assert_close(again.eval()(x), model.eval()(x))
    assert recipe_of(model).args["arch"] == "xresnet18"


def test_a_recipe_names_torchvisions_networks_and_loads_nothing(weights):
    recipe = recipe_of(create_vision_model(squeezenet1_1, 3, weights=weights))
    assert recipe.args["arch"] == "torchvision/squeezenet1_1"
    assert not {"weights", "pretrained"} & set(recipe.args)


def test_what_comes_from_a_function_of_the_user_has_a_recipe_once_it_is_registered():
    assert recipe_of(create_vision_model(small_net, 3, pretrained=False)) is None
    registered = register_model("a_small_net")(small_net)
    model = create_vision_model(registered, 3, pretrained=False)
    again = build(recipe_of(model))
    again.load_state_dict(model.state_dict())


# --- pixels


def masks(folder, size=64):
    block = DataBlock(
        (ImageBlock, MaskBlock(["ground", "square"])),
        get_y=lambda path: np.zeros((40, 56), np.uint8),
        item_tfms=Resize(size),
    )
    files = sorted(folder.rglob("*.jpg"))
    return block.dataloaders(files, bs=4, device="cpu", seed=1)


def test_a_unet_gives_each_pixel_its_class(folder):
    dls = masks(folder)
    learn = unet_learner(dls, small_net, pretrained=False)
    with learn.no_logging():
        learn.fine_tune(1)
    xb, yb = dls.one_batch()
    assert learn.model(xb).shape == (4, 2, 64, 64) == (4, 2, *yb.shape[1:])


def test_a_unet_starts_from_weights_with_a_frozen_encoder(weights):
    dls = tensors()
    learn = unet_learner(dls, squeezenet1_1, weights=weights)
    encoder = learn.model[0][0][0]
    assert torch.equal(encoder.weight, weights["features.0.weight"])
    assert not encoder.weight.requires_grad
    assert len(learn.layer_groups) == 3 and len(normalizes(dls)) == 1


def test_the_recipe_of_a_unet_builds_it_again():
    learn = unet_learner(tensors(), "xresnet18", pretrained=False, act_cls=nn.Mish, seed=1)
    again = build(recipe_of(learn.model))
    again.load_state_dict(learn.model.state_dict())
    x = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(again.eval()(x), learn.model.eval()(x))


def test_pretrained_networks_of_timm_are_taken_by_name():
    pytest.importorskip("timm")
    model = create_vision_model("resnet18", 2, pretrained=False)
    assert recipe_of(model).args["arch"] == "timm/resnet18"
    x = torch.rand(2, 3, 64, 64)
    reference = get_model("resnet18")  # the same layers, by the same names
    own = {name.removeprefix("0."): value for name, value in model.state_dict().items()}
    reference.load_state_dict(own, strict=False)
    expected = nn.Sequential(*list(reference.children())[:-2]).eval()(x)
    torch.testing.assert_close(model[0].eval()(x), expected)
