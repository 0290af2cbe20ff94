"""checkpoints.yaml: the only place where a model is named.

Cards are parsed and validated here, selected by name, and their files checked against the SHA-256
on the card. An error in a card is told in one line that names the card and the field.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from bench.core import border, extensions, tables, yaml_files
from bench.core.cell import PIPELINE, Checkpoint
from bench.core.elsewhere import UNKNOWN
from bench.core.errors import InputError, offer
from bench.models import card_datasets, card_decoders
from bench.models.pipelines import cards as pipelines
from bench.models.sources import python_code, weights_folder
from bench.system import hub, store

_SHA256 = re.compile(r"(?:[0-9a-fA-F]{64})?")
ZOO = Path(__file__).parents[1] / "zoo"
# The card file lies in the installed package, or beside it in a checkout.
SHIPPED = tuple(folder / "checkpoints.yaml" for folder in (ZOO.parent, ZOO.parent.parent))
REQUIRED = ("name", "family", "method", "source", "uri", "dataset")
# The source that reads no pickle of torch.save, as the others do (weights only), and sources that
# read folders.
SAFE = "safetensors"
FOLDERS = ("diffusers", PIPELINE)
# The source whose networks are built by code that the card names.
CODE = "python"
METHODS = ("baseline", "ema", "swa", "sam", "ip")
_TYPES = {"config": dict, "reported": dict, "seed": int, "assumed": list, "force": bool}
_TYPES |= {"code": dict}
_WORDS = {
    dict: "a mapping",
    int: "a whole number",
    str: "text",
    list: "a list of texts",
    bool: "true or false",
}
_SETTING = re.compile(r"[\w.=-]+", re.ASCII)
# Most characters of a text on a card, and of those that stand in tables and file names.
LONGEST, SHORT = 4096, 200
LABELS = ("name", "family", "method", "license", "revision")


def card_file(given: Path | None) -> Path:
    """The card file: as given, else ./checkpoints.yaml, else the one shipped with bench.

    Raises:
        InputError: the given file does not exist.
    """
    if given is not None:
        # A folder or pipe of this name is refused, with its own message, when it is read.
        if not os.path.lexists(given):
            raise InputError(f"no card file {given}: name an existing checkpoints.yaml")
        return given
    for path in (Path("checkpoints.yaml"), *SHIPPED):
        if path.is_file():
            return path
    raise InputError("no checkpoints.yaml here: name one with --cards FILE")


def is_shipped(path: Path) -> bool:
    """Whether a card file is the one that comes with bench, for which the presets' choices are.

    That of a checkout is, too, when an installed bench is called there: the content decides.
    """
    there = (shipped for shipped in SHIPPED if shipped.is_file())
    return any(path.read_bytes() == shipped.read_bytes() for shipped in there)


def load_cards(path: Path) -> list[Checkpoint]:
    """Parse and validate a card file; the weights are not read.

    Raises:
        InputError: no YAML of plain values, or a card with an unknown, missing or mistyped field,
            an unknown source, data set or method, a path outside the card file's folder, or a
            name used twice.
    """
    data = yaml_files.read(path)
    if not isinstance(data, dict) or not isinstance(data.get("checkpoints"), list):
        raise InputError(f"{path}: must hold a list under `checkpoints:`")
    if not data["checkpoints"]:
        raise InputError(
            f"{path}: the list under `checkpoints:` is empty: write a card, or let "
            f"`bench import` write one"
        )
    cards = [_card(path, number, entry) for number, entry in enumerate(data["checkpoints"], 1)]
    seen: set[str] = set()
    for card in cards:
        if card.name in seen:
            raise InputError(f"{path}: card {card.name!r}, field name: used twice")
        seen.add(card.name)
    return cards


def _card(path: Path, number: int, entry: Any) -> Checkpoint:
    if not isinstance(entry, dict):
        raise InputError(f"{path}: card {number} is not a mapping of fields")
    label = f"{path}: card {str(entry.get('name', number))[:SHORT]!r}"
    _check_fields(label, entry)
    for name in REQUIRED:
        if not entry.get(name):
            raise InputError(f"{label}, field {name}: missing")
    _check_method(label, entry["method"])
    given = {"sha256": "", **entry, "assumed": tuple(entry.get("assumed", ()))}
    card = Checkpoint(**given)
    if card.prompts and card.source != PIPELINE:
        raise InputError(f"{label}, field prompts: source {PIPELINE} has them, and no other")
    without = [UNKNOWN] if card.source == PIPELINE else []
    for table, name in (("sources", "source"), ("datasets", "dataset")):
        if getattr(card, name) in without:
            continue
        if extensions.plain(getattr(card, name)) not in extensions.names(table):
            known_names = ", ".join(extensions.names(table))
            raise InputError(
                f"{label}, field {name}: unknown {getattr(card, name)!r}; known: {known_names}"
            )
    if (card.source == CODE) != bool(card.network):
        raise InputError(f"{label}, field network: source {CODE} has one, and no other source")
    try:
        network = card.network and python_code.resolved(card.network, path.parent.absolute())
    except InputError as error:
        raise InputError(f"{label}, field network: {error}") from None
    prompts = str(path.parent.absolute() / card.prompts) if card.prompts else ""
    uri = str(_resolve(label, path, card.uri))
    dataset = card_datasets.from_here(path, card.dataset)
    return replace(card, uri=uri, network=network, dataset=dataset, prompts=prompts)


def _check_fields(label: str, entry: Mapping[str, Any]) -> None:
    """Check the type of each field of a card.

    Raises:
        InputError: an unknown field, or a value that a report could not hold.
    """
    known = sorted(f.name for f in fields(Checkpoint))
    for name, value in entry.items():
        if name not in known:
            raise InputError(f"{label}, field {name[:SHORT]}: unknown; {offer(name, known)}")
        kind = _TYPES.get(name, str)
        # In Python true is a number, but not on a card.
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            shown = repr(value)[:SHORT]
            raise InputError(f"{label}, field {name}: must be {_WORDS[kind]}, not {shown}")
        if name == "seed" and isinstance(value, int) and value < 0:
            raise InputError(f"{label}, field seed: must be 0 or more, not {value}")
        if isinstance(value, str):
            _check_text(f"{label}, field {name}", value, SHORT if name in LABELS else LONGEST)
    for text in entry.get("assumed", ()):
        if not isinstance(text, str):
            raise InputError(f"{label}, field assumed: must be {_WORDS[list]}, not {text!r}")
        _check_text(f"{label}, field assumed", text, LONGEST)
    for name, figure in entry.get("reported", {}).items():
        if isinstance(figure, bool) or not isinstance(figure, int | float):
            raise InputError(f"{label}, field reported: {name} must be a number, not {figure!r}")
    for name, digest in entry.get("code", {}).items():
        if not isinstance(name, str) or not isinstance(digest, str) or len(digest) != 64:
            raise InputError(f"{label}, field code: must be names of files and their SHA-256")
    if not _SHA256.fullmatch(entry.get("sha256", "")):
        raise InputError(f"{label}, field sha256: must be 64 hexadecimal digits (bench check)")


def _check_text(label: str, value: str, longest: int) -> None:
    """Refuse text that no table, terminal or file system takes."""
    if len(value) > longest:
        raise InputError(f"{label}: has {len(value)} characters, at most {longest} are taken")
    if value != value.strip() or len(value.splitlines()) > 1 or "\t" in value:
        raise InputError(f"{label}: must be one line without spaces at its ends, not {value!r}")


def _check_method(label: str, method: str) -> None:
    """Refuse a method that the tables would set beside the others as one of its own.

    A method is one or more of METHODS with "+" between, each with a setting or without:
    `sam+ema`, `ema@0.999`. `baseline` stands alone.

    Raises:
        InputError: another word, one twice, or `baseline` beside others.
    """
    words = [part.partition("@") for part in method.split("+")]
    names = [name for name, _, _ in words]
    where = f"{label}, field method"
    for name, at, setting in words:
        if name not in METHODS:
            raise InputError(
                f"{where}: unknown {name!r} in {method!r}; {offer(name, METHODS)}; methods are "
                f"joined by +, as in sam+ema"
            )
        if at and not _SETTING.fullmatch(setting):
            raise InputError(f"{where}: write a setting as in ema@0.999, not {method!r}")
    if len(set(names)) < len(names) or (len(names) > 1 and "baseline" in names):
        raise InputError(
            f"{where}: {method!r} names a method twice, or baseline beside others: write for "
            f"example ema for averaged weights of the baseline"
        )


def _resolve(label: str, path: Path, uri: str) -> Path | str:
    """Absolute path of a card's weights, inside the card's folder or the zoo; hub ids as is."""
    if uri.startswith(hub.PREFIX):
        return uri
    folder, name = (ZOO, uri[4:]) if uri.startswith("zoo:") else (path.parent, uri)
    try:
        target = (folder / name).resolve()
    # A loop of links is a RuntimeError.
    except (OSError, RuntimeError) as error:
        raise InputError(f"{label}, field uri: {uri} leads nowhere ({error})") from None
    if not target.is_relative_to(folder.resolve()):
        raise InputError(f"{label}, field uri: {uri} lies outside the card file's folder")
    return target


def select(cards: Sequence[Checkpoint], globs: Sequence[str]) -> list[Checkpoint]:
    """Cards whose name or method matches one of the globs, in the order of the file.

    Raises:
        InputError: a glob matches nothing.
    """
    for glob in globs:
        if not any(_matches(card, glob) for card in cards):
            names = ", ".join(card.name for card in cards)
            raise InputError(f"no checkpoint matches {glob!r}; there are: {names}")
    return [card for card in cards if any(_matches(card, glob) for glob in globs)]


def first_seeds(cards: Sequence[Checkpoint]) -> list[Checkpoint]:
    """The cards without repetitions: of each family and method, those of the lowest seed."""
    lowest: dict[tuple[str, str], int] = {}
    for card in cards:
        key = card.family, card.method
        lowest[key] = min(card.seed, lowest.get(key, card.seed))
    return [card for card in cards if card.seed == lowest[card.family, card.method]]


def _matches(card: Checkpoint, glob: str) -> bool:
    return fnmatch.fnmatchcase(card.name, glob) or fnmatch.fnmatchcase(card.method, glob)


def verify(card: Checkpoint) -> Checkpoint:
    """Check the weights against the card; a card without sha256 gets that of the file or folder.

    Raises:
        InputError: missing file, pickle where a source of bench reads none, Git LFS pointer,
            other content than the card says, or code that may not be executed or was changed.
    """
    label = f"card {card.name!r}"
    if card.source == CODE:
        card = python_code.verified(card)
        if border.is_folder(Path(card.uri)):
            return _same(card, Path(card.uri), weights_folder.digest(Path(card.uri)))
    if card.source in FOLDERS:
        try:
            if card.source == PIPELINE:
                return _same(*pipelines.verified(card))
            path = hub.folder(card.uri, card.revision)
            if not path.is_dir():
                raise InputError(f"no folder {path}")
            return _same(card, path, hub.digest(path))
        except InputError as error:
            raise InputError(f"{label}, field uri: {error}") from None
    path = Path(card.uri)
    try:
        if not path.is_file():
            raise InputError(f"{label}, field uri: no file {path}")
        with path.open("rb") as stream:
            head = stream.read(64)
        digest = store.sha256(path)
    # A null byte in a name is a ValueError.
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{label}, field uri: {path} cannot be read ({reason})") from None
    pickled = head[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
    if pickled and card.source == SAFE:
        others = ", ".join(n for n in tables.SOURCES if n not in (SAFE, *FOLDERS))
        raise InputError(
            f"{label}, field uri: {path} is a pickle; convert it to safetensors, or name a source "
            f"that reads weights only: {others}"
        )
    if head.startswith(b"version https://git-lfs"):
        raise InputError(f"{label}, field uri: {path} is a Git LFS pointer; run `git lfs pull`")
    card_decoders.check(card)
    return _same(card, path, digest)


def _same(card: Checkpoint, path: Path, digest: str) -> Checkpoint:
    if card.sha256 and digest != card.sha256.lower():
        raise InputError(
            f"card {card.name!r}, field sha256: {path} has {digest[:12]}..., the card says "
            f"{card.sha256[:12]}...: truncated, corrupt or another file"
        )
    return replace(card, sha256=digest)
