"""How far are the sources `edm`, `edm2` and `sit` from their authors' own classes?

A table for docs/checkpoints.md. The classes are executed out of clones of their repositories
(NVlabs/edm, NVlabs/edm2, willisma/SiT, which needs timm), with random weights; their state dicts
are read as those of a file are.

    python docs/experiments/authors_networks.py EDM_CLONE EDM2_CLONE SIT_CLONE
"""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from bench.models.sources import edm, edm2, sit
from bench.models.sources.filling import fill

SONG = {"img_resolution": 32, "in_channels": 3, "out_channels": 3, "model_channels": 32}
SONG |= {"num_blocks": 2, "augment_dim": 9, "channel_mult": [1, 2, 2]}
NCSN = {"embedding_type": "fourier", "encoder_type": "residual", "channel_mult_noise": 2}
NCSN |= {"resample_filter": [1, 3, 3, 1]}
ADM = {"img_resolution": 32, "in_channels": 3, "out_channels": 3, "model_channels": 64}
ADM |= {"channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [16]}
EDM2 = {"img_resolution": 32, "img_channels": 3, "model_channels": 64, "num_blocks": 2}
EDM2 |= {"channel_mult": [1, 2, 3], "attn_resolutions": [16, 8]}
SIT = {"input_size": 16, "hidden_size": 96, "depth": 3, "num_heads": 4, "num_classes": 10}
LABELS = torch.tensor([0, 9, 10])


def module(path: Path) -> Any:
    """The authors' file, without their helpers that keep source code in pickles."""
    persistence = types.ModuleType("torch_utils.persistence")
    vars(persistence)["persistent_class"] = lambda made: made
    misc = types.ModuleType("torch_utils.misc")
    vars(misc)["const_like"] = lambda like, value: torch.tensor(value, dtype=like.dtype)
    package = types.ModuleType("torch_utils")
    vars(package).update(persistence=persistence, misc=misc)
    sys.modules |= {m.__name__: m for m in (package, persistence, misc)}
    made = types.ModuleType(path.stem)
    exec(compile(path.read_text(), str(path), "exec"), vars(made))
    return made


def randomized(network: nn.Module) -> nn.Module:
    """With weights that keep the size of what they are multiplied with."""
    for name, value in network.named_parameters():
        noise = torch.randn_like(value)
        small = 0.1 * noise + ("norm" in name and name.endswith("weight"))
        value.data = small if value.ndim < 2 else noise / value[0].numel() ** 0.5
    for name, value in network.named_parameters():
        if name == "out_gain":
            value.data.fill_(0.7)
    return network.eval()


@torch.no_grad()
def compare(
    title: str, theirs: nn.Module, source: Any, inputs: tuple[Any, ...], **own: int
) -> None:
    """Print a row; inputs are (x, told, what the authors' class takes, labels here)."""
    x, told, given, labels = inputs
    expected = randomized(theirs)(x, told, given)
    read = source.read(theirs.state_dict(), own)
    fill(read.module, read.weights, "mixed")
    made = read.module.eval()(*((x, told) if labels is None else (x, told, labels)))
    made = made[:, : expected.shape[1]]
    difference = float((made - expected).abs().max())
    print(f"| {title} | {float(expected.abs().max()):.1f} | {difference:.1e} |", flush=True)


def main(folders: list[str]) -> None:
    """Print the table."""
    first, second, third = (Path(folder) for folder in folders)
    theirs = module(first / "training" / "networks.py")
    torch.manual_seed(0)
    x, noise = torch.randn(3, 3, 32, 32), torch.tensor([-1.5, 0.0, 1.1])
    rows = one_hot(LABELS, 11)[:, :10].float()
    print("| network | largest output | difference |\n|---|---|---|")
    for title, name, words in (
        ("SongUNet as DDPM++", "SongUNet", SONG),
        ("SongUNet as NCSN++", "SongUNet", SONG | NCSN),
        ("DhariwalUNet", "DhariwalUNet", ADM),
    ):
        for classes in (0, 10):
            network = getattr(theirs, name)(**words, label_dim=classes)
            given: tuple[Tensor | None, Tensor | None] = (
                (rows, LABELS) if classes else (None, None)
            )
            compare(f"{title}, {classes} classes", network, edm, (x, noise, *given))
    theirs = module(second / "training" / "networks_edm2.py")
    for classes in (0, 10):
        given = (rows, LABELS) if classes else (None, None)
        network = theirs.UNet(**EDM2, label_dim=classes)
        compare(f"EDM2's UNet, {classes} classes", network, edm2, (x, noise, *given))
    theirs, latents = module(third / "models.py"), torch.randn(3, 4, 16, 16)
    for twice in (True, False):
        inputs = (latents, torch.tensor([0.0, 0.3, 1.0]), LABELS, LABELS)
        network = theirs.SiT(**SIT, learn_sigma=twice)
        compare(f"SiT, channels twice: {twice}", network, sit, inputs, num_heads=4)


if __name__ == "__main__":
    main(sys.argv[1:])
