"""`learnlite cache`: what images kept in caches take, and to be rid of them."""

import argparse


def options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--clear", action="store_true", help="remove them all")


def run(args: argparse.Namespace) -> None:
    """List the image caches of this machine and what they take, or remove them."""
    from learnlite.vision.cache import cache_files, clear_cache, sizes_told  # 2 s, so not above

    for line in sizes_told(cache_files()):
        print(line)
    if args.clear:
        print(f"removed: {clear_cache() / 1e6:,.1f} MB are free again")
