"""The layers of DESIGN.md: a module imports lower layers only; light commands never need torch."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent / "bench"
LAYERS = [
    {
        *("errors", "spec", "record", "migrations", "explanation", "protocols", "tables"),
        *("names", "shards", "printable", "border", "sound", "scheme_words", "npz"),
    },
    {
        *("disk", "artifacts", "closure", "keys"),
        "registry",
        "hub",
        "components",
        "store",
        "host",
        "quiet",
        "devices",
        "networks",
        "stats",
        "decisions",
        "influences",
        "yaml_files",
        "chronology",
        *("terminal", "interrupts", "checkout"),
    },
    {"sources", "data", "training", "sampling", "quant", "features", "metrics", "probes"},
    {
        *("real", "timing", "stages", "scoring", "speed", "pipeline", "engines", "estimate"),
        *("rounds", "plausibility", "fits"),
        *("subjects", "probing"),
    },
    {
        "baseline",
        "thresholds",
        "findings",
        "comparison",
        "compared",
        "matching",
        "history",
        "contrasts",
        "pairing",
        "claims",
        "ranks",
    },
    {"report"},
    {
        "planning",
        "progress",
        "commands",
        "gate",
        "api",
        "importing",
        "choosing",
        "references",
        "suite",
        "skips",
        "redaction",
        "listing",
    },
    {"flags", "cli", "cli_data", "judging", "measuring", "explaining", "exits"},
    {"__main__"},
]
# `training` reads its images through `data`; every other stage stands alone.
ALLOWED = {("training", "data")}


def layer(name):
    return next(k for k, names in enumerate(LAYERS) if name in names)


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "bench":
            parts = node.module.split(".")
            yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]


def test_imports_point_down():
    wrong = []
    for path in ROOT.rglob("*.py"):
        here = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if here == "__init__":
            continue
        for there in imported(path):
            if there in (here, "__version__") or (here, there) in ALLOWED:
                continue
            up = layer(there) > layer(here) or (layer(there) == layer(here) == 2)
            if up:
                wrong.append(f"{path.relative_to(ROOT)} imports {there}")
    assert not wrong


def test_size_limits():
    for path in ROOT.rglob("*.py"):
        text = path.read_text()
        assert len(text.splitlines()) <= 300, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                lines = node.end_lineno - node.lineno + 1
                limit = (
                    60
                    if path.name in ("cli.py", "judging.py", "measuring.py", "explaining.py")
                    else 50
                )
                assert lines <= limit, f"{path}: {node.name} has {lines} lines"


def test_light_modules_do_not_import_torch():
    code = (
        "import sys, bench.cli, bench.registry, bench.report, bench.pipeline, bench.protocols;"
        "import bench.gate, bench.report.trend, bench.report.verdicts;"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
