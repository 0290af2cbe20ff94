"""The notebook's way in, and the example of docs/notebook.md as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.gates import NEW, OLD, keep, side

import bench
from bench.core.errors import InputError
from bench.verdicts import baseline

ROOT = Path(__file__).parent.parent


def test_the_example_of_the_docs(monkeypatch):
    monkeypatch.chdir(ROOT)
    text = (ROOT / "docs" / "notebook.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 3
    exec("\n".join(blocks), {})


def test_the_columns_that_the_docs_name_are_there(monkeypatch):
    """`psnr` picks one number of a cell, though `psnr_simulated` begins alike."""
    monkeypatch.chdir(ROOT)
    frame = bench.load("20261125T075548Z-80605eb6").frame()
    cells = frame[(frame.metric == "psnr")].groupby(["checkpoint", "scheme", "backend"]).size()
    assert set(cells) == {1}
    assert "psnr_simulated" in set(frame.metric)
    verdicts = bench.compare("baseline", "baseline").frame()
    assert {"metric", "extractor", "n"} <= set(verdicts.columns)
    assert set(verdicts[verdicts.metric == "delta_kd"].extractor) == {"efficientnet"}
    assert set(verdicts[verdicts.metric == "psnr"].extractor) == {""}


def test_frames_of_a_comparison(tmp_path):
    keep(tmp_path, side(), OLD)
    keep(tmp_path, side(psnr=-1.0), NEW)
    baseline.accept(tmp_path, OLD, "first")
    found = bench.compare(out=tmp_path)
    assert not found.passed
    worst = found.frame().iloc[0]
    assert (worst.verdict, worst.metric, worst.paired) == ("worse", "psnr", True)
    assert bench.compare(fail_on=["psnr:2"], out=tmp_path).passed
    assert bench.load(out=tmp_path).run.id == NEW
    assert set(bench.load("baseline", out=tmp_path).frame().run) == {OLD}
    with pytest.raises(InputError):
        bench.load("none", out=tmp_path)


def test_loaded_runs_and_single_words_are_taken(tmp_path):
    keep(tmp_path, side(), OLD)
    keep(tmp_path, side(psnr=-1.0), NEW)
    old, new = bench.load(OLD, out=str(tmp_path)), bench.load(tmp_path / NEW)
    assert bench.compare(old, old).passed
    named = bench.compare(OLD, NEW, out=str(tmp_path))
    assert bench.compare(old, new).frame().equals(named.frame())
    assert not bench.compare(old, NEW, fail_on="psnr", out=tmp_path).passed
    assert bench.compare(old, new, fail_on="psnr:2").passed
    assert bench.compare(old, new, fail_on=["psnr:2", "inconclusive"]).undecided_fails


def test_what_is_printed_of_them_is_short(tmp_path):
    keep(tmp_path, side(), OLD)
    run = bench.load(OLD, out=tmp_path)
    assert OLD in repr(run) and len(repr(run)) < 100
    assert "passed" in repr(bench.compare(run, run)) and len(repr(bench.compare(run, run))) < 150


def test_all_functions_are_seen():
    assert {"load", "compare", "__version__"} <= set(dir(bench))
    assert set(bench.__all__) == {"load", "compare", "score"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"base": 3}, "not a value of type int"),
        ({"base": ["a"]}, "not a value of type list"),
        ({"base": "a", "fail_on": [3]}, "fail_on takes words"),
        ({"base": "a", "out": 3}, "out is a path"),
        ({"base": "a", "limits": 3}, "limits is a path"),
    ],
)
def test_wrong_types_are_one_line(arguments, says):
    with pytest.raises(TypeError, match=says):
        bench.compare(**arguments)
    if set(arguments) == {"base"}:
        with pytest.raises(TypeError, match=says):
            bench.load(arguments["base"])


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b", "", "../" * 3000])
def test_names_that_no_file_can_have(name, tmp_path):
    with pytest.raises(InputError):
        bench.load(name, out=tmp_path)


def test_a_folder_of_runs_that_no_disk_has():
    with pytest.raises(InputError) as caught:
        bench.load(out="o" * 10_000)
    said = str(caught.value)
    assert said == f"no runs in '{'o' * 77}...': File name too long"
    with pytest.raises(InputError, match=r"^no run 'a': .* an id in o{297}\.\.\.$"):
        bench.load("a", out="o" * 10_000)


def test_importing_has_no_effects():
    code = "import sys, bench; assert not {'numpy', 'torch', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="nothing"):
        _ = bench.nothing
