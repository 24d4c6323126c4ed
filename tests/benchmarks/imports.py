"""What `import learnlite` costs beyond the torch and numpy that it needs.

    python tests/benchmarks/imports.py [--reps 15]

Fresh interpreters take turns; torch and numpy are loaded before the clock starts. Prints medians of
process time, the goal, and the modules that cost most.
"""

import argparse
import json
import statistics
import subprocess
import sys

GOAL = 0.15  # seconds
STATEMENTS = {
    "nothing": "pass",
    "learnlite": "import learnlite",
    "torchvision": "import torchvision",
    "fastprogress": "import fastprogress.fastprogress",
    "matplotlib": "import matplotlib.pyplot",
}
TIMED = """
import json, resource, sys, time
import numpy, torch
modules, cpu, wall = len(sys.modules), time.process_time(), time.perf_counter()
{}
cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
print(json.dumps([cpu, wall, len(sys.modules) - modules]))
"""


def timed(statement: str) -> list[float] | None:
    command = [sys.executable, "-W", "ignore", "-c", TIMED.format(statement)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    return json.loads(run.stdout) if run.returncode == 0 else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--reps", type=int, default=15)
    options = parser.parse_args()
    found: dict[str, list[list[float]]] = {name: [] for name in STATEMENTS}
    for _ in range(options.reps):
        for name, statement in STATEMENTS.items():
            if (row := timed(statement)) is not None:
                found[name].append(row)
    print("| import, after torch and numpy | cpu s | wall s | modules |\n|---|---|---|---|")
    for name, rows in found.items():
        if rows:
            cpu, wall, modules = (statistics.median(row[i] for row in rows) for i in range(3))
            print(f"| {name} | {cpu:.3f} | {wall:.3f} | {modules:.0f} |")
        else:
            print(f"| {name} | not installed | | |")
    cost = statistics.median(row[0] for row in found["learnlite"])
    print(f"`import learnlite` costs {cost:.3f} s; the goal is {GOAL} s at most")


if __name__ == "__main__":
    main()
