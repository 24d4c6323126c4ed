"""A run of `learnlite train`: what was asked for, kept beside what comes of it."""

import argparse
import json
from pathlib import Path
from typing import Any

from learnlite.commands.given import RefusedError
from learnlite.replace import replacing

_FILE = "settings.json"
_FREE = {"out", "resume", "device", "workers", "command", "run"}  # may differ when a run goes on


class Run:
    """The folder of a run, and its settings: those given, or those that it began with."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self.settings = settings

    @classmethod
    def new(cls, folder: Path, args: argparse.Namespace) -> "Run":
        """A new run; refused where one lies already."""
        if (folder / _FILE).exists():
            raise RefusedError(
                f"there is a run in {folder} already; `--resume` goes on with it, "
                "another `--out` begins a new one"
            )
        return cls(folder, {name: v for name, v in vars(args).items() if name not in _FREE})

    @classmethod
    def resumed(cls, folder: Path, args: argparse.Namespace, defaults: argparse.Namespace) -> "Run":
        """The run that lies in `folder`; what is given beside `--resume` must be what it has."""
        try:
            saved = json.loads((folder / _FILE).read_text())
        except FileNotFoundError:
            raise RefusedError(
                f"there is no run in {folder} to resume; leave out `--resume` to begin one"
            ) from None
        except ValueError as error:
            raise RefusedError(f"{folder / _FILE} is damaged: {error}") from error
        wanted = vars(defaults).keys() - _FREE
        if not isinstance(saved, dict) or not wanted <= saved.keys():
            raise RefusedError(f"{folder / _FILE} holds no settings of a run of this version")
        for name in wanted:
            given = getattr(args, name)
            if given != getattr(defaults, name) and given != saved[name]:
                option = "DATA" if name == "data" else f"`--{name.replace('_', '-')}`"
                raise RefusedError(
                    f"{option} is {given} here, and the run in {folder} began with {saved[name]}; "
                    "leave it out to go on, or begin a new run by another `--out`"
                )
        return cls(folder, saved)

    def write(self) -> None:
        """Write the settings down, whole or not at all."""
        with replacing(self.folder / _FILE) as file:
            file.write((json.dumps(self.settings, indent=2, default=str) + "\n").encode())

    def args(self, given: argparse.Namespace) -> argparse.Namespace:
        """All that the run is made with: its settings, and what may differ each time."""
        return argparse.Namespace(**(vars(given) | self.settings))
