from dataclasses import replace

import numpy as np
from helpers.canned_run import run as canned

from bench.core import probe_record
from bench.core.probe_record import ProbePart, ProbeRun, ProbeValue
from bench.core.record import to_json
from bench.report import probe_page
from bench.report.figures.probes import draw
from bench.system import store
from bench.system.influences import key
from bench.verdicts.claims import lost


def part(method, probe, name, rows=(), status="ok", error=""):
    return ProbePart(
        f"c-{method}",
        "f",
        method,
        0,
        "0" * 64,
        probe,
        1,
        name,
        status,
        tuple(rows),
        error=error,
    )


def rows(scale):
    where = {"direction": "global"}
    curve = [
        ProbeValue(
            "loss_rise", scale * r, scale * r / 2, scale * r * 2, 8, where=where | {"radius": r}
        )
        for r in (0.01, 0.05)
    ]
    layers = [
        ProbeValue(
            "layer_sqnr", 20.0 + 5 * k + band, scheme="w4a8", where={"layer": n, "band": band}
        )
        for k, n in enumerate(("conv_in", "conv_out"))
        for band in (0, 1)
    ]
    skip = {"scheme": "w4a8+skip=conv_in", "layers": "conv_in"}
    return [
        *curve,
        *layers,
        ProbeValue("lpf_rise", scale, scale * 0.9, scale * 1.1, 8, where={"sigma": 0.01}),
        ProbeValue("hessian_density", 0.1, n=2, where={"eigenvalue": 9.0 * scale}),
        ProbeValue("hessian_density", 0.9, n=2, where={"eigenvalue": -0.01}),
        ProbeValue("gap", scale, 0.0, 1.0, 8, where={"t": 10}),
        ProbeValue("energy_distance", scale, 0.0, 1.0, 8, where={"t": 10}),
        ProbeValue("exposure_gap", float("nan"), None, None, 8),
        ProbeValue("layer_psnr", 25.0, 24.0, 26.0, 8, "dB", "w4a8", {"layer": "conv_in"}),
        ProbeValue("skip_psnr", 17.0, 16.0, 18.0, 8, "dB", "w4a8", {"scheme": "w4a8"}),
        ProbeValue("skip_psnr", 19.0, 18.0, 20.0, 8, "dB", "w4a8", {"scheme": skip["scheme"]}),
        ProbeValue("skip_macs", 0.125, scheme="w4a8", where=skip),
    ]


FOUND = ProbeRun(
    "id",
    "2026",
    "abc",
    "bench probe",
    {"seed": 0},
    parts=(
        part("baseline", "flatness", "all", rows(1.0)),
        part("sam", "flatness", "all", rows(0.5)),
        part("sam", "exposure", "w4a8:quantized", status="refused", error="no GPU here"),
        part("ema", "flatness", "lpf", status="failed", error="weight x holds NaN"),
    ),
)


def test_page(tmp_path):
    page = probe_page.render(FOUND, tmp_path).read_text(encoding="utf-8")
    for heading in ("claims, one by one", "Flatness", "Sensitive layers", "Refused and failed"):
        assert f"{heading}\n" in page
    assert "only conv_in" in page
    assert "20.0 (band 1)" in page
    assert "12.5%" in page
    assert "17 [16, 18]" in page
    assert "19 [18, 20]" in page
    assert "undefined" in page
    assert "no GPU here" in page
    assert "weight x holds NaN" in page
    for name in (
        "probe_loss.png",
        "probe_spectrum.png",
        "probe_exposure.png",
        "probe_layers-01.png",
    ):
        assert f"(figures/{name})" in page
        assert (tmp_path / "figures" / name).stat().st_size > 1000


def test_the_worst_layer_by_its_own_column_comes_first(tmp_path):
    """It was left out where it is not among those of the band that was verified."""

    def sqnr(layer, band, value):
        return ProbeValue("layer_sqnr", value, scheme="w4a8", where={"layer": layer, "band": band})

    # In band 0, which decides, b and c are noisiest; a is noisiest of all, in band 1.
    noise = {"a": (40.0, 5.0), "b": (10.0, 30.0), "c": (12.0, 30.0), "d": (50.0, 50.0)}
    found = [sqnr(n, band, x) for n, values in noise.items() for band, x in enumerate(values)]
    found += [
        ProbeValue("layer_psnr", 25.0 + k, 24.0, 29.0, 8, "dB", "w4a8", {"layer": n})
        for k, n in enumerate("bc")
    ]
    parts = (part("sam", "sensitivity", "w4a8:map", found),)
    page = probe_page.markdown(ProbeRun("id", "2026", "", "", {}, parts), None, tmp_path)
    lines = [line for line in page.splitlines() if "only " in line and line.startswith("|")]
    cells = [[cell.strip() for cell in line.split("|")[3:6]] for line in lines]
    assert cells == [
        ["only a", "5.0 (band 2)", "not sampled"],
        ["only b", "10.0 (band 1)", "25 [24, 29]"],
        ["only c", "12.0 (band 1)", "26 [24, 29]"],
    ]
    assert "The noisiest layer first" in page


def allocated(scale):
    """Errors that fall by 4 with each bit, those of equal bits 16 times as large."""

    def rows(name, key, budgets, factor):
        return [
            ProbeValue(
                name,
                scale * factor * 4.0**-bits,
                scale * factor * 4.0**-bits / 2,
                scale * factor * 4.0**-bits * 2,
                8,
                scheme="w4a8",
                where={key: bits, "bits": bits + shift},
            )
            for bits in budgets
            for shift in (0.01 if key == "uniform" else -0.01,)
        ]

    budgets = [2.5, 3.0, 4.0, 5.0]
    layers = [
        ProbeValue("layer_bits", 2 + k, scheme="w4a8", where={"layer": n, "budget": b})
        for k, n in enumerate(("unet.conv_in", "conv_out"))
        for b in budgets
    ]
    return [
        *rows("front_predicted", "budget", budgets, 1.0),
        *rows("front_measured", "budget", budgets, 1.5),
        *rows("uniform_predicted", "uniform", (3, 4), 16.0),
        *rows("uniform_measured", "uniform", (3, 4), 16.0),
        *layers,
    ]


def test_bits_for_each_layer_have_a_table_and_a_figure(tmp_path):
    parts = [
        part(m, "allocation", "w4a8:front", allocated(k)) for k, m in ((1, "sam"), (2, "ema"))
    ]
    probed = ProbeRun("id", "2026", "", "", {}, tuple(parts))
    assert probe_record.from_json(probe_record.to_json(probed)) == probed
    page = probe_page.render(probed, tmp_path).read_text()
    lines = [line for line in page.splitlines() if line.startswith("| c-sam ")]
    cells = [[cell.strip() for cell in line.split("|")[3:9]] for line in lines]
    assert cells == [
        ["3", "3.01", "0.25 [0.125, 0.5]", "2.99", "0.0234 [0.0117, 0.0469]", "2.49 bits"],
        ["4", "4.01", "0.0625 [0.0312, 0.125]", "3.99", "0.00586 [0.00293, 0.0117]", "2.49 bits"],
    ]
    for number in (1, 2):
        name = f"probe_allocation-0{number}.png"
        assert f"(figures/{name})" in page
        assert (tmp_path / "figures" / name).stat().st_size > 1000
    draw(replace(probed, parts=()), tmp_path / "figures")
    assert not list((tmp_path / "figures").glob("probe_allocation-*"))


def test_zero_has_no_sign_and_no_width_is_no_interval():
    assert probe_page.cell(ProbeValue("x", -0.0, -0.0, 1.0, 8)) == "0 [0, 1]"
    assert probe_page.cell(ProbeValue("x", 0.0, 0.0, 0.0, 8)) == "0"


def test_stale_figures_vanish(tmp_path):
    assert len(draw(FOUND, tmp_path)) == 5
    empty = ProbeRun("id", "2026", "", "", {}, (part("sam", "hessian", "trace"),))
    assert draw(empty, tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def test_summary_in_a_runs_report(tmp_path):
    store.save_text(tmp_path / "run.json", to_json(canned()))
    assert probe_page.summary(tmp_path) == []
    store.save_text(tmp_path / probe_record.FILE, probe_record.to_json(FOUND))
    lines = probe_page.summary(tmp_path)
    assert lines[0].startswith("| No. | Claim")
    assert "probes.md" in lines[-1]


def test_losses_of_a_run_are_paired_by_image():
    run = canned("w8a8")
    terms = {}
    for record in run.records:
        for m in record.measurements:
            terms[key(record.cell, m.name)] = np.linspace(-0.01, 0.01, 50)
    found = [line for line in lost(run, terms) if line.number.startswith("psnr")]
    assert found
    for line in found:
        psnr = {
            r.cell.checkpoint.method: r.measurement("psnr").value
            for r in run.records
            if r.status == "ok" and str(r.cell.scheme) == "w8a8"
        }
        # Higher is worse, so that the sign of PSNR is turned.
        assert line.value == psnr[line.against] - psnr["sam"]
        # Equal influences: what both share cancels altogether.
        assert line.low == line.high == line.value
    assert lost(run, {}) == []
