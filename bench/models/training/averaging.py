"""Weight averages of one run, taken as it goes: exponential ones (EMA) and the equal one (SWA).

EMA after update u is a_u = d_u a_{u-1} + (1 - d_u) w_u (diffusers' `EMAModel`), with d_1 = 0 and
then d_u = d or, during warm-up, min(d, u / (9 + u)). SWA is the mean of the weights at the ends of
its cycles (Izmailov et al. 2018; torch's `AveragedModel`). Both work on all parameters at once.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from bench.models.training.recipe import Recipe
from bench.system.quiet import quiet_import

with quiet_import():
    from diffusers.training_utils import EMAModel


class Averages:
    """The averages of a recipe.

    Args:
        recipe: decays and cycle.
        model: the network that is trained; it has parameters only, no buffers that learn.
    """

    def __init__(self, recipe: Recipe, model: nn.Module) -> None:
        self.recipe, self.model = recipe, model
        self.parameters = list(model.parameters())
        self.ema = [
            EMAModel(
                self.parameters,
                decay=decay,
                min_decay=0.0 if recipe.ema_warmup else decay,
                foreach=True,
            )
            for decay in recipe.ema_decays
        ]
        self.swa = AveragedModel(model)

    def update(self, done: int) -> None:
        """Take in the weights after `done` updates."""
        for average in self.ema:
            average.step(self.parameters)
        if self.recipe.averages_after(done):
            self.swa.update_parameters(self.model)

    def weights(self) -> dict[str, dict[str, Tensor]]:
        """Weights by kind on the CPU: "raw", "ema", "ema@DECAY" ..., "swa".

        "swa" is left out where no cycle has ended.
        """
        raw = {name: value.detach().cpu().clone() for name, value in self._state()}
        kinds = {"raw": raw}
        names = [name for name, _ in self.model.named_parameters()]
        for k, (decay, average) in enumerate(zip(self.recipe.ema_decays, self.ema, strict=True)):
            shadow = zip(names, average.shadow_params, strict=True)
            values = {name: value.detach().cpu().clone() for name, value in shadow}
            kinds["ema" if k == 0 else f"ema@{decay:g}"] = raw | values
        if int(self.swa.n_averaged) > 0:
            state = self.swa.module.state_dict().items()
            kinds["swa"] = {name: value.detach().cpu().clone() for name, value in state}
        return kinds

    def _state(self) -> Any:
        return self.model.state_dict().items()

    def state_dict(self) -> dict[str, Any]:
        """All averages, for a snapshot."""
        return {"ema": [a.state_dict() for a in self.ema], "swa": self.swa.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        for average, kept in zip(self.ema, state["ema"], strict=True):
            average.load_state_dict(kept)
            average.to(device=self.parameters[0].device)
        self.swa.load_state_dict(state["swa"])
