"""Finding the image files that do not open, before a training run finds them."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from learnlite.vision.decode import MAX_PIXELS, ImageError, check_start
from learnlite.vision.image import LazyImage


def image_faults(
    fns: Iterable[str | os.PathLike[str]],
    n_workers: int | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
) -> dict[Path, str]:
    """What is wrong with each file that does not open whole, in the order of the files.

    Each is decoded to its end, JPEGs at an eighth of their size, in `n_workers` threads: by default
    one for each core.

    >>> image_faults(["no such file.jpg"])
    {...Path('no such file.jpg'): 'does not exist'}
    """
    if n_workers is not None and n_workers < 0:
        raise ValueError(f"`n_workers` must be at least 0, got {n_workers}")
    paths = [Path(fn) for fn in fns]

    def fault(path: Path) -> str:
        try:
            LazyImage(path, max_pixels=max_pixels).read(at_least=(1, 1))
        except ImageError as error:
            return error.reason
        except Exception as error:  # whatever a file does, the others are looked at too
            return f"does not open: {type(error).__name__}: {error}"
        return ""

    return _faults(paths, fault, n_workers)


def start_faults(fns: Iterable[str | os.PathLike[str]]) -> dict[Path, str]:
    """What is wrong with each file that does not even begin as an image does.

    Of each 64 bytes are read, at 20 µs (with threads it were 50); what is cut off or damaged
    further on only `image_faults` finds.

    >>> start_faults(["no such file.jpg"])
    {...Path('no such file.jpg'): 'does not exist'}
    """

    def fault(path: Path) -> str:
        try:
            check_start(path)
        except ImageError as error:
            return error.reason
        return ""

    return _faults([Path(fn) for fn in fns], fault, 1)


def _faults(
    paths: Sequence[Path], fault: Callable[[Path], str], n_workers: int | None
) -> dict[Path, str]:
    """What `fault` says of each path, where it says anything."""
    n_threads = min(n_workers if n_workers is not None else os.cpu_count() or 1, len(paths))
    if n_threads <= 1:
        faults = [fault(path) for path in paths]
    else:
        with ThreadPoolExecutor(n_threads) as pool:
            faults = list(pool.map(fault, paths))
    return {path: found for path, found in zip(paths, faults, strict=True) if found}


def verify_images(
    fns: Iterable[str | os.PathLike[str]],
    n_workers: int | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
) -> list[Path]:
    """The files that do not open whole; `image_faults` tells what is wrong with each.

    >>> verify_images([])
    []
    """
    return list(image_faults(fns, n_workers, max_pixels=max_pixels))
