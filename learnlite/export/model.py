"""Models in exported files: weights by name, and the recipe that builds what they belong to."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode

from learnlite import checkpoint
from learnlite.data.wording import quoted, short
from learnlite.export.table import ExportError, Told
from learnlite.recipe import (
    Recipe,
    build,
    how_to_build,
    how_to_register,
    recipe_of,
    registered_models,
    why_no_recipe,
)
from learnlite.seeds import kept_rng
from learnlite.tensor_file import FileError, TensorFile

_SPARE = 64 << 20  # bytes that building a model may take beside its weights, as for tables
_UNUSED = 1 << 30  # and such as are not used, as by the classifier that a body is cut from
_COMPILED = "_orig_mod."  # stands in the names of a compiled model's weights
_SPARE_TENSORS = 10_000


def tell_model(model: nn.Module) -> tuple[Told, str | None]:
    """What a file tells of a model beside its weights, and what is to be said to the user."""
    name = type(_plain(model)).__name__
    recipe = recipe_of(model)
    why = why_no_recipe(model) if recipe is None else _changed_since(recipe, model)
    if recipe is not None and why is None:
        return {"class": name, "name": recipe.name, "args": recipe.args}, None
    call, register = how_to_build(model), how_to_register(model)
    advice = f"it needs `load_learner(f, model={call})`{register and f'; {register}'}"
    if recipe is not None:
        advice = f"build it so again, `model = {call}`, change it in the same way, and load by "
        advice += "`load_learner(f, model=model)`"
    said = f"the file does not tell how to build the model, as {why}: {advice}"
    return {"class": name, "call": call}, said


def tensors_of(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The weights by name, each once; and the names of those that are others' again."""
    if any(is_lazy(t) for t in (*model.parameters(), *model.buffers())):
        raise ExportError(
            "the model has parameters without a size yet; run one batch through it first, as "
            "`learn.summary()` does"
        )
    tensors: dict[str, Tensor] = {}
    same: dict[str, str] = {}
    seen: dict[Any, str] = {}
    for name, value in checkpoint.weights_of(model).items():
        if not isinstance(value, Tensor):
            raise ExportError(
                f"a file holds tensors, and the model's `{name}` is a {type(value).__name__}; "
                "make it a buffer (`register_buffer`), or leave it out of `state_dict`"
            )
        place = (value.data_ptr(), value.dtype, value.shape, value.stride(), value.device)
        first = seen.setdefault(place, name) if value.numel() and not value.is_meta else name
        if first == name:
            tensors[name] = value
        else:
            same[name] = first
    return tensors, same


def make_model(told: Told, given: nn.Module | None, file: TensorFile) -> nn.Module:
    """The model that a file tells of, or the one `given`, in which its weights fit."""
    same = _same_names(told, file)
    if given is None:
        name, args = told.get("name"), told.get("args")
        if not isinstance(name, str):
            raise FileError(_needs_model(file, told))
        if name not in registered_models():
            raise FileError(
                f"{file.path} needs the model {quoted(name)}, which is not registered here: import "
                f'the module that does it, by `@register_model("{short(name)[1:-1]}")`, or give '
                "the model: `load_learner(f, model=…)`"
            )
        if not isinstance(args, dict):
            raise FileError(f"{file.path} has {short(args)} as the arguments of its model")
        given = _built(Recipe(name, cast(Told, args)), file, same)
    elif not isinstance(given, nn.Module):
        made = f"; call it: `{given.__name__}(…)`" if isinstance(given, type) else ""
        raise TypeError(f"`model` must be an instance of `nn.Module`, got {given!r}{made}")
    _check_shapes(given, file, same)
    return given


def load_weights(model: nn.Module, told: Told, file: TensorFile) -> None:
    """Read the weights into the model that `make_model` gave."""
    same = _same_names(told, file)
    _take_types(model, file, same)
    tensors = file.tensors(sealed=True)
    state = tensors | {name: tensors[first] for name, first in same.items()}
    checkpoint.load_weights(model, state)


def _built(recipe: Recipe, file: TensorFile, same: Mapping[str, str]) -> nn.Module:
    """What the recipe builds, after a look without any memory at what it would be."""
    try:
        with kept_rng(), _Frugal(file, _SPARE), torch.device("meta"):
            _check_shapes(build(recipe), file, same)
        spare = _UNUSED
    except (FileError, ImportError):
        raise  # such as that `timm` is not installed
    except Exception:  # some models cannot be built without numbers
        spare = _SPARE
    try:
        with kept_rng(), _Frugal(file, spare):
            return build(recipe)
    except (FileError, ImportError):
        raise
    except Exception as error:
        raise FileError(
            f"{file.path} describes the model {quoted(recipe.name)} with arguments it cannot be "
            f"built with: {error}"
        ) from error


def _check_shapes(model: nn.Module, file: TensorFile, same: Mapping[str, str]) -> None:
    """Refuse a file whose weights do not fit; their numbers have not been read until now."""
    shapes = {name: torch.empty(e.shape, device="meta") for name, e in file.entries.items()}
    try:
        checkpoint.check_model(model, shapes | {n: shapes[first] for n, first in same.items()})
    except ValueError as error:
        raise FileError(f"{file.path}: {error}") from None


def _take_types(model: nn.Module, file: TensorFile, same: Mapping[str, str]) -> None:
    """Let the model's weights be floats as long as those of the file, which may be of 16 bits."""
    for name, tensor in model.state_dict(keep_vars=True).items():
        name = name.replace(_COMPILED, "")
        dtype = file.entries[same.get(name, name)].dtype
        if dtype is tensor.dtype:
            continue
        if not (dtype.is_floating_point and tensor.is_floating_point()):
            raise FileError(
                f"{file.path}: {quoted(name)} is of {dtype} in the file, of {tensor.dtype} in the "
                "model"
            )
        tensor.data = tensor.data.to(dtype)


class _Frugal(TorchDispatchMode):
    """Stops a build that would take much more memory than the weights in its file.

    What a new tensor would take is found before it is made, on the device `meta`.
    """

    def __init__(self, file: TensorFile, spare: int) -> None:
        super().__init__()
        self._path = file.path
        self._bytes = 3 * file.n_bytes + spare
        self._tensors = 100 * len(file.entries) + _SPARE_TENSORS

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        settings = dict(kwargs or {})
        if not any(isinstance(arg, Tensor) for arg in (*args, *settings.values())):
            made = _on_meta(func, args, settings)
            if made is not None:
                self._tensors -= 1
                self._bytes -= 0 if _is_meta(settings) else made.numel() * made.element_size()
                if self._bytes < 0 or self._tensors < 0:
                    raise FileError(
                        f"{self._path} describes a model that is much larger than the weights in "
                        "it; it is damaged, or made to fill the memory"
                    )
        return func(*args, **settings)


def _is_meta(settings: Mapping[str, Any]) -> bool:
    device = settings.get("device")
    return device is not None and torch.device(device).type == "meta"


def _on_meta(func: Any, args: Any, settings: dict[str, Any]) -> Tensor | None:
    if "device" not in {argument.name for argument in func._schema.arguments}:
        return None
    made = func(*args, **(settings | {"device": torch.device("meta")}))
    return made if isinstance(made, Tensor) else None


def _changed_since(recipe: Recipe, model: nn.Module) -> str | None:
    """What differs between the model and the one that its recipe builds; None if nothing does."""
    with kept_rng(), torch.no_grad():
        try:
            with torch.device("meta"):  # names and shapes are enough, and cost nothing
                built = build(recipe)
        except Exception:  # some models cannot be built without numbers
            built = build(recipe)
    ours, theirs = _modules(_plain(model)), _modules(built)
    for name in (*ours, *theirs):
        if ours.get(name) != theirs.get(name):
            was, is_now = theirs.get(name, "nothing"), ours.get(name, "nothing")
            return (
                f"`{name or 'the model'}` was {was} when `{recipe.name}` built it and is now "
                f"{is_now}"
            )
    try:
        checkpoint.check_model(built, checkpoint.weights_of(model))
    except ValueError as error:
        return f"it differs from what `{recipe.name}` builds ({error})"
    return None


def _modules(model: nn.Module) -> dict[str, str]:
    """Each module by name, as `repr` tells it without those in it."""
    return {
        name.replace(_COMPILED, "").removesuffix("_orig_mod"): _told(_plain(module))
        for name, module in model.named_modules()
    }


def _told(module: nn.Module) -> str:
    return f"{type(module).__name__}({module.extra_repr()})"


def _plain(model: nn.Module) -> nn.Module:
    return vars(model).get("_modules", {}).get("_orig_mod", model)


def _same_names(told: Told, file: TensorFile) -> dict[str, str]:
    same = told.get("same", {})
    if not isinstance(same, dict):
        raise FileError(f"{file.path} has {short(same)} for weights that are the same")
    for name, first in cast(Told, same).items():
        if not isinstance(first, str) or first not in file.entries or name in file.entries:
            raise FileError(f"{file.path} says that {quoted(name)} is {short(first)}, which is not")
    return cast("dict[str, str]", same)


def _needs_model(file: TensorFile, told: Told) -> str:
    name, call = told.get("class"), told.get("call")
    name = name if isinstance(name, str) and name.isidentifier() and len(name) < 80 else "Net"
    if not isinstance(call, str) or not call.isprintable() or not 0 < len(call) < 300:
        call = f"{name}(…)"
    return (
        f"{file.path} holds the weights of a `{name}` and not how to build one; give one as it was "
        f"where it was exported: `load_learner(f, model={call})`. Or let it be registered there, "
        "by `@register_model`, before it is built and exported again"
    )
