"""What holds for the whole package: what it loads, what it offers, what it never does."""

import ast
import importlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import learnlite

ROOT = Path(__file__).parent.parent
PACKAGE = Path(learnlite.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
PUBLIC = [path for path in MODULES if path.name == "__init__.py"]


def in_package(path: Path) -> str:
    return path.relative_to(PACKAGE.parent).as_posix()


# --- importing

# Runs in an interpreter of its own. torch and numpy come first: what they do is not ours.
IMPORT = """
import json, os, sys
import numpy, torch

sys.dont_write_bytecode = True  # the one file an import may write
acts, before = [], set(sys.modules)

def watch(event, args):
    if event == "open":
        mode, flags = args[1], args[2]
        wrote = isinstance(mode, str) and set(mode) & set("wax+")
        if wrote or (isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
            acts.append(f"open {args[0]} for writing")
    elif event.split(".")[0] in ("socket", "subprocess", "shutil", "tempfile", "pickle", "marshal"):
        if event not in ("marshal.loads", "marshal.load"):  # how Python reads its own bytecode
            acts.append(event)
    elif event in ("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.mkdir", "os.remove"):
        acts.append(event)

sys.addaudithook(watch)
import learnlite
found = list(acts)
print(json.dumps({"acts": found, "modules": sorted(set(sys.modules) - before)}))
"""


@pytest.fixture(scope="module")
def imported() -> dict[str, list[str]]:
    """What a fresh interpreter did, and loaded beyond torch and numpy, in `import learnlite`."""
    environ = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    command = [sys.executable, "-W", "error", "-c", IMPORT]
    run = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize(
    "name",
    ["torchvision", "PIL", "fastprogress", "IPython", "matplotlib", "pandas", "torchmetrics"],
)
def test_import_leaves_heavy_packages_alone(imported: dict[str, list[str]], name: str) -> None:
    assert [module for module in imported["modules"] if module.split(".")[0] == name] == []


def test_import_opens_no_socket_starts_no_process_and_writes_no_file(
    imported: dict[str, list[str]],
) -> None:
    assert imported["acts"] == []


def test_import_loads_nothing_beyond_the_standard_library_torch_and_numpy(
    imported: dict[str, list[str]],
) -> None:
    ours = {"learnlite", "torch", "numpy"}
    tops = {module.split(".")[0] for module in imported["modules"]} - ours
    assert tops - set(sys.stdlib_module_names) == set()


def test_import_loads_few_modules_beside_its_own(imported: dict[str, list[str]]) -> None:
    others = [name for name in imported["modules"] if name.split(".")[0] != "learnlite"]
    assert len(others) <= 20, others


# --- public names


@pytest.mark.parametrize("path", PUBLIC, ids=in_package)
def test_each_package_lists_its_public_names(path: Path) -> None:
    module = importlib.import_module(in_package(path.parent).replace("/", "."))
    listed = module.__all__
    assert len(listed) == len(set(listed)), "a name stands twice"
    assert [name for name in listed if not hasattr(module, name)] == []
    tree = ast.parse(path.read_text())
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert {name for name in imported if not name.startswith("_")} <= set(listed)


def test_the_installed_version_is_the_one_in_the_source() -> None:
    try:
        installed = importlib.metadata.version("learnlite")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("learnlite runs from its folder here, it is not installed")
    assert installed == learnlite.__version__


def test_the_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()


def test_the_top_level_holds_what_a_reader_expects() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if tracked.returncode != 0:
        pytest.skip("this is no git checkout")
    top = {line.split("/")[0] for line in tracked.stdout.splitlines()}
    rooms = {"pyproject.toml", "learnlite", "tests", "nbs", "docs", "README.md", "LICENSE"}
    assert {name for name in top if not name.startswith(".")} == rooms


# --- what the code never does

BANNED_MODULES = {"pickle", "cPickle", "dill", "joblib", "cloudpickle", "marshal", "shelve"}
BANNED_NAMES = {"eval", "exec", "compile", "__import__"}  # `model.eval()` is another thing
UNSAFE = {"os.system", "yaml.load", "torch.hub.load", "torch.export.load", "torch.jit.load"}
BANNED_METHODS = {"extractall", "popen", "add_safe_globals"}


FROM_CONSTANTS = {
    f"learnlite/{file}": ["importlib.import_module of what is no constant"]
    for file in ("export/data.py", "export/onnx.py", "commands/doctor.py", "vision/notebook.py")
}
"""Where names of modules come from a tuple or a dict in the same file."""


def name_of(node: ast.expr) -> str:
    """`torch.load` for the expression torch.load."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "…"


def risks(source: str) -> Iterator[str]:
    """Each thing in `source` that could run code which came with a file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] in BANNED_MODULES)
        elif isinstance(node, ast.ImportFrom):
            if (node.module or "").split(".")[0] in BANNED_MODULES:
                yield str(node.module)
        elif isinstance(node, ast.Call):
            yield from risks_of_call(node)


def risks_of_call(call: ast.Call) -> Iterator[str]:
    name = name_of(call.func)
    given = {word.arg: word.value for word in call.keywords}

    def is_true(argument: str) -> bool:
        value = given.get(argument)
        return isinstance(value, ast.Constant) and value.value is True

    first, last = name.split(".")[0], name.split(".")[-1]
    if first == "builtins" or name in BANNED_NAMES or last in BANNED_METHODS:
        yield name
    elif name in {"torch.load", "load"} or name.endswith("load_state_dict_from_url"):
        if not is_true("weights_only"):
            yield f"{name} without weights_only=True"
    elif name in UNSAFE:
        yield name
    elif last == "import_module" and not all(isinstance(arg, ast.Constant) for arg in call.args):
        yield f"{name} of what is no constant"
    if is_true("shell"):
        yield f"{name} with shell=True"
    if is_true("allow_pickle"):
        yield f"{name} with allow_pickle=True"


@pytest.mark.parametrize("path", MODULES, ids=in_package)
def test_no_module_can_run_code_that_came_with_a_file(path: Path) -> None:
    known = FROM_CONSTANTS.get(in_package(path), [])
    assert [risk for risk in risks(path.read_text()) if risk not in known] == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "eval('1')",
        "exec(text)",
        "__import__(name)",
        "yaml.load(file)",
        "subprocess.run(line, shell=True)",
        "archive.extractall(folder)",
        "numpy.load(path, allow_pickle=True)",
        "torch.serialization.add_safe_globals([Thing])",
        "importlib.import_module(config['module'])",
    ],
)
def test_the_search_for_such_code_finds_it(line: str) -> None:
    assert list(risks(line)) != []


def test_the_search_lets_honest_code_pass() -> None:
    honest = "torch.load(p, weights_only=True); model.eval(); re.compile(x); json.load(f)"
    assert list(risks(honest)) == []


@pytest.mark.parametrize("path", MODULES, ids=in_package)
def test_no_module_imports_with_a_star(path: Path) -> None:
    stars = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
    ]
    # A notebook's star import passes on what others list, and nothing else may.
    assert stars == [] or in_package(path).endswith("/all.py")


# --- the project's own promises


def test_every_dependency_has_a_floor() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[^\w-]", line)[0] for line in project["dependencies"]}
    assert names == {"torch", "torchvision", "fastprogress", "pillow", "numpy"}
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    lines = [line for group in groups for line in group if not line.startswith("learnlite[")]
    assert [line for line in lines if ">=" not in line] == []
