"""Kinds of weights out of words: what names of keys, files and folders say of the weights in them.

A kind is `raw` (the weights of the last update), `ema` (an exponential average) or `swa` (an equal
average). `averaged` is an average of which it is not said which of the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

KINDS = ("raw", "ema", "swa")
AVERAGED = "averaged"
# Words before "ema" that deny it, as in model.non_ema.safetensors.
DENIALS = {"non", "no", "not", "without", "before", "pre"}
EMA = {"ema", "emas", "emaonly", "shadow"}
SWA = {"swa"}
RAW = {"raw", "online", "current", "nonema", "noema", "student"}
AVERAGES = {"averaged", "average", "avg", "averaging", "polyak"}
# Plain names of files, which say nothing of the kind: the folder's name may.
PLAIN = re.compile(
    r"(diffusion_)?(pytorch_)?(model|weights|checkpoint|last|best)(\.fp16|\.bf16)?", re.I
)


def tokens(word: str) -> list[str]:
    """The parts of a word in lower case: of "EMAModel" or "model_ema" ema and model."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", word)
    return [part for part in re.split(r"[^a-z]+", spaced.lower()) if part]


def of_word(word: str) -> str:
    """The kind that one word says, "" for none or for two that contradict each other."""
    parts = tokens(word)
    kinds = set()
    for before, part in zip(["", *parts], parts, strict=False):
        if part in EMA | SWA and before in DENIALS:
            kinds.add("raw")
        elif part in EMA:
            kinds.add("ema")
        elif part in SWA:
            kinds.add("swa")
        elif part in RAW:
            kinds.add("raw")
    if not kinds and AVERAGES & set(parts):
        kinds.add(AVERAGED)
    return kinds.pop() if len(kinds) == 1 else ""


def of_path(words: Iterable[str]) -> str:
    """The kind that a path of keys says; the innermost key that says one is right.

    An EMA wrapper keeps the raw weights too: `ema.online_model` is raw.
    """
    return next((kind for word in reversed(list(words)) if (kind := of_word(word))), "")


def of_file(path: Path) -> str:
    """The kind that the name of a file says, or that of its folder where the name is plain."""
    stem = path.name.removesuffix(path.suffix)
    kind = of_word(stem)
    if not kind and PLAIN.fullmatch(stem):
        kind = of_word(path.parent.name)
    return kind if kind in KINDS else ""
