"""Warnings at the line of the user's code."""

import inspect
import warnings


def warn(message: str) -> None:
    """Warn where our code was called from, however deep in it the cause was found.

    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warn("there is one class only")
    >>> str(caught[0].message)
    'there is one class only'
    """
    level, frame = 1, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith("learnlite."):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
