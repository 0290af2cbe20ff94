"""The config of a card out of one file of weights: its network and its noise, and what is assumed.

The network is that of a config.json beside the file, else what names and shapes tell. The noise
schedule is that of a scheduler_config.json beside the file, else of buffers in the file, else what
the user says, else what is usual, which is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from bench.core.errors import InputError
from bench.models.sources import (
    adm_names,
    beside,
    network_config,
    noise,
    said_levels,
    scheduler_config,
    scheduler_defaults,
    unet_shapes,
)
from bench.models.sources import state_dicts as files
from bench.models.sources.given import NETWORK
from bench.models.sources.heads import Heads, of_network

# Channels of images; a network for others works on latents, or on patches.
IMAGES = (1, 3)
USUAL = {"schedule": "cosine", "timesteps": 1000, "predicts": "epsilon"}
# Defaults of ADM's published networks for small images, and of UNet2DModel itself.
HEADS = {"adm": Heads(64), "unet": Heads(8)}


@dataclass
class Sketch:
    """A config in the making.

    Attributes:
        path: the path of the file.
        given: settings that the user states, of their types.
        weights: the weights of the chosen network, under the names of the file.
        config: the config of the card.
        assumed: settings that neither the file nor the user states, a line each.
        described: whether config.json beside the file has the network.
    """

    path: Path
    given: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    config: dict[str, Any] = field(default_factory=dict)
    assumed: list[str] = field(default_factory=list)
    described: bool = False

    @property
    def is_adm(self) -> bool:
        """Whether the weights are under ADM's names."""
        return adm_names.is_adm(self.weights)

    @property
    def heads(self) -> Heads:
        """The heads that the user states, or else the usual ones."""
        if "num_heads" in self.given:
            return Heads(number=self.given["num_heads"])
        if "attention_head_dim" in self.given:
            return Heads(self.given["attention_head_dim"])
        if self.described:
            return of_network(self.config["network"])
        return HEADS["adm" if self.is_adm else "unet"]

    @property
    def asks_heads(self) -> bool:
        """Whether the heads are open."""
        return not self.described and not {"num_heads", "attention_head_dim"} & set(self.given)


def network(sketch: Sketch) -> None:
    """Add the fields network, shape and learns_variance.

    Raises:
        InputError: no known network, or fields that are missing or that another file decides.
    """
    unet, lines = beside.network(sketch.path)
    sketch.assumed += lines
    if unet is not None and sketch.is_adm:
        raise InputError(
            f"{sketch.path} holds an ADM network, but config.json beside it describes a "
            f"UNet2DModel: move the weights to a folder of their own"
        )
    made = _described(sketch, unet) if unet is not None else _shown(sketch)
    inner, patch = made["unet"], made["patch"]
    sides = network_config.sides(inner.get("sample_size"), None, str(sketch.path))
    inputs = inner.get("in_channels", 3)
    channels = inputs // patch**2
    if channels * patch**2 != inputs or channels not in IMAGES:
        raise InputError(
            f"{sketch.path}: the network takes {inputs} channels, which are no images: of a "
            f"latent model import the folder, which has the decoder; for patches of pixels, "
            f"--set patch=N"
        )
    sketch.config["network"] = made
    sketch.config["shape"] = [channels, *(side * patch for side in sides)]
    sketch.config["learns_variance"] = inner.get("out_channels", 3) == 2 * inputs


def _described(sketch: Sketch, unet: dict[str, Any]) -> dict[str, Any]:
    sketch.described = True
    decided = {*NETWORK, "attention_head_dim", "num_heads"} & set(sketch.given)
    if decided:
        name = sorted(decided)[0]
        raise InputError(
            f"--set {name}: config.json beside {sketch.path.name} decides it; change it there, or "
            f"move the weights to a folder of their own"
        )
    patch = sketch.given.get("patch", 1)
    if "sample_size" in sketch.given:
        size, stated = _patches(sketch.given["sample_size"], patch), unet.get("sample_size")
        if stated not in (None, size, [size, size]):
            raise InputError(
                f"--set sample_size: config.json beside {sketch.path.name} says {stated}"
            )
        unet = {**unet, "sample_size": size}
    return {"patch": patch, "unet": unet}


def _shown(sketch: Sketch) -> dict[str, Any]:
    said = {name: sketch.given[name] for name in NETWORK if name in sketch.given}
    patch = sketch.given.get("patch", 1)
    if "sample_size" not in sketch.given:
        raise InputError("weights do not tell the size of the images: --set sample_size=N")
    size = _patches(sketch.given["sample_size"], patch)
    if sketch.is_adm:
        for name in (*said, *(["patch"] if patch != 1 else [])):
            raise InputError(f"--set {name}: ADM's networks leave no choice of it")
        return adm_names.network(sketch.weights, sketch.heads, size)
    return unet_shapes.network(sketch.weights, sketch.heads, size, said) | {"patch": patch}


def _patches(size: Any, patch: int) -> Any:
    sides = size if isinstance(size, list) else [size]
    if any(side % patch for side in sides):
        raise InputError(f"--set patch={patch} does not divide the size of the images")
    counts = [side // patch for side in sides]
    return counts if isinstance(size, list) else counts[0]


def schedule(sketch: Sketch, content: files.Weights, part: files.Part) -> None:
    """Add schedule, timesteps and predicts, or scheduler.

    Raises:
        InputError: a description beside the file that is not honoured, or that the user
            contradicts.
    """
    given, config = sketch.given, sketch.config
    if described := scheduler_config.beside(sketch.path):
        _by_scheduler(sketch, described)
        return
    if "levels" in given:
        config["levels"] = given["levels"]
        if not said_levels.is_fractional(given["levels"]):
            _continuous(sketch)
            return
    if (lying := noise.in_file(content, part)) is not None:
        usual = {"schedule": noise.FILE, "timesteps": len(lying)}
        sketch.assumed.append("the noise schedule is that of the betas in the file")
        if "predicts" not in given and (told := noise.objective(content, lying)):
            usual["predicts"] = told
            sketch.assumed.append(f"predicts {told}, by the weights of the loss in the file")
    else:
        usual = {}
    for name, word in USUAL.items():
        if name not in given and name not in usual:
            sketch.assumed.append(f"{name} {word} (--set {name}=...)")
        config[name] = given.get(name, usual.get(name, word))
    sketch.assumed.append(
        "the predicted x_0 is clamped to [-1, 1] (a scheduler_config.json beside the file may say "
        "otherwise)"
    )
    if "variance" in given:
        config["variance"] = given["variance"]
    elif sketch.is_adm and not config["learns_variance"]:
        config["variance"] = "fixed_large"
        sketch.assumed.append("variance fixed_large, of ddpm's steps (--set variance=...)")
    elif not config["learns_variance"]:
        config["variance"] = "fixed_small"
        sketch.assumed.append("variance fixed_small, of ddpm's steps (--set variance=...)")


def _by_scheduler(sketch: Sketch, described: Path) -> None:
    """Add the description of a scheduler that lies beside the file.

    Raises:
        InputError: it is not honoured, or the user contradicts it.
    """
    given, config = sketch.given, sketch.config
    for name in ("schedule", "timesteps", "variance", "levels"):
        if name in given:
            raise InputError(f"--set {name}: {described} decides it; move the weights away")
    said = scheduler_config.read(described)
    scheduler_config.understand(said, str(described), given.get("predicts"))
    config["scheduler"] = scheduler_config.relevant(said)
    config |= {"predicts": given["predicts"]} if "predicts" in given else {}
    sketch.assumed.append(f"the noise schedule is that of {described.name} beside the file")
    sketch.assumed += scheduler_defaults.assumed(
        config["scheduler"],
        described.name,
        given.get("predicts"),
        True,
        config["learns_variance"],
    )


def _continuous(sketch: Sketch) -> None:
    """Add what belongs to levels that are of no schedule.

    Raises:
        InputError: the user states a schedule, too, or a prediction of other levels.
    """
    given, config, kind = sketch.given, sketch.config, sketch.given["levels"]["kind"]
    if "schedule" in given:
        raise InputError(f"--set schedule: levels of kind {kind} are of no schedule")
    config["predicts"] = said_levels.predicts(given["levels"], given.get("predicts"))
    if "predicts" not in given:
        sketch.assumed.append(f"predicts {config['predicts']} (--set predicts=...)")
    for name in ("timesteps", "variance"):
        if name in given:
            config[name] = given[name]
    sketch.assumed.append(f"levels {said_levels.read(given['levels'])}; x_0 is not clamped")
