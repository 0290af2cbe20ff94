"""Peak memory of the probes against that of a training step of the same network, in processes of
their own."""

import multiprocessing
from pathlib import Path

import pytest

LIMIT = 3.0


def peak(name):
    """Bytes that the work takes at most beside what the process holds before it."""
    import torch
    from helpers.subjects import denoising, examples, subject
    from helpers.tiny import TINY_NETWORK

    from bench.measurement.probes import weight_space as space
    from bench.measurement.probes.context import Setting
    from bench.measurement.probes.hessian import lanczos, products, trained
    from bench.measurement.probes.perturbation import Perturbation
    from bench.models.networks import build_network

    torch.set_num_threads(1)
    config = TINY_NETWORK | {"unet": TINY_NETWORK["unet"] | {"block_out_channels": [32, 48]}}
    model = build_network(config).eval()
    setting = Setting(worst_radii=(0.001,), ascent=2)
    found = subject(model, denoising, examples(128, (1, 28, 28)), setting)
    weights = space.point(model)

    def train():
        model.requires_grad_(True)
        optimizer = torch.optim.Adam(model.parameters())
        for _ in range(2):
            optimizer.zero_grad()
            denoising(model, found.examples.first(64)).mean().backward()
            optimizer.step()

    def curvature():
        few = found.examples.first(64)
        product = products(found, few, trained(found, few))
        lanczos(product, sum(w.numel() for w in weights.values()), 12, 0)

    work = {"train": train, "curvature": curvature}
    work["worst"] = lambda: Perturbation()(found, "worst", {})
    denoising(model, found.examples.first(2))
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    work[name]()
    return status("VmHWM") - before


def status(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_peak_is_within_three_training_steps():
    found = {}
    for name in ("train", "curvature", "worst"):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found[name] = pool.apply(peak, (name,))
    print({name: round(value / 1e6) for name, value in found.items()})
    assert found["curvature"] < LIMIT * found["train"]
    assert found["worst"] < LIMIT * found["train"]
