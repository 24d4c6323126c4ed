"""Runs notebooks and keeps what came out: `python tests/lessons.py nbs/01_first_model.ipynb`.

With `--try` it runs the answers to the exercises too, and writes nothing. It needs nbclient and
ipykernel, which are in the extra `dev`.
"""

import base64
import io
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import learnlite

FOLDER = Path(__file__).parent.parent / "nbs"

_ANSWER = re.compile(r"<details>.*?^```python\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)


def executed(path: Path, folder: str | Path, *, answers: bool = False) -> Any:
    """The notebook after a run from top to bottom in `folder`; with `answers`, those at its end."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    if answers:
        notebook.cells += [nbformat.v4.new_code_cell(code) for code in folded(notebook)]
    client = NotebookClient(
        notebook,
        timeout=1800 if path.parent.name == "recipes" else 300,  # seconds a cell
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    env = dict(os.environ, OMP_NUM_THREADS="1")  # tiny models: a second thread only waits
    env["PYTHONPATH"] = str(Path(learnlite.__file__).parent.parent)  # what is imported here
    env.pop("MPLBACKEND", None)  # figures are shown
    client.execute(env=env)
    return notebook


def folded(notebook: Any) -> list[str]:
    """The answers to the exercises, which are python blocks inside `<details>`."""
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    return [match["code"] for text in texts for match in _ANSWER.finditer(text)]


def slimmed(notebook: Any) -> None:
    """Pictures in few colours, a third as large, and nothing beside what is shown."""
    from PIL import Image

    for cell in notebook.cells:
        if "outputs" in cell:  # without torch's word on a machine with CUDA's files and no GPU
            cell.outputs = [o for o in cell.outputs if "No CUDA runtime" not in o.get("text", "")]
        for output in cell.get("outputs", []):
            output.get("metadata", {}).clear()
            data = output.get("data", {})
            if "image/png" in data:
                picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
                small = io.BytesIO()
                few_colours(picture.convert("RGB")).save(small, "png", optimize=True)
                data["image/png"] = base64.b64encode(small.getvalue()).decode()
    notebook.metadata["language_info"] = {"name": "python"}


def few_colours(picture: Any) -> Any:
    """The picture in 112 colours, and 16 greys beside them: the black of text stays black."""
    from PIL import Image

    pixels = np.asarray(picture)
    coloured = picture.quantize(112, kmeans=2)
    indices = np.array(coloured)
    grey = np.ptp(pixels, axis=2) == 0
    indices[grey] = 112 + (pixels[grey][:, 0].astype(int) + 8) // 17
    palette = (coloured.getpalette() + [0] * 336)[:336]
    few = Image.fromarray(indices)
    few.putpalette(palette + [level for i in range(16) for level in (17 * i,) * 3])
    return few


def main() -> None:
    import nbformat

    trial = "--try" in sys.argv  # with the answers to exercises, and nothing is written
    for path in (Path(name) for name in sys.argv[1:] if name != "--try"):
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            notebook = executed(path, folder, answers=trial)
        if not trial:
            slimmed(notebook)
            nbformat.validate(notebook)
            nbformat.write(notebook, path)
        print(f"{path}: {time.perf_counter() - started:.0f} s, {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
