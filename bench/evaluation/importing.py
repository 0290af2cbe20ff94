"""`bench import PATH`: a card for a checkpoint that someone has.

The format is recognized, the network read out of the weights, the hash taken, and the card is
loaded once before it is written: a card that is written works. What the file does not tell is
chosen by what fits the weights, where that shows (`bench.evaluation.choosing`), else assumed; it
stands on the card, as a field and as a comment. A grid of samples beside it shows what the network
makes.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core import extensions, yaml_files
from bench.core.cell import Checkpoint
from bench.core.errors import InputError
from bench.core.printable import say
from bench.evaluation import fits
from bench.evaluation import import_checks as checks
from bench.models import card_datasets, card_files
from bench.models.cards import LONGEST, verify
from bench.models.sources import given as words
from bench.models.sources import weights_folder
from bench.system import hub, store
from bench.system.runs import save_strip

if TYPE_CHECKING:
    from bench.core.denoiser import Denoiser
    from bench.evaluation.choosing import Choice
    from bench.models.sources.drafts import Draft

# Data sets by the shape of their images, for a guess.
SHAPES = {(3, 32): "cifar10", (1, 28): "fashion-mnist"}
# Fields that an assumption invites to set: nothing told them.
_OPEN = re.compile(r"--set (\w+)=")


@dataclass(frozen=True)
class Given:
    """What the user says of a checkpoint; "" or nothing where the file shall tell.

    Attributes:
        name, family, method, dataset, revision: as on a card.
        config: fields of the config, as text.
        force: take a network, too, that denoises worse than no network.
        network: the function that builds the network, FILE.py:FUNCTION or MODULE:FUNCTION.
    """

    name: str = ""
    family: str = ""
    method: str = ""
    dataset: str = ""
    revision: str = ""
    config: Mapping[str, str] = field(default_factory=dict)
    force: bool = False
    network: str = ""


@dataclass(frozen=True)
class Imported:
    """A checkpoint that was read and loaded.

    Attributes:
        entry: the fields of its card.
        comments: lines that stand before it, each beginning with `#`.
    """

    entry: dict[str, Any]
    comments: str


def write_card(uri: str, given: Given, out: Path | None, appends: bool = False) -> None:
    """Write the card of one checkpoint: `write_cards`."""
    write_cards([(uri, given)], out, appends)


def write_cards(
    wanted: Sequence[tuple[str, Given]], out: Path | None, appends: bool = False
) -> None:
    """Write the cards of checkpoints into one file and print them, with what was assumed.

    Nothing is written before all of them were loaded; grids of samples are.

    Args:
        wanted: of each a file, a folder of diffusers, or `hf:OWNER/NAME`, and what the user says.
        out: the card file; by default NAME.yaml in the folder of the first checkpoint, or here
            for one of the hub.
        appends: add the cards to the file where that is there.

    Raises:
        InputError: not a checkpoint, one that cannot be loaded, two of one name, or a card file
            that exists.
    """
    target, made = out, list[Imported]()
    for uri, given in wanted:
        place, draft, entry = _drafted(uri, given)
        remote = uri.startswith(hub.PREFIX)
        target = target or (Path.cwd() if remote else place.parent) / f"{entry['name']}.yaml"
        is_added = card_files.grows(target, entry["name"], appends) or len(wanted) > 1
        if entry["name"] in [each.entry["name"] for each in made]:
            raise InputError(f"two checkpoints are named {entry['name']!r}: import one by --name")
        picture = target.with_name(f"{entry['name'] if is_added else target.stem}.samples.png")
        made.append(_imported(place, draft, entry, target, given, picture))
    assert target is not None
    first, *others = made
    text = first.comments + yaml_files.dump({"checkpoints": [first.entry]})
    if target.exists():
        card_files.append(target, first.entry, first.comments)
    else:
        store.save_text(target, text)
    print(text, end="")
    for each in others:
        card_files.append(target, each.entry, each.comments)
        print(each.comments + yaml_files.dump([each.entry]), end="")
    trusted = ["--trust-code"] if any("network" in each.entry for each in made) else []
    command = shlex.join(["bench", "run", "--cards", str(target), *trusted])
    say(f"{target}: loads; `{command}`", file=sys.stderr)


def _drafted(uri: str, given: Given) -> tuple[Path, Draft, dict[str, Any]]:
    """Where a checkpoint lies, what its files tell, and the fields of its card from here."""
    for name in ("name", "family", "method", "revision"):
        checks.word(name, getattr(given, name))
    remote = uri.startswith(hub.PREFIX)
    if remote and given.network:
        raise InputError(f"{uri}: with --network name a file or folder (hf download)")
    place = hub.folder(uri, given.revision) if remote else checks.place(uri)
    if given.dataset:
        checks.dataset(given.dataset)
    draft = _draft(place, given)
    return place, draft, _entry(uri if remote else str(place), place, draft, given)


def _imported(
    place: Path, draft: Draft, entry: dict[str, Any], target: Path, given: Given, picture: Path
) -> Imported:
    """Load a checkpoint, look at what it makes, and write its card as it stands in `target`."""
    checkpoint = verify(Checkpoint(**{**entry, "network": draft.network}))
    if not entry["uri"].startswith(hub.PREFIX):
        entry["uri"] = card_files.uri_on(target, place)
    if draft.network:
        entry["network"] = card_files.network_on(target, draft.network)
    entry, denoiser = _chosen(checkpoint, entry, draft, given)
    entry["dataset"] = card_datasets.from_card(target, entry["dataset"])
    comments = "".join(f"# assumed: {text}\n" for text in draft.assumed)
    if draft.network:
        comments += _traced(denoiser)
    _show(denoiser, picture)
    return Imported(entry, comments)


def _draft(place: Path, given: Given) -> Draft:
    """What the files, and the function where there is one, tell."""
    from bench.models.sources import drafts

    if given.network:
        from bench.models.sources import python_code, python_drafts

        network = python_code.resolved(given.network, Path.cwd())
        return python_drafts.draft(place, network, given.config)
    said = words.parse(given.config)
    return drafts.folder(place, said) if place.is_dir() else drafts.file(place, said)


def _traced(denoiser: Denoiser) -> str:
    """A comment on whether the network can be exported, on which most backends rest; told, too."""
    from bench.quant.layers import untraceable

    reason = untraceable(denoiser, 2)
    if not reason:
        return "# torch.export traces the network: every backend can execute it\n"
    line = (
        f"{_plain(reason)}: it runs in full precision, by ao-* and bnb-*, and in simulation "
        f"module by module; integer kernels and methods refuse it"
    )
    say(line, file=sys.stderr)
    return f"# {line}\n"


def _show(denoiser: Denoiser, path: Path) -> None:
    """Write a grid of samples beside the card: what is wrong with a description can be seen."""
    from bench.evaluation import choosing

    grid = choosing.samples(denoiser)
    if grid is None or grid.shape[-1] not in (1, 3):
        why = "not grey or RGB" if grid is not None else f"over {choosing.SECONDS:g} s each"
        print(f"no samples beside the card: they are {why}", file=sys.stderr)
        return
    save_strip(path, grid)
    print(f"{path}: samples to look at", file=sys.stderr)


def _chosen(
    checkpoint: Checkpoint, entry: dict[str, Any], draft: Draft, given: Given
) -> tuple[dict[str, Any], Denoiser]:
    """The entry with what fits the weights and what was assumed, and the network.

    Raises:
        InputError: it cannot be loaded, or denoises worse than no network and is not forced.
    """
    from bench.evaluation import choosing

    denoiser = extensions.lookup("sources", draft.source)(checkpoint)
    opened = [tuple(_OPEN.findall(text)) for text in draft.assumed]
    names = {name for line in opened for name in line} - {*given.config}
    choice = choosing.choose(checkpoint, denoiser, names)
    for number, line in enumerate(opened):
        said = [name for name in line if name in choice.said]
        if said:
            hint = ", ".join(f"--set {name}=..." for name in line)
            told = (f"{_told(choice, name)}: {choice.said[name]}" for name in said)
            draft.assumed[number] = f"{'; '.join(told)} ({hint})"
    draft.assumed = [_plain(text) for text in draft.assumed]
    fits.require([choice.fit], [choice.checkpoint], given.force)
    for sentence in fits.tell([choice.fit], [choice.checkpoint]):
        print(sentence, file=sys.stderr)
    entry = {**entry, "config": dict(choice.checkpoint.config)}
    entry |= {"assumed": list(draft.assumed)} if draft.assumed else {}
    entry |= {"force": True} if choice.fit.verdict == fits.WORSE else {}
    return entry, choice.denoiser


def _told(choice: Choice, name: str) -> str:
    value = _value(choice.checkpoint.config, name)
    return f"{name} {'as usual' if value is None else value}"


def _plain(text: str) -> str:
    """A line that a card takes, whatever the names in a file are."""
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    return line[:LONGEST].strip()


def _value(config: Mapping[str, Any], name: str) -> Any:
    """A field of a config, wherever it is."""
    if name in config:
        return config[name]
    inner = (_value(value, name) for value in config.values() if isinstance(value, Mapping))
    return next((value for value in inner if value is not None), None)


def _digest(place: Path, draft: Draft) -> str:
    if not place.is_dir():
        return store.sha256(place)
    return weights_folder.digest(place) if draft.network else hub.digest(place)


def _entry(uri: str, place: Path, draft: Draft, given: Given) -> dict[str, Any]:
    """The fields of the card, with the assumptions that they take."""
    stem = uri.rpartition("/")[2] if uri.startswith(hub.PREFIX) else place.stem
    name = given.name or re.sub(r"[^A-Za-z0-9._+-]", "-", stem)[: checks.LONGEST]
    dataset = given.dataset or SHAPES.get(draft.shape, "")
    if not dataset:
        size = f"{draft.shape[1]} pixels" if draft.shape[1] else "sides that differ"
        raise InputError(
            f"images of {draft.shape[0]} channels and {size} fit no data set "
            f"alone: name one with --dataset, for example folder:PATH"
        )
    if not given.dataset:
        draft.assumed.append(f"data set {dataset}, from the shape of the images (--dataset)")
    kind = draft.config.get("weights")
    method = given.method or (kind if kind in ("ema", "swa") else "baseline")
    if not given.method:
        draft.assumed.append(f"method {method} (--method)")
    digest = _digest(place, draft)
    entry = {"name": name, "family": given.family or name, "method": method}
    entry |= {"source": draft.source, "uri": uri, "sha256": digest}
    entry |= {"revision": given.revision} if given.revision else {}
    entry |= {"network": draft.network, "code": dict(draft.code)} if draft.network else {}
    return entry | {"dataset": dataset, "config": draft.config}
