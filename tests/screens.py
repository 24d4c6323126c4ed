"""What people look at: the front end of a notebook, and a terminal."""

import contextlib
import os
import pty
import re
import threading

from fastprogress import fastprogress


class Notebook:
    """What a notebook's front end would hold: the newest content of each output, in order."""

    def __init__(self):
        self.contents = []
        self.updates = 0

    def display(self, data, *, raw, display_id):
        assert raw and display_id
        self.contents.append(data)
        notebook, i = self, len(self.contents) - 1

        class Handle:
            def update(self, data, *, raw):
                notebook.contents[i] = data
                notebook.updates += 1

        return Handle()

    @property
    def html(self):
        return "\n".join(data["text/html"] for data in self.contents)

    @property
    def text(self):
        return "\n".join(data["text/plain"] for data in self.contents)


class Terminal:
    """A terminal as standard output; `output` is what was written, once it is closed."""

    def __enter__(self):
        self.main, child = pty.openpty()
        self._chunks = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self._stdout = open(child, "w", encoding="utf-8")
        self._redirected = contextlib.redirect_stdout(self._stdout)
        self._redirected.__enter__()
        fastprogress.stdout = self._stdout  # old ones ask the terminal of their first import
        return self

    def __exit__(self, *error):
        self._redirected.__exit__(*error)
        self._stdout.close()
        self._reader.join(10)
        os.close(self.main)
        self.output = b"".join(self._chunks).decode().replace("\r\n", "\n")

    def _read(self):
        with contextlib.suppress(OSError):  # that is how a terminal ends
            while chunk := os.read(self.main, 4096):
                self._chunks.append(chunk)


def lines_left(output, columns=100):
    """The lines that stand in a terminal after this output, those too long for it wrapped."""
    lines, column = [""], 0
    for char in re.sub(r"\x1b\[\d*m", "", output):
        if char == "\r":
            column = 0
        elif char == "\n":
            lines.append("")
            column = 0
        else:
            if column == columns:
                lines.append("")
                column = 0
            lines[-1] = lines[-1][:column].ljust(column) + char + lines[-1][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines]
