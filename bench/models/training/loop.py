"""The training loop: one run gives raw, EMA and SWA weights.

What is random in update u (images, flips, timesteps, noise, dropout) is drawn from CPU generators
seeded by (seed, u); timesteps by loss also follow the losses so far, which snapshots keep. A run
that is killed and resumed from its last snapshot ends with the same bits as an unbroken one, and
runs of different methods see the same images and noise on every device.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.denoiser import to_model_range
from bench.core.errors import InputError
from bench.models.networks import build_network, check_network
from bench.models.training.averaging import Averages
from bench.models.training.objective import Batch, Objective
from bench.models.training.recipe import Recipe
from bench.models.training.sam import sharpness_aware_gradient
from bench.models.training.timesteps import SAMPLERS
from bench.system import artifacts
from bench.system.random import seeded

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


class Trainer:
    """Model, optimizer and averages of one run, at one update.

    Args:
        recipe: the training run.
        images: training images, uint8 of shape (N, C, H, W).
        device: where the network is evaluated.
        compiled: whether the network is compiled, on a GPU with CUDA graphs.

    Raises:
        InputError: images or network do not fit the recipe.
    """

    def __init__(
        self, recipe: Recipe, images: Tensor, device: str = "cpu", compiled: bool = False
    ) -> None:
        self.recipe, self.images, self.device = recipe, images, torch.device(device)
        if tuple(images.shape[1:]) != tuple(recipe.shape):
            shape = tuple(images.shape[1:])
            raise InputError(f"{recipe.dataset}: images {shape}, the recipe says {recipe.shape}")
        if len(images) < recipe.batch:
            raise InputError(f"{recipe.dataset} has {len(images)} images: lower --batch")
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            self.model = build_network(recipe.network).to(self.device)
        check_network(self.model.eval(), recipe.shape, recipe.learns_variance)
        self.model.train()
        self.network: Callable[[Tensor, Tensor], Tensor] = self.model
        if compiled:
            graphs = "reduce-overhead" if self.device.type == "cuda" else "default"
            self.network = torch.compile(self.model, mode=graphs)
        self.drops = any(isinstance(m, nn.Dropout) and m.p > 0 for m in self.model.modules())
        self.parameters = list(self.model.parameters())
        self.optimizer = OPTIMIZERS[recipe.optimizer](
            self.parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self.averages = Averages(recipe, self.model)
        self.objective = Objective(recipe, self.device)
        self.timesteps = SAMPLERS[recipe.timestep_sampler](recipe.timesteps)
        self.update = 0
        self.made: list[dict[str, Any]] = []
        self._epoch: tuple[int, Tensor] | None = None

    def batch(self, update: int) -> Batch:
        """Draw what an update sees, on the CPU; epochs run without repeats."""
        recipe, size = self.recipe, self.recipe.batch
        epoch, position = divmod(update, len(self.images) // size)
        if self._epoch is None or self._epoch[0] != epoch:
            order = torch.randperm(len(self.images), generator=seeded(recipe.seed, "order", epoch))
            self._epoch = (epoch, order)
        chosen = self._epoch[1][position * size : (position + 1) * size]
        generator = seeded(recipe.seed, "noise", update)
        t, weight = self.timesteps.draw(size, generator)
        x_0 = to_model_range(self.images[chosen])
        noise = torch.randn(x_0.shape, generator=generator)
        # Draws of only some recipes come last, so that all recipes share the others.
        xi = torch.randn(x_0.shape, generator=generator) if recipe.perturbation else None
        if recipe.flip:
            mirrored = torch.rand(size, generator=seeded(recipe.seed, "flip", update)) < 0.5
            x_0 = torch.where(mirrored.view(-1, 1, 1, 1), x_0.flip(-1), x_0)
        return Batch(x_0, t, noise, xi, weight)

    def step(self) -> Tensor:
        """Do one update; return the mean loss before it, a scalar on the device."""
        drawn = self.batch(self.update)
        batch = drawn.to(self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate(self.update)
        losses = self._gradient(batch)
        self.optimizer.step()
        self.timesteps.learn(drawn.t, losses)
        self.update += 1
        self.averages.update(self.update)
        return losses.mean()

    def _gradient(self, batch: Batch) -> Tensor:
        """Leave the method's gradient in `.grad`; return the loss of each image, (B,)."""
        recipe = self.recipe
        half = recipe.precision == "bfloat16"

        def losses_with_gradient() -> Tensor:
            self.optimizer.zero_grad()
            if self.drops:
                # SAM's second pass must have the dropout masks of the first.
                torch.manual_seed(seeded(recipe.seed, "dropout", self.update).initial_seed())
            with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
                losses = self.objective(self.network, batch)
            (losses * batch.weight).mean().backward()
            return losses.detach()

        if not recipe.sharpness_aware:
            return losses_with_gradient()
        return sharpness_aware_gradient(
            self.parameters, losses_with_gradient, recipe.rho, recipe.adaptive
        )

    def save(self, path: Path) -> None:
        """Write a snapshot that `load` resumes from to the bit.

        Raises:
            InputError: the run has diverged; the last good snapshot stays.
        """
        if not all(torch.isfinite(p).all() for p in self.parameters):
            raise InputError(
                f"the weights are not finite after {self.update} updates: lower the learning "
                f"rate or rho; the last good snapshot is {path}"
            )
        state = {"recipe": self.recipe.to_dict(), "update": self.update, "made": self.made}
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        # Written through memory: torch's own writer turns a full disk into an internal error.
        buffer = io.BytesIO()
        torch.save(state | parts, buffer)
        artifacts.write(path, path.name, buffer.getvalue())

    def load(self, path: Path) -> None:
        """Resume from a snapshot.

        Raises:
            InputError: it is damaged or was made with another recipe.
        """
        stored = _stored(path)
        try:
            state = torch.load(stored, map_location="cpu", weights_only=True)
            other = [
                name for name, value in self.recipe.to_dict().items()
                if state["recipe"].get(name) != value
            ]  # fmt: skip
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{path}: not a whole snapshot ({reason}); delete it") from None
        if other:
            raise InputError(
                f"{path}: snapshot of a recipe with another {', '.join(other)}; choose another "
                f"--name or delete it"
            )
        self.update, self.made = state["update"], state.get("made", [])
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "optimizer": self.optimizer,
            "averages": self.averages,
            "timesteps": self.timesteps,
        }


def _stored(path: Path) -> Path | io.BytesIO:
    """The content of a snapshot, held against its SHA-256; snapshots of earlier releases end
    without one and are read as they are, which is said.

    Raises:
        InputError: it is not as it was written.
    """
    try:
        artifacts.stated(path)
    except artifacts.Lost:
        print(f"bench: {path} has no SHA-256 to be held against: read as it is", file=sys.stderr)
        return path
    content = artifacts.read(path, path.name)
    if content is None:
        raise InputError(
            f"{path}: not a whole snapshot, and set aside: repeat the command to train anew, or "
            f"put an earlier copy in its place"
        )
    return io.BytesIO(content)


def train(
    trainer: Trainer,
    snapshot: Path,
    report: Callable[[int, Tensor], None],
    made: dict[str, Any] | None = None,
    save_every: int = 200,
) -> None:
    """Run a trainer to its recipe's end, from its snapshot where there is one.

    Args:
        trainer: as new.
        snapshot: file written every `save_every` updates and at the end.
        report: called after each update with (updates done, loss on the device).
        made: where and with what it runs now, kept in the trainer if updates are done here.

    Raises:
        InputError: a damaged or foreign snapshot, or weights that are not finite.
    """
    for done, loss in updates(trainer, snapshot, made, save_every):
        report(done, loss)


def updates(
    trainer: Trainer, snapshot: Path, made: dict[str, Any] | None = None, save_every: int = 200
) -> Iterator[tuple[int, Tensor]]:
    """As `train`; after each update (updates done, loss on the device)."""
    if snapshot.exists():
        trainer.load(snapshot)
    if made and trainer.update < trainer.recipe.steps and made not in trainer.made:
        trainer.made.append(made)
    while trainer.update < trainer.recipe.steps:
        loss = trainer.step()
        if trainer.update % save_every == 0 or trainer.update == trainer.recipe.steps:
            trainer.save(snapshot)
        yield trainer.update, loss
