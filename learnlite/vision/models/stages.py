"""Where an encoder makes its maps smaller, seen by sending one image through."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from learnlite.seeds import kept_rng
from learnlite.vision.models.flow import as_in_inference

_SHRINKS = 0.75  # times the size before: a convolution without padding takes off less than that
_LEAST = 128  # pixels: an encoder that divides by 128 still makes each of its maps smaller

Shape = tuple[int, ...]
Path = tuple[int, ...]
"""The way to a layer through `nn.Sequential`s in one another: `model[7][2]` is (7, 2)."""


@dataclass(frozen=True)
class Stages:
    """An encoder's maps, the largest first: the last one of each size."""

    encoder: nn.Module
    n_in: int  # channels of the image
    scale: int  # the image is so many times larger than the largest map
    channels: tuple[int, ...]  # of the maps
    paths: tuple[Path, ...] = ()  # of the layers; without any, the encoder gives a list of maps
    kept: tuple[int, ...] = ()  # which layers' outputs, or elements of the list, the maps are


def find_stages(encoder: nn.Module, img_size: int | Sequence[int]) -> Stages:
    """The stages of an encoder: an `nn.Sequential`, a traced graph, or one that gives its maps.

    A layer that is itself an `nn.Sequential` is opened if it makes the map smaller twice. The
    encoder is left as it was, and so is the random state.

    >>> encoder = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 8, 3, 2, 1))
    >>> stages = find_stages(encoder, 64)
    >>> stages.scale, stages.channels, stages.kept
    (2, (4, 8), (1, 2))
    """
    n_in = _channels_in(encoder)
    first = next(p for p in encoder.parameters() if p.is_floating_point())
    size = _probe_size(img_size)
    with kept_rng(first.device), as_in_inference(encoder):
        image = torch.zeros(1, n_in, *size, dtype=first.dtype, device=first.device)
        if isinstance(encoder, fx.GraphModule):
            encoder, maps = _opened_graph(encoder, image)
            paths: list[Path] = []
        elif _is_row(encoder):
            steps, _ = _steps(cast(nn.Sequential, encoder), image, ())
            paths, maps = [path for path, _ in steps], [shape for _, shape in steps]
        else:
            paths, maps = [], _given_maps(encoder, image)
    _check_maps(encoder, maps)
    kept = [i for i in range(len(maps) - 1) if _smaller(maps[i], maps[i + 1])]
    kept.append(len(maps) - 1)
    return Stages(
        encoder,
        n_in,
        scale=2 ** round(math.log2(size[0] / maps[kept[0]][2])),
        channels=tuple(maps[i][1] for i in kept),
        paths=tuple(paths),
        kept=tuple(kept),
    )


def run_stages(
    encoder: nn.Module, x: Tensor, paths: Sequence[Path], kept: Sequence[int]
) -> list[Tensor]:
    """The maps that `find_stages` found, of the images `x`."""
    if not paths:
        maps = _listed(encoder(x))
        return [maps[i] for i in kept]
    maps = []
    for i, path in enumerate(paths):
        layer: Any = encoder
        for step in path:
            layer = layer[step]
        x = layer(x)
        if i in kept:
            maps.append(x)
    return maps


def _channels_in(encoder: nn.Module) -> int:
    first = next((m for m in encoder.modules() if isinstance(m, nn.Conv2d)), None)
    if first is None:
        raise ValueError(
            f"a U-Net needs an encoder of convolutions, and this `{type(encoder).__name__}` has no "
            "`nn.Conv2d`"
        )
    return first.in_channels


def _probe_size(img_size: int | Sequence[int]) -> tuple[int, int]:
    """The images' size, doubled until both sides are long enough to see each stage."""
    sides = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(f"`img_size` must be a height and a width in pixels, got {img_size!r}")
    while min(sides) < _LEAST:
        sides = (sides[0] * 2, sides[1] * 2)
    return sides[0], sides[1]


def _is_row(module: nn.Module) -> bool:
    """Whether a module only calls its children one after another."""
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _steps(row: nn.Sequential, x: Tensor, path: Path) -> tuple[list[tuple[Path, Shape]], Tensor]:
    """The path of each layer and the shape it gives."""
    found: list[tuple[Path, Shape]] = []
    for i, layer in enumerate(row):
        before = tuple(x.shape)
        inner: list[tuple[Path, Shape]] = []
        if _is_row(layer):
            inner, x = _steps(cast(nn.Sequential, layer), x, (*path, i))
        else:
            x = _one_map(layer, layer(x))
        shapes = [before, *(shape for _, shape in inner)]
        if sum(_smaller(a, b) for a, b in pairwise(shapes)) > 1:
            found += inner
        else:
            found.append(((*path, i), tuple(x.shape)))
    return found, x


def _one_map(layer: nn.Module, out: Any) -> Tensor:
    if isinstance(out, Tensor):
        return out
    raise ValueError(
        f"`{type(layer).__name__}` in the encoder gives a {type(out).__name__} and no tensor, so "
        "what follows cannot be seen"
    )


def _given_maps(encoder: nn.Module, image: Tensor) -> list[Shape]:
    out = encoder(image)
    if isinstance(out, Tensor):
        raise ValueError(
            f"a U-Net needs the maps on the way, but this `{type(encoder).__name__}` gives only "
            "its last one; pass an `nn.Sequential`, as `create_body` makes, or an encoder that "
            "gives a list of its maps, the largest first"
        )
    return [tuple(part.shape) for part in _listed(out)]


def _listed(maps: Any) -> list[Tensor]:
    return list(cast(Any, maps.values() if isinstance(maps, Mapping) else maps))


class _Shapes(fx.Interpreter):
    """Runs a graph and notes the shape of each map in it."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.shapes: dict[fx.Node, Shape] = {}

    def run_node(self, n: fx.Node) -> Any:
        out = super().run_node(n)
        if isinstance(out, Tensor) and out.ndim == 4 and n.op not in ("placeholder", "output"):
            self.shapes[n] = tuple(out.shape)
        return out


def _opened_graph(encoder: fx.GraphModule, image: Tensor) -> tuple[fx.GraphModule, list[Shape]]:
    """The encoder with the same parts, that gives the last map of each size; and their shapes."""
    run = _Shapes(encoder)
    run.run(image)
    end = cast(fx.Node, next(node for node in encoder.graph.nodes if node.op == "output").args[0])
    if end not in run.shapes:
        raise ValueError(f"this `{type(encoder).__name__}` gives no map at its end")
    area = {node: math.prod(shape[2:]) for node, shape in run.shapes.items()}
    last = {run.shapes[node][2:]: node for node in area if area[node] > area[end]}
    nodes = [*sorted(last.values(), key=lambda node: -area[node]), end]
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    graph.graph_copy(encoder.graph, cast(Any, copies))
    graph.output(tuple(copies[node] for node in nodes))
    opened = fx.GraphModule(encoder, graph, type(encoder).__name__)
    return opened, [run.shapes[node] for node in nodes]


def _smaller(before: Shape, after: Shape) -> bool:
    return any(b <= _SHRINKS * a for a, b in zip(before[2:], after[2:], strict=False))


def _check_maps(encoder: nn.Module, maps: Sequence[Shape]) -> None:
    if maps and all(len(shape) == 4 for shape in maps) and not _any_grows(maps):
        return
    given = ", ".join(str(shape) for shape in maps[-4:]) or "none"
    raise ValueError(
        f"a U-Net needs maps (batch, channels, height, width), none larger than the one before it, "
        f"but the last of this `{type(encoder).__name__}` are {given}"
    )


def _any_grows(maps: Sequence[Shape]) -> bool:
    return any(a[2] < b[2] or a[3] < b[3] for a, b in pairwise(maps))
