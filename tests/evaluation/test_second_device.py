"""Nothing of a run or a probe stays on the CPU: on a real other device mixing is an error."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SIZES = ("--scheme", "w8a8+minmax", "--checkpoints", "*", "--images", "6", "--steps", "2")
HERE = Path(__file__).parents[1] / "helpers"


# Methods of every kind, each short.
METHODS = (
    *("w4a8+mse+gptq+bias", "w4a8+asymmetric", "w4a8+percentile", "w~5a8"),
    *("w4a8+split", "w4a8+smooth", "w4a8+equalize", "w4a8+lowrank=rank:1"),
    *("w4a8+adaround=iterations:5", "w4a8+brecq=iterations:5", "w4a8+finetune=updates:3"),
    *("w4a8+tgroups=2+bias", "w4a8+tgroups=2+adaround=iterations:2"),
)


@pytest.fixture
def called(tmp_path):
    """Runs `bench WORDS...` on the other device; gives the folder that it wrote."""

    def call(*words):
        done = subprocess.run(
            [sys.executable, HERE / "second_device.py", *map(str, words), "--device", "second"],
            env=os.environ | {"TORCH_EXTENSIONS_DIR": str(tmp_path / "built")},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return Path(done.stdout.split()[-1]).parent

    return call


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("c++"), reason="needs a C++ compiler")
def test_all_methods_on_another_device(called, cards, tmp_path):
    """They were written on a CPU, where a constant on the wrong device is no error."""
    words = [word for scheme in METHODS for word in ("--scheme", scheme)]
    sizes = ("--checkpoints", "*", "--images", "6", "--steps", "2", "--batch", "3")
    places = ("--cards", cards, "--out", tmp_path / "out", "--floor", "none")
    folder = called("run", *words, *sizes, *places, "--backend", "int8-cuda")
    records = json.loads((folder / "run.json").read_text())["records"]
    assert len(records) == 1 + len(METHODS)
    errors = {str(r["cell"]["scheme"]["methods"]): r["error"] for r in records if r["error"]}
    assert not errors and {record["status"] for record in records} == {"ok"}
    agreements = [r["coverage"]["agreement"] for r in records if r["coverage"]["agreement"]]
    assert len(agreements) == len(METHODS)
    assert min(each["worst_sqnr"] for each in agreements) > 90


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("c++"), reason="needs a C++ compiler")
def test_a_run_and_a_probe_on_another_device(bench, called, cards, cache, tmp_path):
    out = tmp_path / "out"
    given = (*SIZES, "--batch", "3", "--cards", str(cards), "--out", str(out))
    assert bench("run", *given, "--backend", "simulated")[0] == 0
    (here,) = (folder for folder in out.iterdir() if folder.is_dir())
    folder = called("run", *given, "--backend", "simulated", "--backend", "int8-cuda")
    cpu, records = (json.loads((f / "run.json").read_text())["records"] for f in (here, folder))
    full, simulated, kernels = records
    assert [record["status"] for record in records] == ["ok"] * 3
    assert {record["host"]["device"] for record in records} == {"second"}
    # The arithmetic is the CPU's but for the order of sums: some CPUs' kernels go by the layout. A
    # last bit then turns a code: on an EPYC 305 of 4,704 pixels differ, by 5 of 255 at most.
    for pair in zip((full, simulated), cpu, strict=True):
        found, expected = ({m["name"]: m["value"] for m in r["measurements"]} for r in pair)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            # A change is as exact as what changes.
            size = abs(expected[name.removeprefix("delta_")])
            assert found[name] == pytest.approx(value, abs=max(1e-2, 3e-4 * size)), name
    operators = {layer["kernel"] for layer in kernels["coverage"]["layers"] if layer["weights"]}
    assert operators == {"aten._int_mm"}
    assert kernels["coverage"]["agreement"]["worst_sqnr"] > 90
    words = ("--preset", "smoke", "--scheme", "w4a8+minmax", "--cards", cards, "--out", out)
    folder = called("probe", *words, "--backend", "int8-cuda")
    found = json.loads((folder / "probes.json").read_text())
    assert {part["status"] for part in found["parts"]} == {"ok"}
    assert found["setting"]["device"] == "second"
