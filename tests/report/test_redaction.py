"""A run on request without host name, users' names and folders: everything is grepped for them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.canned_run import run as canned

from bench.cli import publishing
from bench.core import probe_record
from bench.core.probe_record import ProbePart, ProbeRun, ProbeValue
from bench.core.record import Run, to_json
from bench.report.redaction import redacted, redacted_probes
from bench.system import influences, store
from bench.system.runs import read_run, run_folders, sample_name, sample_path, save_strip

SECRETS = ("ann-laptop", "ann.smith", "/home", "/scratch", "secret project", "Users")


def private(run: Run) -> Run:
    """The run as it would be of someone's machine."""
    records = []
    for record in run.records:
        host = replace(record.host, name="ann-laptop")
        card = replace(
            record.cell.checkpoint,
            uri="/home/ann.smith/secret project/deep/model.safetensors",
            dataset="folder:/scratch/ann.smith/faces@64",
        )
        cell = replace(record.cell, checkpoint=card)
        records.append(replace(record, host=host, cell=cell))
    error = (
        "OSError: /home/ann.smith/secret project/deep/model.safetensors: cut; "
        "see file:///scratch/ann.smith/log.txt, C:\\Users\\ann.smith\\x.npz, ~ann.smith/y"
    )
    records[-1] = replace(records[-1], status="failed", error=error)
    command = "bench run --cards '/home/ann.smith/secret project/cards.yaml' --out=/home/ann.smith"
    return replace(run, command=command, records=tuple(records))


def test_nothing_private_is_left_and_nothing_else_is_lost():
    run = private(canned())
    found = redacted(run)
    text = to_json(found)
    assert not [secret for secret in SECRETS if secret in text]
    card = found.records[0].cell.checkpoint
    assert (card.uri, card.dataset) == (".../model.safetensors", "folder:.../faces@64")
    assert found.command == "bench run --cards .../cards.yaml --out=..."
    assert "model.safetensors: cut" in found.records[-1].error
    for before, after in zip(run.records, found.records, strict=True):
        assert before.measurements == after.measurements
        assert str(before.cell) == str(after.cell)
        assert replace(before.host, name="host") == after.host
    assert redacted(found) == found


def test_the_address_of_a_cluster_is_gone():
    run = replace(canned(), engine={"name": "ray:ann-laptop:6379,8"})
    command = "bench run --engine ray --address ann-laptop:6379"
    found = redacted(replace(run, command=command))
    assert found.engine == {"name": "ray:HOST:PORT,8"}
    assert found.command == "bench run --engine ray --address HOST:PORT"
    assert redacted(found) == found
    probed = ProbeRun("x", "2026", "", command, {}, ())
    assert redacted_probes(probed, run).command == found.command
    for name in ("processes:2", "ray:auto", "local"):
        assert redacted(replace(run, engine={"name": name})).engine == {"name": name}


@pytest.mark.parametrize(
    "text", ["images/s", "2 / 3", "https://example.org/a/b", "hf:me/mine", "w4a8+all", "1/2, 3/4"]
)
def test_what_is_no_path_stays(text):
    run = canned()
    assert redacted(replace(run, command=text)).command.replace("'", "") == text


@pytest.mark.slow
def test_report_redact_writes_a_copy_to_hand_out(bench, tmp_path, monkeypatch):
    monkeypatch.setenv("USER", "ann.smith")
    run = private(canned())
    folder = tmp_path / "reports" / run.id
    store.save_text(folder / "run.json", to_json(run))
    part = ProbePart(
        "a", "f", "sam", 0, "0" * 64, "flatness", 1, "p", "failed", error=run.records[-1].error
    )
    found = ProbeRun("x", "2026", "", run.command, {}, (part,), run=run.id)
    store.save_text(folder / probe_record.FILE, probe_record.to_json(found))
    before = (folder / "run.json").read_bytes()
    for form in ("json", "html", "markdown"):
        words = ("report", run.id, "--out", tmp_path / "reports", "--redact", "--format", form)
        code, stdout, stderr = bench(*words)
        assert code == 0
        assert not [secret for secret in SECRETS if secret in stdout]
    assert (folder / "run.json").read_bytes() == before
    copy = folder / "redacted"
    assert f"{copy}/report.md" in stderr
    for path in copy.rglob("*.*"):
        if path.suffix in (".json", ".md", ".html", ".csv"):
            text = path.read_text(encoding="utf-8")
            assert not [secret for secret in SECRETS if secret in text], path
    assert read_run(copy) == redacted(run)
    # The copy is no run of its own: the newest run stays what it was.
    assert run_folders(tmp_path / "reports") == [folder]
    shutil.move(copy, tmp_path / "elsewhere")
    assert bench("report", tmp_path / "elsewhere")[0] == 0
    assert redacted_probes(found).parts[0].status == "failed"


def test_run_redact(bench, cards, tmp_path):
    words = ["--scheme", "w8a8", "--backend", "simulated", "--images", "4", "--steps", "1"]
    words += ["--metrics", "psnr", "--batch", "1000", "--cards", cards]
    code, stdout, stderr = bench("run", *words, "--out", tmp_path / "reports", "--redact")
    assert code == 0
    assert "batch: 4, as there are no more images" in stderr
    run = read_run(Path(stdout.strip()).parent)
    assert run.records[0].host.name == "host"
    assert str(tmp_path) not in to_json(run)
    assert run.records[0].cell.checkpoint.uri == ".../tiny.safetensors"
    assert run.records[0].cell.draw.batch == 4


def with_methods(run: Run) -> Run:
    """The run with a scheme in place of w8a8 whose methods are of two files of one name, for each
    checkpoint one or the other."""
    records = []
    for k, record in enumerate(run.records):
        if str(record.cell.scheme) == "w8a8":
            folder = f"/home/ann.smith/{'ab'[k % 2]}"
            methods = (f"weights:{folder}/w.pt", f"python:{folder}/mine.py:clip:9")
            scheme = replace(record.cell.scheme, methods=methods)
            record = replace(record, cell=replace(record.cell, scheme=scheme))
        records.append(record)
    error = f"RuntimeError: method {methods[1]} fails (line 3)"
    records[-1] = replace(
        records[-1], status="failed", coverage=None, measurements=(), error=error
    )
    command = f"bench run --method {methods[1]} --scheme w8a8+python={folder}/mine.py:clip:9"
    return replace(run, command=command, records=tuple(records))


def test_paths_of_methods_are_gone_and_two_files_stay_two(tmp_path, bench):
    run = with_methods(canned())
    folder = tmp_path / "reports" / run.id
    store.save_text(folder / "run.json", to_json(run))
    measured = [record for record in run.records if record.status == "ok"]
    terms = {
        f"{record.cell}|psnr@500": np.full(500, float(k)) for k, record in enumerate(measured)
    }
    influences.save(folder / influences.NAME, terms)
    for record in measured:
        save_strip(folder / "samples" / sample_name(record.cell), np.zeros((4, 8, 1), np.uint8))
    assert bench("report", run.id, "--out", tmp_path / "reports", "--redact")[0] == 0
    there = folder / "redacted"
    found = read_run(there)
    methods = {record.cell.scheme.methods for record in found.records} - {()}
    # In the order in which they are met: the command names the second file of Python first.
    numbers = ("", "2/"), ("2/", "")
    assert methods == {
        (f"weights:.../{n}w.pt", f"python:.../{m}mine.py:clip:9") for n, m in numbers
    }
    texts = [to_json(found), (there / "report.md").read_text(), *map(str, there.rglob("*"))]
    assert not [s for s in SECRETS if any(s in text.replace(str(there), "") for text in texts)]
    assert "python:.../" in found.command and "+python=.../" in found.command
    assert found.records[-1].error.startswith("RuntimeError: method python:.../")
    # What lies beside the run has the names of its cells.
    own = influences.load(there / influences.NAME)
    for k, record in enumerate(record for record in found.records if record.status == "ok"):
        assert own[f"{record.cell}|psnr@500"][0] == k
        assert sample_path(there / "samples", record.cell).is_file()
    assert redacted(found) == found


def test_a_run_that_is_written_redacted_has_the_same_names_beside_it(tmp_path):
    run = with_methods(canned())

    def kept(record):
        terms = {influences.key(record.cell, "psnr@500"): np.ones(500)}
        return terms, np.zeros((4, 8, 1), np.uint8)

    folder = publishing.write(tmp_path, run, kept, redact=True)
    found = [record for record in read_run(folder).records if record.status == "ok"]
    own = influences.load(folder / influences.NAME)
    assert set(own) == {f"{record.cell}|psnr@500" for record in found}
    assert all(sample_path(folder / "samples", record.cell).is_file() for record in found)
    assert not [s for s in SECRETS if any(s in path.name for path in folder.rglob("*"))]


def test_probes_of_a_scheme_with_a_method_of_a_file():
    scheme = "w4a8+python=/home/ann.smith/mine.py:clip"
    row = ProbeValue("skip_macs", 0.1, scheme=scheme, where={"scheme": f"{scheme}+skip=conv_in"})
    part = ProbePart(
        "a", "f", "sam", 0, "0" * 64, "sensitivity", 1, f"{scheme}:skip", "ok", (row,)
    )
    found = redacted_probes(ProbeRun("x", "2026", "", "bench probe", {}, (part,)))
    text = probe_record.to_json(found)
    assert not [secret for secret in SECRETS if secret in text]
    assert found.parts[0].rows[0].where["scheme"] == "w4a8+python=.../mine.py:clip+skip=conv_in"
