"""The whole state of training as plain values and tensors, and back.

There is no random state in it: every draw is a function of the seed and of the progress.
"""

from dataclasses import asdict
from typing import Any, cast

import torch
from torch import Tensor

from learnlite import checkpoint, optim
from learnlite.dispatch import Callbacks
from learnlite.state import LoopState

_FORMAT = 1


def capture(learn: LoopState, *, batches: int, epochs: int) -> dict[str, Any]:
    """A copy of the state of `learn`, as it is after so many batches and epochs of its fit."""
    progress = asdict(learn.progress) | {"batches": batches, "epochs": epochs, "valid_batches": 0}
    gradients = {
        name: p.grad for name, p in learn.model.named_parameters() if learn.progress.gathered
    }
    state = {
        "format": _FORMAT,
        "model": checkpoint.weights_of(learn.model),
        "opt": learn.opt.state_dict(),
        "opt_name": type(learn.opt).__name__,
        "gradients": {name: grad for name, grad in gradients.items() if grad is not None},
        "progress": progress,
        "seed": learn.seed,
        "callbacks": [(name, cb.state_dict()) for name, cb in _named(learn.callbacks)],
    }
    return cast(dict[str, Any], _copied(state))


def restore(learn: LoopState, state: dict[str, Any]) -> None:
    """Put `learn`, whose fit has begun, where `capture` found it; first all is checked."""
    progress = learn.progress
    for name, what in (("n_epoch", "epochs"), ("n_iter", "batches an epoch")):
        saved, ours = state["progress"][name], getattr(progress, name)
        if saved != ours:
            raise ValueError(
                f"the state is that of a fit of {saved} {what}, this one has {ours}; "
                "resume it with the same data and the same number of epochs"
            )
    checkpoint.check_model(learn.model, state["model"])
    if state["opt_name"] != type(learn.opt).__name__:
        raise ValueError(
            f"the state holds that of `{state['opt_name']}`, but this learner trains with "
            f"`{type(learn.opt).__name__}`; use the same `opt_func`"
        )
    optim.check_state(state["opt"], learn.opt, learn.model)
    done = state["progress"]["epochs"] >= progress.n_epoch
    if not done:
        _check_callbacks(learn.callbacks, state)
    checkpoint.load_weights(learn.model, state["model"])
    learn.opt.load_state_dict(_copied(state["opt"]))
    for name, parameter in learn.model.named_parameters():
        gradient = state["gradients"].get(name)
        parameter.grad = None if gradient is None else gradient.to(parameter.device, copy=True)
    for name, value in state["progress"].items():
        setattr(progress, name, value)
    learn.seed = state["seed"]
    if done:
        learn.say(f"the fit of this state is done: {progress.epochs} of {progress.n_epoch} epochs")
    saved = dict(state["callbacks"])
    for name, cb in _named(learn.callbacks):
        cb.load_state_dict(_copied(saved.get(name, {})))


def _check_callbacks(callbacks: Callbacks, state: dict[str, Any]) -> None:
    """Refuse others than those of the saved fit; those that keep nothing may come and go."""
    ours = dict(_named(callbacks))
    saved = dict(state["callbacks"])
    missing = [name for name, kept in saved.items() if kept and name not in ours]
    added = [name for name, cb in ours.items() if name not in saved and cb.state_dict()]
    if missing or added:
        faults = [
            f"in the state and not here: {', '.join(missing)}" if missing else "",
            f"here and not in the state: {', '.join(added)}" if added else "",
        ]
        raise ValueError(
            f"the callbacks are not those of the saved fit; {'; '.join(filter(None, faults))}"
        )


def _named(callbacks: Callbacks) -> list[tuple[str, Any]]:
    """The callbacks under names of their own: the class, numbered where there are several."""
    counts: dict[str, int] = {}
    named: list[tuple[str, Any]] = []
    for cb in callbacks:
        name = type(cb).__name__
        counts[name] = counts.get(name, 0) + 1
        named.append((name if counts[name] == 1 else f"{name} {counts[name]}", cb))
    return named


def _copied(value: Any) -> Any:
    """A copy that shares nothing with what is trained on."""
    if isinstance(value, Tensor):
        return value.detach().clone(memory_format=torch.preserve_format)
    if isinstance(value, dict):
        return {key: _copied(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        parts = [_copied(part) for part in value]
        return parts if isinstance(value, list) else tuple(parts)
    return value
