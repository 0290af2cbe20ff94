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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from bench.core import probe_record
from bench.core.probe_record import ProbePart, ProbeRun
from bench.core.record import Run, run_from_json, to_json
from bench.core.scheme_words import path_of
from bench.core.tables import OF_FILES

HOST, GONE = "host", "..."
_DRIVE = r"(?:[A-Za-z]:[\\/]|\\\\|/(?!/)|~[\w.-]*/)"
_PATH = re.compile(rf"(?:file:/+|(?<![\w.\\/~-]){_DRIVE})[^\s'\"<>|;,:()\[\]{{}}]+")
_HOME = re.compile(r"(?:/home/|/Users/|[\\/]Users[\\/])([^\\/\s'\"@,;:]+)")
_NAMED = re.compile(r"^(\w[\w-]*:|--?[\w-]+=)(?=/(?!/)|[~\\]|[A-Za-z]:[\\/])")
# The argument of a method of a file, as a run holds it and as the text of a scheme does.
_METHOD = re.compile(rf"^(?:{'|'.join(OF_FILES)}):(.+)")
_IN_SCHEME = re.compile(rf"\+(?:{'|'.join(OF_FILES)})=([^+\s]+)")
# The engine of a run whose argument is an address.
_CLUSTER = re.compile(r"\w+:([^,]+:\d+|HOST:PORT)")
# Names of accounts that tell nothing about a person.
EVERYONE = {"root", "user", "nobody", "runner"}


def redacted(run: Run) -> Run:
    """The run without host name, users' names and folders."""
    data = json.loads(_without_cluster(to_json(run), run))
    known = _Known.of(data)
    known.name_files(_paths(data))
    data["command"] = known.command(data["command"])
    for record in data["records"]:
        record["host"]["name"] = HOST
    return run_from_json(json.dumps(known.walk(data)))


def influences_of(run: Run, shown: Run, terms: Mapping[str, Any]) -> dict[str, Any]:
    """The influences beside a run under the names that its cells have in the redacted one: methods
    of files have a path in the name of their scheme."""
    pairs = zip(run.records, shown.records, strict=True)
    names = {str(old.cell): str(new.cell) for old, new in pairs}
    parts = {key: key.rpartition("|") for key in terms}
    return {f"{names.get(c, c)}|{what}": terms[key] for key, (c, _, what) in parts.items()}


def _paths(data: Any) -> list[str]:
    """The paths of the files of methods in the texts of a run or of probes."""
    return [
        path_of(argument)
        for text in _texts(data)
        for pattern in (_METHOD, _IN_SCHEME)
        for argument in pattern.findall(text)
    ]


def redacted_probes(probed: ProbeRun, run: Run | None = None) -> ProbeRun:
    """The outcome of probes (of a run, or on its own) without the same names."""
    both = [probe_record.to_json(probed), *([to_json(run)] if run else [])]
    all_data = [json.loads(text) for text in both]
    known = _Known.of(all_data)
    # Those of the run first: its files have the same names in both.
    known.name_files(_paths(all_data[::-1]))
    parts = tuple(_without_names(part, known) for part in probed.parts)
    command = _without_cluster(probed.command, run) if run else probed.command
    return replace(probed, command=known.command(command), parts=parts)


def _without_cluster(text: str, run: Run) -> str:
    """A text without the address of the cluster that ran the cells, HOST:PORT in its place."""
    match = _CLUSTER.match(run.engine.get("name", ""))
    return text.replace(match[1], "HOST:PORT") if match else text


def _without_names(part: ProbePart, known: _Known) -> ProbePart:
    """A part whose texts that may hold a path are redacted: errors, and schemes with a method."""
    rows = tuple(
        replace(
            row,
            scheme=known.text(row.scheme),
            where={k: known.text(v) if isinstance(v, str) else v for k, v in row.where.items()},
        )
        for row in part.rows
    )
    return replace(part, part=known.text(part.part), error=known.text(part.error), rows=rows)


class _Known:
    """The private names and folders of a run's texts, to be removed from all of them.

    Args:
        users: names of users.
        folders: absolute folders, the longest first; in them there may be spaces.
    """

    def __init__(self, users: set[str], folders: list[str]) -> None:
        self.users, self.folders = users, folders
        self.files: dict[str, str] = {}

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

    def name_files(self, paths: Iterable[str]) -> None:
        """Let `.../NAME` stand for the path of a method's file, and for another file of that name
        `.../2/NAME`: no two schemes of a run may become one."""
        shown: dict[str, str] = {}
        for path in dict.fromkeys(paths):
            text = wanted = self.text(path)
            number = 1
            while text in shown.values():
                number += 1
                head, _, last = wanted.rpartition("/")
                text = "/".join(filter(None, (head, str(number), last)))
            shown[path] = text
        longest = sorted(shown, key=len, reverse=True)
        self.files = {path: shown[path] for path in longest if path != shown[path]}

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
        for path, shown in self.files.items():
            text = re.sub(rf"(?<![\w./~-]){re.escape(path)}(?![\w/-])", shown, text)
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
