"""A csv of photos and labels: which layout it has, and what of it cannot be trained on."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from learnlite.commands.given import RefusedError
from learnlite.types import counted, is_number

LAYOUT = (
    "a csv has the file in its first column, counted from the folder of the csv, and the label in "
    "its second, with or without a line of names above them"
)
_DELIMITERS = (",", ";", "\t")


class Table:
    r"""The rows of a csv, as (file, label), and the line of each.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "a.jpg").touch()
    ...     path = Path(folder, "labels.csv")
    ...     _ = path.write_text("a.jpg;ant\n")
    ...     Table(path).rows
    [('a.jpg', 'ant')]
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = _lines(path)
        if not lines:
            raise RefusedError(f"`{path}` is empty; {LAYOUT}")
        for number, cells in lines:
            if len(cells) < 2:
                raise RefusedError(
                    f"line {number} of `{path}` has one value, `{_short(cells[0])}`; {LAYOUT}, "
                    "and a comma, a semicolon or a tab between them"
                )
        self._refuse_swapped(lines)
        if not self._is_file_name(lines[0][1][0]):
            lines = lines[1:]  # the first one names the columns
        if not lines:
            raise RefusedError(f"`{path}` has no rows but the names of its columns")
        self.lines = [number for number, _ in lines]
        self.rows = [(cells[0].strip(), cells[1].strip()) for _, cells in lines]
        self._check_rows()

    @property
    def files(self) -> list[Path]:
        """The file of each row."""
        return [self.path.parent / file for file, _ in self.rows]

    @property
    def labels(self) -> list[str]:
        """The label of each row."""
        return [label for _, label in self.rows]

    def _is_there(self, file: str) -> bool:
        try:
            return bool(file.strip()) and (self.path.parent / file.strip()).is_file()
        except (OSError, ValueError):  # as text that is far too long for a name
            return False

    def _is_file_name(self, text: str) -> bool:
        from learnlite.data.files import image_extensions

        return Path(text.strip()).suffix.lower() in image_extensions or self._is_there(text)

    def _refuse_swapped(self, lines: Sequence[tuple[int, list[str]]]) -> None:
        """Refuse a table whose second column names files, and not its first."""
        some = [cells for _, cells in lines[:20]]
        first, second = ([self._is_there(cells[i]) for cells in some] for i in (0, 1))
        if any(second) and not any(first):
            file = some[second.index(True)][1]
            raise RefusedError(
                f"the files of `{self.path}` stand in its second column, as `{_short(file)}`; "
                f"exchange the two: {LAYOUT}"
            )

    def _check_rows(self) -> None:
        from learnlite.data.tables import check_names

        for number, (file, label) in zip(self.lines, self.rows, strict=True):
            missing = "no file" if not file else "" if label else "no label"
            if missing:
                raise RefusedError(
                    f"line {number} of `{self.path}` has {missing}; fill it, or leave it out"
                )
        try:
            check_names(self.path.parent, [file for file, _ in self.rows])
        except ValueError as error:
            raise RefusedError(f"`{self.path}`: {error}") from error
        first: dict[str, int] = {}
        for i, (file, label) in enumerate(self.rows):
            other = first.setdefault(file, i)
            if self.rows[other][1] != label:
                raise RefusedError(
                    f"`{self.path}` calls `{_short(file)}` `{_short(self.rows[other][1])}` in line "
                    f"{self.lines[other]} and `{_short(label)}` in line {self.lines[i]}; a photo "
                    "has one label"
                )
        gone = [i for i, file in enumerate(self.files) if not file.is_file()]
        if gone:
            n = counted(len(gone) - 1, "other line")
            others = f", nor that of {n}" if len(gone) > 1 else ""
            raise RefusedError(
                f"line {self.lines[gone[0]]} of `{self.path}`: the file "
                f"`{_short(self.rows[gone[0]][0])}` is not in `{self.path.parent}`{others}; "
                "correct the name, or leave the line out"
            )


def target_of(labels: Sequence[str]) -> Any:
    """The block for labels: numbers to be predicted if all are some and not all are whole.

    >>> target_of(["1", "1.5"]), target_of(["1", "2"])
    (RegressionBlock(RegressionSetup(c=None)), CategoryBlock(Categorize()))
    """
    from learnlite.vision import CategoryBlock, RegressionBlock

    numbers = all(map(is_number, labels)) and any("." in label for label in labels)
    return RegressionBlock() if numbers else CategoryBlock()


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """The lines that hold something, each with its number."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            start = file.readline()
            file.seek(0)
            delimiter = next((each for each in _DELIMITERS if each in start), ",")
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            return [(reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]
    except UnicodeDecodeError as error:
        raise RefusedError(f"`{path}` is no csv, for it is no text in utf-8; {LAYOUT}") from error
    except csv.Error as error:
        raise RefusedError(f"`{path}` is no csv: {error}; {LAYOUT}") from error


def _short(text: str) -> str:
    text = "".join(char for char in text if char.isprintable())
    return text if len(text) <= 80 else f"{text[:79]}…"
