"""An engine of another package: a module and an entry point, nothing else touched."""

import json

from helpers.entry_point import install

# References first, the rest from the last to the first; the worker and the cells go through
# pickle, as they do on the way to another process.
MODULE = """
import pickle

version = 3


def identity():
    return {"order": "backwards"}


def run(worker, cells, argument=""):
    worker, cells = pickle.loads(pickle.dumps((worker, list(cells))))
    references = [wanted for wanted in cells if wanted.cell.is_reference]
    others = [wanted for wanted in cells if not wanted.cell.is_reference]
    if argument == "forgets":
        others = others[1:]
    yield from worker([*references, *reversed(others)])


run.version, run.identity = version, identity
"""
SIZES = ("--scheme", "w8a8", "--scheme", "w4a8", "--backend", "simulated", "--checkpoints", "*")
SIZES += ("--images", "4", "--steps", "1", "--batch", "4", "--metrics", "psnr")


def finished_cells(stderr):
    """The cells in the order in which they were told."""
    return [line.split("] ")[1] for line in stderr.splitlines() if line.startswith("[")]


def test_an_engine_of_another_package_runs_a_command(site, bench, cards, tmp_path):
    install(site, "other-engines", "[bench.engines]\nback = back:run\n", "2.1", "back", MODULE)
    words = ("run", *SIZES, "--cards", cards, "--out", tmp_path / "out")
    assert "back  local  processes" in bench("list")[1]
    code, _, stderr = bench(*words, "--engine", "back")
    assert code == 0, stderr
    order = ["tiny fp32 float: ok", "tiny w4a8 simulated: ok", "tiny w8a8 simulated: ok"]
    assert finished_cells(stderr) == order
    (path,) = (tmp_path / "out").glob("*/run.json")
    run = json.loads(path.read_text())
    # In the report the cells stand in the order that was asked for.
    assert [r["cell"]["scheme"]["weight_bits"] for r in run["records"]] == [32, 8, 4]
    stated = {"name": "back", "package": "other-engines 2.1", "version": "3", "order": "backwards"}
    assert run["engine"] == stated
    assert "- Engine: back, other-engines 2.1, 3, backwards" in (
        path.parent / "report.md"
    ).read_text().replace("\\", "")
    # It is part of no key: another engine takes all of it from the cache.
    code, _, stderr = bench(*words)
    assert code == 0 and "3 of 3 cells came from the cache" in stderr
    paths = (tmp_path / "out").glob("*/run.json")
    assert sorted(json.loads(p.read_text())["engine"]["name"] for p in paths) == ["back", "local"]


def test_an_engine_that_forgets_a_cell_is_told(site, bench, cards, tmp_path):
    install(site, "other-engines", "[bench.engines]\nback = back:run\n", "2.1", "back", MODULE)
    words = ("run", *SIZES, "--cards", cards, "--out", tmp_path / "out", "--engine")
    code, stdout, stderr = bench(*words, "back:forgets")
    assert (code, stdout) == (2, "")
    assert "engine back:forgets gave no record of tiny w8a8 simulated: mend it" in stderr
    assert not (tmp_path / "out").exists()


def test_engines_are_checked_before_anything_is_loaded(bench, tmp_path):
    for name, says in (
        ("lokal", "unknown engine 'lokal': did you mean 'local'?"),
        ("local:2", "engine 'local' takes no argument"),
        ("processes:two", "engine processes takes a number of processes, as in processes:2"),
        ("processes:0", "not '0'"),
    ):
        words = ("run", "--bits", "4", "--cards", tmp_path / "none.yaml", "--engine", name)
        code, stdout, stderr = bench(*words)
        assert (code, stdout) == (2, "")
        (line,) = stderr.splitlines()
        assert line.startswith("bench: ") and says in line, line


def test_an_input_error_of_a_worker_ends_the_command(site, bench, cards, tmp_path):
    text = MODULE.replace("    worker, cells =", "    assert_no(cells)\n    worker, cells =")
    text += "\nfrom bench.core.errors import InputError\n"
    text += "\ndef assert_no(cells):\n    if cells:\n        raise InputError('no such host')\n"
    install(site, "other-engines", "[bench.engines]\nback = back:run\n", "2.1", "back", text)
    words = ("run", *SIZES, "--cards", cards, "--out", tmp_path / "out", "--engine", "back")
    code, stdout, stderr = bench(*words)
    assert (code, stdout) == (2, "") and stderr.endswith("bench: no such host\n")
    assert not (tmp_path / "out").exists()
