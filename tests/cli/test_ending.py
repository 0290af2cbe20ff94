"""The end of a run in the terminal, and help by purpose."""

import io
import subprocess
import sys

import pytest
import typer
from helpers import canned_run
from rich.console import Console

from bench.cli import ending, grouped_help
from bench.cli.app import app
from bench.report.rows import rows
from bench.report.verdict import verdicts


def shown(is_unicode, times=1):
    stream = io.StringIO()
    table = ending.table(verdicts(rows(canned_run.run()), {}) * times, is_unicode)
    Console(file=stream, width=120).print(table)
    return stream.getvalue()


def test_the_table_has_a_line_for_each_checkpoint_under_each_scheme():
    heads, *lines = shown(True).splitlines()
    assert heads.split("  ")[0] == "Scheme"
    assert [line.split()[:2] for line in lines[:2]] == [["w8a8", "sam"], ["w8a8", "ema"]]
    assert lines[7].split("  ")[0] == "w4a8"
    assert "◆ not decided  KD +0.007600, from 0.045856    PSNR 19.4 dB" in lines[7]


def test_many_cells_are_counted_by_scheme():
    _, first, second, *_ = shown(True, times=2).splitlines()
    assert first.startswith("w8a8    ◆ all 4 checkpoints not decided")
    assert "KD +0.001222 to +0.007600, median +0.003183" in second
    assert second.rstrip().endswith("PSNR 19.40 to 25.30 dB")


def test_without_unicode_the_words_stand_alone():
    assert shown(False).isascii()
    assert "  not decided  KD" in shown(False)


def test_the_answer_goes_to_stderr(tmp_path, capsys):
    ending.tell(canned_run.run(), tmp_path)
    out, error = capsys.readouterr()
    assert out == ""
    assert error.splitlines()[-1] == "w8a8 and w4a8: all 4 checkpoints not decided."


def commands():
    group = typer.main.get_command(app)
    return {name: group.get_command(None, name) for name in group.list_commands(None)}


def test_every_verb_has_a_purpose():
    named = [name for members in grouped_help.VERBS.values() for name in members]
    assert sorted(named) == sorted(commands())


@pytest.mark.parametrize("name", ["run", "score", "speed", "probe"])
def test_every_flag_of_a_grouped_command_has_a_purpose(name):
    named = [flag for members in grouped_help.FLAGS.values() for flag in members]
    assert len(named) == len(set(named))
    flags = {p.name for p in commands()[name].params if isinstance(p, typer.core.TyperOption)}
    assert flags - {"help"} <= set(named)


def test_a_shell_gets_completions():
    code = "from bench.cli.app import main; main()"
    environment = {"_BENCH_COMPLETE": "complete_bash", "COMP_WORDS": "bench sp", "COMP_CWORD": "1"}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, ["speed"])
