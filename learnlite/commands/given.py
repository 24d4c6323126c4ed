"""What is given to a command: checked before any time is spent."""

import argparse
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch


class RefusedError(Exception):
    """What is given cannot be done; the text says why, and what to give."""


@contextmanager
def refusing() -> Generator[None]:
    """What the library refuses inside is told to the user in its own words, without a traceback.

    Only around what reads what the user gave: elsewhere an error is a fault of ours.
    """
    try:
        yield
    except (ValueError, TypeError, ImportError, LookupError) as error:
        notes = getattr(error, "__notes__", [])
        raise RefusedError("\n  ".join([str(error), *notes])) from error


def at_least(least: int) -> Any:
    """An option that counts from `least` on."""

    def count(text: str) -> int:
        try:
            n = int(text)
        except ValueError:
            n = least - 1
        if n < least:
            raise argparse.ArgumentTypeError(
                f"it must be a whole number from {least} on, got {text}"
            )
        return n

    return count


def defaults_of(options: Callable[[argparse.ArgumentParser], None]) -> dict[str, Any]:
    """All options of a command, with their defaults."""
    parser = argparse.ArgumentParser()
    options(parser)
    return vars(parser.parse_args([]))


def options_in(
    options: Callable[[argparse.ArgumentParser], None], words: Sequence[str]
) -> dict[str, Any]:
    """The options of a command that stand in `words`, by name: none that has its default.

    >>> def options(parser):
    ...     parser.add_argument("--epochs", type=int, default=5)
    ...     parser.add_argument("--lr", type=float, default=0.1)
    >>> options_in(options, ["--epochs", "5"])
    {'epochs': 5}
    """
    parser = argparse.ArgumentParser()
    options(parser)
    absent = object()
    parser.set_defaults(**dict.fromkeys(defaults_of(options), absent))
    given = vars(parser.parse_args(words))
    return {name: value for name, value in given.items() if value is not absent}


def rate(text: str) -> float:
    """An option that is a number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"it must be a number above 0, got {text}")
    return number


def strength(number: Callable[[str], float], example: str) -> Callable[[str], float]:
    """An option whose number may be left out, so that it may take what is meant for another."""

    def read(text: str) -> float:
        try:
            return number(text)
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentTypeError(
                f"{error}; without a number it stands behind the data, or write `{example}`"
            ) from None

    return read


def device(text: str) -> str:
    """An option that names a device which this machine has."""
    try:
        torch.empty(0, device=text)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise argparse.ArgumentTypeError(
            f"there is no device `{text}` here ({first}); `learnlite doctor` says what there is"
        ) from error
    return text


def writable(out: Path, option: str = "--out") -> Path:
    """The folder `out`, made if need be; found out before any time is spent."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise OSError(
            f"`{out}` cannot be written to ({error.strerror}); name another folder with `{option}`"
        ) from error
    return out


def writable_file(file: Path, option: str, endings: Sequence[str] = ()) -> Path:
    """A file that can be written, its folder made if need be; its name may say what it is."""
    if file.is_dir():
        raise RefusedError(f"`{file}` is a folder; name a file with `{option}`")
    if endings and file.suffix.lower() not in endings:
        raise RefusedError(
            f"the name of the file says what it is, by one of {' '.join(endings)}; got `{file}`"
        )
    writable(file.parent, option)
    return file


def model_file(given: Path) -> Path:
    """The file of a model that is given by itself, or by the folder of its run."""
    if not given.exists():
        raise RefusedError(
            f"there is no file and no folder `{given}`; give a model of `learnlite train`, as "
            "`run1/model.ll`, or the folder of a run"
        )
    if given.is_dir() and not (given / "model.ll").is_file():
        raise RefusedError(
            f"there is no `model.ll` in the folder `{given}`; `learnlite train` writes one at its "
            "end"
        )
    return given / "model.ll" if given.is_dir() else given
