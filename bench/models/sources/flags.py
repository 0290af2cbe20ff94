"""Flags of a network that do not show in its weights: determined by a test, or assumed and told.

They are the order of q, k and v and the rescaling of timesteps (ADM), the open fields of
`bench.models.sources.unet_shapes`, and the heads. What the error on noise tells clearly is taken;
the rest keeps its usual value and stands on the card as an assumption. A line that ends with
`--set` is one that real images may still decide (`bench.evaluation.choosing`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.core.errors import InputError
from bench.models.networks import USUAL_TIMESTEPS
from bench.models.sources import adm, adm_names, heads, scheduler_config, telling, unet_shapes
from bench.models.sources.sketch import Sketch

# Timesteps of published trainings that nobody names.
TIMESTEPS = (1000, 4000)


def settle(sketch: Sketch) -> None:
    """Decide all flags that the user does not, and put them into the config.

    Raises:
        InputError: the timesteps may be rescaled or not, and neither the weights nor the user
            tell which.
    """
    config = sketch.config
    predicts, timesteps = _noise(config)
    start: dict[str, Any] = {}
    choices: dict[str, Any] = {}
    if sketch.is_adm:
        start["attention_order"] = sketch.given.get("attention_order", "new")
        if "attention_order" not in sketch.given:
            choices["attention_order"] = list(adm.ORDERS)
    elif not sketch.described:
        choices |= unet_shapes.choices(config["network"], sketch.given)
        start |= {name: values[0] for name, values in choices.items()}
        start |= _said_time(sketch)
    start["heads"] = sketch.heads
    widths = (adm_names if sketch.is_adm else unet_shapes).attention_widths(sketch.weights)
    if sketch.asks_heads and widths:
        choices = _third(choices, "heads", heads.choices(widths, sketch.heads))
        start["heads"] = next(iter(choices["heads"]), sketch.heads)
    start["rescale_timesteps"] = sketch.given.get("rescale_timesteps", False)
    start["timesteps"] = timesteps
    if not timesteps:
        start["timesteps"] = USUAL_TIMESTEPS
    elif "rescale_timesteps" not in sketch.given and timesteps != USUAL_TIMESTEPS:
        choices["rescale_timesteps"] = [False, True]
    elif config.get("timesteps") and "timesteps" not in sketch.given and _is_usual(config):
        choices["timesteps"] = list(TIMESTEPS)
    told = None
    # Only timesteps have a last one, at which the input is noise alone.
    if predicts == "epsilon" and timesteps:
        errors = adm.errors if sketch.is_adm else unet_shapes.errors
        enough = telling.TRAINED if sketch.is_adm else telling.SURE
        told = telling.tell(start, choices, errors(sketch.weights, config), enough)
    _put(sketch, told.flags if told else start)
    _say(sketch, choices, told, start)


def _noise(config: Mapping[str, Any]) -> tuple[str, int]:
    """The kind of prediction and the number of timesteps, by the scheduler or the fields; none
    where the noise levels are others."""
    if config.get("levels"):
        return config["predicts"], 0
    if "scheduler" in config:
        label = "scheduler_config.json beside the file"
        noise = scheduler_config.understand(config["scheduler"], label, config.get("predicts"))
        return noise.predicts, len(noise.levels) if noise.levels.is_schedule else 0
    return config["predicts"], config["timesteps"]


def _is_usual(config: Mapping[str, Any]) -> bool:
    return config["timesteps"] == USUAL_TIMESTEPS and config["schedule"] != "file"


def _said_time(sketch: Sketch) -> dict[str, Any]:
    given = sketch.given
    if not set(unet_shapes.TIME) & set(given):
        return {}
    return {"time": (given.get("flip_sin_to_cos", True), given.get("freq_shift", 0))}


def _third(choices: Mapping[str, Any], name: str, values: Any) -> dict[str, Any]:
    """Choices with one more among the first three, whose pairs are tried too."""
    items = list(choices.items())
    return dict([*items[:2], (name, values), *items[2:]])


def _put(sketch: Sketch, flags: Mapping[str, Any]) -> None:
    config = sketch.config
    if sketch.is_adm:
        config["attention_order"] = flags["attention_order"]
        config["network"] = flags["heads"].put(config["network"])
    elif not sketch.described:
        config["network"] = unet_shapes.put(config["network"], flags)
    if flags["rescale_timesteps"] or "rescale_timesteps" in sketch.given:
        config["rescale_timesteps"] = flags["rescale_timesteps"]
    if "timesteps" in config:
        config["timesteps"] = flags["timesteps"]


def _say(
    sketch: Sketch, choices: Mapping[str, Any], told: telling.Told | None, start: Mapping[str, Any]
) -> None:
    """A line for each flag that the user did not say, with how it was found."""
    if told and told.trained and "predicts" not in sketch.given:
        line = f"predicts epsilon, by the error {told.error:.2g} of the network on noise"
        _replace(sketch, "predicts epsilon", f"{line} ({_hint('predicts')})")
    for name in choices:
        flags = told.flags if told else start
        value = telling.words(name, flags[name])
        if told and told.is_clear(name):
            line = f"{value}, by the errors on noise ({told.words(name)})"
        elif told and not told.trained:
            line = (
                f"{value}: the weights do not tell, they seem untrained or predict no epsilon "
                f"(errors on noise {told.words(name)}; {_hint(name)})"
            )
        else:
            line = f"{value}, which the weights do not tell ({_hint(name)})"
        if name == "timesteps":
            _replace(sketch, "timesteps 1000", line if told and told.is_clear(name) else "")
            continue
        if name == "rescale_timesteps" and sketch.is_adm and not (told and told.is_clear(name)):
            raise InputError(
                f"--set rescale_timesteps=true or false: networks of {flags['timesteps']} "
                f"timesteps were trained with both, and these weights do not tell which"
            )
        sketch.assumed.append(line)


def _hint(name: str) -> str:
    fields = {"time": unet_shapes.TIME, "heads": ("attention_head_dim", "num_heads")}.get(
        name, (name,)
    )
    return ", ".join(f"--set {field}=..." for field in fields)


def _replace(sketch: Sketch, start: str, line: str) -> None:
    """Put a line that is known better in the place of the assumption; "" leaves it."""
    for index, text in enumerate(sketch.assumed):
        if text.startswith(start) and line:
            sketch.assumed[index] = line
