"""Networks for a task: an architecture's body, with or without its weights, and a head of ours."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import nn

from learnlite.layers import ACTIVATIONS, NORM_TYPES, apply_init
from learnlite.layers.activations import name_of, named
from learnlite.recipe import Recipe, build, builder, recipe_of
from learnlite.types import check_number
from learnlite.vision.models.arch import Arch, Architecture, find_architecture
from learnlite.vision.models.body import Cut, adapt_input, create_body, feature_shape
from learnlite.vision.models.head import check_range, create_head
from learnlite.vision.models.unet import DynamicUnet
from learnlite.vision.models.weights import Pretrained, find_weights, load_into

Init = Callable[[torch.Tensor], Any]


@dataclass(frozen=True)
class Choice:
    """An architecture, and the weights to start from; None for new ones, or those it has."""

    found: Architecture
    pretrained: Pretrained | None = None

    def body(self, n_in: int = 3, cut: Cut = None) -> tuple[Any, nn.Module]:
        """How a recipe names the architecture, and its body, with the weights to start from."""
        model = self.found.make()
        spec = self.found.spec(model)
        body = create_body(model, cut=cut)
        if self.pretrained is not None and self.pretrained.load is not None:
            load_into(model, body, self.pretrained.load(), self.pretrained.label)
        return spec, adapt_input(body, n_in, pretrained=self.pretrained is not None)

    def encoder(self, n_in: int = 3, cut: Cut = None) -> tuple[Any, nn.Module]:
        """As `body`, but timm's networks give all their maps, not the last alone."""
        if self.found.source != "timm" or cut is not None:
            return self.body(n_in, cut)
        model = self.found.make(features_only=True)
        if self.pretrained is not None and self.pretrained.load is not None:
            load_into(model, model, self.pretrained.load(), self.pretrained.label)
        adapted = adapt_input(model, n_in, pretrained=self.pretrained is not None)
        return self.found.spec(model), adapted


def choose(arch: Arch, pretrained: bool = True, weights: Any = None) -> Choice:
    """The architecture and the weights that these arguments name; nothing is loaded yet.

    >>> choose("torchvision/resnet18").pretrained.label
    'IMAGENET1K_V1'
    """
    if isinstance(pretrained, str):
        raise TypeError(f"`pretrained` is True or False; name weights by `weights={pretrained!r}`")
    found = find_architecture(arch)
    chosen = find_weights(found, bool(pretrained), weights)
    if chosen is not None:
        found = replace(found, options=chosen.options | found.options)
    return Choice(found, chosen)


def create_vision_model(
    arch: Arch,
    n_out: int,
    pretrained: bool = True,
    weights: Any = None,
    cut: Cut = None,
    n_in: int = 3,
    init: Init | None = None,
    custom_head: nn.Module | None = None,
    concat_pool: bool = True,
    pool: bool = True,
    lin_ftrs: Sequence[int] | None = None,
    ps: float | Sequence[float] = 0.5,
    first_bn: bool = True,
    bn_final: bool = False,
    lin_first: bool = False,
    y_range: tuple[float, float] | None = None,
) -> nn.Sequential:
    """The body of `arch`, and a head for `n_out` outputs: `nn.Sequential(body, head)`.

    `arch` is a function of `torchvision.models`, one of our own, a name (of timm, or
    "torchvision/resnet34"), or any network; `weights` as `vision_learner` says. The head is
    `create_head`'s, or `custom_head`; `init` fills it, if given.

    >>> model = create_vision_model("torchvision/squeezenet1_1", 2, pretrained=False)
    >>> model(torch.zeros(4, 3, 64, 64)).shape
    torch.Size([4, 2])
    """
    return build_vision_model(
        choose(arch, pretrained, weights),
        n_out,
        cut=cut,
        n_in=n_in,
        init=init,
        custom_head=custom_head,
        concat_pool=concat_pool,
        pool=pool,
        lin_ftrs=lin_ftrs,
        ps=ps,
        first_bn=first_bn,
        bn_final=bn_final,
        lin_first=lin_first,
        y_range=y_range,
    )


def build_vision_model(
    choice: Choice,
    n_out: int,
    *,
    cut: Cut = None,
    n_in: int = 3,
    init: Init | None = None,
    **head: Any,
) -> nn.Sequential:
    """As `create_vision_model`, of an architecture and weights that were chosen already."""
    _check_n_out(n_out)
    check_range(head.get("y_range"))
    given = head.get("custom_head")
    _check_head(given)
    recipe = None if given is None else recipe_of(given)
    if recipe is not None:
        head |= {"custom_head": {"name": recipe.name, "args": recipe.args}, "head": given}
    spec, body = choice.body(n_in, cut)
    return _vision_model(arch=spec, n_out=n_out, n_in=n_in, cut=cut, body=body, init=init, **head)


def create_unet_model(
    arch: Arch,
    n_out: int,
    img_size: int | Sequence[int],
    pretrained: bool = True,
    weights: Any = None,
    cut: Cut = None,
    n_in: int = 3,
    init: Init | None = nn.init.kaiming_normal_,
    **kwargs: Any,
) -> DynamicUnet:
    """A U-Net on the body of `arch`, for images of `img_size`; `kwargs` are of `DynamicUnet`.

    >>> unet = create_unet_model("torchvision/squeezenet1_1", 2, 64, pretrained=False)
    >>> unet(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 2, 64, 64])
    """
    return build_unet_model(
        choose(arch, pretrained, weights), n_out, img_size, cut=cut, n_in=n_in, init=init, **kwargs
    )


def build_unet_model(
    choice: Choice,
    n_out: int,
    img_size: int | Sequence[int],
    *,
    cut: Cut = None,
    n_in: int = 3,
    **kwargs: Any,
) -> DynamicUnet:
    """As `create_unet_model`, of an architecture and weights that were chosen already."""
    _check_n_out(n_out)
    check_range(kwargs.get("y_range"))
    for option, table in _TABLES.items():
        if option in kwargs:
            kwargs[option] = name_of(kwargs[option], table)
    spec, body = choice.encoder(n_in, cut)
    size = img_size if isinstance(img_size, int) else list(img_size)
    return _unet_model(
        arch=spec, n_out=n_out, img_size=size, n_in=n_in, cut=cut, body=body, **kwargs
    )


def add_head(
    body: nn.Module,
    nf: int,
    n_out: int,
    init: Init | None = None,
    head: nn.Module | None = None,
    concat_pool: bool = True,
    pool: bool = True,
    lin_ftrs: Sequence[int] | None = None,
    ps: float | Sequence[float] = 0.5,
    first_bn: bool = True,
    bn_final: bool = False,
    lin_first: bool = False,
    y_range: tuple[float, float] | None = None,
) -> nn.Sequential:
    """`nn.Sequential(body, head)`, with the head of `create_head` if none is given.

    >>> add_head(nn.Conv2d(3, 8, 3), 8, 2)(torch.zeros(4, 3, 9, 9)).shape
    torch.Size([4, 2])
    """
    if head is None:
        head = create_head(
            nf,
            n_out,
            lin_ftrs,
            ps,
            pool=pool,
            concat_pool=concat_pool,
            first_bn=first_bn,
            bn_final=bn_final,
            lin_first=lin_first,
            y_range=y_range,
        )
    if init is not None:
        apply_init(head, init)
    return nn.Sequential(body, head)


@builder(
    "vision_model",
    fixed={"body": None, "head": None, "init": None},
    call="create_vision_model({}, pretrained=False)",
)
def _vision_model(
    arch: Any,
    n_out: int,
    n_in: int = 3,
    cut: Any = None,
    custom_head: Any = None,
    concat_pool: bool = True,
    pool: bool = True,
    lin_ftrs: Any = None,
    ps: Any = 0.5,
    first_bn: bool = True,
    bn_final: bool = False,
    lin_first: bool = False,
    y_range: Any = None,
    body: Any = None,
    head: Any = None,
    init: Any = None,
) -> nn.Sequential:
    """What a recipe builds: all but the weights; `body` and `head` are those there already."""
    if body is None:
        _, body = Choice(find_architecture(arch)).body(n_in, cut)
    if head is None and isinstance(custom_head, dict):
        head = _built_head(cast("dict[str, Any]", custom_head))
    head = custom_head if head is None else head
    shape = feature_shape(body, n_in) if head is None else (1,)
    return add_head(
        body,
        shape[0],
        n_out,
        init=init,
        head=head,
        concat_pool=concat_pool,
        pool=pool and len(shape) == 3,
        lin_ftrs=lin_ftrs,
        ps=ps,
        first_bn=first_bn,
        bn_final=bn_final,
        lin_first=lin_first,
        y_range=y_range,
    )


@builder(
    "unet_model",
    fixed={"body": None, "init": None},
    call="create_unet_model({}, pretrained=False)",
)
def _unet_model(
    arch: Any,
    n_out: int,
    img_size: Any,
    n_in: int = 3,
    cut: Any = None,
    body: Any = None,
    init: Any = None,
    **kwargs: Any,
) -> DynamicUnet:
    if body is None:
        _, body = Choice(find_architecture(arch)).encoder(n_in, cut)
    options = {
        name: named(value, _TABLES[name], name) if name in _TABLES else value
        for name, value in kwargs.items()
    }
    return DynamicUnet(body, n_out, img_size, init=init, **options)


_TABLES: dict[str, dict[str, Any]] = {"act_cls": ACTIVATIONS, "norm_type": NORM_TYPES}


def _built_head(told: dict[str, Any]) -> nn.Module:
    name, args = told.get("name"), told.get("args")
    if set(told) != {"name", "args"} or not isinstance(name, str) or not isinstance(args, dict):
        raise ValueError(f"a head is written as its `name` and its `args`, got {str(told)[:80]}")
    return build(Recipe(name, cast("dict[str, Any]", args)))


def _check_head(head: Any) -> None:
    if head is not None and not isinstance(head, nn.Module):
        made = f"; call it: `{head.__name__}(…)`" if isinstance(head, type) else ""
        raise TypeError(f"`custom_head` must be an instance of `nn.Module`, got {head!r}{made}")


def _check_n_out(n_out: Any) -> None:
    check_number("n_out", n_out, whole=True)
    if n_out < 1:
        raise ValueError(f"`n_out` must be at least 1, got {n_out}")
