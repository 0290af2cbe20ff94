"""The smallest checkpoint that a source of another package loads."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.entry_point import install

from bench.system.store import sha256

SIGMAS = 0.01, 50.0, 0.5


@pytest.fixture
def edm_card(site, tmp_path):
    """The card of a file of random weights; the source `edm-npz` is installed."""
    text = Path(__file__).with_name("edm_npz.py").read_text()
    points = "[bench.sources]\nedm-npz = edm_npz:load\n"
    install(site, "edm-npz", points, module="edm_npz", text=text)
    import edm_npz

    torch.manual_seed(0)
    arrays = {name: value.numpy() for name, value in edm_npz.Network().state_dict().items()}
    path = tmp_path / "network.npz"
    np.savez(path, sigmas=SIGMAS, **arrays)
    return {
        "name": "edm",
        "family": "edm",
        "method": "baseline",
        "source": "edm-npz",
        "uri": path.name,
        "sha256": sha256(path),
        "dataset": "fashion-mnist",
        # Random weights denoise worse than no network.
        "force": True,
    }
