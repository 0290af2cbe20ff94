"""The components of a pipeline, strictly: every weight present, none left over, all finite.

Networks of diffusers are loaded as those of any other folder are (`sources.pretrained`), and their
configs and the scheduler's are held against the arguments of their classes: what these do not take
is refused by name. Configs of text encoders are those of transformers, which knows its fields.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from bench.core.errors import InputError
from bench.models.pipelines.folder import DECODER, TOKENIZERS, Index
from bench.models.sources import fields, pretrained
from bench.system import components, weightless
from bench.system.quiet import quiet_diffusers, quiet_import, quiet_transformers

NEEDED = "transformers"
# Arguments of pipelines that would change the images after they are made.
WITHOUT = {"add_watermarker": False}


def pipeline(index: Index, variant: str | None, dtype: str) -> Any:
    """The pipeline of a folder on the CPU, with its decoder, without its text encoders, and with
    the form of its network in the place of it.

    Args:
        index: of the folder.
        variant: of the weights, None for the plain ones.
        dtype: that all of it is loaded in.

    Raises:
        InputError: a component that cannot be loaded, or a field that is not honoured.
    """
    with quiet_import():
        import diffusers
    kind = getattr(diffusers, index.pipeline, None)
    if kind is None:
        raise InputError(f"diffusers {diffusers.__version__} has no {index.pipeline}")
    takes = fields.defaults(index.pipeline)
    for name in (*index.values, *index.classes):
        if name not in takes:
            raise InputError(f"{index.folder}: {name} is no argument of a {index.pipeline}")
    given: dict[str, Any] = dict.fromkeys((*index.absent, *index.encoders))
    given |= {**index.values, **WITHOUT}
    given[index.network] = _form(index, dtype)
    given[DECODER] = _loaded(index, DECODER, variant, dtype)
    given["scheduler"] = _scheduler(index)
    for name in TOKENIZERS:
        if name in index.classes:
            given[name] = _tokenizer(index, name)
    missing = [n for n, default in takes.items() if default is None and n not in given]
    given |= dict.fromkeys(missing)
    with quiet_diffusers():
        made = _made(index.folder, lambda: kind(**{n: v for n, v in given.items() if n in takes}))
    made.set_progress_bar_config(disable=True)
    return made


def network(index: Index, variant: str | None, dtype: str) -> Any:
    """The network of a folder, on the CPU.

    Raises:
        InputError: it cannot be loaded.
    """
    return _loaded(index, index.network, variant, dtype)


def encoders(index: Index, variant: str | None, dtype: str, device: Any) -> dict[str, Any]:
    """The text encoders of a folder by name, on a device.

    Raises:
        InputError: one that cannot be loaded.
    """
    return {name: _encoder(index, name, variant, dtype).to(device) for name in index.encoders}


def encoder_forms(index: Index, dtype: str) -> dict[str, Any]:
    """The text encoders of a folder by name, without their weights.

    Raises:
        InputError: one that cannot be made.
    """
    return {name: _encoder_form(index, name, dtype) for name in index.encoders}


def _encoder_form(index: Index, name: str, dtype: str) -> Any:
    kind, place = _of_transformers(index, name), index.folder / name
    with _empty_weights(index), quiet_transformers():
        made = _made(place, lambda: kind(kind.config_class.from_pretrained(place)))
    weightless.hollow_out(made, getattr(torch, dtype), "cpu")
    return made


def _empty_weights(index: Index) -> contextlib.AbstractContextManager[None]:
    """Within it networks are made without memory for their weights."""
    try:
        with quiet_import():
            from accelerate import init_empty_weights
    except ImportError:
        raise InputError(f"{index.folder} needs accelerate: pip install accelerate") from None
    made: contextlib.AbstractContextManager[None] = init_empty_weights()
    return made


def _form(index: Index, dtype: str) -> Any:
    """The network without its weights."""
    place, kind = index.folder / index.network / "config.json", index.classes[index.network]
    _check(place, kind)
    with quiet_import():
        import diffusers
    with _empty_weights(index), quiet_diffusers():
        made = _made(place, lambda: getattr(diffusers, kind).from_config(fields.read(place)))
    weightless.hollow_out(made, getattr(torch, dtype), "cpu")
    return made.eval()


def _loaded(index: Index, name: str, variant: str | None, dtype: str) -> Any:
    """The network or the decoder."""
    folder, kind = index.folder / name, index.classes[name]
    _check(folder / "config.json", kind)
    there = {each for each, _ in components.variants(folder)}
    chosen = variant if variant in there else None
    if components.choose(folder, chosen)[1] != "safetensors":
        raise InputError(
            f"{folder} holds these weights as a pickle alone: save the pipeline again, by "
            f"save_pretrained(FOLDER, safe_serialization=True)"
        )
    return pretrained.component(folder, kind, {}, chosen, getattr(torch, dtype))


def _scheduler(index: Index) -> Any:
    place, kind = index.folder / "scheduler" / "scheduler_config.json", index.classes["scheduler"]
    _check(place, kind)
    import diffusers

    with quiet_diffusers():
        return _made(place, lambda: getattr(diffusers, kind).from_config(fields.read(place)))


def _check(place: Path, kind: str) -> None:
    """Refuse fields that the class of a description does not take."""
    takes = fields.defaults(kind)
    fields.check(fields.read(place), fields.used(*takes), takes, str(place))


def _of_transformers(index: Index, name: str) -> Any:
    """A class of transformers by the name that the index has."""
    try:
        with quiet_import():
            import transformers
    except ImportError:
        raise InputError(
            f"{index.folder}: its {name} needs {NEEDED}: pip install {NEEDED}"
        ) from None
    kind = getattr(transformers, index.classes[name], None)
    if kind is None:
        raise InputError(
            f"{index.folder}: transformers {transformers.__version__} has no "
            f"{index.classes[name]}, its {name}"
        )
    return kind


def _tokenizer(index: Index, name: str) -> Any:
    kind, place = _of_transformers(index, name), index.folder / name
    with quiet_diffusers(), quiet_transformers():
        return _made(place, lambda: kind.from_pretrained(place, local_files_only=True))


def _encoder(index: Index, name: str, variant: str | None, dtype: str) -> Any:
    kind, place = _of_transformers(index, name), index.folder / name
    has_variant = variant and any(f".{variant}" in path.name for path in place.glob("*"))
    with quiet_diffusers(), quiet_transformers():
        model, report = _made(
            place,
            lambda: kind.from_pretrained(
                place,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                variant=variant if has_variant else None,
                dtype=getattr(torch, dtype),
            ),
        )
    _check_report(place, report)
    for key, value in model.state_dict().items():
        if not torch.isfinite(value).all():
            raise InputError(f"weight {key} of {place} holds NaN or infinite values")
    return model.eval().requires_grad_(False)


def _check_report(place: Path, report: Mapping[str, Any]) -> None:
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        if report.get(what):
            first = str(next(iter(report[what])))
            raise InputError(f"weights of {place} do not fit the network: {what} {first}")


def _made(place: Path, make: Callable[[], Any]) -> Any:
    """What a library makes of files, of which it raises nearly every exception."""
    try:
        return make()
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(f"{place} cannot be loaded ({reason})") from None
