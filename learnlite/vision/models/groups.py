"""Layer groups of a network with a body and a head: the early layers, the later ones, the head."""

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from learnlite.seeds import kept_rng
from learnlite.vision.models.flow import as_in_inference, images

_EARLY = 8  # maps down to an eighth of the image's height: edges, colours, textures


def params(module: Any) -> list[nn.Parameter]:
    """All parameters of a module, for a splitter: `lambda model: [params(model[0]), …]`.

    >>> [p.numel() for p in params(nn.Linear(2, 3))]
    [6, 3]
    """
    return [p for part in _modules(module) for p in part.parameters()]


def default_split(model: Any) -> list[list[nn.Parameter]]:
    """The body, `model[0]`, and what stands on it, `model[1:]`.

    >>> [len(group) for group in default_split(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)))]
    [2, 2]
    """
    return [params(model[0]), params(model[1:])]


@dataclass(frozen=True)
class BodySplitter:
    """A splitter into early layers, later layers and head; two groups if none are early."""

    early: frozenset[str]

    def __call__(self, model: Any) -> list[list[nn.Parameter]]:
        """The parameters of the three."""
        body, head = default_split(model)
        first = [p for name, p in model[0].named_parameters() if name in self.early]
        inside = set(map(id, first))
        rest = [p for p in body if id(p) not in inside]
        return [first, rest, head] if first and rest else [body, head]

    def __repr__(self) -> str:
        return "BodySplitter()"


def find_splitter(model: Any, n_in: int = 3, size: int | None = None) -> BodySplitter:
    """The layer groups of `nn.Sequential(body, head)` or of a U-Net, seen by sending an image.

    Early are the layers of the body whose maps have an eighth of the image's height or more: of a
    ResNet that is up to `layer2`, as in fastai. A body that makes no maps is one group.

    >>> from learnlite.vision.models.build import create_vision_model
    >>> model = create_vision_model("torchvision/resnet18", 2, pretrained=False)
    >>> [len(group) for group in find_splitter(model)(model)]
    [30, 30, 6]
    """
    body: nn.Module = model[0]
    parts = _with_weights("", body)
    early: list[tuple[str, nn.Module]] = []
    while True:
        passed = {name: sides for name, *sides in _passed(body, parts, n_in, size)}
        later = next((i for i, (name, _) in enumerate(parts) if not _is_early(passed, name)), None)
        early = parts[:later]
        inner = [] if later is None else _opened(passed, *parts[later])
        if later is None or not inner:
            break
        parts[later : later + 1] = inner
    names = {f"{name}.{each}" for name, part in early for each, _ in part.named_parameters()}
    return BodySplitter(frozenset(names))


def _passed(
    body: nn.Module, parts: list[tuple[str, nn.Module]], n_in: int, size: int | None
) -> list[tuple[str, int, int | None, int | None]]:
    """The sides of the image, and of what each part got and gave, in the order of the calls."""
    passed: list[tuple[str, int, int | None, int | None]] = []
    side = 0

    def note(name: str, module: nn.Module, args: tuple[Any, ...], out: Any) -> None:
        passed.append((name, side, _side(args[0]) if args else None, _side(out)))

    handles = [part.register_forward_hook(partial(note, name)) for name, part in parts]
    try:
        with as_in_inference(body):
            for image in images(body, n_in, size):
                passed.clear()
                side = image.shape[-1]
                with suppress(Exception), kept_rng(image.device):  # it may take another size
                    body(image)
                    return passed
    finally:
        for handle in handles:
            handle.remove()
    return []


def _is_early(passed: dict[str, list[Any]], name: str) -> bool:
    image, _, out = passed.get(name, (0, None, None))
    return out is not None and out * _EARLY >= image


def _opened(
    passed: dict[str, list[Any]], name: str, part: nn.Module
) -> list[tuple[str, nn.Module]]:
    """What a part consists of, if it makes the map smaller twice: then some of it may be early."""
    _, given, out = passed.get(name, (0, None, None))
    if given is None or out is None or given < 3 * out:
        return []
    return _with_weights(f"{name}.", part)


def _with_weights(prefix: str, module: nn.Module) -> list[tuple[str, nn.Module]]:
    return [
        (f"{prefix}{name}", child)
        for name, child in module.named_children()
        if any(True for _ in child.parameters())
    ]


def _side(out: Any) -> int | None:
    """The height of a map, which may have its channels last; None for what is no map."""
    if not isinstance(out, Tensor) or out.ndim != 4:
        return None
    _, a, b, c = out.shape
    return a if a == b and b != c else b


def _modules(module: Any) -> list[nn.Module]:
    return [module] if isinstance(module, nn.Module) else list(module)
