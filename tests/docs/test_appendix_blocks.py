"""Blocks of the appendix: commands are read by the real command line, the rest runs elsewhere.

What the commands do takes minutes to hours of sampling and is shown by the tests of their verbs;
here each has a verb that is there, flags that it takes and values of their kinds.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import tomllib
import torch
import typer
import yaml

from bench.cli.app import app
from bench.core.cell import Checkpoint
from bench.core.scheme import Scheme
from bench.models.cards import REQUIRED
from bench.quant.methods import rounded

ROOT = Path(__file__).parents[2]
DESCRIBED = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
APPENDIX = [
    ROOT / "docs" / path
    for part in DESCRIBED["nav"]
    for entry in part.get("Appendix", ())
    for path in entry.values()
]
# Fenced blocks that a test elsewhere runs as they stand, by page and first words.
RUN_BY = {
    ("methods", '"""Steps of weights that'): "tests/extensions/test_method_of_a_file.py",
    ("notebook", ""): "tests/test_api.py",
}
# Those that are executed here.
HERE = {
    ("methods", '[project.entry-points."bench'),
    ("methods", "class Clipped:"),
    ("checkpoints", "def make("),
    ("pipelines", "checkpoints:"),
}
FENCED = re.compile(r"(?m)^```(\w+)\n([\s\S]*?)^```$")
COMMANDS = re.compile(r"(?m)^    ((?:bench|python) (?:[^\n\\]|\\\n)+)")


def commands(path):
    """The commands of a page, without comments and what is in brackets."""
    text = re.sub(FENCED, "", path.read_text(encoding="utf-8"))
    for found in COMMANDS.findall(text):
        line = re.sub(r"\s\[[^\]]*\]|\s\.\.\.", "", found.replace("\\\n", " "))
        yield shlex.split(line, comments=True)


@pytest.mark.parametrize("path", APPENDIX, ids=lambda path: path.stem)
def test_commands_are_read_by_the_command_line(path):
    root = typer.main.get_command(app)
    for program, *words in commands(path):
        if program == "python":
            assert (ROOT / words[0]).is_file(), words
            continue
        group = root
        while hasattr(group, "commands") and words and words[0] in group.commands:
            name, *words = words
            group = group.commands[name]
        assert not hasattr(group, "commands"), (path.name, words)
        group.make_context(name, list(words))


@pytest.mark.parametrize("path", APPENDIX, ids=lambda path: path.stem)
def test_all_other_blocks_are_run_by_a_test(path):
    for _, text in FENCED.findall(path.read_text(encoding="utf-8")):
        if any(page == path.stem and text.startswith(start) for page, start in HERE):
            continue
        (test,) = {
            test
            for (page, start), test in RUN_BY.items()
            if page == path.stem and text.startswith(start)
        }
        assert f"{path.stem}.md" in (ROOT / test).read_text(encoding="utf-8")


def shown(page, start):
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    (block,) = [block for _, block in FENCED.findall(text) if block.startswith(start)]
    return block


def test_the_method_of_a_package_is_one():
    point = tomllib.loads(shown("methods", "[project"))["project"]["entry-points"]
    (name,) = point["bench.methods"].values()
    code = {"torch": torch, "rows_of": rounded.rows_of, "round_rows": rounded.round_rows}
    code["rounded_layers"] = lambda graph: []
    exec(shown("methods", "class Clipped:"), code)
    made = code[name.rpartition(":")[2]]("95")
    assert made.share == 0.95
    assert made.refuses(Scheme.parse("w4a8")) is None and made.refuses(Scheme.parse("w16a8"))
    assert made("graph", None, None) == "graph"


def test_the_network_of_a_function_is_called_as_it_says():
    code = {"Net": lambda channels, width: lambda x, t: SimpleNamespace(sample=x + t)}
    exec(shown("checkpoints", "def make("), code)
    network, call = code["make"]()
    assert call(network, 2.0, 500) == 2.5


def test_the_card_of_a_pipeline_has_fields_that_cards_have():
    told = yaml.safe_load(shown("pipelines", "checkpoints:"))["checkpoints"][0]
    known = {field.name for field in dataclasses.fields(Checkpoint)}
    assert set(REQUIRED) <= set(told) <= known


def test_there_are_such_commands():
    assert sum(len(list(commands(path))) for path in APPENDIX) > 40
