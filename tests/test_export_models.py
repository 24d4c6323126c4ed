"""Exported vision models come back; where a file cannot tell how, its advice is to the letter."""

import copy
import re
from functools import partial

import pytest
import torch
from exported import ALIKE, of_images
from told import told
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from learnlite import DataLoaders, Learner, load_learner, register_model
from learnlite.layers import Mish
from learnlite.vision import (
    ImageBlock,
    MaskBlock,
    Normalize,
    Resize,
    create_unet_model,
    create_vision_model,
    imagenet_stats,
)
from learnlite.vision.learner import unet_learner, vision_learner
from learnlite.vision.models.xresnet import xresnet18

TINY = partial(xresnet18, widen=0.125, stem_szs=(8, 8, 8))


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Plain(nn.Module):
    """A network of the user's, of which learnlite knows nothing."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, 2)

    def forward(self, x):
        return self.fc(self.pool(self.body(x)).flatten(1))


def head_of(nf, n_out=2):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(nf, n_out))


@register_model("export_models/head")
def registered_head(nf, n_out):
    return head_of(nf, n_out)


def images(tmp_path, **settings):
    return of_images(tmp_path, **({"item_tfms": Resize(32)} | settings)).dls


def masks(tmp_path):
    return images(
        tmp_path,
        model=nn.Flatten(),
        blocks=(ImageBlock, MaskBlock(["sky", "sea"])),
        get_y=lambda picture: picture[..., 0] % 2,
        pictures=ALIKE,
    )


def shaken(learn):
    """The learner with other numbers in its norm layers than new ones have."""
    with torch.no_grad():
        learn.model.train()
        learn.model(torch.randn(4, 3, 32, 32))
    return learn


def assert_same(learn, again):
    ours, theirs = (each.get_preds(dl=each.dls.test_dl(ALIKE[:3]))[0] for each in (learn, again))
    assert torch.equal(ours, theirs)


def advised(text):
    """The call in `load_learner(f, model=…)`."""
    return re.search(r"load_learner\(f, model=(.*?)\)`", text)[1]


CASES = {
    "a network": {"arch": Plain},
    "a network made": {"arch": Plain()},
    "a head": {"arch": TINY, "custom_head": head_of(64)},
    "a head of a name": {"arch": "torchvision/squeezenet1_1", "custom_head": head_of(512)},
    "a cut": {"arch": xresnet18, "cut": lambda model: model[:-5]},
}
MEANT = {
    "arch=Plain(…)": "arch=Plain()",
    "custom_head=Sequential(…)": "custom_head=head_of(NF)",
    "arch=xresnet18(…)": "arch=TINY()",
    "cut=lambda …": "cut=lambda model: model[:-5]",
}


@pytest.mark.parametrize("case", CASES)
def test_the_advice_for_a_model_without_a_recipe_works_to_the_letter(tmp_path, capsys, case):
    given = copy.deepcopy(CASES[case])
    learn = shaken(vision_learner(images(tmp_path), pretrained=False, **given))
    capsys.readouterr()
    f = learn.export()
    said = capsys.readouterr().out
    with pytest.raises(ValueError, match="give one as it was") as error:
        load_learner(f)
    assert advised(said) == advised(str(error.value))
    call = advised(said)
    for shown, meant in MEANT.items():
        call = call.replace(shown, meant)
    if "custom_head" in given:
        call = call.replace("NF", str(given["custom_head"][-1].in_features))
    assert_same(learn, load_learner(f, model=eval(call, dict(NAMES))))


def test_a_network_comes_back_once_it_is_registered_as_the_advice_says(tmp_path, capsys):
    dls = images(tmp_path)
    vision_learner(dls, Plain, pretrained=False).export()
    said = capsys.readouterr().out
    name = re.search(r'`@register_model\("(\w+)"\)` above `class Plain`', said)[1]

    @register_model(f"export_models/{name}")
    class Net(Plain):
        pass

    for arch in (Net, Net()):
        learn = shaken(vision_learner(dls, arch, pretrained=False))
        assert_same(learn, load_learner(learn.export()))


def test_a_head_comes_back_once_it_is_made_as_the_advice_says(tmp_path, capsys):
    dls = images(tmp_path)
    vision_learner(dls, TINY, pretrained=False, custom_head=head_of(64)).export()
    assert "make `custom_head` in a function of yours below" in capsys.readouterr().out
    head = registered_head(64, 2)
    learn = shaken(vision_learner(dls, TINY, pretrained=False, custom_head=head))
    assert learn.model[1] is head
    assert_same(learn, load_learner(learn.export()))


def test_a_model_that_was_changed_is_given_as_it_is_now(tmp_path, capsys):
    learn = vision_learner(images(tmp_path), "torchvision/squeezenet1_1", pretrained=False)
    learn.model[1].append(nn.Hardtanh())
    f = learn.export()
    said = capsys.readouterr().out
    call = re.search(r"`model = (.*?)`, change it in the same way", said)[1]
    model = eval(call, dict(NAMES))
    model[1].append(nn.Hardtanh())
    assert_same(learn, load_learner(f, model=model))


NAMES = {
    "create_vision_model": create_vision_model,
    "create_unet_model": create_unet_model,
    "Plain": Plain,
    "TINY": TINY,
    "head_of": head_of,
}


UNETS = [
    {},
    {"blur": True, "self_attention": True, "bottle": True},
    {"blur": True, "blur_final": False, "last_cross": False, "y_range": (-1, 3)},
    {"act_cls": Mish, "norm_type": "BatchZero", "init": None},
    {"act_cls": "LeakyReLU", "norm_type": "Weight", "init": nn.init.xavier_uniform_},
]


@pytest.mark.parametrize("options", UNETS, ids=told)
@pytest.mark.parametrize("arch", [TINY, "torchvision/squeezenet1_1"], ids=["ours", "torchvision"])
def test_a_unet_comes_back_with_all_its_options(tmp_path, arch, options):
    learn = shaken(unet_learner(masks(tmp_path), arch, pretrained=False, **options))
    again = load_learner(learn.export())
    assert_same(learn, again)
    assert torch.equal(learn.predict(ALIKE[0])[1], again.predict(ALIKE[0])[1])


@pytest.mark.parametrize("arch", ["resnet18", "efficientnet_b0"])
def test_a_unet_on_an_encoder_of_timm_comes_back(tmp_path, arch):
    pytest.importorskip("timm", reason="`timm` is not installed")
    learn = shaken(unet_learner(masks(tmp_path), arch, pretrained=False, self_attention=True))
    assert_same(learn, load_learner(learn.export()))


def test_a_unet_on_a_network_of_ones_own_is_given_as_the_advice_says(tmp_path, capsys):
    learn = shaken(unet_learner(masks(tmp_path), Plain, pretrained=False, blur=True))
    f = learn.export()
    call = advised(capsys.readouterr().out).replace("Plain(…)", "Plain()")
    assert_same(learn, load_learner(f, model=eval(call, dict(NAMES))))


def test_tensors_alone_are_normalized_as_those_of_plain_loaders_were(tmp_path):
    x, y = torch.rand(12, 3, 32, 32), torch.arange(12) % 2
    dls = DataLoaders(*[DataLoader(TensorDataset(x, y), 4)] * 2, device="cpu", c=2)
    learn = shaken(vision_learner(dls, TINY, pretrained=False))
    dls.kinds = ("image",)
    dls.batch_tfms = [Normalize.from_stats(*imagenet_stats)]
    expected, _ = learn.get_preds()
    for each in (learn, load_learner(learn.export())):
        preds, targs = each.get_preds(dl=DataLoader(x, 4))
        assert torch.equal(preds, expected) and targs is None
        torch.testing.assert_close(each.predict(x[5])[2], expected[5])
        found = torch.stack([row[2] for row in each.predict_batch(x)])
        torch.testing.assert_close(found, expected)


def test_a_learner_of_a_plain_sequence_is_given_as_the_advice_says(tmp_path, capsys):
    dls = images(tmp_path)
    learn = Learner(dls, head_of(3))
    f = learn.export()
    assert advised(capsys.readouterr().out) == "Sequential(…)"
    assert_same(learn, load_learner(f, model=head_of(3)))
