"""Text from anywhere, as a page shows it."""

import html
import unicodedata
from typing import Any


def escaped(value: Any, longest: int = 200) -> str:
    r"""What a reader sees of a value: no tag of it works, nothing of it is invisible.

    >>> escaped("<img onerror=x> a\x1b[2J")
    '&lt;img onerror=x&gt; a[2J'
    """
    kept = "".join(char for char in str(value) if unicodedata.category(char)[0] != "C")
    return html.escape(kept if len(kept) <= longest else f"{kept[: longest - 1]}…")
