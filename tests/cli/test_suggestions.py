"""Commands that messages and documents name: each is one that bench has, and can be pasted."""

from __future__ import annotations

import ast
import re
import shlex
from functools import cache
from pathlib import Path

import click
import pytest
import typer

from bench.cli.app import app

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "bench").rglob("*.py"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Placed into a command as they are: names of extensions, which are plain words.
PLAIN = {"extractor"}


def rendered(node):
    """A string with what it puts in: WORD where that is quoted or plain, else a mark."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    parts = []
    for value in node.values:
        if isinstance(value, ast.Constant):
            parts.append(value.value)
            continue
        text = ast.unparse(value.value)
        quoted = text.startswith(("shlex.quote(", "shlex.join(")) or text in PLAIN
        parts.append("WORD" if quoted else "{UNQUOTED}")
    return "".join(parts)


def of_source(path):
    """Commands in the strings of a module, docstrings included."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {id(v) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for v in n.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in inner:
            text = rendered(node)
            yield from re.findall(r"`(bench\s[^`]*)`", text)
            yield from re.findall(r"Example:\s+(bench .*)", text)


def of_document(path):
    """Commands in the blocks and between the backticks of a document."""
    # Commands that go on in the next line are one line.
    text = re.sub(r"\\\n\s*", "", path.read_text(encoding="utf-8"))
    yield from re.findall(r"`(bench\s[^`]*)`", text)
    for line in re.findall(r"(?m)^(?:    |- run: )(?:.*&& )?(bench [a-z].*)$", text):
        yield line.partition(" #")[0].partition(" | ")[0]


@cache
def root():
    """The command line; made once, as that takes a third of a second."""
    return typer.main.get_command(app)


def check(line):
    """Raise where the command line has no such verb or flag."""
    assert "{UNQUOTED}" not in line, f"{line}: quote what is put in (shlex.quote)"
    words = shlex.split(line.replace("...", " "))[1:]
    command = root()
    while words and hasattr(command, "get_command"):
        if words[0].startswith("-"):
            break
        # "run|report" and lists of verbs are prose.
        found = command.get_command(click.Context(command), words[0].rstrip(","))
        assert found is not None, f"{line}: no command {words[0]}"
        command, words = found, words[1:]
    known = {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
    for word in words:
        if word.startswith("--"):
            flag = word.partition("=")[0].rstrip(",;.")
            assert flag in known | {"--help"}, f"{line}: no flag {flag}"


@pytest.mark.parametrize("path", [*SOURCES, *DOCUMENTS], ids=lambda path: path.name)
def test_commands_exist(path):
    for line in (of_source if path.suffix == ".py" else of_document)(path):
        check(" ".join(line.split()))


def test_the_check_finds_what_is_wrong(tmp_path):
    path = tmp_path / "a.py"
    for text in ("`bench rum`", "`bench run --bots 4`", "`bench reference {dataset} inception`"):
        path.write_text(f"message = f'no: {text}'\n")
        with pytest.raises(AssertionError):
            for line in of_source(path):
                check(line)
    found = [line for path in SOURCES for line in of_source(path)]
    assert len(found) > 20
