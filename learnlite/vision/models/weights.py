"""Pretrained weights: which there are, how their images were prepared, and how they get here.

Files are opened here and nowhere else, with `torch.load(weights_only=True)` or as safetensors.
torchvision's own loading unpickles whatever lies in its cache.
"""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import torch
import torchvision
from torch import Tensor, nn

from learnlite import checkpoint, tensor_file
from learnlite.data.download import DownloadError, download_url, file_name
from learnlite.data.urls import Check
from learnlite.vision.models.arch import Architecture

State = dict[str, Any]
Stats = tuple[tuple[float, ...], tuple[float, ...]]

_HASH = re.compile(r"-([0-9a-f]{8,64})\.[a-z]+$")  # in names: how the file's SHA-256 begins
_WRAPPED = ("state_dict", "model_state_dict", "model")  # where training scripts put the weights
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")


@dataclass(frozen=True)
class Pretrained:
    """Weights that a network may start from, not loaded yet, and the images they were made for."""

    label: str
    load: Callable[[], State] | None  # None: the network comes with them
    stats: Stats | None = None
    size: int | None = None
    options: dict[str, Any] = field(default_factory=dict[str, Any])  # to make the network for them


def find_weights(found: Architecture, pretrained: bool, weights: Any = None) -> Pretrained | None:
    """The weights for an architecture: its own best ones, or those that `weights` names.

    `weights` is a member of torchvision's enums or its name, a tag of timm's, a file of weights, an
    address of one, or a dict of tensors.

    >>> from learnlite.vision.models.arch import find_architecture
    >>> best = find_weights(find_architecture("torchvision/resnet18"), pretrained=True)
    >>> best.label, best.size, best.stats[0]
    ('IMAGENET1K_V1', 224, (0.485, 0.456, 0.406))
    """
    if weights is not None and not pretrained:
        raise ValueError("`weights` and `pretrained=False` say two things; leave one of them out")
    if not pretrained:
        return None
    known = _KNOWN.get(found.source, _own)
    if weights is None or _is_name(weights):
        return known(found, weights)
    label, load = _given(weights, found)
    best = known(found, None, False) if found.source != "own" else None
    if best is None:
        return Pretrained(label, load)
    return Pretrained(label, load, best.stats, best.size, best.options)


def load_into(model: nn.Module, body: nn.Module, state: State, label: str) -> None:
    """Copy from `state` what the body of `model` needs; a ValueError says what it lacks.

    >>> net = nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 1))
    >>> load_into(net, net[0], {"0.weight": torch.ones(1, 2), "0.bias": torch.ones(1)}, "mine")
    >>> net[0].weight
    Parameter containing:
    tensor([[1., 1.]], requires_grad=True)
    """
    inside = {id(t) for t in body.state_dict(keep_vars=True).values()}
    named = model.state_dict(keep_vars=True)
    needed = {name: t for name, t in named.items() if id(t) in inside}
    state = _renamed(state, needed)
    missing = [n for n in needed if n not in state and not n.endswith("num_batches_tracked")]
    differs = [
        f"`{name}` is {tuple(state[name].shape)} there, {tuple(t.shape)} in the network"
        for name, t in needed.items()
        if name in state and state[name].shape != t.shape
    ]
    if missing or differs:
        lacks = [f"{len(missing)} of {len(needed)} are missing, as `{name}`" for name in missing]
        raise ValueError(
            f"the weights {label} do not fit `{type(model).__name__}`: {[*lacks, *differs][0]}"
        )
    with torch.no_grad():
        for name, tensor in needed.items():
            if name in state:
                tensor.copy_(state[name])


def fetched(url: str) -> Path:
    """The file of weights that `url` gives: the one that lies here by its name, or downloaded.

    It is where torchvision looks too, `checkpoints` in `torch.hub.get_dir()`. The hash in a name is
    compared when the file is downloaded.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / file_name(url)
    if path.is_file():
        return path
    known = _HASH.search(path.name)
    try:
        return download_url(url, path, check=Check(sha256=known[1] if known else ""), retries=2)
    except DownloadError as error:
        raise DownloadError(
            f"{error}, or start without them: `pretrained=False`, in a shell `--scratch`"
        ) from error


def read_weights(path: Path) -> State:
    """The tensors of a file by name: of `torch.save`, of `learn.save`, or safetensors; no code."""
    if path.suffix == ".safetensors":
        return tensor_file.read(path).tensors()
    return checked_state(checkpoint.read(path, "cpu"), f"`{path}`")


def checked_state(state: Any, label: str) -> State:
    """`state` if it is a dict of tensors by name, also in a dict that a training script made."""
    for key in _WRAPPED:
        if isinstance(state, dict) and isinstance(cast(State, state).get(key), dict):
            state = cast(State, state)[key]
    if isinstance(state, dict) and state:
        tensors = {name: t for name, t in cast(State, state).items() if isinstance(t, Tensor)}
        if tensors and all(isinstance(name, str) for name in tensors):
            return tensors
    raise ValueError(f"{label} holds no tensors by name, but a {type(state).__name__}")


def _read_fetched(url: str) -> State:
    path = fetched(url)
    try:
        return read_weights(path)
    except ValueError as error:
        raise ValueError(f"{error}; delete it, and the next call downloads it") from error


def _of_torchvision(found: Architecture, weights: Any, must: bool = True) -> Pretrained | None:
    enum: Any = torchvision.models.get_model_weights(found.name)
    if weights is None:
        weights = getattr(enum, "DEFAULT", None)
        if weights is None:
            if not must:
                return None
            raise ValueError(
                f"torchvision has no weights for `{found.name}`; train it with `pretrained=False`"
            )
    if isinstance(weights, str):
        weights = _member(enum, weights)
    if not isinstance(weights, enum):
        raise ValueError(
            f"`weights={weights!r}` are not for `{found.name}`; its own are {_members(enum)}"
        )
    prepared = weights.transforms()
    meta: dict[str, Any] = weights.meta
    return Pretrained(
        weights.name,
        lambda: _read_fetched(weights.url),
        (tuple(prepared.mean), tuple(prepared.std)),
        int(prepared.crop_size[0]),
        _options(found, meta),
    )


def _options(found: Architecture, meta: dict[str, Any]) -> dict[str, Any]:
    """How a network must be made for its weights, where that differs from how it is made else."""
    if found.name == "googlenet" or found.name == "inception_v3":
        return {"transform_input": True, "init_weights": False}  # their first layer wants -1 to 1
    if found.name.startswith("vit_"):
        return {"image_size": meta["min_size"][0]}
    return {"input_size": list(meta["min_size"])} if found.name.startswith("maxvit") else {}


def _of_timm(found: Architecture, weights: Any, must: bool = True) -> Pretrained | None:
    timm: Any = import_module("timm")

    name = found.name if weights is None else f"{found.name.partition('.')[0]}.{weights}"
    try:
        cfg: Any = timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = [each.partition(".")[2] for each in timm.list_pretrained(f"{found.name}.*")]
        raise ValueError(
            f"timm has no weights `{weights}` for `{found.name}`, but "
            f"{', '.join(tags) or 'none at all'}"
        ) from error
    if cfg is None or not cfg.has_weights:
        if not must:
            return None
        raise ValueError(f"timm has no weights for `{name}`; train it with `pretrained=False`")

    def load() -> State:
        try:
            return timm.create_model(name, pretrained=True, num_classes=0).state_dict()
        except Exception as error:  # of huggingface_hub, urllib, safetensors, the file system
            where = (cfg.hf_hub_id and f"https://huggingface.co/{cfg.hf_hub_id}") or cfg.url
            raise DownloadError(
                f"timm could not load the weights of `{name}`: {_first_line(error)}. Call again "
                f"later, or get the file `model.safetensors` of {where} by other means, and pass "
                'its path: `weights="…/model.safetensors"`, or start without them: '
                "`pretrained=False`"
            ) from error

    return Pretrained(
        cfg.tag or name, load, (tuple(cfg.mean), tuple(cfg.std)), int(cfg.input_size[-1])
    )


def _own(found: Architecture, weights: Any, must: bool = True) -> Pretrained | None:
    if isinstance(found.made_by, nn.Module) and weights is None:
        return None  # it comes with the weights it has
    if not must:
        return None
    if weights is not None:
        raise ValueError(
            f"`{found.name}` has no weights by the name {str(weights)!r}, and there is no such file"
        )
    if found.source == "own" and _takes_pretrained(found.made_by):
        return Pretrained("its own", None, options={"pretrained": True})
    raise ValueError(
        f"there are no pretrained weights for `{found.name}`; train it with `pretrained=False`, or "
        "give some, as a file: `weights=…`"
    )


def _takes_pretrained(make: Any) -> bool:
    """Whether a function of the user loads weights by itself, as fastai expects of each."""
    try:
        return "pretrained" in inspect.signature(make).parameters
    except (TypeError, ValueError):
        return False


_KNOWN: dict[str, Callable[..., Pretrained | None]] = {
    "torchvision": _of_torchvision,
    "timm": _of_timm,
}


def _is_name(weights: Any) -> bool:
    """Whether it is a member of an enum, or a text that is neither a file nor an address."""
    if isinstance(weights, str):
        return "://" not in weights and not _is_path(weights)
    return not isinstance(weights, Path | dict)


def _is_path(text: str) -> bool:
    return "/" in text or "\\" in text or text.endswith((".pth", ".pt", ".safetensors", ".bin"))


def _given(weights: Any, found: Architecture) -> tuple[str, Callable[[], State]]:
    """What the user's own weights are called, and how they are loaded."""
    if isinstance(weights, dict):
        return "that were given", lambda: checked_state(weights, "`weights`")
    text = str(weights)
    if "://" in text:
        return f"`{file_name(text)}`", lambda: _read_fetched(text)
    path = Path(text).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of weights `{path}` for `{found.name}`")
    return f"`{path.name}`", lambda: read_weights(path)


def _member(enum: Any, name: str) -> Any:
    last = name.rpartition(".")[2]
    if last not in enum.__members__:
        raise ValueError(
            f"there are no weights `{name}`, nor such a file; there are {_members(enum)}"
        )
    return enum[last]


def _members(enum: Any) -> str:
    return ", ".join(f'"{name}"' for name in enum.__members__)


def _renamed(state: State, needed: dict[str, Any]) -> State:
    """With the names of the network: of old files, of a network inside another, of its parts."""
    first = next(iter(needed), None)
    if first is None or all(name in state for name in needed):
        return state
    state = {_OLD_DENSENET.sub(r"\1\2", name): value for name, value in state.items()}
    inner = next((name for name in state if name.endswith(f".{first}")), None)
    if first not in state and inner is not None:
        prefix = inner.removesuffix(first)
        return {name.removeprefix(prefix): value for name, value in state.items()}
    if first in state:
        return state
    flat = {name.replace(".", "_"): value for name, value in state.items()}  # as timm's maps have
    ours = {name: name.removeprefix("model.").replace(".", "_") for name in needed}
    return {name: flat[same] for name, same in ours.items() if same in flat}


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:160]}"
