"""A run of `learnlite train`: what was asked for, kept beside what comes of it."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from learnlite.commands.given import RefusedError
from learnlite.data.locks import locked
from learnlite.replace import replacing
from learnlite.state_folder import StateFolder

_FILE = "settings.json"
_OF_THE_CALL = {"out", "resume", "extend"}  # no settings of a run
_FREE = {"device", "workers", "on_bad_image"}  # may differ when a run goes on


class Run:
    """The folder of a run, and its settings: those given, or those that it began with."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self.settings = settings

    @classmethod
    def new(cls, folder: Path, options: Mapping[str, Any]) -> "Run":
        """A new run; refused where one lies that can be gone on with."""
        run = cls(folder, {name: v for name, v in options.items() if name not in _OF_THE_CALL})
        if (folder / _FILE).exists() and (run.has_begun or (folder / "model.ll").exists()):
            raise RefusedError(
                f"there is a run in {folder} already; `--resume` goes on with it, "
                "another `--out` begins a new one"
            )
        return run

    @classmethod
    def resumed(cls, folder: Path, given: Mapping[str, Any], names: Iterable[str]) -> "Run":
        """The run that lies in `folder`; what is `given` beside `--resume` must be what it has.

        `names` are those of all options. More epochs will do with `--extend`.
        """
        try:
            saved = json.loads((folder / _FILE).read_text())
        except FileNotFoundError:
            raise RefusedError(
                f"there is no run in {folder} to resume; leave out `--resume` to begin one"
            ) from None
        except ValueError as error:
            raise RefusedError(f"{folder / _FILE} is damaged: {error}") from error
        if not isinstance(saved, dict) or not set(names) - _OF_THE_CALL <= saved.keys():
            raise RefusedError(f"{folder / _FILE} holds no settings of a run of this version")
        run = cls(folder, saved)
        for name in given.keys() - _OF_THE_CALL:
            if name in _FREE:
                saved[name] = given[name]
            elif name == "epochs":
                run._extend(given)
            elif given[name] != saved[name] and not (name == "lr" and run._found(given[name])):
                option = "the data" if name == "data" else f"`--{name.replace('_', '-')}`"
                raise RefusedError(
                    f"{option} is {given[name]} here, and the run in {folder} began with "
                    f"{saved[name]}; leave it out to go on, or begin a new run by another `--out`"
                )
        if given.get("extend") and "epochs" not in given:
            raise RefusedError("`--extend` trains for more epochs: say how many, by `--epochs`")
        if "device" not in given:
            saved["device"] = None  # the best of this machine
        return run

    def _extend(self, given: Mapping[str, Any]) -> None:
        """Take another number of epochs, if that is asked for."""
        before, now = self.settings["epochs"], given["epochs"]
        if now == before:
            return
        if now < before:
            raise RefusedError(
                f"`--epochs` is {now} here, and the run in {self.folder} began with {before}; "
                "a run goes on to more epochs, or as it began if the option is left out"
            )
        if not given.get("extend"):
            raise RefusedError(
                f"`--epochs` is {now} here, and the run in {self.folder} began with {before}; "
                f"leave it out to go on as it began, or add `--extend` to train until {now}: the "
                f"rates follow a schedule of {now} epochs from there on, so the result is not "
                f"that of a run of {now}"
            )
        if self.settings.get("finished") and not self.has_begun:
            raise RefusedError(
                f"the checkpoints of the run in {self.folder} are gone, so it cannot be extended; "
                "begin a new one by another `--out`"
            )
        self.settings |= {"epochs": now, "extended": True, "finished": False}

    def _found(self, lr: Any) -> bool:
        return lr == "auto" and self.settings.get("lr_by") == "finder"

    @property
    def checkpoints(self) -> Path:
        """The folder of the states."""
        return self.folder.resolve() / "checkpoints"

    @property
    def has_begun(self) -> bool:
        """Whether there is anything to go on with: a batch is trained and saved."""
        heads = [kept.head for kept in StateFolder(self.checkpoints).kept()]
        names = ("fit", "epochs", "batches", "over")
        return any(head.get(name) for head in heads for name in names)

    @property
    def is_finished(self) -> bool:
        """Whether it is trained to its end and all that comes of it is there."""
        there = all((self.folder / name).exists() for name in ("model.ll", "report.html"))
        return bool(self.settings.get("finished")) and there

    def begin(self) -> None:
        """Write the settings down, and take away what an attempt before has left that is none."""
        if not self.has_begun and self.checkpoints.is_dir():
            with locked(self.checkpoints / "states", self._refuse_second):
                StateFolder(self.checkpoints).remove_all_but(())
                (self.folder / "history.csv").unlink(missing_ok=True)
        self.write()

    def _refuse_second(self) -> None:
        raise RefusedError(
            f"another process trains in {self.folder} at this moment; wait for its end, or name "
            "another folder with `--out`"
        )

    def write(self) -> None:
        """Write the settings down, whole or not at all."""
        with replacing(self.folder / _FILE) as file:
            file.write((json.dumps(self.settings, indent=2, default=str) + "\n").encode())
