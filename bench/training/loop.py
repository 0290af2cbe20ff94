"""The training loop: one run gives raw, EMA and SWA weights.

The loss is the mean squared error of the predicted noise (Ho et al. 2020, eq. 14). What is random
in update u (images, timesteps, noise) is drawn from generators seeded by (seed, u) alone, so a run
that is killed and resumed from its last snapshot ends with the same bits as an unbroken one, and
runs of different methods see the same data.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from bench.networks import alpha_bar, build_network, diffuse, seeded, to_model_range
from bench.quiet import quiet_import
from bench.store import atomic
from bench.training.recipe import SMALL_NETWORK, Recipe
from bench.training.sam import sharpness_aware_gradient

with quiet_import():
    from diffusers.training_utils import EMAModel


class Trainer:
    """Model, optimizer and averages of one run, at one update.

    Args:
        recipe: what to do.
        images: training images, uint8 of shape (N, C, H, W).
    """

    def __init__(self, recipe: Recipe, images: Tensor) -> None:
        self.recipe, self.images = recipe, images
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            self.model = build_network(SMALL_NETWORK)
        self.parameters = list(self.model.parameters())
        self.optimizer = torch.optim.Adam(self.parameters, lr=recipe.learning_rate)
        self.ema = EMAModel(self.parameters, decay=recipe.ema_decay)
        self.swa = AveragedModel(self.model)
        self.alpha_bar = alpha_bar(recipe.schedule, recipe.timesteps)
        self.update = 0
        self._epoch: tuple[int, Tensor] | None = None

    def batch(self, update: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draw x_0 in [-1, 1], timesteps and noise of an update; epochs run without repeats."""
        size, seed = self.recipe.batch, self.recipe.seed
        per_epoch = len(self.images) // size
        epoch, position = divmod(update, per_epoch)
        if self._epoch is None or self._epoch[0] != epoch:
            order = torch.randperm(len(self.images), generator=seeded(seed, "order", epoch))
            self._epoch = (epoch, order)
        chosen = self._epoch[1][position * size : (position + 1) * size]
        generator = seeded(seed, "noise", update)
        t = torch.randint(0, self.recipe.timesteps, (size,), generator=generator)
        x_0 = to_model_range(self.images[chosen])
        return x_0, t, torch.randn(x_0.shape, generator=generator)

    def step(self) -> float:
        """Do one update; return the loss before it."""
        recipe = self.recipe
        x_0, t, noise = self.batch(self.update)
        x_t = diffuse(x_0, noise, self.alpha_bar[t])

        def loss_with_gradient() -> Tensor:
            self.optimizer.zero_grad()
            loss = (self.model(x_t, t) - noise).square().mean()
            loss.backward()
            return loss.detach()

        for group in self.optimizer.param_groups:
            group["lr"] = recipe.learning_rate * min(1.0, (self.update + 1) / recipe.warmup)
        if recipe.rho > 0:
            loss = sharpness_aware_gradient(self.parameters, loss_with_gradient, recipe.rho)
        else:
            loss = loss_with_gradient()
        self.optimizer.step()
        self.update += 1
        self.ema.step(self.parameters)
        if self.update > recipe.swa_start * recipe.updates and (
            self.update % recipe.swa_every == 0
        ):
            self.swa.update_parameters(self.model)
        return float(loss)

    def weights(self) -> dict[str, dict[str, Tensor]]:
        """The three sets of weights of the run by averaging: "raw", "ema", "swa"."""
        raw = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        averaged = build_network(SMALL_NETWORK)
        averaged.load_state_dict(raw)
        self.ema.copy_to(averaged.parameters())
        return {"raw": raw, "ema": averaged.state_dict(), "swa": self.swa.module.state_dict()}

    def save(self, path: Path) -> None:
        """Write a snapshot that `load` resumes from to the bit."""
        state = {
            "recipe": self.recipe.to_dict(),
            "update": self.update,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.state_dict(),
            "swa": self.swa.state_dict(),
        }
        with atomic(path) as temporary:
            torch.save(state, temporary)

    def load(self, path: Path) -> None:
        """Resume from a snapshot.

        Raises:
            ValueError: the snapshot was made with another recipe.
        """
        state = torch.load(path, weights_only=True)
        if state["recipe"] != self.recipe.to_dict():
            raise ValueError(f"{path}: snapshot of another recipe")
        self.update = state["update"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema.load_state_dict(state["ema"])
        self.swa.load_state_dict(state["swa"])


def train(
    recipe: Recipe,
    images: Tensor,
    snapshot: Path,
    report: Callable[[int, float], None],
    save_every: int = 200,
) -> Trainer:
    """Run a recipe to its end, from its snapshot where there is one.

    Args:
        images: uint8 of shape (N, C, H, W).
        snapshot: file written every `save_every` updates and at the end.
        report: called after each update with (updates done, loss).
    """
    trainer = Trainer(recipe, images)
    if snapshot.exists():
        trainer.load(snapshot)
    while trainer.update < recipe.updates:
        loss = trainer.step()
        if trainer.update % save_every == 0 or trainer.update == recipe.updates:
            trainer.save(snapshot)
        report(trainer.update, loss)
    return trainer
