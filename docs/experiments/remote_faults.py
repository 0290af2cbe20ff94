"""A campaign of faults between machines: nodes that go, an object store that fails, counted.

    OMP_NUM_THREADS=1 python docs/experiments/remote_faults.py [--nodes 10] [--stores 5] [--seed 0]

The run is that of `faults.py`, and so is what is compared with an unbroken one: the numbers of its
run.json, the influences of its images, the strips of samples and the bits of its images.

    node      `bench run --engine ray` on a Ray cluster of two nodes beside its head, which gives
              none of its cores; when a random number of batches is there a node is removed as if
              its machine lost its power, and another one joins
    store     two machines without a common disk: each makes its share in a cache of its own, one
              after the other, and a third one, whose cache is empty, reports. What they have in
              common is BENCH_MIRROR on a local S3 server, of which each tenth request fails

Machines are processes of this one. This needs `ray`, `s3fs` and `moto[server]`.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

import faults

EVERY = 10
STORE = 80 * 2**20


class Started(faults.Command):
    """A `bench run` as users start it.

    Args:
        place: folder with the cards; the command's own files go there.
        cache: the cache folder.
        words: further words of the command.
        variables: further variables.
    """

    def __init__(
        self, place: Path, cache: Path, words: Sequence[str], variables: dict[str, str]
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=place))
        self.told, self.start = self.folder / "stderr", time.monotonic()
        command = [sys.executable, "-m", "bench", *faults.WORDS, *words]
        command += ["--cards", str(place / "cards.yaml"), "--out", str(self.folder / "out")]
        with self.told.open("w") as stream:
            self.child = subprocess.Popen(
                command,
                env={**os.environ, "BENCH_CACHE": str(cache), **variables},
                stdout=stream,
                stderr=stream,
            )
        self.process = self.child.pid


def ended(command: Started) -> Started:
    """The command, which must end well."""
    if command.wait():
        raise SystemExit(command.stderr())
    return command


@contextmanager
def cluster() -> Iterator[Any]:
    """A Ray cluster whose head takes no work."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield made
    finally:
        made.shutdown()


def nodes(campaign: faults.Campaign, wanted: int) -> None:
    """Remove a node during runs, until there were so many."""
    size = {"num_cpus": 1, "object_store_memory": STORE}
    with cluster() as made:
        words = ("--engine", "ray", "--address", made.address)
        present = [made.add_node(**size) for _ in range(2)]
        for _ in range(wanted):
            cache = campaign.cache("removed")
            command = Started(campaign.place, cache, words, {})
            batches = random.randrange(len(campaign.images))
            while command.lives() and len([*cache.glob("images/*/*.npy")]) < batches:
                time.sleep(0.01)
            # Somewhere between two batches.
            time.sleep(random.random() * command.lives())
            campaign.count("node", "removed" if command.lives() else "removed too late")
            there = len([*cache.glob("images/*/*.npy")])
            made.remove_node(present.pop(random.randrange(2)), allow_graceful=False)
            present.append(made.add_node(**size))
            campaign.compare("node", ended(command), cache)
            told = f"{there} of {len(campaign.images)} batches were there"
            print(f"node: {told}: {dict(campaign.counts['node'])}", flush=True)


def stores(campaign: faults.Campaign, wanted: int) -> None:
    """Share runs by an object store that fails."""
    from helpers.object_store import served

    words = ("--engine", "local")
    with served() as store:
        store.every = EVERY
        for number in range(wanted):
            variables = {**store.variables, "BENCH_MIRROR": f"s3://bench/{number}"}
            for share in (1, 2):
                cache = campaign.cache(f"machine{share}")
                shared = (*words, "--shard", f"{share}/2")
                shutil.rmtree(ended(Started(campaign.place, cache, shared, variables)).folder)
            made = [len([*campaign.place.glob(f"machine{k}/images/*/*.npy")]) for k in (1, 2)]
            cache = campaign.cache("machine3")
            command = ended(Started(campaign.place, cache, words, variables))
            if "damaged" in command.stderr():
                campaign.count("store", "DAMAGED", command.stderr())
            campaign.count("store", "runs of three commands")
            campaign.compare("store", command, cache)
            print(f"store: {made} batches: {dict(campaign.counts['store'])}", flush=True)
        campaign.count("store", "requests", number=store.requests)
        campaign.count("store", "requests that failed", number=store.failed)


def main() -> None:
    """Run the campaign and print its counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=10)
    parser.add_argument("--stores", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    random.seed(asked.seed)
    with tempfile.TemporaryDirectory(prefix="bench-faults-") as name:
        place = Path(name)
        campaign = faults.Campaign(place, faults.prepare(place))
        if asked.stores:
            stores(campaign, asked.stores)
        if asked.nodes:
            nodes(campaign, asked.nodes)
    raise SystemExit(faults.told(campaign))


if __name__ == "__main__":
    main()
