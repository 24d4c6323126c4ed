"""A U-Net on any encoder: each map on the way down joins the map of its size on the way up."""

from collections.abc import Iterator, Sequence
from typing import Any, cast, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnlite.layers import (
    ACTIVATIONS,
    NORM_TYPES,
    Activation,
    BatchNorm,
    ConvLayer,
    Init,
    MergeLayer,
    NormType,
    PixelShuffle_ICNR,
    ResBlock,
    SelfAttention,
    SigmoidRange,
    TakesInput,
    apply_init,
    named,
)
from learnlite.vision.models.head import check_range
from learnlite.vision.models.stages import find_stages, run_stages


class UnetBlock(nn.Module):
    """Doubles the size of the map from below, and joins it with the encoder's map of that size.

    It gives as many channels as both together, with `final_div=False` half of that.

    >>> block = UnetBlock(8, 6)
    >>> block(torch.zeros(1, 8, 4, 4), torch.zeros(1, 6, 7, 7)).shape
    torch.Size([1, 10, 7, 7])
    """

    def __init__(
        self,
        up_in_c: int,
        x_in_c: int,
        final_div: bool = True,
        blur: bool = False,
        act_cls: Activation = nn.ReLU,
        self_attention: bool = False,
        init: Init | None = nn.init.kaiming_normal_,
        norm_type: NormType | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.shuf = PixelShuffle_ICNR(
            up_in_c, up_in_c // 2, blur=blur, act_cls=act_cls, norm_type=norm_type
        )
        self.bn = BatchNorm(x_in_c)
        ni = up_in_c // 2 + x_in_c
        nf = ni if final_div else ni // 2
        options: dict[str, Any] = {"act_cls": act_cls, "norm_type": norm_type, **kwargs}
        self.conv1 = ConvLayer(ni, nf, **options)
        attention = SelfAttention(nf) if self_attention else None
        self.conv2 = ConvLayer(nf, nf, xtra=attention, **options)
        self.relu = act_cls()
        self.n_out = nf
        apply_init(nn.Sequential(self.conv1, self.conv2), init)

    def forward(self, up_in: Tensor, skip: Tensor) -> Tensor:
        up_out = _resized(self.shuf(up_in), skip)
        joined = self.relu(torch.cat([up_out, self.bn(skip)], dim=1))
        return self.conv2(self.conv1(joined))


class ResizeToOrig(TakesInput):
    """The nearest pixels, in the size of what the network was given.

    >>> ResizeToOrig()(torch.ones(1, 1, 4, 4), torch.zeros(1, 3, 7, 5)).shape
    torch.Size([1, 1, 7, 5])
    """

    def __init__(self, mode: str = "nearest") -> None:
        super().__init__()
        self.mode = mode

    def forward(self, x: Tensor, orig: Tensor) -> Tensor:
        return _resized(x, orig, self.mode)


class DynamicUnet(nn.Module):
    """A U-Net built on `encoder`, whose maps are found by sending an image of `img_size` through.

    It gives `n_out` channels in the size of its input, whatever that is. `blur` smooths what is
    enlarged, in the last block only with `blur_final`; `self_attention` stands in the third block
    from the end; `last_cross` joins the image itself before the end, and `bottle` halves the
    channels there; `y_range` keeps what it gives between two numbers. What else is given goes to
    each `ConvLayer`. `act_cls` and `norm_type` may be names, as "Mish" and "Batch". `unet[0]` is
    the encoder, `unet[1:]` the rest.

    >>> encoder = nn.Sequential(ConvLayer(3, 8, stride=2), ConvLayer(8, 16, stride=2))
    >>> unet = DynamicUnet(encoder, n_out=2, img_size=(32, 32))
    >>> unet(torch.zeros(2, 3, 33, 47)).shape
    torch.Size([2, 2, 33, 47])
    """

    def __init__(
        self,
        encoder: nn.Module,
        n_out: int,
        img_size: int | Sequence[int],
        blur: bool = False,
        blur_final: bool = True,
        self_attention: bool = False,
        y_range: tuple[float, float] | None = None,
        last_cross: bool = True,
        bottle: bool = False,
        act_cls: str | Activation = nn.ReLU,
        init: Init | None = nn.init.kaiming_normal_,
        norm_type: str | NormType | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        check_range(y_range)
        stages = find_stages(encoder, img_size)
        self.paths, self.kept = stages.paths, stages.kept
        *skips, ni = stages.channels
        shuffle: dict[str, Any] = {
            "act_cls": named(act_cls, ACTIVATIONS, "act_cls"),
            "norm_type": named(norm_type, NORM_TYPES, "norm_type"),
        }
        options: dict[str, Any] = {**shuffle, **kwargs}
        last: dict[str, Any] = {**options, "act_cls": None}
        middle = nn.Sequential(ConvLayer(ni, ni * 2, **options), ConvLayer(ni * 2, ni, **options))
        layers = [stages.encoder, BatchNorm(ni), nn.ReLU(), middle]
        for i, n_skip in enumerate(reversed(skips)):
            final = i == len(skips) - 1
            block = UnetBlock(
                ni,
                n_skip,
                final_div=not final,
                blur=blur and (blur_final or not final),
                self_attention=self_attention and i == max(len(skips) - 3, 0),
                init=init,
                **options,
            )
            layers.append(block)
            ni = block.n_out
        doublings = stages.scale.bit_length() - 1
        layers += [PixelShuffle_ICNR(ni, **shuffle) for _ in range(doublings)]
        layers.append(ResizeToOrig())
        if last_cross:
            ni += stages.n_in
            nf = ni // 2 if bottle else ni
            layers += [MergeLayer(dense=True), ResBlock(1, ni, nf, **options)]
            ni = nf
        apply_init(nn.Sequential(middle, layers[-1]), init)
        layers.append(ConvLayer(ni, n_out, ks=1, **last))
        if y_range is not None:
            layers.append(SigmoidRange(*y_range))
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        maps = run_stages(self.layers[0], x, self.paths, self.kept)
        out = maps.pop()
        for layer in self.layers[1:]:
            if isinstance(layer, UnetBlock):
                out = layer(out, maps.pop())
            elif isinstance(layer, TakesInput):
                out = layer(out, x)
            else:
                out = layer(out)
        return out

    @overload
    def __getitem__(self, i: int) -> nn.Module: ...
    @overload
    def __getitem__(self, i: slice) -> nn.ModuleList: ...
    def __getitem__(self, i: int | slice) -> nn.Module:
        return cast(nn.Module, self.layers[i])

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(self.layers)


def _resized(x: Tensor, like: Tensor, mode: str = "nearest") -> Tensor:
    size = like.shape[-2:]
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode=mode)
