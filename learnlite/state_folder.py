"""A folder with the states of a run, numbered in the order in which they were written."""

import re
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from learnlite import state_file
from learnlite.nested import kind_of_device
from learnlite.tensor_file import FileError

_NAME = re.compile(r"state-(\d+)\.safetensors")


@dataclass(frozen=True)
class Kept:
    """A state that lies in a folder, and what its head tells of it."""

    path: Path
    head: Mapping[str, Any]


class StateFolder:
    """The states in `path`; there need not be such a folder yet.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     folder = StateFolder(Path(name))
    ...     for epoch in range(3):
    ...         _ = folder.write({"epoch": epoch}, {})
    ...     state, path, damaged = folder.newest()
    >>> state, path.name, damaged
    ({'epoch': 2}, 'state-000003.safetensors', [])
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._heads: dict[Path, Mapping[str, Any] | None] = {}

    def files(self) -> list[Path]:
        """The files of states by their names, oldest first."""
        try:
            found = [path for path in self.path.iterdir() if _NAME.fullmatch(path.name)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(found, key=_number)

    def kept(self) -> list[Kept]:
        """The states whose heads can be read, oldest first; that they are whole is not sure."""
        for path in (files := self.files()):
            if path not in self._heads:
                try:
                    self._heads[path] = state_file.head(path)
                except (FileError, OSError):
                    self._heads[path] = None
        heads = [(path, self._heads[path]) for path in files]
        return [Kept(path, head) for path, head in heads if head is not None]

    def newest(self, device: Any = None) -> tuple[Any, Path | None, list[str]]:
        """The newest state that is whole, its file, and what is wrong with those after it."""
        damaged: list[str] = []
        for path in reversed(self.files()):
            try:
                return state_file.read(path, device), path, damaged
            except (FileError, OSError) as error:
                damaged.append(str(error))
        return None, None, damaged

    def next_path(self) -> Path:
        """The file of the next state."""
        files = self.files()
        return self.path / f"state-{_number(files[-1]) + 1 if files else 1:06}.safetensors"

    def write(
        self, state: Any, head: Mapping[str, Any], kind_of: Callable[[Tensor], str] = kind_of_device
    ) -> Path:
        """Write the next state, whole or not at all; gives its file."""
        path = self.next_path()
        state_file.write(path, state, head, kind_of)
        self._heads[path] = dict(head)
        return path

    def remove_all_but(self, stay: Collection[Path]) -> None:
        """Remove the states that are not in `stay`; what cannot be read is left alone."""
        for kept in self.kept():
            if kept.path not in stay:
                with suppress(OSError):
                    kept.path.unlink(missing_ok=True)

    def remove_parts(self) -> None:
        """Remove what a process that was killed has left half written."""
        for part in self.path.glob(".state-*.part"):
            with suppress(OSError):
                part.unlink()


def head_of(state: dict[str, Any]) -> dict[str, Any]:
    """What a file tells of a state before it is read: whose it is, and how far it has come."""
    progress = state["progress"]
    names = ("epochs", "batches", "n_epoch", "n_iter", "over")
    return {"run": state["run"], "fit": progress["past_fits"]} | {n: progress[n] for n in names}


def told_position(head: Any) -> str:
    """How far a fit has come, for a message; of a head, or of the progress in a state.

    >>> told_position({"epochs": 2, "n_epoch": 5, "batches": 10, "n_iter": 100, "over": False})
    'epoch 2 of 5, batch 10 of 100'
    """
    if head["over"]:
        return f"the end after {head['epochs']} of {head['n_epoch']} epochs"
    inside = f", batch {head['batches']} of {head['n_iter']}" if head["batches"] else ""
    return f"epoch {head['epochs']} of {head['n_epoch']}{inside}"


def _number(path: Path) -> int:
    found = _NAME.fullmatch(path.name)
    return int(found[1]) if found else 0
