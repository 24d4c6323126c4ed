"""The whole state of training as plain values and tensors, and back.

There is no random state in it: every draw is a function of the seeds and of the progress.
"""

import warnings
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any, cast

import torch
from torch import Tensor, nn

from learnlite import checkpoint, optim
from learnlite.data.loader import Loader
from learnlite.data.stream import Stream
from learnlite.dispatch import Callbacks
from learnlite.events import Order
from learnlite.progress import Progress
from learnlite.state import LoopState
from learnlite.state_copy import copied, with_copies
from learnlite.types import EpochLoader

_FORMAT = 2
_ABOUT = {"format", "torch", "device", "run", "arguments", "seed", "loaders", "shown", "optional"}
_PARTS = _ABOUT | {"model", "frozen", "opt", "opt_name", "gradients", "progress", "callbacks"}


def capture(
    learn: LoopState, copy: Callable[[Tensor], Tensor] = copied, *, batches: int, epochs: int
) -> dict[str, Any]:
    """A copy of the state of `learn`, as it is after so many batches and epochs of its fit."""
    progress = asdict(learn.progress) | {"batches": batches, "epochs": epochs, "valid_batches": 0}
    gradients = {name: p.grad for name, p in _parameters(learn) if learn.progress.gathered}
    named = _named(learn.callbacks)
    state = {
        "format": _FORMAT,
        "torch": str(torch.__version__),
        "device": learn.dls.device.type,
        "run": learn.run,
        "arguments": learn.arguments,
        "model": checkpoint.weights_of(learn.model),
        "frozen": [name for name, p in _parameters(learn) if not p.requires_grad],
        "opt": learn.opt.state_dict(),
        "opt_name": type(learn.opt).__name__,
        "gradients": {name: grad for name, grad in gradients.items() if grad is not None},
        "progress": progress,
        "seed": learn.seed,
        "loaders": [dl.seed if isinstance(dl, Loader) else None for dl in learn.dls.loaders],
        "shown": _shown(learn),
        "optional": [name for name, cb in named if cb.optional],
        "callbacks": [(name, cb.state_dict()) for name, cb in named],
    }
    return cast(dict[str, Any], with_copies(state, copy))


def check(state: Any) -> None:
    """Raise a ValueError unless `state` has all parts of one, and no others."""
    if not isinstance(state, dict) or "progress" not in state:
        raise ValueError(
            f"a state is what `learn.state_dict()` gave, got a {type(state).__name__}; weights "
            "alone are for `learn.load` and `learn.model.load_state_dict`"
        )
    if state.get("format") != _FORMAT:
        raise ValueError(
            f"the state is of format {state.get('format')}, and this version of learnlite reads "
            f"{_FORMAT}; go on with the version that wrote it"
        )
    wanted = _PARTS, {field.name for field in fields(Progress)}
    places = (state, state["progress"]), wanted, ("", "progress.")
    for there, parts, prefix in zip(*places, strict=True):
        faults = [
            f"{what}: {', '.join(f'`{prefix}{name}`' for name in sorted(names))}"
            for what, names in (("missing", parts - set(there)), ("unknown", set(there) - parts))
            if names
        ]
        if faults:
            raise ValueError(f"the state does not have the parts of one; {'; '.join(faults)}")


def restore(
    learn: LoopState, state: dict[str, Any], *, extend: bool = False, tell: bool = False
) -> None:
    """Put `learn` where `capture` found it; first all is checked, and what differs told."""
    n_epoch = learn.progress.n_epoch
    check_fit(learn, state, extend=extend)
    checkpoint.check_model(learn.model, state["model"])
    optim.check_state(state["opt"], learn.opt, learn.model)
    over, n_iter = state["progress"]["over"], state["progress"]["n_iter"]
    if not over:
        if n_iter != learn.progress.n_iter:
            raise ValueError(
                f"the state is that of a fit of {n_iter} batches an epoch, this one has "
                f"{learn.progress.n_iter}; resume it with the same data and the same batch size"
            )
        _check_callbacks(learn.callbacks, state)
    if tell:
        _tell_differences(learn, state)
    checkpoint.load_weights(learn.model, state["model"])
    learn.opt.load_state_dict(with_copies(state["opt"]))
    for name, parameter in _parameters(learn):
        parameter.requires_grad_(name not in state["frozen"])
        gradient = state["gradients"].get(name)
        parameter.grad = None if gradient is None else gradient.to(parameter.device, copy=True)
    for name, value in state["progress"].items():
        setattr(learn.progress, name, value)
    if not over:
        learn.progress.n_epoch = n_epoch
    learn.seed, learn.run = state["seed"], state["run"]
    for dl, seed in zip(learn.dls.loaders, state["loaders"], strict=False):
        if isinstance(dl, Loader) and seed is not None:
            dl.seed = seed
    saved = dict(state["callbacks"])
    for name, cb in _named(learn.callbacks):
        if name in saved or not over:
            cb.load_state_dict(with_copies(saved.get(name, {})))


def check_fit(learn: LoopState, state: dict[str, Any], *, extend: bool = False) -> None:
    """Raise a ValueError that lists what differs, unless the state is of a fit like this one.

    With `extend` other arguments and another number of epochs will do.
    """
    check(state)
    progress, saved = learn.progress, state["progress"]
    if saved["n_epoch"] != progress.n_epoch and not extend:
        raise ValueError(
            f"the state is that of a fit of {saved['n_epoch']} epochs, this one has "
            f"{progress.n_epoch}; give the same number, or `extend=True` to go on with this one: "
            "the rates then follow the schedule of the new length from here on, so the bits are "
            "not those of either run"
        )
    if state["opt_name"] != type(learn.opt).__name__:
        raise ValueError(
            f"the state holds that of `{state['opt_name']}`, but this learner trains with "
            f"`{type(learn.opt).__name__}`; use the same `opt_func`"
        )
    faults = _differences(state["arguments"], learn.arguments)
    if faults and not extend:
        raise ValueError(
            "the saved fit had other arguments:\n  " + "\n  ".join(faults) + "\n"
            "give the same, or `extend=True` to go on with those of this call"
        )


def _tell_differences(learn: LoopState, state: dict[str, Any]) -> None:
    """Say what goes on otherwise than before: the device, torch, the loaders, the callbacks."""
    here, there = learn.dls.device.type, state["device"]
    if here != there:
        learn.say(
            f"the state was trained on {there} and goes on on {here}: that is allowed, and the "
            "bits are no longer those of one run"
        )
    elif state["torch"] != torch.__version__:
        learn.say(
            f"the state is of torch {state['torch']} and goes on with {torch.__version__}: the "
            "bits may differ from those of one run"
        )
    _tell_of_foreign(learn, state["progress"])
    seeds = [dl.seed if isinstance(dl, Loader) else None for dl in learn.dls.loaders]
    if any(a != b for a, b in zip(seeds, state["loaders"], strict=False) if None not in (a, b)):
        learn.say(
            "the loaders were made with another seed than before, and go on with the saved one; if "
            "a set was split at random, make them with `seed=`, or the split is another"
        )
    shown, saved = _shown(learn), state["shown"]
    faults = _differences(saved, shown)
    there = ", ".join(name for name in saved if name in shown)
    here = ", ".join(name for name in shown if name in saved)
    if there != here:
        faults.append(f"the order: {there} there, {here} here")
    if faults:
        warnings.warn(
            "the callbacks are not those of the saved fit, so the bits may not be those of one "
            "run:\n  " + "\n  ".join(faults),
            stacklevel=2,
        )


def _shown(learn: LoopState) -> dict[str, str]:
    """The callbacks that change training, in their order, as a message may tell them."""
    return {name: repr(cb) for name, cb in _named(learn.callbacks) if cb.order < Order.RECORD}


def _tell_of_foreign(learn: LoopState, saved: dict[str, Any]) -> None:
    """Say what a loader that is not ours does to come to its place, and where it cannot."""
    dl, batches = learn.dls.train, saved["batches"]
    if isinstance(dl, EpochLoader):
        return
    begun = saved["past_epochs"] + saved["epochs"] > 0
    source = dl.source if isinstance(dl, Stream) else dl
    if isinstance(dl, Stream) and dl.goes_on:
        learn.say(
            "a `Stream` of a generator that runs already cannot be put where it was, so the bits "
            "are no longer those of one run; give it the function that makes the generator"
        )
    elif 0 < batches < saved["n_iter"]:
        learn.say(
            f"a `{type(dl).__name__}` cannot begin in the middle: it reads "
            f"{batches} of its batches again to come to where it was"
        )
    if begun and getattr(source, "persistent_workers", False):
        learn.say(
            "workers of torch that stay from epoch to epoch (`persistent_workers=True`) draw on "
            "where the epoch before ended, and these are new: what they draw at random is no "
            "longer that of one run"
        )


def _differences(saved: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    """A line for each name whose values differ; those with an address in them say nothing."""
    lines: list[str] = []
    for name in [*saved, *(name for name in ours if name not in saved)]:
        if name not in saved or name not in ours:
            where = "here and not there" if name in ours else "there and not here"
            lines.append(f"`{name}`: {where}")
            continue
        was, now = str(saved[name]), str(ours[name])
        if was != now and " at 0x" not in was + now:
            lines.append(f"`{name}`: {was} there, {now} here")
    return lines


def _check_callbacks(callbacks: Callbacks, state: dict[str, Any]) -> None:
    """Refuse others than those of the saved fit; those that keep nothing may come and go."""
    ours = dict(_named(callbacks))
    saved = dict(state["callbacks"])
    missing = [
        name
        for name, kept in saved.items()
        if kept and name not in ours and name not in state["optional"]
    ]
    added = [
        name
        for name, cb in ours.items()
        if name not in saved and not cb.optional and cb.state_dict()
    ]
    if missing or added:
        faults = [
            f"in the state and not here: {', '.join(missing)}" if missing else "",
            f"here and not in the state: {', '.join(added)}" if added else "",
        ]
        raise ValueError(
            f"the callbacks are not those of the saved fit; {'; '.join(filter(None, faults))}; "
            "give those that it had, or begin anew in another folder"
        )


def _parameters(learn: LoopState) -> list[tuple[str, nn.Parameter]]:
    """The parameters under the names that they have in a model that is not compiled."""
    return [(checkpoint.plain(name), p) for name, p in learn.model.named_parameters()]


def _named(callbacks: Callbacks) -> list[tuple[str, Any]]:
    """The callbacks under names of their own: the class, numbered where there are several."""
    counts: dict[str, int] = {}
    named: list[tuple[str, Any]] = []
    for cb in callbacks:
        name = type(cb).__name__
        counts[name] = counts.get(name, 0) + 1
        named.append((name if counts[name] == 1 else f"{name} {counts[name]}", cb))
    return named
