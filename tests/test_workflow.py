"""The workflow of GitHub Actions as it is committed: its steps in order, run as a shell runs them.

`bench` itself is stood in for by a script that notes its words and ends with a given exit code.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import click
import pytest
import typer
import yaml

from bench.cli.app import app

ROOT = Path(__file__).parents[1]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/regression.yml").read_text())
STEPS = WORKFLOW["jobs"]["regress"]["steps"]
RUN = "reports/20260101T000000Z-aaaaaaaa"
STAND_IN = """#!/bin/bash
echo "$@" >> "$WORDS"
case $1 in
  run) echo {run}/report.md; exit $RUN_CODE;;
  compare) echo "# verdicts"; exit $COMPARE_CODE;;
esac
"""


def execute(folder, run_code=0, compare_code=0):
    """The steps that call `bench`; (failed, words of each call, job summary)."""
    stand_in = folder / "bench"
    stand_in.write_text(STAND_IN.format(run=RUN))
    stand_in.chmod(0o755)
    words, summary, variables = (folder / name for name in ("words", "summary", "variables"))
    for path in (words, summary, variables):
        path.touch()
    failed = False
    for step in (s for s in STEPS if "bench " in s.get("run", "")):
        known = dict(line.split("=", 1) for line in variables.read_text().splitlines())
        if "always()" in step.get("if", "") and "HEAD" not in known:
            continue
        if failed and "always()" not in step.get("if", ""):
            continue
        # The shells of Actions: pipefail only where bash is asked for by name.
        options = ["-eo", "pipefail"] if step.get("shell") == "bash" else ["-e"]
        environment = {
            **os.environ,
            **known,
            "PATH": f"{folder}:{os.environ['PATH']}",
            "WORDS": str(words),
            "RUN_CODE": str(run_code),
            "COMPARE_CODE": str(compare_code),
            "GITHUB_ENV": str(variables),
            "GITHUB_STEP_SUMMARY": str(summary),
        }
        shell = ["bash", *options, "-c", step["run"]]
        failed |= bool(subprocess.run(shell, env=environment, cwd=folder).returncode)
    return failed, words.read_text().splitlines(), summary.read_text()


def test_the_run_is_compared_and_told(tmp_path):
    failed, words, summary = execute(tmp_path)
    assert not failed
    assert words[:2] == ["run --bits 4 --preset smoke", f"compare baseline {RUN}"]
    assert summary == "# verdicts\n"
    assert (tmp_path / "regression.xml").exists()


def test_a_regression_fails_the_job_with_its_summary(tmp_path):
    failed, _, summary = execute(tmp_path, compare_code=1)
    assert (failed, summary) == (True, "# verdicts\n")


def test_a_run_that_fails_is_not_compared(tmp_path):
    failed, words, summary = execute(tmp_path, run_code=2)
    assert (failed, len(words), summary) == (True, 1, "")


@pytest.mark.parametrize("name", list(WORKFLOW["jobs"]))
def test_a_job_checks_out_and_is_bounded(name):
    job = WORKFLOW["jobs"][name]
    assert job["steps"][0]["uses"].startswith("actions/checkout@")
    assert 0 < job["timeout-minutes"] <= 60
    assert WORKFLOW["permissions"] == {"contents": "read"}


def test_the_words_are_those_of_the_command_line(tmp_path):
    commands = typer.main.get_command(app)
    _, words, _ = execute(tmp_path)
    for line in words:
        name, *rest = shlex.split(line)
        command = commands.get_command(click.Context(commands), name)
        # Raises where an option is not known.
        command.make_context(name, rest)
