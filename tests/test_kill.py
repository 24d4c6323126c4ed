"""Real processes killed by SIGKILL at random instants end with the bits of one that was not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from going_on import learner

from learnlite import Checkpoint
from learnlite.data.locks import locked

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it has no SIGKILL")

HERE = Path(__file__).parent
ENVIRON = os.environ | {"PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"}

HOLDER = """
import sys, time
from learnlite.data.locks import locked
import os
from pathlib import Path
with locked(Path(sys.argv[1], "states")):
    child = os.fork()  # as a loader's worker, which lives on for a while
    if child:
        print(child, flush=True)
    time.sleep(600)
"""


def test_a_dozen_kills_of_everything_at_once_change_no_bit() -> None:
    """One-cycle, MixUp, EMA, random crops, accumulation, two fits, 0 and 2 workers in turns."""
    command = [sys.executable, str(HERE / "killed.py"), "--kills", "12", "--fork"]
    run = subprocess.run(command, capture_output=True, text=True, env=ENVIRON, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "12 kills" in run.stdout and "differences: 0" in run.stdout


def test_a_lock_is_free_once_its_holder_is_killed_though_its_workers_live(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRON)
    assert holder.stdout is not None
    worker = int(holder.stdout.readline())
    try:
        with pytest.raises(InterruptedError), locked(tmp_path / "states", refuse):
            pass
        with pytest.raises(BlockingIOError, match="in this process or another"):
            learner(tmp_path.parent).fit(1, cbs=Checkpoint(tmp_path.name))
        holder.kill()
        holder.wait()
        began = time.monotonic()
        with locked(tmp_path / "states"):
            assert time.monotonic() - began < 5
    finally:
        os.kill(worker, signal.SIGKILL)
        holder.stdout.close()


def refuse() -> None:
    raise InterruptedError
