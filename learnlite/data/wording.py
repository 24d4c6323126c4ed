"""How messages speak of names: in backticks, cut short, with the one that was perhaps meant."""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

_MOST_NAMED = 10


def named(names: Iterable[Any], most: int = _MOST_NAMED) -> str:
    """A list for a message, cut short.

    >>> named(["cat", "dog", "owl"], 2)
    '`cat`, `dog` and 1 more'
    """
    names = list(names)
    told = ", ".join(quoted(name) for name in names[:most])
    return f"{told} and {len(names) - most:,} more" if len(names) > most else told


def did_you_mean(name: Any, known: Iterable[Any]) -> str:
    """A question for a message, or nothing if no known name comes near.

    >>> did_you_mean("lable", ["fname", "label"])
    '; did you mean `label`?'
    """
    by_text = {str(other): other for other in known}
    close = difflib.get_close_matches(str(name), by_text, 1, 0.6)
    if not close:
        folded = {text.casefold(): text for text in by_text}
        close = [folded[str(name).casefold()]] if str(name).casefold() in folded else []
    return f"; did you mean {quoted(by_text[close[0]])}?" if close else ""


def no_attribute(owner: Any, name: str, elsewhere: Mapping[str, str]) -> str:
    """What to say of a name that an object does not have; `elsewhere` tells where some are.

    >>> no_attribute(3, "numerater", {})
    '`int` has no `numerater`; did you mean `numerator`?'
    """
    told = f"`{type(owner).__name__}` has no `{name}`"
    if name in elsewhere:
        return f"{told}; {elsewhere[name]}"
    names = [each for each in dir(owner) if not each.startswith("_")]
    return f"{told}{did_you_mean(name, names)}"


def quoted(name: Any) -> str:
    r"""A name as code; what a terminal would obey in it is written out.

    >>> quoted("cat"), quoted(3), quoted("\33[31mcat")
    ('`cat`', '`3`', '`\\x1b[31mcat`')
    """
    if not isinstance(name, str | PurePath):
        return f"`{name!r}`"
    text = str(name)
    return f"`{text}`" if text.isprintable() else f"`{repr(text)[1:-1]}`"


def short(value: Any) -> str:
    """The `repr`, cut to a hundred characters."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
