import dataclasses
import os
import subprocess
import sys

import pytest

from bench.core.cell import Draw, expand
from bench.core.scheme import Scheme
from bench.evaluation import keys
from bench.models.cards import load_cards
from bench.system import instructions
from bench.system.host import fingerprint
from bench.system.instructions import CAPS, capped, caps, cpu, instruction_set, of_onednn

CAP = "ONEDNN_MAX_CPU_ISA"


@pytest.fixture(autouse=True)
def no_caps(monkeypatch):
    for name in CAPS:
        monkeypatch.delenv(name, raising=False)


def test_without_caps_it_is_one_word():
    isa = instruction_set()
    assert isa == cpu(isa) == fingerprint().isa and isa.replace("_", "").isalnum()


@pytest.mark.parametrize("name", CAPS)
def test_each_cap_is_told(monkeypatch, name):
    monkeypatch.setenv(name, "cpu1, b")
    assert capped("avx2") == f"avx2, {name}=CPU1+B"
    assert caps(capped("avx2")) == {name: "CPU1+B"} and cpu(capped("avx2")) == "avx2"
    assert fingerprint().isa.endswith(f", {name}=CPU1+B")


@pytest.mark.parametrize(
    "name, value",
    [
        (CAP, ""),
        (CAP, "all"),
        ("DNNL_MAX_CPU_ISA", "DEFAULT"),
        ("ONEDNN_CPU_ISA_HINTS", "no_hints"),
        ("ONEDNN_DEFAULT_FPMATH_MODE", "strict"),
        ("GLIBC_TUNABLES", "glibc.malloc.arena_max=2"),
    ],
)
def test_what_goes_without_saying_is_not_told(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert capped("avx2") == "avx2"


def test_the_least_of_atens_kernels_is_told(monkeypatch):
    """ "default" is no default there: it is the kernels without AVX."""
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    assert capped("avx2") == "avx2, ATEN_CPU_CAPABILITY=DEFAULT"


@pytest.mark.parametrize(
    "isa, expected",
    [
        ("avx512_vnni", "avx512_vnni"),
        ("aarch64", "aarch64"),
        (f"aarch64, {CAP}=AVX2", "aarch64"),
        (f"avx512_vnni, {CAP}=AVX512_CORE", "avx512f"),
        (f"avx512_vnni, {CAP}=AVX512_CORE_VNNI", "avx512_vnni"),
        (f"avx512_vnni, {CAP}=AVX2", "avx2"),
        (f"avx512_vnni, {CAP}=AVX2_VNNI", "avx2"),
        (f"amx_int8, {CAP}=AVX2_VNNI", "avx_vnni"),
        (f"amx_int8, {CAP}=AVX512_CORE_BF16", "avx512_vnni"),
        (f"amx_int8, {CAP}=AVX512_CORE_AMX", "amx_int8"),
        (f"avx2, {CAP}=AVX512_CORE", "avx2"),
        (f"avx2, {CAP}=SSE41", ""),
        ("amx_int8, DNNL_MAX_CPU_ISA=AVX2", "avx2"),
        (f"amx_int8, {CAP}=AVX512_CORE, DNNL_MAX_CPU_ISA=AVX2", "avx512f"),
        ("avx512_vnni, ATEN_CPU_CAPABILITY=AVX2", "avx512_vnni"),
    ],
)
def test_what_onednn_is_left(isa, expected):
    assert of_onednn(isa) == expected


def test_a_cap_has_images_calibrations_and_records_of_its_own(monkeypatch, cards):
    """And without one they are where they always were."""
    _, cell = expand(load_cards(cards), [Scheme.parse("w8a8")], ["int8-x86"], Draw())

    def found(host):
        images = keys.of_images(cell, host)
        return images, keys.of_calibration(cell, host), keys.of_record(cell, host, {})

    free = fingerprint()
    monkeypatch.setenv(CAP, "ALL")
    same = fingerprint()
    monkeypatch.setenv(CAP, "avx512_core")
    under = fingerprint()
    assert under.isa == f"{free.isa}, {CAP}=AVX512_CORE"
    assert found(free) == found(same) == found(dataclasses.replace(free, isa=cpu(free.isa)))
    assert not set(found(free)) & set(found(under))
    monkeypatch.setattr(instructions, "CAPS", {})
    assert fingerprint() == free


@pytest.mark.skipif(cpu(instruction_set()) not in instructions.AVX512, reason="needs AVX-512")
def test_a_cap_reaches_the_kernels_and_is_read_before_torch():
    """Why it has to be told: the same CPU saturates."""
    code = (
        "from bench.system.host import fingerprint; isa = fingerprint().isa;"
        "import sys; assert 'torch' not in sys.modules;"
        "from bench.quant.kernels.onednn import saturates; print(isa, saturates())"
    )
    environment = dict(os.environ, **{CAP: "AVX512_CORE"})
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == [f"{cpu(instruction_set())},", f"{CAP}=AVX512_CORE", "True"]
