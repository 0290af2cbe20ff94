"""Runs without private data of their machine: host name, users' names and folders.

A run is written as JSON and read again with each text changed, so that no field is forgotten: an
absolute path keeps its last part ("/home/ann/models/a.pt" becomes ".../a.pt"), a home folder or a
user's name keeps nothing, and the host is called "host". Names of checkpoints, relative paths and
everything that is measured stay.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from bench.core import probe_record
from bench.core.probe_record import ProbeRun
from bench.core.record import Run, run_from_json, to_json

HOST, GONE = "host", "..."
_DRIVE = r"(?:[A-Za-z]:[\\/]|\\\\|/(?!/)|~[\w.-]*/)"
_PATH = re.compile(rf"(?:file:/+|(?<![\w.\\/~-]){_DRIVE})[^\s'\"<>|;,:()\[\]{{}}]+")
_HOME = re.compile(r"(?:/home/|/Users/|[\\/]Users[\\/])([^\\/\s'\"@,;:]+)")
_NAMED = re.compile(r"^(\w[\w-]*:|--?[\w-]+=)(?=/(?!/)|[~\\]|[A-Za-z]:[\\/])")
# Names of accounts that tell nothing about a person.
EVERYONE = {"root", "user", "nobody", "runner"}


def redacted(run: Run) -> Run:
    """The run without host name, users' names and folders."""
    data = json.loads(to_json(run))
    known = _Known.of(data)
    data["command"] = known.command(data["command"])
    for record in data["records"]:
        record["host"]["name"] = HOST
    return run_from_json(json.dumps(known.walk(data)))


def redacted_probes(probed: ProbeRun, run: Run | None = None) -> ProbeRun:
    """The outcome of probes (of a run, or on its own) without the same names."""
    both = [probe_record.to_json(probed), *([to_json(run)] if run else [])]
    known = _Known.of([json.loads(text) for text in both])
    parts = tuple(replace(part, error=known.text(part.error)) for part in probed.parts)
    return replace(probed, command=known.command(probed.command), parts=parts)


class _Known:
    """The private names and folders of a run's texts, to be removed from all of them.

    Args:
        users: names of users.
        folders: absolute folders, the longest first; in them there may be spaces.
    """

    def __init__(self, users: set[str], folders: list[str]) -> None:
        self.users, self.folders = users, folders

    @classmethod
    def of(cls, data: Any) -> _Known:
        """The names and folders in the texts of a run, and those of this machine."""
        folders, users = {os.path.expanduser("~")}, set(_me())
        for text in _texts(data):
            users |= set(_HOME.findall(text))
            whole = _NAMED.sub("", text)
            if whole.startswith("/"):
                parts = whole.rstrip("/").split("/")[1:-1]
                folders |= {"/" + "/".join(parts[: k + 1]) for k in range(len(parts))}
        longest = sorted((f for f in folders if len(f) > 1), key=len, reverse=True)
        return cls(users - EVERYONE, longest)

    def walk(self, value: Any) -> Any:
        """A JSON value with the names and folders removed from all of its texts."""
        if isinstance(value, dict):
            return {key: self.walk(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.walk(item) for item in value]
        return self.text(value) if isinstance(value, str) else value

    def command(self, line: str) -> str:
        """A command line, word by word where it was quoted."""
        try:
            words = shlex.split(line)
        except ValueError:
            return self.text(line)
        return shlex.join(self.text(word) for word in words)

    def text(self, text: str) -> str:
        """A text without folders and users' names."""
        named = _NAMED.match(text)
        prefix = named[0] if named else ""
        rest = text[len(prefix) :]
        above = os.path.dirname(rest)
        if re.match("/[^/]", rest) and (" " not in above or above in self.folders):
            return prefix + self._last(rest)
        for folder in self.folders:
            # Only whole parts of a path: "/a" is no folder of "/ab".
            rest = re.sub(re.escape(folder) + r"(?=[\\/]|$)", GONE, rest)
        rest = _PATH.sub(lambda match: self._last(match[0]), rest)
        return prefix + self._names(rest)

    def _last(self, path: str) -> str:
        """A path as `.../NAME`; a home folder as "..." alone."""
        path = path.rstrip("\\/")
        name = re.split(r"[\\/]", path)[-1]
        home = re.fullmatch(r"(?:.*[\\/])?(?:home|Users)[\\/][^\\/]+", path)
        if home or name.partition("@")[0] in self.users or name.startswith("~"):
            return GONE
        return f"{GONE}/{self._names(name)}"

    def _names(self, text: str) -> str:
        """Remove users' names where they are part of a path: elsewhere they may be any word."""
        for user in self.users:
            text = re.sub(rf"(?<=[\\/~]){re.escape(user)}(?=[\\/]|$)", GONE, text)
        return text


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _me() -> Iterator[str]:
    """Names of the user who runs this; there may be none."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "SUDO_USER"):
        if name_of_user := os.environ.get(name):
            yield name_of_user
    try:
        yield getpass.getuser()
    # An account without a name: a KeyError until Python 3.12.
    except (KeyError, OSError, ImportError):
        return
