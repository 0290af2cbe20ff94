"""Every flag that a shipped file, the manual or a message names is one of the command line."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
import typer

from bench.cli import app
from bench.core import extensions

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path.relative_to(ROOT)
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "docs/*.py",
        "bench/**/*.py",
        "bench/**/*.toml",
        "bench/**/*.yaml",
        "bench/**/*.md",
        ".github/**/*.yml",
        "*.yaml",
        "noxfile.py",
        ".ci/*",
    )
    for path in ROOT.glob(pattern)
    if path.is_file()
)
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z](?!\w)")
SPEAKS = re.compile(r"(?<![\w./-])bench ([a-z]+)((?:[ \n]+[^`\n]*)?)")
SCRIPT = re.compile(r"(?:benchmarks|docs/experiments)/\w+\.py")
OWN = re.compile(r'add_argument\(\s*"(--[a-z-]+)"')
# Of other programs: pip, pytest, ruff, hf, git, mypy.
FOREIGN = {
    "--revision",
    "--check",
    "--dist",
    "--follow-imports",
    "--porcelain",
    "--from",
    "--to",
    "--no-install-recommends",
    # Of pip and git, and of `bench` before its verb.
    "--force-reinstall",
    "--get-regexp",
    "--null",
    "--name-only",
    "--verify",
    "--ignore-submodules",
    "--traceback",
    # Of typer, for every command.
    "--install-completion",
    # Of Ray.
    "--head",
    "--num-cpus",
    # Of mkdocs and Slurm.
    "--strict",
    "--array",
    "--cpus-per-task",
    # Colours of the page of a report.
    "--bad",
    "--good",
    "--page",
}


@cache
def commands():
    """The flags of each verb, of groups those of all their commands."""
    root = typer.main.get_command(app.app)

    def flags(command):
        own = {word for p in command.params for word in (*p.opts, *p.secondary_opts)}
        for inner in getattr(command, "commands", {}).values():
            own |= flags(inner)
        return {word for word in own if word.startswith("--")} | {"--help"}

    return {name: flags(command) for name, command in root.commands.items()} | {
        "": {"--version", "--help"}
    }


def text_of(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    # Literals that are joined over lines.
    return re.sub(r'"\s*\n\s*f?"', "", text) if path.suffix == ".py" else text


@pytest.mark.parametrize("path", FILES, ids=str)
def test_flags_exist(path):
    known = set().union(*commands().values()) | FOREIGN
    text = text_of(path)
    # A page that names a script may name its flags.
    scripts = [ROOT / name for name in set(SCRIPT.findall(text))]
    own = {flag for place in (path, *scripts) for flag in OWN.findall(text_of(place))}
    named = set(FLAG.findall(text))
    assert named - known - own == set()


@pytest.mark.parametrize("path", FILES, ids=str)
def test_flags_are_those_of_the_verb_they_stand_beside(path):
    for verb, rest in SPEAKS.findall(text_of(path)):
        if verb not in commands():
            continue
        words = re.split(r"[|;#(]| \w+ `| and ", rest)[0]
        wrong = set(FLAG.findall(words)) - commands()[verb]
        assert wrong == set(), f"bench {verb}{rest}"


def test_what_is_measured_by_a_flag_of_run_is_named_so():
    """The shipped thresholds named `--metric`, which is a flag of `bench history`."""
    text = (ROOT / "bench" / "verdicts" / "thresholds.toml").read_text(encoding="utf-8")
    told = re.findall(r"Measured with ([^;.\n]*)", text)
    assert len(told) == 3
    for words in told:
        assert set(FLAG.findall(words)) <= commands()["run"]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_metrics_and_extractors_beside_their_flags_exist(path):
    text = text_of(path)
    for flag in ("metrics", "extractors"):
        for words in re.findall(rf"--{flag} ([+a-z][\w+,-]*)", text):
            for word in words.split(","):
                name = word.removeprefix("+")
                # Prose goes on behind a flag without a value.
                shown = word.startswith("+") and name != "NAME"
                assert name in extensions.names(flag) or not shown, words


def test_a_flag_that_does_not_exist_is_found():
    named = set(FLAG.findall("Measured with --metric frechet_infinity, `--metrics +x`."))
    assert named - commands()["run"] == {"--metric"}
