"""What is pasted into an issue: complete, short, and without private data."""

from dataclasses import replace

from helpers import canned_run

from bench import __version__
from bench.core.record import run_from_json
from bench.report import FORMATS
from bench.report.bug import MOST_CHARACTERS

bug = FORMATS["bug"]


def test_machine_versions_and_outcomes_are_told(run, tmp_path):
    text = bug(run, tmp_path)
    assert text.startswith(f"bench {__version__}; run 20250102T030405Z-0123abcd of commit ")
    assert "    bench run --scheme w8a8 --scheme w4a8" in text.splitlines()
    assert "- cpu, avx2, 2 threads: python 3.11.7, torch 2.14.1, torchao 0.18.0" in text
    rows = [line for line in text.splitlines() if line.startswith("| fmnist-")]
    assert len(rows) == len(run.records)
    assert "failed" in rows[0] and "ran out" in rows[0] and "refused" in rows[1]


def test_the_record_that_failed_is_given_whole(run, tmp_path):
    text = bug(run, tmp_path).partition("```json\n")[2].partition("\n```")[0]
    (record,) = run_from_json(text).records
    assert (record.status, record.error) == ("failed", "RuntimeError: <Tensor> ran out")


def test_private_data_are_left_out(run, tmp_path):
    records = tuple(
        replace(r, host=replace(r.host, name="anns-box"), error="no /home/ann/x/a.pt")
        for r in run.records
    )
    command = "bench run --cards /home/ann/secret/a.yaml --bits 4"
    text = bug(replace(run, records=records, command=command), tmp_path / "anns-folder")
    assert "ann" not in text.replace("channel", "").replace("scanned", "")
    assert "secret" not in text and "a.yaml" in text


def test_a_large_run_fits_an_issue(tmp_path):
    run = canned_run.run("w8a8", "w4a8")
    records = [
        replace(r, cell=replace(r.cell, draw=replace(r.cell.draw, seed=seed)))
        for seed in range(20)
        for r in run.records
    ]
    many = replace(run, records=tuple(records))
    text = bug(many, tmp_path)
    assert f"and {len(many.records) - 40} more cells" in text
    assert len(text) < MOST_CHARACTERS + 20_000
