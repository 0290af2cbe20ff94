"""Skip lists of a run: globs, and the suggestions of the probes."""

import json
from dataclasses import replace

import pytest
from helpers.tiny import write_card, write_cards

from bench.core import probe_record
from bench.core.cell import Cell, Draw
from bench.core.errors import InputError
from bench.core.probe_record import ProbePart, ProbeRun, ProbeValue
from bench.core.scheme import Scheme
from bench.evaluation import skip_lists
from bench.models.cards import load_cards
from bench.system import store

W4A8, FULL = Scheme.parse("w4a8"), Scheme()


@pytest.fixture
def cells(cards):
    (card,) = load_cards(cards)
    return [Cell(card, FULL, "float", Draw()), Cell(card, W4A8, "simulated", Draw())]


def suggest(folder, sha256, scheme, created="2026-01-01T00:00:00+00:00"):
    """A probes.json with one suggestion."""
    row = ProbeValue("skip_macs", 0.1, scheme="w4a8", where={"scheme": scheme})
    part = ProbePart(
        "tiny", "tiny", "baseline", 0, sha256, "sensitivity", 1, "w4a8:skip", "ok", (row,)
    )
    found = ProbeRun(folder.name, created, "", "", {}, (part,))
    store.save_text(folder / probe_record.FILE, probe_record.to_json(found))


def test_globs_come_beside_each_quantized_cell(cells, tmp_path):
    found = skip_lists.beside(cells, "*.attentions.*,conv_out", tmp_path)
    text = "w4a8+skip=*.attentions.*+skip=conv_out"
    assert [str(cell.scheme) for cell in found] == ["fp32", "w4a8", text]
    # A cell that is there already is not added again.
    both = [*cells, replace(cells[1], scheme=Scheme.parse("w4a8+skip=conv_out"))]
    assert skip_lists.beside(both, "conv_out", tmp_path) == both
    assert skip_lists.beside(cells, None, tmp_path) == cells


def test_the_newest_suggestion_for_the_same_weights(cells, tmp_path, capsys):
    sha256 = cells[0].checkpoint.sha256
    suggest(tmp_path / "new", sha256, "w4a8+skip=b", "2026-02-01T00:00:00+00:00")
    suggest(tmp_path / "old", sha256, "w4a8+skip=a")
    suggest(tmp_path / "other", "0" * 64, "w4a8+skip=c", "2026-03-01T00:00:00+00:00")
    found = skip_lists.beside(cells, "from-probe", tmp_path)
    assert [str(cell.scheme) for cell in found] == ["fp32", "w4a8", "w4a8+skip=b"]
    found = skip_lists.beside(cells, "from-probe:old", tmp_path)
    assert str(found[2].scheme) == "w4a8+skip=a"
    # A scheme that nothing was suggested for is run without one, and said.
    more = [*cells, replace(cells[1], scheme=Scheme.parse("w8a8"))]
    assert len(skip_lists.beside(more, "from-probe", tmp_path)) == 4
    assert "tiny w8a8: no skip list was found" in capsys.readouterr().err


def test_nothing_to_take(cells, tmp_path):
    with pytest.raises(InputError, match="run `bench probe --probes sensitivity`"):
        skip_lists.beside(cells, "from-probe", tmp_path / "reports")
    with pytest.raises(InputError, match=r"no probes\.json in a folder 'nothing'"):
        skip_lists.beside(cells, "from-probe:nothing", tmp_path)


@pytest.mark.slow
def test_probe_then_run_with_its_list(bench, tmp_path):
    cards, out = write_cards(tmp_path, [write_card(tmp_path)]), tmp_path / "reports"
    words = ("--cards", cards, "--preset", "smoke", "--scheme", "w4a8", "--out", out)
    code, _, stderr = bench("probe", *words, "--probes", "sensitivity")
    assert code == 0, stderr
    sizes = ("--images", "6", "--steps", "2", "--batch", "6", "--checkpoints", "*")
    code, _, stderr = bench(
        "run", *words, *sizes, "--backend", "simulated", "--skip", "from-probe"
    )
    assert code == 0, stderr
    (path,) = out.glob("*/run.json")
    schemes = [r["cell"]["scheme"] for r in json.loads(path.read_text())["records"]]
    assert [len(scheme["skip"]) for scheme in schemes] == [0, 0, 2]


@pytest.mark.slow
def test_run_with_probes(bench, cards, tmp_path):
    out = tmp_path / "reports"
    words = ("--cards", cards, "--preset", "smoke", "--scheme", "w8a8", "--out", out)
    sizes = ("--images", "6", "--steps", "2", "--batch", "6", "--checkpoints", "*")
    sizes = (*sizes, "--backend", "simulated")
    code, stdout, _ = bench("run", *words, *sizes, "--probes", "flatness", "--dry-run")
    assert code == 0
    assert "probes: flatness: 2 parts for each of 1 checkpoints" in stdout
    assert not out.exists()
    code, stdout, stderr = bench("run", *words, *sizes, "--probes", "flatness")
    assert code == 0, stderr
    (folder,) = (path.parent for path in out.glob("*/run.json"))
    assert stdout.split() == [str(folder / "report.md"), str(folder / "probes.md")]
    assert "## The paper's claims" in (folder / "report.md").read_text()
    code, _, stderr = bench("run", *words, *sizes, "--probes", "flat")
    assert code == 2
    assert "flatness" in stderr
