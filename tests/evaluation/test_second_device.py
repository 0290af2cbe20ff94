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


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("c++"), reason="needs a C++ compiler")
def test_a_run_and_a_probe_on_another_device(bench, cards, cache, tmp_path):
    out = tmp_path / "out"
    given = (*SIZES, "--batch", "3", "--cards", str(cards), "--out", str(out))
    there = os.environ | {"TORCH_EXTENSIONS_DIR": str(tmp_path / "built")}

    def called(*words):
        done = subprocess.run(
            [sys.executable, HERE / "second_device.py", *words, "--device", "second"],
            env=there,
            check=True,
            capture_output=True,
            text=True,
        )
        return Path(done.stdout.split()[-1]).parent

    assert bench("run", *given, "--backend", "simulated")[0] == 0
    (here,) = (folder for folder in out.iterdir() if folder.is_dir())
    folder = called("run", *given, "--backend", "simulated", "--backend", "int8-cuda")
    cpu, records = (json.loads((f / "run.json").read_text())["records"] for f in (here, folder))
    full, simulated, kernels = records
    assert [record["status"] for record in records] == ["ok"] * 3
    assert {record["host"]["device"] for record in records} == {"second"}
    # The arithmetic is the CPU's but for the order of sums: some CPUs' kernels go by the layout.
    for pair in zip((full, simulated), cpu, strict=True):
        found, expected = ({m["name"]: m["value"] for m in r["measurements"]} for r in pair)
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-2)
    operators = {layer["kernel"] for layer in kernels["coverage"]["layers"] if layer["weights"]}
    assert operators == {"aten._int_mm"}
    assert kernels["coverage"]["agreement"]["worst_sqnr"] > 90
    words = ("--preset", "smoke", "--scheme", "w4a8+minmax", "--cards", cards, "--out", out)
    folder = called("probe", *map(str, words), "--backend", "int8-cuda")
    found = json.loads((folder / "probes.json").read_text())
    assert {part["status"] for part in found["parts"]} == {"ok"}
    assert found["setting"]["device"] == "second"
