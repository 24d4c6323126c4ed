"""A place to draw: matplotlib, loaded when the first plot is asked for."""

from math import ceil
from typing import Any


def pyplot() -> Any:
    """`matplotlib.pyplot`, or an error that says how to get it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError('plots need matplotlib: `pip install "learnlite[plot]"`') from error
    return plt


class Panels(list[Any]):
    """The axes of several pictures; a notebook that shows these does not list their axes too.

    >>> Panels(["an axes", "another"])
    <2 pictures>
    """

    def __repr__(self) -> str:
        return f"<{len(self)} picture{'' if len(self) == 1 else 's'}>"

    def _ipython_display_(self) -> None:
        """Show nothing."""


def axes(
    ax: Any = None,
    *,
    n: int | None = None,
    width: float = 6.0,
    height: float = 4.0,
    dpi: float | None = None,
) -> Any:
    """The axes to draw on: `ax` if given, else new ones; with `n` those of `n`, side by side."""
    if ax is not None:
        return ax
    plt = pyplot()
    columns = 1 if n is None else max(n, 1)
    size = (width * columns, height)
    _, new = plt.subplots(1, columns, figsize=size, dpi=dpi, squeeze=False, constrained_layout=True)
    return new[0, 0] if n is None else Panels(new[0, :n])


def count_along(ax: Any, what: str) -> None:
    """Name what is counted along the x-axis (`batch`, `epoch`); no tick stands at a half of one."""
    pyplot()  # says how to get matplotlib
    from matplotlib.ticker import MaxNLocator

    ax.set_xlabel(what)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def grid(
    n: int,
    nrows: int | None = None,
    ncols: int | None = None,
    figsize: tuple[float, float] | None = None,
    *,
    side: float = 3.0,
) -> list[Any]:
    """Axes for `n` pictures of `side` inches, as square a grid as can be if no number is given."""
    columns = ncols or (ceil(n / nrows) if nrows else max(ceil(n**0.5), 1))
    rows = nrows or max(ceil(n / columns), 1)
    size = figsize or (side * columns, side * rows)
    _, panels = pyplot().subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    new = list(panels.flat)
    for ax in new[n:]:
        ax.axis("off")
    return Panels(new[:n])


def plain_text(value: Any, *, longest: int = 60) -> str:
    r"""A label on one line of a plot, with `$`, which would begin a formula, as it is.

    >>> plain_text("0.6 star\n0.4 ring")
    '0.6 star 0.4 ring'
    """
    text = f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).splitlines())
    return "".join(char for char in text if char.isprintable())[:longest].replace("$", r"\$")
