"""Learners for images: a network that knows images already, and a new head for one's own task."""

import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from learnlite import optim
from learnlite.data import DataLoaders
from learnlite.layers import Activation, NormType
from learnlite.learner import Learner
from learnlite.seeds import kept_rng
from learnlite.types import LossFunc, OptFunc, Splitter
from learnlite.vision.models.arch import Arch
from learnlite.vision.models.body import Cut
from learnlite.vision.models.build import (
    Choice,
    Init,
    build_unet_model,
    build_vision_model,
    choose,
)
from learnlite.vision.models.groups import find_splitter
from learnlite.vision.suit import check_image, check_size, normalize_as, one_image


def vision_learner(
    dls: DataLoaders,
    arch: Arch,
    normalize: bool = True,
    n_out: int | None = None,
    pretrained: bool = True,
    weights: Any = None,
    loss_func: LossFunc | None = None,
    opt_func: OptFunc = optim.Adam,
    lr: float | slice | None = None,
    splitter: Splitter | None = None,
    cbs: Any = None,
    metrics: Any = None,
    path: str | Path | None = None,
    model_dir: str | Path = "models",
    wd: float | None = None,
    wd_bn_bias: bool = False,
    train_bn: bool = True,
    moms: tuple[float, float, float] = (0.95, 0.85, 0.95),
    cut: Cut = None,
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
    n_in: int = 3,
    *,
    seed: int | None = None,
) -> Learner:
    """A learner of a pretrained network with a new head: `vision_learner(dls, resnet34)`.

    - `arch`: a function of `torchvision.models` or of ours, a `partial` of one, an `nn.Module`; or
      a name: of timm ("convnext_tiny"), of ours ("xresnet18"), or "torchvision/resnet34".
    - `pretrained`: start from weights, with the body frozen until `unfreeze` or `fine_tune`.
      `weights` names others than the best: a member of torchvision's enum or its name, a tag of
      timm's, a file, an address, a dict of tensors.
    - `normalize`: give the images the mean and deviation that the weights want.
    - `n_out`: outputs of the model; found from the data if not given.
    - `splitter`: layer groups; early layers, later layers and head if not given.
    - the rest is as in `Learner`, `create_body` (`cut`, `n_in`) and `create_head`.

    >>> from learnlite.vision.models.xresnet import xresnet18
    >>> batches = [(torch.rand(4, 3, 64, 64), torch.arange(4) % 2)] * 2
    >>> dls = DataLoaders(batches, batches, device="cpu", c=2)
    >>> learn = vision_learner(dls, xresnet18, pretrained=False)
    >>> [len(group) for group in learn.layer_groups]
    [36, 30, 6]
    """
    n_out = _outputs(dls, n_out)
    choice = choose(arch, pretrained, weights)
    image = _checked_image(dls, n_in)
    with _seeded(seed):
        model = build_vision_model(
            choice,
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
    if image is not None:
        size = choice.pretrained.size if choice.pretrained else None
        check_size(model, image, choice.found.name, size)
    _say_start(dls, choice, normalize, pretrained, n_in, image)
    learn = Learner(
        dls,
        model,
        loss_func,
        opt_func,
        lr,
        splitter=find_splitter(model, n_in, _side(image)) if splitter is None else splitter,
        cbs=cbs,
        metrics=metrics,
        path=path,
        model_dir=model_dir,
        wd=wd,
        wd_bn_bias=wd_bn_bias,
        train_bn=train_bn,
        moms=moms,
        seed=seed,
    )
    if pretrained:
        learn.freeze()
    return learn


def unet_learner(
    dls: DataLoaders,
    arch: Arch,
    normalize: bool = True,
    n_out: int | None = None,
    pretrained: bool = True,
    weights: Any = None,
    loss_func: LossFunc | None = None,
    opt_func: OptFunc = optim.Adam,
    lr: float | slice | None = None,
    splitter: Splitter | None = None,
    cbs: Any = None,
    metrics: Any = None,
    path: str | Path | None = None,
    model_dir: str | Path = "models",
    wd: float | None = None,
    wd_bn_bias: bool = False,
    train_bn: bool = True,
    moms: tuple[float, float, float] = (0.95, 0.85, 0.95),
    cut: Cut = None,
    n_in: int = 3,
    *,
    blur: bool = False,
    blur_final: bool = True,
    self_attention: bool = False,
    y_range: tuple[float, float] | None = None,
    last_cross: bool = True,
    bottle: bool = False,
    act_cls: str | Activation = nn.ReLU,
    init: Init | None = nn.init.kaiming_normal_,
    norm_type: str | NormType | None = None,
    seed: int | None = None,
) -> Learner:
    """A learner that gives each pixel its class or value: a U-Net on the body of `arch`.

    The first arguments are those of `vision_learner`; those from `blur` on are of `DynamicUnet`.

    >>> from learnlite.vision.models.xresnet import xresnet18
    >>> batches = [(torch.rand(2, 3, 32, 32), torch.zeros(2, 32, 32, dtype=torch.long))] * 2
    >>> dls = DataLoaders(batches, batches, device="cpu", c=2)
    >>> learn = unet_learner(dls, xresnet18, pretrained=False)
    >>> learn.model(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 2, 32, 32])
    """
    n_out = _outputs(dls, n_out)
    choice = choose(arch, pretrained, weights)
    image = _checked_image(dls, n_in)
    if image is None:
        raise ValueError(
            "a U-Net is built for the size of the images, but a batch of `dls` begins with no "
            "images; the first input must be (batch, channels, height, width)"
        )
    with _seeded(seed):
        model = build_unet_model(
            choice,
            n_out,
            [int(side) for side in image.shape[-2:]],
            cut=cut,
            n_in=n_in,
            blur=blur,
            blur_final=blur_final,
            self_attention=self_attention,
            y_range=y_range,
            last_cross=last_cross,
            bottle=bottle,
            act_cls=act_cls,
            init=init,
            norm_type=norm_type,
        )
    _say_start(dls, choice, normalize, pretrained, n_in, image)
    learn = Learner(
        dls,
        model,
        loss_func,
        opt_func,
        lr,
        splitter=find_splitter(model, n_in, _side(image)) if splitter is None else splitter,
        cbs=cbs,
        metrics=metrics,
        path=path,
        model_dir=model_dir,
        wd=wd,
        wd_bn_bias=wd_bn_bias,
        train_bn=train_bn,
        moms=moms,
        seed=seed,
    )
    if pretrained:
        learn.freeze()
    return learn


def cnn_learner(*args: Any, **kwargs: Any) -> Learner:
    """The old name of `vision_learner`, which it warns of."""
    warnings.warn("`cnn_learner` is now `vision_learner`", FutureWarning, stacklevel=2)
    made: Callable[..., Learner] = vision_learner
    return made(*args, **kwargs)


def _outputs(dls: DataLoaders, n_out: int | None) -> int:
    if not isinstance(dls, DataLoaders):
        raise TypeError(
            f"the data comes first, as `DataLoaders`: `vision_learner(dls, resnet34)`; got a "
            f"{type(dls).__name__}"
        )
    n_out = dls.c if n_out is None else n_out
    if not n_out:
        raise ValueError(
            "how many outputs the model needs cannot be found from the data; pass `n_out=…`: the "
            "number of classes, or of numbers to predict (or set `dls.c`)"
        )
    return n_out


def _checked_image(dls: DataLoaders, n_in: int) -> Tensor | None:
    image = one_image(dls)
    if image is not None:
        check_image(image, n_in)
    return image


def _say_start(
    dls: DataLoaders,
    choice: Choice,
    normalize: bool,
    pretrained: bool,
    n_in: int,
    image: Tensor | None,
) -> None:
    """Say where the network starts from, and let the images be as its weights want them."""
    name, weights = choice.found.name, choice.pretrained
    if weights is None:
        if pretrained:
            print(
                f"`{name}` counts as pretrained, so its body is frozen at first; "
                "`pretrained=False` trains all of it"
            )
        return
    said = ""
    if normalize and weights.stats is not None:
        said = f"; {normalize_as(dls, weights.stats, weights.label, n_in)}"
    size = f", made for images of {weights.size} pixels" if weights.size else ""
    print(f"{name} starts from the weights {weights.label}{size}{said}")
    if weights.size and image is not None and 2 * min(image.shape[-2:]) < weights.size:
        print(
            f"the images have {image.shape[-2]} x {image.shape[-1]} pixels, less than half of "
            "that; larger ones may be told apart better"
        )


def _side(image: Tensor | None) -> int | None:
    if image is None or image.shape[-1] != image.shape[-2]:
        return None
    return int(image.shape[-1]) if image.shape[-1] >= 64 else None


@contextmanager
def _seeded(seed: int | None) -> Generator[None]:
    """With the random numbers of `seed` for the new weights, if there is one."""
    if seed is None:
        yield
        return
    with kept_rng():
        torch.manual_seed(seed)
        yield
