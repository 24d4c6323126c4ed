"""The head that `create_head` makes."""

import pytest
import torch
from torch import nn

from learnlite import DataLoaders
from learnlite.layers import AdaptiveConcatPool2d, SigmoidRange
from learnlite.vision.learner import unet_learner, vision_learner
from learnlite.vision.models.head import create_head
from learnlite.vision.models.xresnet import xresnet18


def linears(head):
    return [(m.in_features, m.out_features) for m in head if isinstance(m, nn.Linear)]


def dropouts(head):
    return [m.p for m in head if isinstance(m, nn.Dropout)]


def test_the_head_of_the_defaults_has_two_linear_blocks_with_half_the_dropout_in_the_first():
    head = create_head(64, 3)
    assert isinstance(head[0], AdaptiveConcatPool2d)
    assert linears(head) == [(128, 512), (512, 3)]  # two pools side by side: twice the channels
    assert dropouts(head) == [0.25, 0.5]
    assert head(torch.randn(2, 64, 5, 7)).shape == (2, 3)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"concat_pool": False}, [(64, 512), (512, 3)]),
        ({"lin_ftrs": []}, [(128, 3)]),
        ({"lin_ftrs": [32, 16]}, [(128, 32), (32, 16), (16, 3)]),
        ({"lin_ftrs": [32], "lin_first": True}, [(128, 32), (32, 3)]),
    ],
)
def test_the_widths_follow_the_settings(settings, expected):
    head = create_head(64, 3, **settings)
    assert linears(head) == expected
    assert head(torch.randn(2, 64, 4, 4)).shape == (2, 3)


def test_without_pool_the_head_takes_vectors():
    assert create_head(64, 3, pool=False)(torch.randn(2, 64)).shape == (2, 3)


def test_a_list_of_dropouts_gives_each_linear_layer_its_own_and_is_left_as_it_was():
    ps = [0.1, 0.2]
    assert dropouts(create_head(8, 3, ps=ps)) == [0.1, 0.2]
    assert dropouts(create_head(8, 3, ps=ps, lin_first=True)) == [0.1, 0.2]
    assert ps == [0.1, 0.2]


def test_no_dropout_makes_no_layer():
    assert dropouts(create_head(8, 3, ps=0)) == []


def test_batch_norm_stands_where_it_was_asked_for():
    def n_norms(**settings):
        return sum(isinstance(m, nn.BatchNorm1d) for m in create_head(8, 3, **settings))

    assert [n_norms(), n_norms(first_bn=False), n_norms(bn_final=True)] == [2, 1, 3]


def test_y_range_bounds_the_outputs():
    head = create_head(8, 1, y_range=(2, 5)).eval()
    assert isinstance(head[-1], SigmoidRange)
    pred = head(1000 * torch.randn(50, 8, 2, 2))
    assert 2 <= pred.min() < pred.max() <= 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ps": [0.1, 0.2, 0.3]}, r"`ps` has 3 values, but the head has 2 linear layers"),
        ({"ps": 1.5}, r"`ps` are shares of features to drop"),
        ({"lin_ftrs": 512}, r"`lin_ftrs` is a list"),
        ({"n_out": 0}, r"`n_out` must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_built_is_said(settings, message):
    with pytest.raises(ValueError, match=message):
        create_head(**{"nf": 8, "n_out": 2} | settings)


def images(size=32):
    batch = (torch.rand(4, 3, size, size), torch.arange(4) % 2)
    return DataLoaders([batch], [batch], device="cpu", c=2)


def mlp(n_in):
    return nn.Sequential(nn.Flatten(), nn.Linear(n_in, 8), nn.ReLU(), nn.Linear(8, 2))


def pooled(nf):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(nf, 2))


@pytest.mark.parametrize(
    ("arch", "head", "message"),
    [
        (xresnet18, pooled(100), r"`custom_head` does not take .* `xresnet18` gives .*512 maps of "
         r"1 x 1 \(RuntimeError: .*\); give one that does, as `create_head\(512, n_out\)`"),
        (mlp(3 * 32 * 32), nn.Linear(9, 2), r"8 features .*`create_head\(8, n_out, pool=False\)`"),
    ],
)  # fmt: skip
def test_a_head_of_another_size_is_told_from_images_of_another_size(arch, head, message):
    with pytest.raises(ValueError, match=message):
        vision_learner(images(), arch, pretrained=False, custom_head=head)


def test_the_advice_for_a_head_works():
    head = create_head(512, 2)
    learn = vision_learner(images(), xresnet18, pretrained=False, custom_head=head)
    vector = create_head(8, 2, pool=False)
    also = vision_learner(images(), mlp(3 * 32 * 32), pretrained=False, custom_head=vector)
    for each in (learn, also):
        assert each.get_preds()[0].shape == (4, 2)


def test_a_network_of_vectors_is_told_which_size_it_lacks():
    with pytest.raises(ValueError, match=r"no image went through .*1x49152 and 100x8.*`Learner\("):
        vision_learner(images(), mlp(100), pretrained=False)
    with pytest.raises(ValueError, match=r"32 x 32 pixels do not .*1x3072 and 12288x8.*resize"):
        vision_learner(images(), mlp(3 * 64 * 64), pretrained=False)


def test_a_class_instead_of_a_head_is_told():
    with pytest.raises(TypeError, match=r"`custom_head` must be an instance .*call it: `Linear\("):
        vision_learner(images(), xresnet18, pretrained=False, custom_head=nn.Linear)


@pytest.mark.parametrize("y_range", [5, (1,), (2, 1), (1, 1), "ab", (0, None), (0, float("inf"))])
def test_a_range_that_is_none_is_told_before_anything_is_made(y_range):
    def never():
        raise AssertionError("made")

    with pytest.raises(
        ValueError, match=r"`y_range` must be a lower and an upper bound, as \(0, 5"
    ):
        create_head(8, 2, y_range=y_range)
    for make in (vision_learner, unet_learner):
        with pytest.raises(ValueError, match=r"`y_range` must be a lower and an upper bound"):
            make(images(), never, pretrained=False, y_range=y_range)


def test_a_head_finds_its_sizes_from_the_image():
    head = nn.Sequential(nn.Flatten(), nn.LazyLinear(2))
    learn = vision_learner(images(64), xresnet18, pretrained=False, custom_head=head)
    assert head[1].in_features == 512 * 2 * 2
    with learn.no_logging():
        learn.fit(1, 1e-3)
