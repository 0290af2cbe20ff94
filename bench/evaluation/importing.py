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
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core import extensions, yaml_files
from bench.core.cell import Checkpoint
from bench.core.errors import InputError
from bench.core.printable import say
from bench.evaluation import fits
from bench.models import card_files
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
# Characters of a name; files are named after checkpoints, schemes and backends together.
LONGEST_WORD = 100
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


def write_card(uri: str, given: Given, out: Path | None, appends: bool = False) -> None:
    """Write the card of a checkpoint beside it and print it, with what was assumed.

    Args:
        uri: a file, a folder of diffusers, or `hf:OWNER/NAME`.
        given: what the user says.
        out: the card file; by default NAME.yaml in the folder of the checkpoint, or here for one
            of the hub.
        appends: add the card to the file where that is there.

    Raises:
        InputError: not a checkpoint, one that cannot be loaded, or a card file that exists.
    """
    for name in ("name", "family", "method", "revision"):
        _check_word(name, getattr(given, name))
    remote = uri.startswith(hub.PREFIX)
    if remote and given.network:
        raise InputError(f"{uri}: with --network name a file or folder (hf download)")
    place = hub.folder(uri, given.revision) if remote else _place(uri)
    if given.dataset:
        _check_dataset(given.dataset)
    draft = _draft(place, given)
    entry = _entry(uri if remote else place.name, place, draft, given)
    target = out or (Path.cwd() if remote else place.parent) / f"{entry['name']}.yaml"
    grows = _grows(target, entry["name"], appends)
    if not remote:
        entry["uri"] = _relative(place, target)
    absolute = {"uri": uri if remote else str(place), "network": draft.network}
    checkpoint = Checkpoint(**{**entry, **absolute})
    if draft.network:
        entry["network"] = _named_on(target, draft.network)
    entry, denoiser = _chosen(verify(checkpoint), entry, draft, given)
    comments = "".join(f"# assumed: {text}\n" for text in draft.assumed)
    if draft.network:
        comments += _traced(denoiser)
    stem = entry["name"] if grows else target.stem
    _show(denoiser, target.with_name(f"{stem}.samples.png"))
    text = comments + yaml_files.dump({"checkpoints": [entry]})
    if grows:
        card_files.append(target, entry, comments)
    else:
        store.save_text(target, text)
    print(text, end="")
    trusted = ["--trust-code"] if draft.network else []
    command = shlex.join(["bench", "run", "--cards", str(target), *trusted])
    say(f"{target}: loads; `{command}`", file=sys.stderr)


def _grows(target: Path, name: str, appends: bool) -> bool:
    """Whether a card file is there, which the card is added to."""
    if not target.exists():
        return False
    if not appends:
        raise InputError(
            f"{target} exists: name another card file with --out, add to it with --append, "
            f"or remove it"
        )
    card_files.check_room(target, name)
    return True


def _draft(place: Path, given: Given) -> Draft:
    """What the files, and the function where there is one, tell."""
    from bench.models.sources import drafts

    if given.network:
        from bench.models.sources import python_code, python_drafts

        network = python_code.resolved(given.network, Path.cwd())
        return python_drafts.draft(place, network, given.config)
    said = words.parse(given.config)
    return drafts.folder(place, said) if place.is_dir() else drafts.file(place, said)


def _named_on(target: Path, network: str) -> str:
    """The function as the card names it: relative to the card where it lies below its folder."""
    folder, (path, suffix, function) = target.absolute().parent, network.rpartition(":")
    if not path.endswith(".py") or not Path(path).is_relative_to(folder):
        return network
    return f"{Path(path).relative_to(folder)}{suffix}{function}"


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


def _check_word(name: str, text: str) -> None:
    if len(text) > LONGEST_WORD or not text.isprintable():
        raise InputError(
            f"--{name} must be at most {LONGEST_WORD} printable characters, not {text[:40]!r}"
        )


def _place(uri: str) -> Path:
    """The absolute path of a file or folder.

    Raises:
        InputError: there is none, or it cannot be looked at.
    """
    place = Path(uri).absolute()
    try:
        place.stat()
    except FileNotFoundError:
        raise InputError(f"no checkpoint {uri}: name a file, a folder or hf:OWNER/NAME") from None
    # A null byte is a ValueError; loops of links and long names are errors of the system.
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"no checkpoint {uri[:200]!r} ({reason})") from None
    return place


def _check_dataset(name: str) -> None:
    """Make sure that a data set is known, and that the images of a folder are there.

    Raises:
        InputError: they are not.
    """
    load = extensions.lookup("datasets", name)
    if extensions.plain(name) == "folder":
        from bench.measurement.data import folder

        folder.check(getattr(load, "keywords", {}).get("argument", ""))


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


def _relative(place: Path, target: Path) -> str:
    folder = target.absolute().parent
    if not place.is_relative_to(folder):
        raise InputError(
            f"{place} must lie in the folder of its card {target}: choose --out there"
        )
    return str(place.relative_to(folder))


def _digest(place: Path, draft: Draft) -> str:
    if not place.is_dir():
        return store.sha256(place)
    return weights_folder.digest(place) if draft.network else hub.digest(place)


def _entry(uri: str, place: Path, draft: Draft, given: Given) -> dict[str, Any]:
    """The fields of the card, with the assumptions that they take."""
    stem = uri.rpartition("/")[2] if uri.startswith(hub.PREFIX) else place.stem
    name = given.name or re.sub(r"[^A-Za-z0-9._+-]", "-", stem)[:LONGEST_WORD]
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
