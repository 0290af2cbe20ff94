"""The index of runs, and that reports need no torch."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import canned_run

from bench import report
from bench.core.record import to_json
from bench.system import store


def write(run, reports: Path, identity: str) -> None:
    store.save_text(reports / identity / "run.json", to_json(replace(run, id=identity)))


def test_newest_first_with_the_worst_loss(run, tmp_path):
    write(run, tmp_path, "20250101T000000Z-aaaaaaaa")
    write(canned_run.run("w8a8"), tmp_path, "20250102T000000Z-bbbbbbbb")
    report.render(run, tmp_path / "20250101T000000Z-aaaaaaaa")
    lines = report.write_index(tmp_path).read_text().splitlines()[4:]
    assert "20250102T000000Z-bbbbbbbb" in lines[0] and "report.md" not in lines[0]
    assert "[20250101T000000Z-aaaaaaaa](20250101T000000Z-aaaaaaaa/report.md)" in lines[1]
    assert "PSNR 19.40 dB [19.05, 19.75] (fmnist-baseline w4a8)" in lines[1]
    assert "12 of 14" in lines[1] and "0123abcd+" in lines[1]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"schema": 99}', '{"schema": 1}', '{"schema": 1, "records": [null]}'],
)
def test_an_unreadable_run_is_listed(run, tmp_path, text):
    write(run, tmp_path, "20250101T000000Z-aaaaaaaa")
    store.save_text(tmp_path / "20250103T000000Z-broken" / "run.json", text)
    lines = report.write_index(tmp_path).read_text().splitlines()[4:]
    assert "20250103T000000Z-broken" in lines[0] and "unreadable: " in lines[0]
    assert len(lines) == 2


def test_bytes_that_are_no_text_are_listed(tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_bytes(b"\xff\xfe\x00")
    assert "unreadable" in report.write_index(tmp_path).read_text()


def test_no_runs(tmp_path):
    assert report.write_index(tmp_path).read_text() == "# Runs\n\nNo runs yet.\n"


def test_rendering_never_imports_torch(tmp_path):
    code = (
        "import sys; from pathlib import Path; from helpers import canned_run\n"
        "from bench import report\n"
        "folder = Path(sys.argv[1]); run = canned_run.run()\n"
        "canned_run.write_samples(run, folder); report.render(run, folder)\n"
        "[form(run, folder) for form in report.FORMATS.values()]; report.write_index(folder)\n"
        "assert 'torch' not in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    root = Path(report.__file__).parents[2]
    path = f"{root}:{Path(__file__).parents[1]}"
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        check=True,
        env={"PYTHONPATH": path, "PATH": "", "HOME": str(tmp_path)},
        capture_output=True,
    )
