"""Faults in the midst of training: what is said of them, and a learner that can be used after."""

# What a step that broke off has left is the loop's own affair:
# pyright: reportPrivateUsage=false

import gc
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from learnlite import optim
from learnlite.callbacks.gradient import GradientAccumulation
from learnlite.callbacks.precision import MixedPrecision
from learnlite.data.batch import batch_size
from learnlite.loop import Loop

# What a `RuntimeError` says where memory ran out and torch has no class of error for it.
_OUT_OF_MEMORY = ("out of memory", "ALLOC_FAILED", "can't allocate memory", "not enough memory")
_RAN_OUT = "the memory of"


@contextmanager
def survived(learn: Loop) -> Generator[None]:
    """Around a fit or a pass: an error says what to do, and what it holds in memory is given back.

    >>> from torch import nn
    >>> from learnlite import DataLoaders, Learner, on
    >>> def no_room(learn):
    ...     raise torch.OutOfMemoryError("no room for 20 MiB")
    >>> dls = DataLoaders([(torch.ones(8, 1), torch.ones(8, 1))], device="cpu")
    >>> learn = Learner(dls, nn.Linear(1, 1), nn.MSELoss(), default_cbs=False)
    >>> try:
    ...     learn.fit(1, cbs=on(after_backward=no_room))
    ... except torch.OutOfMemoryError as error:
    ...     print(error.__notes__[-1], learn.model.weight.grad)
    the memory of cpu ran out at batch 0 of epoch 0, which holds 8; ... None
    """
    try:
        yield
    except Exception as error:
        torn = learn._whole_steps.torn
        if torn:
            optim.drop_unfinished(learn.opt)
        if is_out_of_memory(error):
            if not any(_RAN_OUT in note for note in getattr(error, "__notes__", ())):
                error.add_note(_memory_advice(learn))  # but once, for a validation within a fit
            _give_back(learn, error)
        if torn:
            error.add_note(
                "it came in the midst of an optimizer's step, so some weights may have moved and "
                "others not: load what was saved last before you train on"
            )
        raise


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, that of a device or the machine's.

    >>> is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"))
    True
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


def _memory_advice(learn: Loop) -> str:
    bs, of_inputs = _sizes(learn)
    epoch = f"of epoch {learn.epoch}" if learn.training else "of validation"
    at = f"batch {learn.iter} {epoch}{f', which holds {bs}' if bs else ''}"
    advice: list[str] = []
    if not learn.training:
        advice.append(f"a smaller `val_bs`{_half(bs)}")
    elif learn.callbacks.find(GradientAccumulation) is None:
        advice.append(
            f"a smaller `bs`{_half(bs)} with `cbs=GradientAccumulation({bs or 64})`, which "
            "trains as this one would (but for BatchNorm)"
        )
    else:
        advice.append(f"a smaller `bs`{_half(bs)}; the accumulation keeps what a step sees")
    if learn.callbacks.find(MixedPrecision) is None:
        advice.append("`learn.to_bf16()`, which halves most of what the layers keep")
    if len(of_inputs) == 4:
        height, width = of_inputs[2:]
        advice.append(f"smaller images than {height}x{width}")
    if learn.dls.device.type == "cuda":
        advice.append("`nvidia-smi`, which shows whether another process takes memory")
    return (
        f"{_RAN_OUT} {learn.dls.device} ran out at {at}{_shape(of_inputs)}; gradients and batch "
        f"are given back, and the learner can be used. To try: {'; '.join(advice)}"
    )


def _sizes(learn: Loop) -> tuple[int, tuple[int, ...]]:
    """The batch size, 0 where it cannot be known, and the shape of the first inputs."""
    xb: Any = learn.xb
    inputs = list(xb.values()) if isinstance(xb, dict) else list(xb)
    tensors = [x for x in inputs if isinstance(x, Tensor)]
    given = getattr(learn.dl, "bs", None) or getattr(learn.dl, "batch_size", None)
    bs = batch_size(xb) if tensors else 0
    shape = tuple(tensors[0].shape) if tensors else ()
    return (bs or given or 0), shape


def _half(bs: int) -> str:
    return f" ({bs // 2})" if bs > 1 else ""


def _shape(of_inputs: tuple[int, ...]) -> str:
    return f" with inputs of shape {of_inputs}" if len(of_inputs) > 2 else ""


def _give_back(learn: Loop, error: BaseException) -> None:
    """Let go of the batch, its graph and the gradients, in the frames of the traceback too."""
    learn.xb, learn.yb, learn.pred, learn.loss = (), (), None, None
    for parameter in learn.model.parameters():
        parameter.grad = None
    held: list[BaseException | None] = [error]
    seen: set[int] = set()
    while held:
        one = held.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            traceback.clear_frames(one.__traceback__)
            held += [one.__cause__, one.__context__]
    gc.collect()  # a graph with a function of the user's own is often a cycle
    if learn.dls.device.type in ("cuda", "mps", "xpu"):
        getattr(torch, learn.dls.device.type).empty_cache()
