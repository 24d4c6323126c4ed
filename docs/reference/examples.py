"""For the site: examples in docstrings, from `>>>` to the next empty line, are set as code."""

import griffe


def fenced(text: str) -> str:
    """The text with a fence around each example."""
    lines: list[str] = []
    inside = False
    for line in [*text.splitlines(), ""]:
        if not inside and line.startswith(">>>"):
            lines.append("```pycon")
            inside = True
        elif inside and not line.strip():
            lines.append("```")
            inside = False
        lines.append(line)
    return "\n".join(lines).rstrip()


class Examples(griffe.Extension):
    """Changes each docstring once, as it is read."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Called for each module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = fenced(obj.docstring.value)
