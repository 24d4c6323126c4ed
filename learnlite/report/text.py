"""Text from anywhere, as a page shows it."""

import html
import math
import unicodedata
from collections.abc import Sequence
from typing import Any


def escaped(value: Any, longest: int = 200) -> str:
    r"""What a reader sees of a value: no tag of it works, nothing of it is invisible.

    >>> escaped("<img onerror=x> a\x1b[2J")
    '&lt;img onerror=x&gt; a[2J'
    """
    kept = "".join(char for char in str(value) if unicodedata.category(char)[0] != "C")
    return html.escape(kept if len(kept) <= longest else f"{kept[: longest - 1]}…")


def code(text: str) -> str:
    r"""Lines of code that can be copied from the page as they are.

    >>> code("a = 1\nb = a < 2")
    '<pre>a = 1\nb = a &lt; 2</pre>'
    """
    lines = "\n".join(escaped(line, 2000) for line in text.splitlines())
    return f"<pre>{lines}</pre>"


def plainly(value: Any) -> str:
    """A setting as people say it, and not as Python does.

    >>> [plainly(value) for value in (None, True, 0.1, [1, 2])]
    ['-', 'yes', '0.1', '1, 2']
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(plainly, value))
    return str(value)


def number(value: float) -> str:
    """A measure with four decimals, if it is of a size that people read.

    >>> number(0.25), number(1e7), number(float("nan"))
    ('0.2500', '1e+07', 'nan')
    """
    return f"{value:.4f}" if math.isfinite(value) and abs(value) < 1e5 else f"{value:.3g}"


def measure(name: str, value: float) -> str:
    """A measure as a headline has it: parts of all as per cent.

    >>> measure("accuracy", 0.9167), measure("valid_loss", 0.3)
    ('91.7%', '0.300')
    """
    is_part = name == "error_rate" or "accuracy" in name
    return f"{value:.1%}" if is_part else f"{value:.3f}"


def span(seconds: float) -> str:
    """A time as people say it.

    >>> span(8.24), span(75), span(3720)
    ('8.2 s', '1 min 15 s', '1 h 2 min')
    """
    if not math.isfinite(seconds):
        return "-"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """A table of text, which is escaped here.

    >>> table(["a"], [["<b>"]])
    '<div class="wide"><table><tr><th>a</th></tr><tr><td>&lt;b&gt;</td></tr></table></div>'
    """
    top = "".join(f"<th>{escaped(name)}</th>" for name in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escaped(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    head_row = f"<tr>{top}</tr>" if top else ""
    of_kind = f' class="{kind}"' if kind else ""
    return f'<div class="wide"><table{of_kind}>{head_row}{body}</table></div>'
