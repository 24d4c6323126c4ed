"""The command line: `learnlite demo`, `learnlite doctor`, `learnlite cache`.

A command is a module with `options(parser)` and `run(args)`; a row in `COMMANDS` makes it known.
What a user can mend raises an `OSError` or is refused by `argparse`: text, no traceback, status 2.
"""

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import learnlite
from learnlite import demo, doctor


class Command(NamedTuple):
    """A word after `learnlite`; the docstring of `run` is its help."""

    name: str
    options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]


def _cache_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clear", action="store_true", help="remove them all")


def _run_cache(args: argparse.Namespace) -> None:
    """List the image caches of this machine and what they take, or remove them."""
    from learnlite.vision.cache import cache_files, clear_cache, sizes_told  # 2 s, so not above

    for line in sizes_told(cache_files()):
        print(line)
    if args.clear:
        print(f"removed: {clear_cache() / 1e6:,.1f} MB are free again")


COMMANDS: tuple[Command, ...] = (
    Command("demo", demo.options, demo.run),
    Command("doctor", doctor.options, doctor.run),
    Command("cache", _cache_options, _run_cache),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit status: 0 done, 2 not as asked, 130 stopped by Ctrl-C."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help(sys.stderr)
        return 2
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a log or an old console may know few characters
    try:
        args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"\nlearnlite {args.command}: stopped by Ctrl-C", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        print(f"learnlite {args.command}: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="learnlite", description="Train PyTorch models in a few lines."
    )
    parser.add_argument("--version", action="version", version=learnlite.__version__)
    commands = parser.add_subparsers(dest="command", metavar="command", title="commands")
    for name, options, run in COMMANDS:
        what = (run.__doc__ or "").partition("\n")[0]
        command = commands.add_parser(name, help=what, description=what)
        options(command)
        command.set_defaults(run=run)
    return parser
