"""What can be done with any batch, however it is nested: move it, split it, count its rows."""

import copy
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from learnlite.types import Batch

_GPUS = ("cuda", "mps")


@runtime_checkable
class _Movable(Protocol):
    """What moves itself, as the batches of Hugging Face tokenizers and packed sequences do."""

    def to(self, device: torch.device) -> Any: ...


def default_device() -> torch.device:
    """The device to train on when nobody names one: CUDA, else MPS, else the CPU."""
    if torch.cuda.is_available():
        return as_device("cuda")
    return as_device("mps" if torch.backends.mps.is_available() else "cpu")


def as_device(device: str | int | torch.device) -> torch.device:
    """The device with its number, as tensors spell it: `cuda` is `cuda:0`, `cpu` stays `cpu`.

    >>> as_device("cpu")
    device(type='cpu')
    """
    try:
        named = torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(
            f'`device` is "cpu", "cuda", "cuda:1", "mps" or the like, got {device!r}'
        ) from None
    if cast(int | None, named.index) is not None or named.type not in _GPUS:
        return named
    index = torch.cuda.current_device() if named.type == "cuda" else 0
    return torch.device(named.type, index)


def move(batch: Batch, device: torch.device) -> Batch:
    """The batch on `device`, nested as it was; the same object if it was there already.

    Tensors are moved wherever they lie in tuples, lists, named tuples and dicts; an object with a
    method `to` moves itself; everything else stays as it is.

    >>> batch = (torch.zeros(2), ["a", "b"])
    >>> move(batch, torch.device("cpu")) is batch
    True
    """
    if type(batch) is tuple or type(batch) is list:  # the usual case first: nothing to do
        for part in cast(Sequence[Any], batch):
            if type(part) is not Tensor or part.device != device:
                break
        else:
            return cast(Any, batch)
    # Copies to CUDA may be awaited by the kernels alone; pageable memory is staged, so it is safe.
    non_blocking = device.type == "cuda"
    return map_batch(
        batch,
        lambda tensor: tensor.to(device, non_blocking=non_blocking),
        lambda movable: movable.to(device),
    )


def pin(batch: Batch) -> Batch:
    """The batch in page-locked memory, from where CUDA copies it without waiting."""
    return map_batch(batch, lambda tensor: tensor if tensor.is_cuda else tensor.pin_memory())


def map_batch(
    batch: Any,
    change: Callable[[Tensor], Tensor],
    change_object: Callable[[_Movable], Any] | None = None,
) -> Any:
    """The batch with `change` applied to each tensor in it; the same object if nothing changed.

    >>> map_batch({"x": [torch.ones(1)]}, lambda tensor: tensor + 1)
    {'x': [tensor([2.])]}
    """
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, str | bytes | int | float):
        return batch
    # The question costs 5 µs; the common types have no method `to`.
    is_plain = type(batch) in (dict, list, tuple)
    if change_object is not None and not is_plain and isinstance(batch, _Movable):
        return change_object(batch)
    if isinstance(batch, Mapping):
        mapping = cast(Mapping[Any, Any], batch)
        new = {key: map_batch(value, change, change_object) for key, value in mapping.items()}
        if all(new[key] is value for key, value in mapping.items()):
            return mapping
        return _like_mapping(mapping, new)
    if isinstance(batch, tuple | list):
        parts = cast(Sequence[Any], batch)
        values = [map_batch(part, change, change_object) for part in parts]
        if all(value is part for value, part in zip(values, parts, strict=True)):
            return parts
        return _like_sequence(parts, values)
    return batch


def _like_mapping(old: Mapping[Any, Any], new: dict[Any, Any]) -> Any:
    if type(old) is dict:
        return new
    if not isinstance(old, MutableMapping):
        return cast(Any, type(old))(new)
    like = copy.copy(old)  # keeps what its class has beside the keys
    like.update(new)
    return like


def _like_sequence(old: Sequence[Any], values: list[Any]) -> Any:
    make = cast(Any, type(old))
    return make(*values) if isinstance(old, tuple) and hasattr(old, "_fields") else make(values)


def batch_size(batch: Batch) -> int:
    """The number of rows of the first tensor (or array) in a batch.

    >>> batch_size(({"ids": torch.zeros(8, 16)}, torch.zeros(8)))
    8
    """
    first = cast(Any, batch[0] if type(batch) is tuple and batch else batch)
    if type(first) is Tensor and first.ndim:  # the usual case first
        return first.shape[0]
    for array in _arrays(batch):
        if len(array.shape):
            return int(array.shape[0])
    raise ValueError(
        f"a batch must hold a tensor whose first dimension counts its rows, got {describe(batch)}"
    )


def _arrays(batch: Any) -> Iterator[Any]:
    if isinstance(batch, Mapping):
        batch = tuple(cast(Mapping[Any, Any], batch).values())
    if isinstance(batch, tuple | list):
        for part in cast(Sequence[Any], batch):
            yield from _arrays(part)
    elif isinstance(getattr(batch, "shape", None), tuple):  # a tensor's shape is a tuple too
        yield batch


def split_batch(
    batch: Batch,
    *,
    n_inp: int | None = None,
    labels: Sequence[str] = ("labels",),
    need_targets: bool = False,
) -> tuple[Any, tuple[Any, ...]]:
    """The inputs and the targets of a batch: `(xb, yb)`.

    Of a tuple or list the first `n_inp` are inputs: if not given all but the last, or the only one.
    Of a dict the keys `labels` are targets and the rest is the input.

    >>> split_batch(["x", "y"]), split_batch({"ids": 1, "labels": 2})
    ((('x',), ('y',)), ({'ids': 1}, (2,)))
    """
    if isinstance(batch, tuple | list):
        parts = tuple(cast(Sequence[Any], batch))
        given = n_inp or max(len(parts) - 1, 1)
        if given > len(parts):
            raise ValueError(f"`n_inp={n_inp}`, but the batch has {describe(parts)}")
        if need_targets and given == len(parts):
            raise ValueError(
                f"the batch has no targets: all of its {len(parts)} elements are inputs "
                f"(`n_inp={n_inp}`); yield (inputs, targets), or use a smaller `n_inp`"
            )
        return parts[:given], parts[given:]
    if isinstance(batch, Mapping):
        mapping = cast(Mapping[Any, Any], batch)
        missing = [label for label in labels if label not in mapping]
        if missing and need_targets:
            keys = ", ".join(repr(key) for key in mapping)
            raise ValueError(
                f"the batch has no key {missing[0]!r}, its keys are {keys}; name the one that "
                "holds the targets with `DataLoaders(..., label=...)`"
            )
        inputs = {key: value for key, value in mapping.items() if key not in labels}
        return inputs, tuple(mapping[label] for label in labels if label in mapping)
    if isinstance(batch, Tensor):
        return split_batch((batch,), n_inp=n_inp, need_targets=need_targets)
    raise TypeError(
        "a batch must be a tuple or list (inputs..., targets...), a dict or a tensor, "
        f"got {describe(batch)}"
    )


def logits_of(output: Any) -> Any:
    """The key `logits` of a model's output, where it is a mapping that has one (Hugging Face's).

    >>> logits_of({"logits": 1, "hidden_states": 2}), logits_of(3)
    (1, 3)
    """
    return output["logits"] if isinstance(output, Mapping) and "logits" in output else output


def describe(batch: Any) -> str:
    """A batch in a few words, for messages.

    >>> describe((torch.zeros(2, 3), "a"))
    '2 elements (`Tensor` 2x3 float32, `str`)'
    """
    if isinstance(batch, tuple | list):
        parts = cast(Sequence[Any], batch)
        shown = ", ".join(describe(part) for part in parts[:4])
        more = ", ..." if len(parts) > 4 else ""
        noun = "element" if len(parts) == 1 else "elements"
        return f"{len(parts)} {noun} ({shown}{more})" if parts else f"an empty `{_name(parts)}`"
    if isinstance(batch, Tensor):
        shape = "x".join(str(size) for size in batch.shape) or "scalar"
        return f"`{_name(batch)}` {shape} {str(batch.dtype).removeprefix('torch.')}"
    if isinstance(batch, Mapping):
        return f"a dict with the keys {[str(key) for key in cast(Mapping[Any, Any], batch)]}"
    return f"`{_name(batch)}`"


def _name(value: object) -> str:
    return type(value).__name__
