"""A method of another package, through an entry point: clipped weight ranges, from the command
line to the report, with nothing of bench touched."""

import json

import pytest
from helpers.entry_point import install

from bench.core.cell import Cell, Draw
from bench.core.errors import InputError
from bench.core.scheme import Scheme
from bench.evaluation import keys
from bench.models.cards import load_cards
from bench.system.host import fingerprint, instruction_set

POINTS = "[bench.methods]\nclipped = clipping:Clipped\n"
# What the author of the package writes.
MODULE = '''
"""Weight ranges that leave the largest weights out."""

import torch

from bench.core.errors import InputError
from bench.quant.methods.rounded import round_rows, rounded_layers, rows_of


class Clipped:
    """Clips the weights that share a step at a percentile of their magnitudes."""

    version = 3

    def __init__(self, argument="99"):
        try:
            self.share = float(argument) / 100
        except ValueError:
            raise InputError(f"clipped={argument} is no number: write clipped=99") from None
        if not 0.5 <= self.share <= 1:
            raise InputError(f"clipped={argument} must be 50 to 100")

    @staticmethod
    def identity():
        return {"paper": "none"}

    def refuses(self, scheme):
        return "the weights stay in float" if scheme.weight_bits > 8 else None

    def __call__(self, graph, denoiser, calibration):
        for rounded in rounded_layers(graph):
            sizes = rows_of(graph, rounded).abs()
            largest = torch.quantile(sizes, self.share, dim=1).clamp(min=1e-8)
            round_rows(graph, rounded, largest / ((2**rounded.layer.weight_bits - 1) / 2))
        return graph
'''
X86 = instruction_set().startswith(("avx", "amx"))
SIZES = ("--images", "4", "--batch", "4", "--steps", "1", "--metrics", "psnr")


@pytest.fixture
def clipping(site):
    install(site, "clipping", POINTS, "2.1", "clipping", MODULE)


@pytest.fixture
def words(cards, tmp_path):
    return ("run", "--cards", cards, *SIZES, "--out", tmp_path / "out")


def folder_of(out):
    """The folder of the only run."""
    (path,) = out.glob("*/run.json")
    return path.parent


def measured(folder):
    """The records of the only run of a folder by scheme and kernel, and its report."""
    place = folder_of(folder)
    records = json.loads((place / "run.json").read_text())["records"]
    return records, (place / "report.md").read_text(encoding="utf-8")


def test_it_runs_in_simulation_and_in_integers(clipping, bench, words, tmp_path, site):
    kernels = ["simulated", *(["int8-x86"] if X86 else [])]
    backends = [word for name in (*kernels, "ao-int8") for word in ("--backend", name)]
    schemes = ("--scheme", "w4a8", "--scheme", "w4a8+clipped=90+bias")
    code, _, error = bench(*words, *schemes, *backends)
    assert code == 0, error
    assert "; changed by the quantization methods clipped=90, then bias" in error
    records, report = measured(tmp_path / "out")
    by_scheme = {}
    for record in records[1:]:
        by_scheme.setdefault(tuple(record["cell"]["scheme"]["methods"]), []).append(record)
    plain, changed = by_scheme[()], by_scheme["clipped:90", "bias"]
    assert [r["status"] for r in (*plain, *changed)] == [*["ok"] * len(kernels), "refused"] * 2
    reason = "ao-int8 runs no methods (clipped=90, bias): torchao finds its own ranges"
    assert changed[-1]["error"] == reason and reason in report
    versions = changed[0]["host"]["versions"]
    assert versions["methods clipped package"] == "clipping 2.1"
    assert versions["methods clipped version"] == "3"
    assert versions["methods clipped paper"] == "none"
    assert "methods clipped package" not in plain[0]["host"]["versions"]
    assert "w4a8+clipped=90+bias" in report
    assert "clipped=90 v3 of clipping 2.1, then bias v1 of bench" in report

    def psnr(record):
        (value,) = (m["value"] for m in record["measurements"] if m["name"].startswith("psnr@"))
        return value

    assert psnr(plain[0]) != psnr(changed[0])
    assert plain[0]["calibration"] == changed[0]["calibration"]
    # A run is read where the package is missing; a new one is not.
    install(site, "clipping", "", "2.1")
    with pytest.raises(InputError, match="'clipped' is unknown"):
        Scheme.parse("w4a8+clipped")
    page = folder_of(tmp_path / "out") / "report.md"
    page.unlink()
    assert bench("report", page.parent, "--out", tmp_path / "out")[0] == 0
    assert page.read_text(encoding="utf-8") == report
    if X86:
        # The very same graph: kernels and simulation differ less than the method changes.
        assert changed[1]["coverage"]["agreement"]["worst_sqnr"] > 90
        assert abs(psnr(changed[0]) - psnr(changed[1])) < 0.5 * abs(
            psnr(plain[0]) - psnr(changed[0])
        )


def test_a_bad_option_is_one_line_and_nothing_is_written(clipping, bench, words, tmp_path):
    for scheme, says in (
        ("w4a8+clipped=9", "clipped=9 must be 50 to 100"),
        ("w4a8+clipped=x", "clipped=x is no number"),
        ("w4a8+cliped", "did you mean 'clipped'?"),
        ("w4a8+bias=3", "method 'bias' takes no argument"),
    ):
        code, out, error = bench(*words, "--scheme", scheme, "--backend", "simulated")
        assert (code, out) == (2, "") and says in error.splitlines()[-1], error
    assert not (tmp_path / "out").exists()


def test_it_is_listed(clipping, bench):
    code, out, _ = bench("list", "methods")
    assert code == 0
    (line,) = [line for line in out.splitlines() if line.split(None, 1)[0] == "clipped"]
    assert "clipping 2.1" in line
    assert line.endswith(
        "Clips the weights that share a step at a percentile of their magnitudes."
    )


def test_its_name_option_version_and_package_are_in_the_keys(site, cards):
    host = fingerprint()

    def key(text, version="2.1", module=MODULE):
        for old in site.glob("*.dist-info"):
            for file in old.iterdir():
                file.unlink()
            old.rmdir()
        install(site, "clipping", POINTS, version, "clipping", module)
        cell = Cell(load_cards(cards)[0], Scheme.parse(text), "simulated", Draw())
        assert keys.of_calibration(cell, host) == keys.of_calibration(
            Cell(cell.checkpoint, cell.scheme, "int8-x86", cell.draw), host
        )
        return keys.of_images(cell, host), keys.of_calibration(cell, host)

    found = [
        key("w4a8"),
        key("w4a8+clipped"),
        key("w4a8+clipped=98"),
        key("w4a8+clipped+bias"),
        key("w4a8+bias+clipped"),
        key("w4a8+clipped", "2.2"),
        key("w4a8+clipped", module=MODULE.replace("version = 3", "version = 4")),
        key("w4a8+clipped", module=MODULE.replace("1e-8", "1e-9")),
    ]
    for kind in (0, 1):
        assert len({pair[kind] for pair in found}) == len(found)
    assert key("w4a8") == found[0]
