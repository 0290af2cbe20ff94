"""The rooms of the package: which may import which, limits of size, and who never needs torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "bench"
# Room -> rooms that it may import. `cli`, `api` and what starts the program may import all.
ROOMS = {
    "core": set(),
    "system": {"core"},
    "models": {"core", "system"},
    "quant": {"core", "system"},
    "measurement": {"core", "system"},
    "verdicts": {"core", "system"},
    "evaluation": {"core", "system", "models", "quant", "measurement"},
    "report": {"core", "system", "verdicts"},
    "cli": {
        "core",
        "system",
        "models",
        "quant",
        "measurement",
        "verdicts",
        "evaluation",
        "report",
    },
}
FREE = {"__init__", "__main__", "api"}
# A command has as many lines as it has flags.
COMMANDS = ("run.py", "score.py", "train.py", "compare.py", "speed.py", "probe.py", "certify.py")


def imported(path):
    """The rooms that a module imports from, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "bench":
            parts = node.module.split(".")
            yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("bench."):
                    yield alias.name.split(".")[1]


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_what_the_table_allows(room):
    wrong = [
        f"{path.relative_to(ROOT)} imports {there}"
        for path in (ROOT / room).rglob("*.py")
        for there in imported(path)
        if there not in (*ROOMS[room], room, "__version__")
    ]
    assert not wrong


def test_the_listing_is_the_table():
    entries = {path.stem if path.suffix == ".py" else path.name for path in ROOT.iterdir()}
    entries -= {"__pycache__"}
    assert entries == {*ROOMS, *FREE, "zoo"}
    assert len(entries) <= 14


def test_each_room_says_what_it_is():
    for folder in (path.parent for path in ROOT.rglob("*.py")):
        text = (folder / "__init__.py").read_text(encoding="utf-8")
        assert ast.get_docstring(ast.parse(text)), folder


def test_size_limits():
    for path in ROOT.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 300, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                lines = node.end_lineno - node.lineno + 1
                command = path.parent.name == "cli" and path.name in COMMANDS
                assert lines <= (60 if command else 50), f"{path}: {node.name} has {lines} lines"


def test_light_modules_do_not_import_torch():
    code = (
        "import sys, bench.cli.app, bench.models.cards, bench.report, bench.evaluation.pipeline;"
        "import bench.core.protocols, bench.core.denoiser, bench.verdicts.gate;"
        "import bench.report.history, bench.report.comparison;"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
