"""What is given to a command: checked before any time is spent."""

import argparse
import tempfile
from collections.abc import Generator
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


def rate(text: str) -> float:
    """An option that is a number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"it must be a number above 0, got {text}")
    return number


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


def writable(out: Path) -> Path:
    """The folder `out`, made if need be; found out before any time is spent."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise OSError(
            f"`{out}` cannot be written to ({error.strerror}); name another folder with `--out`"
        ) from error
    return out
