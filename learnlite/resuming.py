"""Where a fit goes on: the state that `resume` means, among those of a run's several fits."""

import warnings
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from learnlite import snapshot, state_file
from learnlite.callbacks.checkpoint import Checkpoint
from learnlite.callbacks.dry_run import DryRun
from learnlite.interrupt import StopSignals
from learnlite.state import LoopState
from learnlite.state_folder import StateFolder, told_position
from learnlite.tensor_file import FileError
from learnlite.types import counted

Resume: TypeAlias = bool | dict[str, Any] | str | Path | None
"""True (the newest of the `Checkpoint`), a state, or a file or folder of states."""


@contextmanager
def opened_checkpoints(learn: LoopState) -> Generator[list[Checkpoint]]:
    """The checkpoints of a fit, ready to write also when a signal asks the fit to stop.

    None in a trial run, of which nothing may stay.
    """
    trial = any(isinstance(cb, DryRun) or "one batch" in cb.controls for cb in learn.callbacks)
    found = [cb for cb in learn.callbacks if isinstance(cb, Checkpoint) and not trial]
    with ExitStack() as stack:
        for checkpoint in found:
            stack.enter_context(checkpoint.opened())
        if found:
            stops = stack.enter_context(StopSignals())
            for checkpoint in found:
                checkpoint.stops, checkpoint.is_last = stops, checkpoint is found[-1]
        yield found


def state_to_resume(
    learn: LoopState, checkpoints: list[Checkpoint], resume: Resume, *, extend: bool = False
) -> dict[str, Any] | None:
    """The state with which the fit that has begun goes on; None to begin it."""
    folders = [StateFolder(checkpoint.path) for checkpoint in checkpoints]
    if resume is None or resume is False:
        _tell_of_others(learn, folders)
        return None
    if resume is True:
        state, path = _newest_of_this_fit(learn, folders)
        if state is None:
            return None
    else:
        state, path = read(resume, learn.dls.device)
    snapshot.check_fit(learn, state, extend=extend)
    saved = state["progress"]
    if saved["over"] and extend and saved["n_epoch"] < learn.progress.n_epoch:
        begun = saved["epochs"] + bool(saved["batches"])
        saved = saved | {"over": False, "epochs": begun, "batches": 0}
        state = state | {"progress": saved}
    if saved["over"]:
        return state
    if saved["n_epoch"] != learn.progress.n_epoch:
        learn.say(
            f"the fit of {counted(saved['n_epoch'], 'epoch')} goes on to {learn.progress.n_epoch}: "
            "from here on its rates are those of a fit of that length"
        )
    if path is not None:
        learn.say(f"resuming from {path}: {told_position(saved)}")
    return state


def read(resume: Any, device: Any) -> tuple[dict[str, Any], Path | None]:
    """The state that was given, or the one in a file or folder, and its file."""
    if isinstance(resume, dict):
        snapshot.check(resume)
        return resume, None
    if not isinstance(resume, str | Path):
        raise TypeError(
            "`resume` is True, a state of `learn.state_dict()`, or a file or folder of a "
            f"`Checkpoint`; got {resume!r}"
        )
    path = Path(resume)
    if path.is_dir():
        state, found = _newest(StateFolder(path), device)
        if state is None:
            raise FileNotFoundError(f"there is no checkpoint in {path}")
    else:
        state, found = state_file.read(path, device), path
    snapshot.check(state)
    return state, found


def end_with(learn: LoopState, state: dict[str, Any]) -> None:
    """Give the result of a fit that is over, without its events."""
    snapshot.restore(learn, state, extend=True)
    progress = learn.progress
    learn.say(
        f"nothing to train: the fit of this state is done: {progress.epochs} of "
        f"{progress.n_epoch} epochs"
    )


def _newest_of_this_fit(
    learn: LoopState, folders: list[StateFolder]
) -> tuple[dict[str, Any] | None, Path | None]:
    """The newest state of this fit in the folder that has come furthest."""
    if not folders:
        raise ValueError(
            "`resume=True` goes on from what a `Checkpoint` has saved, and there is none among the "
            "callbacks; give `cbs=Checkpoint(folder)`, or a state or a file to `resume`"
        )
    found = [_newest(folder, learn.dls.device) for folder in folders]
    pairs = [(state, path) for state, path in found if state is not None]
    where = " and ".join(str(folder.path) for folder in folders)
    if not pairs:
        learn.say(f"nothing to resume in {where}; training begins")
        return None, None
    for state, _ in pairs:
        snapshot.check(state)
    state, path = max(pairs, key=lambda pair: _distance(pair[0]))
    fit, ours = state["progress"]["past_fits"], learn.progress.past_fits
    if fit < ours:
        learn.say(f"nothing of this fit to resume in {where}, but of one before it; it begins")
        return None, None
    if fit > ours:
        end = _end_of(ours, state["run"], folders, learn.dls.device)
        if end is not None:  # else this is that later fit, and those before it are not run again
            return end
    return state, path


def _newest(folder: StateFolder, device: Any) -> tuple[dict[str, Any] | None, Path | None]:
    state, path, damaged = folder.newest(device)
    if damaged and path is None:
        raise ValueError(
            f"no checkpoint in {folder.path} is whole, so there is nothing to go on from: "
            f"{'; '.join(damaged)}; remove them, or give another folder, to begin anew"
        )
    if damaged:
        warnings.warn(f"{'; '.join(damaged)}. Going on from {path}", stacklevel=2)
    return state, path


def _end_of(
    fit: int, run: str, folders: list[StateFolder], device: Any
) -> tuple[dict[str, Any], Path] | None:
    """The end of an earlier fit of the run; None if it is not there, an error if it is damaged."""
    damaged: list[str] = []
    for folder in folders:
        for kept in reversed(folder.kept()):
            head = kept.head
            if head.get("over") and head.get("fit") == fit and head.get("run") == run:
                try:
                    return state_file.read(kept.path, device), kept.path
                except FileError as error:
                    damaged.append(str(error))
    if damaged:
        raise ValueError(
            f"what this fit ended with is lost, though a later fit of the run is there: "
            f"{'; '.join(damaged)}. Remove that file, and call the later fit alone, with "
            "`resume=True`, to go on with it; or begin anew in another folder"
        )
    return None


def _distance(state: dict[str, Any]) -> tuple[int, bool, int, int]:
    progress = state["progress"]
    return progress["past_fits"], progress["over"], progress["epochs"], progress["batches"]


def _tell_of_others(learn: LoopState, folders: list[StateFolder]) -> None:
    """Say that a run lies there which this one does not go on with."""
    for folder in folders:
        kept = folder.kept()
        if kept and kept[-1].head.get("run") != learn.run:
            learn.say(
                f"{folder.path} has checkpoints of another run, the newest of which is kept: "
                f"{kept[-1].path.name}; `resume=True` would have gone on with it"
            )
