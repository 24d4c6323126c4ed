"""Every python block of README.md and docs/*.md runs, in order, one namespace a file."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]

FENCE = re.compile(r"^```python[^\n]*\n(?P<code>.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
SKIP = re.compile(r"<!-- not run(?P<reason>.*?)-->\s*\Z", re.DOTALL)


@dataclass
class Block:
    code: str
    line: int  # where its first line stands in the page
    not_run: str | None  # the reason, or None


def blocks(text: str) -> list[Block]:
    found: list[Block] = []
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start("code")) + 1
        skip = SKIP.search(text, 0, match.start())
        reason = skip["reason"].strip(" :\n") if skip else None
        found.append(Block(match["code"], line, reason))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_python_block_of_the_docs_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__docs__"}
    try:
        for block in blocks(page.read_text()):
            if block.not_run is None:
                # empty lines before it, so that a traceback names the line of the page
                code = compile("\n" * (block.line - 1) + block.code, str(page), "exec")
                exec(code, namespace)
    finally:
        close_figures()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_picture_of_a_page_is_there_small_and_described(page: Path) -> None:
    for told, name in re.findall(r"!\[(.*?)\]\((?!https?:)(.*?)\)", page.read_text()):
        assert told, f"{name} has no words for those who do not see it"
        assert (page.parent / name).stat().st_size < 120_000


def test_a_block_that_is_not_run_says_why() -> None:
    silent = [
        f"{page.name}:{block.line}"
        for page in PAGES
        for block in blocks(page.read_text())
        if block.not_run == ""
    ]
    assert silent == []


def test_blocks_are_found_with_their_lines_and_reasons() -> None:
    run = "a\n```python\nx = 1\n```\n\n"
    not_run = "<!-- not run: needs a GPU -->\n```python\ny = 2\n```\n"
    page = run + not_run + "```sh\nls\n```\n"
    assert blocks(page) == [Block("x = 1\n", 3, None), Block("y = 2\n", 8, "needs a GPU")]


def test_the_design_page_has_the_layers_that_are_checked() -> None:
    page = (ROOT / "docs" / "design.md").read_text()
    table = page.partition("| modules | what they are |")[2].partition("\n\n")[0]
    told = [set(re.findall(r"`(\w+)`", row.split("|")[1])) for row in table.splitlines()[2:]]
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = [set(re.findall(r"\w+", line)) for line in contract["contracts"][0]["layers"]]
    top = {"__main__", "cli", "commands"}  # three layers in one row
    assert told == [top, *(layer for layer in layers if not layer <= top)]


def test_links_inside_the_docs_lead_somewhere() -> None:
    link = re.compile(r"\]\((?!https?:|mailto:|#)(?P<path>[^)#\s]+)")
    dead = [
        f"{page.name}: {match['path']}"
        for page in PAGES
        for match in link.finditer(page.read_text())
        if not (page.parent / match["path"]).exists()
    ]
    assert dead == []


def close_figures() -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.close("all")
