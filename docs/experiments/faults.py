"""A campaign of faults: kills, damaged files, full disks and two runs at once, counted.

    OMP_NUM_THREADS=1 python docs/experiments/faults.py [--kills 100] [--damages 60] [--full 10]
        [--pairs 5] [--workers 0.2] [--seed 0]

`bench run` quantizes a tiny network of random weights, scored against a folder of images: once
unbroken, and again and again with a fault at a random moment, repeated until it ends. Whatever
happened, the numbers of its run.json, the influences of its images, the strips of samples and the
bits of its images must be those of the unbroken run.

    kill      SIGKILL of the command, or up to two of it or of its workers (`--workers 2`), at
              moments drawn from the whole of its run; where the command itself was killed it is
              repeated, and killed again or not
    damage    one file of the cache is truncated, zeroed, changed by a bit, replaced by one of
              another shape, exchanged, emptied or deleted, and what rests on it is deleted, so
              that it is read
    full      the cache is a tmpfs with room for a part of it; once the command has ended it gets
              room, and the command is repeated (this needs root, on Linux)
    pair      two commands at once on an empty cache

Each command is a process of its own, forked after all imports, and so is each of its workers. The
same seed draws the same events, though not the same moments, as a machine is never as fast twice.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Threads of torch do not live on in a forked process, so there must be none.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).parent))

import damage

from bench import report
from bench.cli import app
from bench.evaluation import generation
from bench.evaluation.engines import processes
from bench.measurement.features import reference
from bench.system import influences

WORDS = ("run", "--scheme", "w4a8", "--backend", "simulated", "--checkpoints", "*", "--steps", "1")
WORDS += ("--images", "12", "--batch", "2", "--metrics", "kernel,psnr")
# Files that this command reads only before these others are made; `damage.py` damages them too.
UNREAD = ("pixels", "probes", "outputs")
PATTERNS = {
    **{kind: damage.KINDS[kind] for kind in damage.KINDS if kind not in UNREAD},
    "manifests": ("images/*/manifest.json", ("records",)),
    "fits": ("fits/*.json", ()),
}
WAYS = (damage.truncate, damage.zero, damage.flip, damage.other, damage.swap, damage.empty)
WAYS += (damage.delete,)
PAGE = 4096
# Seconds after which a command hangs.
HANGS = 300


class Command:
    """A `bench run`, started in a process of its own.

    Args:
        place: folder with the cards; the command's own files go there.
        cache: the cache folder.
        engine: of the run.
        drawn: file to which a line is added for each batch that is sampled.
    """

    def __init__(
        self, place: Path, cache: Path, engine: str = "local", drawn: Path | None = None
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=place))
        self.told, self.start = self.folder / "stderr", time.monotonic()
        words = [*WORDS, "--engine", engine, "--cards", str(place / "cards.yaml")]
        words += ["--out", str(self.folder / "out")]
        self.process = os.fork()
        if not self.process:
            _become(self.told, cache, words, drawn)

    def kill(self, number: int) -> bool:
        """End the command, or one of its own processes where it has so many; whether it lived."""
        path = Path(f"/proc/{self.process}/task/{self.process}/children")
        with contextlib.suppress(OSError):
            workers = [int(word) for word in path.read_text().split()]
            victim = [self.process, *workers][number % (1 + len(workers))]
            state = Path(f"/proc/{victim}/stat").read_text().rpartition(")")[2].split()[0]
            os.kill(victim, signal.SIGKILL)
            return state != "Z"
        return False

    def lives(self) -> bool:
        """Whether it has not ended."""
        # Without being waited for, so that its number stays its own.
        kind = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.process, kind) is None

    def wait(self) -> int:
        """Its exit code, negative where it was killed."""
        while self.lives():
            if time.monotonic() - self.start > HANGS:
                os.kill(self.process, signal.SIGKILL)
            time.sleep(0.01)
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])

    def stderr(self) -> str:
        """What it said."""
        return self.told.read_text(errors="replace")

    def numbers(self) -> dict[str, Any]:
        """All that its run holds beside times and names."""
        (path,) = (self.folder / "out").glob("*/run.json")
        run = json.loads(path.read_text())
        records = [{**record, "seconds": None} for record in run["records"]]
        terms = influences.load(path.parent / influences.NAME)
        found = {"records": records, "terms": {k: v.tobytes() for k, v in sorted(terms.items())}}
        strips = sorted(path.parent.glob("samples/*"))
        return found | {"strips": [(p.name, damage.digest(p.read_bytes())) for p in strips]}


def _become(told: Path, cache: Path, words: Sequence[str], drawn: Path | None) -> None:
    """Be the command; never comes back."""
    code: Any = 99
    os.dup2(os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os.dup2(2, 1)
    os.environ["BENCH_CACHE"] = str(cache)
    if drawn is not None:
        sample = generation.Generation._sample

        def counted(self: Any, *arguments: Any) -> Any:
            with drawn.open("a") as stream:
                stream.write("batch\n")
            return sample(self, *arguments)

        generation.Generation._sample = counted  # type: ignore[method-assign]
    known = {"DEVNULL": subprocess.DEVNULL, "TimeoutExpired": subprocess.TimeoutExpired}
    processes.subprocess = types.SimpleNamespace(Popen=Forked, **known)  # type: ignore[assignment]
    # What draws takes most of the time of so small a run, and no number is read from it.
    report.draw = lambda run, folder: []  # type: ignore[assignment]
    try:
        sys.argv = ["bench", *words]
        app.main()
        code = 0
    except SystemExit as stopped:
        code = stopped.code or 0
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 98)


class Forked:
    """A worker as `processes` starts it, but forked; it stands in for `subprocess.Popen`."""

    def __init__(self, words: Sequence[str], pass_fds: Sequence[int], **others: Any) -> None:
        self.pid, self.code = os.fork(), None
        if not self.pid:
            # What it must not hold open: where the command ends, all of its workers see that.
            (number,) = pass_fds
            os.closerange(3, number)
            os.closerange(number + 1, 4096)
            with contextlib.suppress(SystemExit):
                processes.serve(number)
            os._exit(0)

    def wait(self, timeout: float = HANGS) -> int:
        """Its exit code, negative where it was killed."""
        end = time.monotonic() + timeout
        while self.code is None:
            number, status = os.waitpid(self.pid, os.WNOHANG)
            if number:
                self.code = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > end:
                raise subprocess.TimeoutExpired("worker", timeout)
            time.sleep(0.005)
        return self.code

    def terminate(self) -> None:
        """Ask it to end."""
        if self.code is None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)


class Campaign:
    """Counts what comes of events.

    Args:
        place: a folder with the cards.
        seed: cache that holds nothing but what a user makes beforehand.
    """

    def __init__(self, place: Path, seed: Path) -> None:
        self.place, self.seed = place, seed
        self.counts: dict[str, collections.Counter[str]] = {}
        self.full = self.cache("unbroken")
        command = Command(place, self.full)
        if command.wait():
            raise SystemExit(command.stderr())
        self.seconds = {"local": time.monotonic() - command.start}
        print(f"unbroken: {self.seconds['local']:.1f} s", flush=True)
        self.expected, self.images = command.numbers(), _images(self.full)

    def cache(self, name: str) -> Path:
        """A new cache folder."""
        folder = self.place / name
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.seed, folder)
        return folder

    def count(self, kind: str, what: str, detail: str = "", number: int = 1) -> None:
        """Count something; a fault is shown."""
        self.counts.setdefault(kind, collections.Counter())[what] += number
        if detail:
            print(f"{kind}: {what}: {detail}", flush=True)

    def compare(self, kind: str, command: Command, cache: Path) -> None:
        """Hold a run that ended and its cache against the unbroken one."""
        found = command.numbers()
        same = found == self.expected
        self.count(kind, "same numbers" if same else "OTHER NUMBERS", "" if same else cache.name)
        images = _images(cache)
        for word, number in (
            ("lost images", len(self.images.keys() - images.keys())),
            ("duplicated images", len(images.keys() - self.images.keys())),
            ("images of other bits", sum(images.get(k, v) != v for k, v in self.images.items())),
        ):
            self.count(kind, word, number=2 * number)
        shutil.rmtree(command.folder)

    def ended(self, kind: str, cache: Path, engine: str) -> Command:
        """Repeat a command until it ends well; a third failure is a fault."""
        for _ in range(3):
            command = Command(self.place, cache, engine)
            if command.wait() == 0:
                return command
        raise SystemExit(f"{kind}: does not end: {command.stderr()}")

    def kills(self, wanted: int, share: float) -> None:
        """Kill commands, or processes of theirs, until there were so many kills."""
        workers = round(wanted * share)
        for engine, most in (("local", wanted - workers), ("processes:2", workers)):
            kind, done, killed = f"kills, {engine}", 0, 0
            if engine not in self.seconds and most:
                self.seconds[engine] = self._lasts(engine)
            while done < most:
                cache = self.cache("killed")
                for _ in range(6):
                    command = Command(self.place, cache, engine)
                    # A worker may be lost twice before what it is at is given up.
                    moments = [random.random() for _ in range(1 + (engine != "local"))]
                    for moment in sorted(moments):
                        victim, end = random.randrange(3), moment * self.seconds[engine]
                        while command.lives() and time.monotonic() - command.start < end:
                            time.sleep(0.005)
                        if done < most and command.lives():
                            done += command.kill(victim)
                    code = command.wait()
                    killed += code == -signal.SIGKILL
                    if code == 0:
                        break
                    shutil.rmtree(command.folder)
                else:
                    command = self.ended(kind, cache, engine)
                self.count(kind, "runs")
                self.compare(kind, command, cache)
                told = f"{done} kills, {killed} of the command itself"
                print(f"{kind}: {told}: {dict(self.counts[kind])}", flush=True)
            self.count(kind, "SIGKILLs", number=done)
            self.count(kind, "of the command itself", number=killed)
            print(f"{kind}: {dict(self.counts[kind])}", flush=True)

    def _lasts(self, engine: str) -> float:
        command = Command(self.place, self.cache("timed"), engine)
        if command.wait():
            raise SystemExit(command.stderr())
        return time.monotonic() - command.start

    def damages(self, wanted: int) -> None:
        """Damage files of the cache, of each kind in turn."""
        kinds = list(PATTERNS)
        for number in range(wanted):
            name, way = kinds[number % len(kinds)], random.choice(WAYS)
            cache = self.place / "damaged"
            shutil.rmtree(cache, ignore_errors=True)
            shutil.copytree(self.full, cache)
            pattern, resting = PATTERNS[name]
            if name == "quantized":
                for folder in (cache / "images").iterdir():
                    if (folder / "calibration.txt").stat().st_size > 120:
                        shutil.rmtree(folder)
            for folder in resting:
                if name != "quantized" or folder != "images":
                    shutil.rmtree(cache / folder, ignore_errors=True)
            chosen = sorted(cache.glob(pattern))
            # Features of real images are made where a user asks for them, and by nothing else.
            while name == "reference" and way is damage.delete:
                way = random.choice(WAYS)
            path = random.choice(chosen)
            way(path, [other for other in chosen if other != path])
            command = Command(self.place, cache)
            code, told = command.wait(), command.stderr()
            self.count("damage", "events")
            if number % 5 == 4:
                print(f"damage: {dict(self.counts['damage'])}", flush=True)
            self.count("damage", way.__name__)
            if code:
                self.count("damage", "NOT MADE AGAIN", f"{way.__name__} {path}: {told}")
                continue
            if "damaged" in told:
                self.count("damage", "told and set aside")
            elif way is not damage.delete:
                self.count("damage", "SILENT", f"{way.__name__} {path}")
            self.compare("damage", command, cache)
        print(f"damage: {dict(self.counts.get('damage', {}))}", flush=True)

    def full_disks(self, wanted: int) -> None:
        """Run on disks that are too small, then on the same with room."""
        size, start = _pages(self.full), _pages(self.seed)
        disk = self.place / "disk"
        disk.mkdir(exist_ok=True)
        for _ in range(wanted):
            room = int(start + PAGE + random.random() * (size - start))
            _call("mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", str(disk))
            try:
                cache = disk / "cache"
                shutil.copytree(self.seed, cache)
                command = Command(self.place, cache)
                code, told = command.wait(), command.stderr()
                self.count("full", "events")
                lines = [line for line in told.splitlines() if "No space left" in line]
                one_line = code == 2 and len(lines) == 1 and "Traceback" not in told
                if code:
                    self.count(
                        "full", "one clear line" if one_line else "UNCLEAR", told * (not one_line)
                    )
                else:
                    self.count("full", "room was enough")
                _call("mount", "-o", "remount,size=1g", str(disk))
                self.compare("full", self.ended("full", cache, "local"), cache)
            finally:
                _call("umount", str(disk))
        print(f"full: {dict(self.counts.get('full', {}))}", flush=True)

    def pairs(self, wanted: int) -> None:
        """Run two commands at once."""
        for _ in range(wanted):
            cache, drawn = self.cache("shared"), self.place / "drawn"
            drawn.unlink(missing_ok=True)
            both = [Command(self.place, cache, drawn=drawn) for _ in range(2)]
            for command in both:
                code, told = command.wait(), command.stderr()
                self.count("pair", "commands")
                if code or "damaged" in told:
                    self.count("pair", "FAILED", told)
                else:
                    self.compare("pair", command, cache)
            self.count("pair", "batches sampled", number=len(drawn.read_text().splitlines()))
            self.count("pair", "batches needed", number=len(self.images))
        print(f"pair: {dict(self.counts.get('pair', {}))}", flush=True)


def _images(cache: Path) -> dict[str, str]:
    """The batches of images of a cache, by folder and name, and the hash of each."""
    paths = sorted(cache.glob("images/*/*.npy"))
    return {f"{p.parent.name}/{p.name}": damage.digest(p.read_bytes()) for p in paths}


def _pages(folder: Path) -> int:
    """Bytes that the files of a folder take on a tmpfs."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return sum(-(-size // PAGE) * PAGE for size in sizes)


def _call(*words: str) -> None:
    subprocess.run(words, check=True)


def prepare(place: Path) -> Path:
    """The card of a tiny network, a folder of images, and a cache with the features of those."""
    from bench.core import extensions
    from bench.core.yaml_files import dump
    from bench.evaluation import fits
    from bench.models.cards import load_cards, verify

    card = damage.prepare(place)
    fields = ("name", "family", "method", "source", "uri", "sha256", "dataset")
    entry = {name: getattr(card, name) for name in fields}
    entry |= {"config": dict(card.config), "force": True}
    (place / "cards.yaml").write_text(dump({"checkpoints": [entry]}))
    seed = place / "seed"
    os.environ["BENCH_CACHE"] = str(seed)
    reference.build(card.dataset, "efficientnet")
    (verified,) = map(verify, load_cards(place / "cards.yaml"))
    # What it takes to judge whether a description fits is no part of what is tried here.
    fits.of(verified, lambda: extensions.lookup("sources", verified.source)(verified))
    # Once here, so that the commands find everything imported.
    os.environ["BENCH_CACHE"] = str(place / "warm")
    shutil.copytree(seed, place / "warm")
    sys.argv = ["bench", *WORDS, "--cards", str(place / "cards.yaml"), "--out", str(place / "out")]
    with contextlib.suppress(SystemExit):
        app.main()
    return seed


def told(campaign: Campaign) -> bool:
    """Print the counts of a campaign; whether a fault led to what it must not."""
    for kind, counts in campaign.counts.items():
        print(f"\n{kind}\n" + "\n".join(f"    {what}: {n}" for what, n in counts.items()))
    bad = [w for counts in campaign.counts.values() for w in counts if w.isupper() and counts[w]]
    wrong = ("lost images", "duplicated images", "images of other bits")
    bad += [w for counts in campaign.counts.values() for w in wrong if counts[w]]
    return bool(bad)


def main() -> None:
    """Run the campaign and print its counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, number in (("kills", 100), ("damages", 60), ("full", 10), ("pairs", 5)):
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--workers", type=float, default=0.2, help="share of kills with workers")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    random.seed(asked.seed)
    with tempfile.TemporaryDirectory(prefix="bench-faults-") as name:
        place = Path(name)
        campaign = Campaign(place, prepare(place))
        parts: list[tuple[Callable[..., None], tuple[Any, ...]]] = [
            (campaign.pairs, (asked.pairs,)),
            (campaign.full_disks, (asked.full,)),
            (campaign.damages, (asked.damages,)),
            (campaign.kills, (asked.kills, asked.workers)),
        ]
        for part, words in parts:
            if words[0]:
                part(*words)
    raise SystemExit(told(campaign))


if __name__ == "__main__":
    main()
