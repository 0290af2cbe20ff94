"""The commit that a folder's files belong to, asked of git without running what a stranger left.

A checkout's own configuration names programs that git starts: a file system monitor, hooks,
filters of files, a transport for missing objects. Someone who measures in a folder that came out
of an archive has agreed to none of them, so each is switched off for this question. Variables of
the environment that point git elsewhere are dropped, and git itself is taken from an absolute
entry of PATH only, never from the working folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

SETTINGS = {
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "core.sshCommand": "false",
    "core.pager": "cat",
    "diff.external": "",
    "protocol.allow": "never",
    "submodule.recurse": "false",
    "safe.bareRepository": "explicit",
}
# Git before 2.31 does not read settings from variables.
OLD = ("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")
SECONDS = 20


def git_state(folder: Path) -> tuple[str, bool]:
    """(commit, dirty) of the checkout that tracks a folder's files, ("", False) outside one.

    Files that a filter changes on their way (Git LFS) count as changed where they were touched,
    as the filter is not run.
    """
    git = _program()
    if git is None:
        return "", False
    try:
        if not _ask(git, folder, SETTINGS, "ls-files", "."):
            return "", False
        settings = SETTINGS | _no_filters(git, folder)
        words = ("status", "--porcelain", "-uno", "--ignore-submodules=all")
        dirty = bool(_ask(git, folder, settings, *words))
        return _ask(git, folder, SETTINGS, "rev-parse", "--verify", "HEAD"), dirty
    except (OSError, subprocess.SubprocessError):
        return "", False


def _program() -> str | None:
    """The path of git, None where it is not installed."""
    entries = os.environ.get("PATH", os.defpath).split(os.pathsep)
    path = os.pathsep.join(entry for entry in entries if os.path.isabs(entry))
    return shutil.which("git", path=path) if path else None


def _no_filters(git: str, folder: Path) -> dict[str, str]:
    """Settings that empty each filter which the configuration defines."""
    words = ("config", "--null", "--name-only", "--get-regexp", r"^filter\.")
    try:
        names = _ask(git, folder, SETTINGS, *words).split("\0")
    except subprocess.CalledProcessError:
        # Git ends with 1 where there is none.
        return {}
    kinds = {name.rpartition(".")[0] for name in names if name}
    return {f"{kind}.{key}": "" for kind in kinds for key in ("clean", "smudge", "process")} | {
        f"{kind}.required": "false" for kind in kinds
    }


def _ask(git: str, folder: Path, settings: Mapping[str, str], *words: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    # As variables, since a name may hold the "=" that ends it on the command line.
    environment |= {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (key, value) in enumerate(settings.items()):
        environment |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C"}
    environment |= {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "SSH_ASKPASS": ""}
    done = subprocess.run(
        [git, *OLD, "-C", str(folder), *words],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=SECONDS,
    )
    return done.stdout.decode(errors="backslashreplace").strip()
