"""The notebook's way in, and the example of docs/notebook.md as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from gates import side
from test_gate import NEW, OLD, keep

import bench
from bench import baseline
from bench.errors import InputError

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


def test_importing_has_no_effects():
    code = "import sys, bench; assert not {'numpy', 'torch', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="nothing"):
        _ = bench.nothing
