import copy

import numpy as np
import pytest
import torch
from torch import nn

from learnlite.recipe import (
    Recipe,
    build,
    builder,
    recipe_of,
    register_model,
    registered_models,
    why_no_recipe,
)


@builder
def recipe_test_net(n_out: int, sizes: tuple[int, ...] = (4,), act: type = nn.ReLU) -> nn.Module:
    layers: list[nn.Module] = []
    for size in sizes:
        layers += [nn.LazyLinear(size), act()]
    return nn.Sequential(*layers, nn.LazyLinear(n_out))


@builder("recipe_test/rest", fixed={"pretrained": False})
def make_rest(n_out: int, pretrained: bool = True, **settings: bool) -> nn.Module:
    layer = nn.Linear(2, n_out, **settings)
    layer.register_buffer("trained", torch.tensor(pretrained))
    return layer


@register_model("recipe_test/class")
class Net(nn.Module):
    def __init__(self, width: int, bias: bool = True) -> None:
        super().__init__()
        self.layer = nn.Linear(2, width, bias=bias)


class Wider(Net):
    def __init__(self) -> None:
        super().__init__(9)


def test_a_recipe_builds_the_same_model_again() -> None:
    model = recipe_test_net(3, sizes=(8, 4))
    again = build(recipe_of(model))
    assert repr(again) == repr(model)
    assert recipe_of(again) == recipe_of(model)
    assert recipe_of(model) == Recipe("recipe_test_net", {"n_out": 3, "sizes": [8, 4]})


def test_a_recipe_is_kept_by_copies_and_seen_in_a_compiled_model() -> None:
    model = Net(3)
    assert recipe_of(copy.deepcopy(model)) == recipe_of(model) is not None
    assert recipe_of(torch.compile(model)) == recipe_of(model)


def test_recording_changes_neither_weights_nor_names() -> None:
    assert list(Net(3).state_dict()) == ["layer.weight", "layer.bias"]
    assert repr(Net(3)).startswith("Net(")


def test_further_keywords_are_arguments_like_others() -> None:
    recipe = recipe_of(make_rest(3, bias=False))
    assert recipe.args == {"n_out": 3, "pretrained": False, "bias": False}
    assert build(recipe).bias is None


def test_fixed_arguments_hold_whatever_a_recipe_says() -> None:
    assert make_rest(2).trained
    assert not build(recipe_of(make_rest(2))).trained
    assert not build(Recipe("recipe_test/rest", {"n_out": 2})).trained
    with pytest.raises(ValueError, match="has `pretrained=False` and no other"):
        build(Recipe("recipe_test/rest", {"n_out": 2, "pretrained": True}))


def test_numbers_of_numpy_are_plain() -> None:
    args = recipe_of(Net(np.int64(3), np.True_.item())).args
    assert args == {"width": 3, "bias": True} and type(args["width"]) is int


def test_a_subclass_does_not_pass_for_its_base() -> None:
    assert recipe_of(Wider()) is None
    assert why_no_recipe(Wider()) == "no registered function has built this `Wider`"


def test_an_argument_that_is_not_plain_leaves_no_recipe_and_is_named() -> None:
    model = recipe_test_net(3, act=nn.GELU)
    assert recipe_of(model) is None
    assert why_no_recipe(model) == (
        "`recipe_test_net` was called with `act=GELU`, which is no plain value"
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1: 2}, b"x", {3}, nn.ReLU()])
def test_values_that_json_cannot_hold_are_not_plain(value: object) -> None:
    with pytest.raises(TypeError, match="which is no plain value"):
        build(Recipe("recipe_test/class", {"width": value}))


@pytest.mark.parametrize("name", ["eval", "os.system", "torch.nn.Linear", "", "x" * 10_000])
def test_only_registered_names_are_called(name: str) -> None:
    with pytest.raises(ValueError, match="no model is registered as `") as caught:
        build(Recipe(name, {}))
    assert len(str(caught.value)) < 200


def test_a_misspelled_name_is_told() -> None:
    with pytest.raises(ValueError, match="did you mean `recipe_test/class`?"):
        build(Recipe("recipe_test/clas", {"width": 1}))


def test_arguments_that_do_not_fit_are_told_before_anything_is_built() -> None:
    with pytest.raises(ValueError, match="does not take the recipe's arguments: .*'wide'"):
        build(Recipe("recipe_test/class", {"width": 3, "wide": 3}))


def test_another_model_under_a_name_that_is_taken_is_refused() -> None:
    with pytest.raises(ValueError, match="`recipe_test/class` is registered already, for `.*Net`"):
        register_model("recipe_test/class")(nn.Linear)


def test_a_cell_that_runs_again_registers_again() -> None:
    for bias in (True, False):

        @register_model("recipe_test/cell")
        def cell() -> nn.Module:
            return nn.Linear(1, 1, bias=bias)  # noqa: B023

        assert (build(Recipe("recipe_test/cell")).bias is not None) is bias
    assert registered_models().count("recipe_test/cell") == 1


def test_arguments_without_a_name_are_refused_at_registration() -> None:
    with pytest.raises(TypeError, match="but `sizes` of `several` has no name in a call"):

        @builder
        def several(*sizes: int) -> nn.Module: ...


def test_a_decorator_without_a_name_says_how_to_write_it() -> None:
    with pytest.raises(TypeError, match=r'`@register_model\("my_net"\)`'):
        register_model(Net)
