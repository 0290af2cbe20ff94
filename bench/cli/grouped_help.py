"""Help texts in groups by purpose, with examples: for commands of many flags, and for the verbs.

The tables below name flags and verbs; what they do not name stands under "Other".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import typer.core

OTHER = "Other"
VERBS = {
    "Measure": ("run", "score", "speed", "probe"),
    "Decide": ("compare", "certify", "baseline", "history"),
    "Show": ("report", "site", "list", "check"),
    "Prepare": ("import", "reference", "fetch", "train"),
}
FLAGS = {
    "What is quantized, and how": (
        *("bits", "scheme", "method", "weights_from", "skip", "also", "backend", "compiled"),
        "device",
    ),
    "What is sampled": (
        *("checkpoint", "checkpoints", "cards", "preset", "suite_name", "images", "steps"),
        *("sampler", "spacing", "guidance", "guidance_interval", "seed", "batch", "batches"),
        *("precision", "until_decided", "against", "margin"),
    ),
    "What is measured": (
        *("extractors", "metrics", "real", "inception", "backbones", "probes", "floor", "prompts"),
        *("rounds", "equal", "note", "kernel", "label", "leave_out"),
    ),
    "How it runs, and what it writes": (
        *("engine", "workers", "address", "shard", "out", "redact", "force", "dry_run", "format"),
        *("run", "name", "trust_code"),
    ),
}
# Commands with at least so many flags have them in groups.
MANY = 9
EXAMPLES: Mapping[str, Sequence[tuple[str, str]]] = {
    "run": (
        ("bench run --bits 4", "4-bit weights; eight minutes on two cores of a CPU"),
        ("bench run --bits 4 --dry-run", "what it would do, and how long it takes"),
        ("bench run --bits 8 --checkpoints mine --preset smoke", "a minute's look at your own"),
        ("bench run --bits 4 --until-decided", "as many images as a verdict takes"),
    ),
    "speed": (
        ("bench speed --bits 8 --batches 1,16", "latency and throughput at two batch sizes"),
    ),
}


def grouped(
    groups: Mapping[str, Sequence[str]], names: Sequence[str]
) -> list[tuple[str, list[str]]]:
    """Names in their groups, each group in the order of the names."""
    known = {name: title for title, members in groups.items() for name in members}
    parts = [
        (title, [name for name in names if known.get(name, OTHER) == title])
        for title in (*groups, OTHER)
    ]
    return [(title, members) for title, members in parts if members]


class GroupedCommand(typer.core.TyperCommand):
    """A command whose help has its flags by purpose, and examples."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the flags, in groups where they are many."""
        records = {p.name: r for p in self.get_params(ctx) if (r := p.get_help_record(ctx))}
        if len(records) < MANY:
            super().format_options(ctx, formatter)
            return
        # "help" has no purpose of its own.
        names = [name for name in records if name != "help"]
        for title, members in grouped(FLAGS, names):
            with formatter.section(title):
                last = ["help"] if title == [*FLAGS][-1] and "help" in records else []
                formatter.write_dl([records[name] for name in [*members, *last]])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write examples, then what stands at the end."""
        if examples := EXAMPLES.get(self.name or ""):
            with formatter.section("Examples"):
                for command, told in examples:
                    formatter.write_text(command)
                    with formatter.indentation():
                        formatter.write_text(told)
        super().format_epilog(ctx, formatter)


class GroupedVerbs(typer.core.TyperGroup):
    """The list of verbs by purpose."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the verbs, in groups."""
        known = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        room = formatter.width - 6 - max(map(len, known))
        for title, members in grouped(VERBS, [*known]):
            with formatter.section(title):
                lines = [
                    (name, command.get_short_help_str(room))
                    for name in members
                    if (command := known[name]) and not command.hidden
                ]
                formatter.write_dl(lines)
