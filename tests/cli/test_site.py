"""`bench site` as a user types it."""

import pytest
from helpers import canned_run

from bench.core.record import to_json


@pytest.fixture
def reports(tmp_path):
    for name in ("20250102T030405Z-0123abcd", "b"):
        folder = tmp_path / "reports" / name
        folder.mkdir(parents=True)
        text = to_json(canned_run.run("w4a8"))
        (folder / "run.json").write_text(text.replace("20250102T030405Z-0123abcd", name))
    return tmp_path / "reports"


def test_a_folder_of_runs_and_a_run_in_it_are_each_taken_once(bench, reports, tmp_path):
    target = tmp_path / "public"
    code, stdout, _ = bench("site", reports, reports / "b", "--to", target)
    assert (code or 0, stdout) == (0, f"{target / 'index.html'}\n")
    names = {path.name for path in (target / "runs").iterdir()}
    assert names == {"20250102T030405Z-0123abcd.html", "b.html"}


def test_what_is_no_run_is_refused_and_nothing_is_written(bench, reports, tmp_path):
    target = tmp_path / "public"
    code, _, stderr = bench("site", tmp_path / "none", "--to", target)
    assert code == 2 and "no runs in" in stderr and len(stderr.splitlines()) == 1
    (reports / "c").mkdir()
    (reports / "c" / "run.json").write_bytes((reports / "b" / "run.json").read_bytes())
    code, _, stderr = bench("site", reports, "--to", target)
    assert code == 2 and "are both run b" in stderr
    (reports / "c" / "run.json").write_text("{")
    code, _, stderr = bench("site", reports, "--to", target)
    assert code == 2 and not target.exists()
