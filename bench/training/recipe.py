"""A training run as one frozen value; two runs with equal recipes give equal weights.

Every method of a comparison shares network, data order, timesteps and noise (all are functions of
`seed` and the update's number); only the update rule and the averaging differ.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

# A small U-Net on 2x2 patches: 0.5 M parameters, quick enough to train on a laptop.
SMALL_NETWORK: dict[str, Any] = {
    "patch": 2,
    "unet": {
        "sample_size": 14,
        "in_channels": 4,
        "out_channels": 4,
        "layers_per_block": 1,
        "block_out_channels": [32, 48],
        "norm_num_groups": 8,
        "attention_head_dim": 16,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    },
}


@dataclass(frozen=True)
class Recipe:
    """One training run.

    Attributes:
        name: stem of the checkpoints it writes.
        updates: optimizer steps.
        batch: images per update.
        learning_rate: of Adam, constant after `warmup` updates of linear increase.
        rho: SAM radius in weight space (L2, all parameters together); 0 trains plainly.
        ema_decay: of the exponential moving average of the weights.
        swa_start: share of the updates after which the equal average (SWA) begins.
        swa_every: updates between two weights that enter the equal average.
    """

    name: str = "small"
    dataset: str = "fashion-mnist"
    schedule: str = "cosine"
    timesteps: int = 1000
    updates: int = 6000
    batch: int = 64
    learning_rate: float = 1e-3
    warmup: int = 200
    rho: float = 0.0
    ema_decay: float = 0.999
    swa_start: float = 0.6
    swa_every: int = 20
    seed: int = 0

    @property
    def rule(self) -> str:
        """The update rule: baseline or sam."""
        return "sam" if self.rho > 0 else "baseline"

    def to_dict(self) -> dict[str, Any]:
        """The recipe as plain JSON values."""
        return asdict(self)
