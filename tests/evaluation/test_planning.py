"""From flags to cells: backends, metrics, compiled kernels. Bad flags are in test_cli.py."""

import dataclasses
import functools

import pytest

from bench.cli import execution
from bench.core.cell import Draw
from bench.core.errors import InputError
from bench.core.scheme import Scheme
from bench.evaluation import planning
from bench.evaluation.planning import Choices, Preset
from bench.evaluation.resolved import Resolver
from bench.measurement import real
from bench.system.host import fingerprint

W4A8 = Scheme.parse("w4a8")
SIZE = Preset(8, 2, ("*",))


@pytest.fixture
def isa(monkeypatch):
    """Sets the instruction set of this host, whose other devices are of any kind."""

    def found(name):
        host = dataclasses.replace(fingerprint(), isa=name)
        made = functools.partial(dataclasses.replace, host)
        monkeypatch.setattr(planning, "fingerprint", lambda device="cpu": made(device=device))

    return found


def cells(cards, draw=None, **choices):
    draw = draw or Draw(steps=2, images=8, batch=4)
    return planning.plan(
        cards, [], SIZE, Choices([W4A8], ["simulated", "int8-x86"], **choices), draw
    )


def test_the_kernels_of_this_host_by_default(isa, capsys):
    isa("avx2")
    assert planning.backends([], [W4A8]) == ["simulated", "int8-x86"]
    assert planning.backends([], [W4A8], "cuda:1") == ["simulated", "int8-cuda"]
    assert planning.backends([], [W4A8], "mps") == ["simulated"]
    assert planning.backends(["simulated", "simulated"], [W4A8]) == ["simulated"]
    capsys.readouterr()
    isa("aarch64")
    assert planning.backends([], [W4A8]) == ["simulated"]
    said = capsys.readouterr().err
    assert said.startswith("simulated only: int8-cuda needs") and "int8-x86 needs" in said
    isa("avx2")
    assert planning.backends([], [Scheme.parse("w4a16")]) == ["simulated"]
    assert "integer activations" in capsys.readouterr().err
    with pytest.raises(InputError, match="did you mean 'simulated'"):
        planning.backends(["simulate"], [W4A8])


def test_kernels_are_compared_with_the_simulation_beside_them(cards):
    full, simulated, kernels = cells(cards)
    assert "psnr_simulated" in kernels.metrics
    assert "psnr_simulated" not in (*simulated.metrics, *full.metrics)
    alone = planning.plan(cards, [], SIZE, Choices([W4A8], ["int8-x86"]), Draw(images=8))[1]
    assert "psnr_simulated" not in alone.metrics


def test_metrics_beside_the_default_ones_and_instead(cards):
    default = cells(cards)[1].metrics
    scoring = planning.scoring([], ["+precision", "+psnr"], "test")
    assert cells(cards, scoring=scoring)[1].metrics == (*default, "precision")
    scoring = planning.scoring([], ["psnr"], "test")
    found = [cell.metrics for cell in cells(cards, scoring=scoring)]
    assert found == [("psnr",), ("psnr",), ("psnr", "psnr_simulated")]
    with pytest.raises(InputError, match="either all names begin with"):
        planning.scoring([], ["+psnr", "ssim"], "test")


def test_kernels_are_compiled_where_that_is_asked_for(cards):
    found = [cells(cards, compiled=asked)[2].backend for asked in (None, False, True)]
    assert found == ["int8-x86", "int8-x86", "int8-x86:compiled"]


def test_fewer_real_images_than_a_metric_is_defined_for_are_refused(cards, monkeypatch):
    (cell, *_) = cells(cards)
    monkeypatch.setattr("bench.measurement.features.reference.count", lambda *names: 1)
    with pytest.raises(InputError, match="1 real images of the split test, metric frechet needs"):
        real.check(cell)
    monkeypatch.setattr("bench.measurement.features.reference.count", lambda *names: 5)
    real.check(cell)
    with pytest.raises(InputError, match="metric recall needs at least 6"):
        real.check(dataclasses.replace(cell, metrics=(*cell.metrics, "recall")))


def test_few_real_images_are_told_before_a_run(cards, cache, monkeypatch, capsys):
    (cell, *_) = cells(cards)
    monkeypatch.setattr("bench.measurement.features.reference.count", lambda *names: 2)
    capsys.readouterr()
    execution._remark(Resolver(fingerprint(), cache), [cell, cell])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"fashion-mnist: only 2 real images for N = {cell.draw.images}")
