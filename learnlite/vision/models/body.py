"""The part of a network that makes feature maps of images: found from the network itself.

A network for images has a body, whose last output is still a map (batch, channels, height, width),
and a head that makes a vector of it, and classes of that. Where the one ends and the other begins
is seen by sending a small image through: no table of architectures has to know it.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from torchvision.ops import Permute

from learnlite.vision.models.flow import (
    NoSizeFits,
    NotTraced,
    first_line,
    flow_of,
    last_map,
    last_vector,
    output_shape,
)

Cut = int | Callable[[nn.Module], nn.Module] | None


def create_body(
    model: nn.Module,
    n_in: int = 3,
    pretrained: bool = True,
    cut: Cut = None,
    *,
    size: int | None = None,
) -> nn.Module:
    """The model without its classifier: what gives the last map of features, on any input size.

    Networks that make tokens or vectors instead of maps (vision transformers) are cut before their
    classifier, and give one vector an image. `cut` overrides: a number of children to keep, or a
    function of the model. `n_in` adapts the first convolution. `size` is that of the images,
    if the model takes no others.

    >>> from torchvision.models import resnet18
    >>> body = create_body(resnet18())
    >>> [name for name, _ in body.named_children()][-2:], body(torch.zeros(1, 3, 64, 64)).shape
    (['layer3', 'layer4'], torch.Size([1, 512, 2, 2]))
    """
    body = _cut_at(model, cut) if cut is not None else _found_body(model, size)
    return adapt_input(body, n_in, pretrained=pretrained)


def adapt_input(model: nn.Module, n_in: int, *, pretrained: bool = True) -> nn.Module:
    """The model with a first convolution that takes `n_in` channels, in place.

    The pretrained weights of three channels become those of one by their sum; of two, the first two
    half as large again; further channels start at zero.

    >>> from torchvision.models import resnet18
    >>> adapt_input(resnet18(), 1).conv1
    Conv2d(1, 64, kernel_size=(7, 7), stride=(2, 2), padding=(3, 3), bias=False)
    """
    if n_in < 1:
        raise ValueError(f"`n_in` counts the channels of the images, so at least 1; got {n_in}")
    convs = (each for each in model.named_modules() if isinstance(each[1], nn.Conv2d))
    name, first = next(convs, ("", None))
    if n_in == 3 or (isinstance(first, nn.Conv2d) and first.in_channels == n_in):
        return model
    if not isinstance(first, nn.Conv2d) or first.in_channels != 3 or first.groups != 1:
        what = "no `nn.Conv2d`" if first is None else f"`{first}`"
        raise ValueError(
            f"`n_in={n_in}` adapts a first convolution of 3 channels, but the model begins with "
            f"{what}; build the model for {n_in} channels yourself"
        )
    conv = _conv_like(first, n_in)
    if pretrained:
        with torch.no_grad():
            conv.weight.copy_(_spread(first.weight, n_in))
            if conv.bias is not None and first.bias is not None:
                conv.bias.copy_(first.bias)
    if not name:  # the model is one convolution
        return conv
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, conv)
    return model


def num_features_model(model: nn.Module, n_in: int = 3) -> int:
    """How many channels a body gives.

    >>> num_features_model(nn.Sequential(nn.Conv2d(3, 5, 3), nn.Conv2d(5, 8, 3)))
    8
    """
    return feature_shape(model, n_in)[0]


def feature_shape(model: nn.Module, n_in: int = 3, size: int | None = None) -> tuple[int, ...]:
    """What a body gives of one image: (channels, height, width), or (features,) of a vector.

    >>> feature_shape(nn.Conv2d(3, 8, 1), size=16)
    (8, 16, 16)
    """
    shape = output_shape(model, n_in, size)
    if shape is None or len(shape) not in (2, 4):
        given = "no tensor" if shape is None else f"a tensor of shape {shape} of one image"
        raise ValueError(
            f"a body gives (batch, channels, height, width) or (batch, features), but this "
            f"`{type(model).__name__}` gives {given}; pass `cut=`, a function of the model"
        )
    return shape[1:]


def _found_body(model: nn.Module, size: int | None) -> nn.Module:
    """The model up to its last map, or up to the vector that its classifier gets."""
    n_in = _channels_in(model)
    if all(hasattr(model, name) for name in ("reset_classifier", "forward_features")):
        return _timm_body(model, n_in, size)
    try:
        flow = flow_of(model, n_in, size)
    except NoSizeFits as error:
        cause = f" ({first_line(error.__cause__)})" if error.__cause__ else ""
        raise ValueError(
            f"no image went through this `{type(model).__name__}`, of any of the usual sizes"
            f"{cause}; if it takes images of another size and needs no head, train it by "
            "`Learner(dls, model)`; else pass `cut=`, a function of the model that gives its body"
        ) from error
    except NotTraced as error:
        raise ValueError(
            f"where the body of this `{type(model).__name__}` ends is not clear: {error}; pass "
            "`cut=`, a number of its children or a function of the model, as "
            "`cut=lambda model: model.features`"
        ) from error
    node = last_map(flow) or last_vector(flow)
    if node is None:
        raise ValueError(
            f"this `{type(model).__name__}` has no layer that makes a map of features, nor a "
            "linear layer that makes classes of a vector, so there is no body to keep; pass `cut=`"
        )
    return flow.until(node)


def _timm_body(model: Any, n_in: int, size: int | None) -> nn.Module:
    """A network of timm without classifier, which gives its map itself; else its pooled vector."""
    pooling = getattr(model, "global_pool", None)
    shape = _shape_with(model, "", n_in, size)
    if shape is None or len(shape) != 4:
        for pool in (pooling if isinstance(pooling, str) else None, "avg"):
            shape = _shape_with(model, pool, n_in, size)
            if shape is not None and len(shape) == 2:
                break
        return model
    if shape[1] == model.num_features or shape[1] != shape[2]:
        return model
    return nn.Sequential(model, Permute([0, 3, 1, 2]))  # its maps have their channels last


def _shape_with(model: Any, pool: str | None, n_in: int, size: int | None) -> Any:
    """What a network of timm gives without classifier and with this pooling; None if it cannot."""
    try:
        model.reset_classifier(0, pool) if pool is not None else model.reset_classifier(0)
        return output_shape(model, n_in, size)
    except (AssertionError, NotTraced, TypeError, ValueError):
        return None


def _cut_at(model: nn.Module, cut: Any) -> nn.Module:
    if isinstance(cut, int):
        children = dict(list(model.named_children())[:cut])
        if not children:
            raise ValueError(
                f"`cut={cut}` keeps none of the {len(list(model.children()))} children of "
                f"`{type(model).__name__}`"
            )
        body = nn.Sequential()
        for name, child in children.items():
            body.add_module(name, child)
        return body
    if not callable(cut):
        raise TypeError(f"`cut` is a number of children or a function of the model, got {cut!r}")
    body = cut(model)
    if not isinstance(body, nn.Module):
        raise TypeError(f"`cut` must give the body, an `nn.Module`, but it gave {body!r}")
    return body


def _channels_in(model: nn.Module) -> int:
    convs = (m for m in model.modules() if isinstance(m, nn.Conv2d))
    first = next(convs, None)
    return 3 if first is None else first.in_channels


def _conv_like(conv: nn.Conv2d, n_in: int) -> nn.Conv2d:
    return nn.Conv2d(
        n_in,
        conv.out_channels,
        cast(Any, conv.kernel_size),
        cast(Any, conv.stride),
        cast(Any, conv.padding),
        cast(Any, conv.dilation),
        conv.groups,
        conv.bias is not None,
        conv.padding_mode,
        conv.weight.device,
        conv.weight.dtype,
    )


def _spread(weight: torch.Tensor, n_in: int) -> torch.Tensor:
    """The weights (out, 3, height, width) for other channels, with about the same outputs."""
    if n_in == 1:
        return weight.sum(1, keepdim=True)
    if n_in == 2:
        return weight[:, :2] * 1.5
    zeros = weight.new_zeros(weight.shape[0], n_in - 3, *weight.shape[2:])
    return torch.cat([weight, zeros], 1)
