"""Files made to do harm, through all that opens files: none runs, leaves or fills anything."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import hostile
import hostile_run
import pytest

from learnlite import tensor_file

GROUPS = {
    "pickles": hostile.PICKLES,
    "exports": hostile.EXPORTS,
    "archives": hostile.ARCHIVES,
    "images": hostile.IMAGES,
    "tables": hostile.TABLES,
    "caches": hostile.CACHES,
    "places": hostile.PLACES,
}
OPENS = {
    ("named_classes", "read_weights"),  # they are names of tensors, and nothing else
    ("many_classes", "load_learner"),
    ("twice.zip", "extract"),  # as Python's reader has it: the second one
    ("twice.zip", "untar_data"),
    *((name, loader) for name in hostile.CACHES for loader in ("the image cache", "read_note")),
}
"""What a loader may open: it does no harm there."""

SECONDS, MB = 2.0, 300.0


def limit_memory() -> None:
    """No file may take the machine with it, whatever the test finds."""
    resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What came of each file by each loader, all in one process of their own."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "home").mkdir()
    for group, files in GROUPS.items():
        (folder / group).mkdir()
        for name, make in files.items():
            make(folder / group / name)
    environ = os.environ | {
        "PYTHONPATH": str(Path(tensor_file.__file__).parent.parent),
        "HOME": str(folder / "home"),
        "TORCH_HOME": str(folder / "home"),
        "TMPDIR": str(folder / "home"),
        "OMP_NUM_THREADS": "1",
    }
    run = subprocess.run(
        [sys.executable, hostile_run.__file__, str(folder), *GROUPS],
        capture_output=True,
        text=True,
        env=environ,
        cwd=folder,
        check=False,
        timeout=300,
        preexec_fn=limit_memory,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return [json.loads(line[4:]) for line in run.stdout.splitlines() if line.startswith("TOLD")]


def test_there_are_enough_of_them() -> None:
    assert sum(len(files) for files in GROUPS.values()) >= 90


@pytest.mark.skipif(sys.platform == "win32", reason="limits of memory are set as Unix does")
@pytest.mark.parametrize("group", GROUPS)
def test_hostile_files_run_nothing_and_are_refused_in_a_sentence(
    told: list[dict[str, Any]], group: str
) -> None:
    results = [one for one in told if one["group"] == group]
    assert {one["file"] for one in results} >= GROUPS[group].keys()
    faults = [
        f"{one['file']} by {one['loader']}: {what}\n    {one['outcome']}: {one['says'][:600]}"
        for one in results
        for what in faults_of(one)
    ]
    assert faults == [], "\n".join(faults)


def faults_of(one: dict[str, Any]) -> list[str]:
    found = [f"did {what}" for what in one["watched"]]
    if one["marker"]:
        found.append("left its mark")
    if one["seconds"] > SECONDS:
        found.append(f"took {one['seconds']:.1f} s")
    if one["mb"] > MB:
        found.append(f"took {one['mb']:.0f} MB")
    if not one["ours"]:
        found.append("raised what is no sentence of ours")
    if len(one["says"]) > 1200:
        found.append("says too much")
    if one["outcome"] == "opened" and (one["file"], one["loader"]) not in OPENS:
        found.append("was opened")
    return found
