"""The notebooks in nbs/ hold what a run of them gives, and the lessons still run."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import lessons
import numpy as np
import pytest
from PIL import Image

NOTEBOOKS = sorted([*lessons.FOLDER.glob("*.ipynb"), *lessons.FOLDER.glob("recipes/*.ipynb")])
LESSONS = [path for path in NOTEBOOKS if path.name[0].isdigit()]

_LARGEST = 300_000  # bytes; people read them over the network
_LOCAL = re.compile(r"(?<![\w<.:/…])(?:/(?:tmp|home|root|work|Users|var|opt)/|[A-Z]:\\)")


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def notebook(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def outputs(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [output for cell in notebook["cells"] for output in cell.get("outputs", [])]


def texts(output: dict[str, Any]) -> str:
    shown = {kind: data for kind, data in output.get("data", {}).items() if "image" not in kind}
    return json.dumps([output.get("text"), shown], ensure_ascii=False)


def test_a_notebook_is_valid(notebook: dict[str, Any]) -> None:
    nbformat = pytest.importorskip("nbformat", reason="needs nbformat: the extra `dev`")
    nbformat.validate(notebook)


def test_a_notebook_was_run_from_top_to_bottom(notebook: dict[str, Any]) -> None:
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))


def test_a_notebook_ended_without_errors_and_warnings(notebook: dict[str, Any]) -> None:
    assert [each for each in outputs(notebook) if each["output_type"] == "error"] == []
    assert [each["text"] for each in outputs(notebook) if each.get("name") == "stderr"] == []


def test_a_notebook_names_no_place_of_the_machine_it_ran_on(notebook: dict[str, Any]) -> None:
    sources = ["".join(cell["source"]) for cell in notebook["cells"]]
    written = [*sources, *map(texts, outputs(notebook))]
    assert [found for text in written for found in _LOCAL.findall(text)] == []


def test_a_notebook_is_small_and_has_no_bar_that_still_moves(
    path: Path, notebook: dict[str, Any]
) -> None:
    assert path.stat().st_size < _LARGEST
    assert [each for each in outputs(notebook) if "<progress" in texts(each)] == []


def test_links_in_a_notebook_lead_somewhere(path: Path, notebook: dict[str, Any]) -> None:
    prose = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown"]
    links = [link for text in prose for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)]
    assert [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem, indirect=True)
def test_a_lesson_ends_with_an_exercise_whose_answer_is_folded(notebook: dict[str, Any]) -> None:
    last = "".join(notebook["cells"][-1]["source"])
    assert "## Exercise" in last and "<details>" in last and "```python" in last


def test_a_picture_of_few_colours_keeps_the_black_and_white_of_its_text() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    pixels[:10], pixels[10:20] = 255, 0
    few = np.asarray(lessons.few_colours(Image.fromarray(pixels)).convert("RGB")).astype(int)
    assert (few[:10] == 255).all() and (few[10:20] == 0).all()
    assert np.abs(few - pixels).mean() < 20  # the rest is noise, the worst there is


@pytest.mark.slow
@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem, indirect=True)
def test_a_lesson_runs_and_so_do_the_answers_to_its_exercises(path: Path) -> None:
    pytest.importorskip("nbclient", reason="needs nbclient: the extra `dev`")
    pytest.importorskip("ipykernel", reason="needs ipykernel: the extra `dev`")
    command = [sys.executable, lessons.__file__, "--try", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
