"""Attention between the places of a feature map."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from learnlite.layers.conv import ConvLayer, NormType


class SelfAttention(nn.Module):
    """Adds to each place what it finds at all others (Zhang et al. 2018); begins as no change.

    >>> layer, x = SelfAttention(8), torch.randn(1, 8, 4, 4)
    >>> torch.equal(layer(x), x)
    True
    """

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        if n_channels < 8:
            raise ValueError(f"`SelfAttention` needs 8 channels or more, got {n_channels}")
        self.query = _conv(n_channels, n_channels // 8)
        self.key = _conv(n_channels, n_channels // 8)
        self.value = _conv(n_channels, n_channels)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)  # (batch, channels, places)
        query, key, value = self.query(flat), self.key(flat), self.value(flat)
        # fastai's softmax is over the queries of each key: its key asks, and its query answers.
        # In (batch, 1 head, places, channels), all as wide as the value, torch never holds the
        # matrix of places by places: 49 MB instead of 795 for 4 maps of 64 x 64, in 0.6 the time.
        wide = (0, value.shape[1] - query.shape[1])
        asked, answer = (F.pad(part.mT, wide)[:, None].contiguous() for part in (key, query))
        found = F.scaled_dot_product_attention(
            asked, answer, value.mT[:, None].contiguous(), scale=1.0
        )
        return (self.gamma * found[:, 0].mT + flat).reshape(x.shape)


def _conv(n_in: int, n_out: int) -> ConvLayer:
    return ConvLayer(
        n_in, n_out, ks=1, ndim=1, norm_type=NormType.Spectral, act_cls=None, bias=False
    )


class SimpleSelfAttention(nn.Module):
    """Attention by channels, at a cost that grows with the places and not with their square.

    The `sa` of `xresnet…`. With `sym` its one convolution is made symmetric.

    >>> layer, x = SimpleSelfAttention(4), torch.randn(1, 4, 3, 3)
    >>> torch.equal(layer(x), x)
    True
    """

    def __init__(self, n_in: int, ks: int = 1, sym: bool = False) -> None:
        super().__init__()
        if sym and ks != 1:
            raise ValueError(f"`sym=True` needs a convolution of size 1, got ks={ks}")
        self.sym, self.n_in = sym, n_in
        conv = nn.Conv1d(n_in, n_in, ks, padding=ks // 2, bias=False)
        nn.init.kaiming_normal_(conv.weight)
        self.conv = spectral_norm(conv)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)  # (batch, channels, places)
        if self.sym:
            weight = cast(Tensor, self.conv.weight)
            mixed = F.conv1d(flat, (weight + weight.transpose(0, 1)) / 2)
        else:
            mixed = self.conv(flat)
        found = flat @ flat.mT @ mixed
        return (self.gamma * found + flat).reshape(x.shape)
