"""One balancer, and sweeps over many: every contender in turns, and whether it did or found what it should."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from bench.contenders import PEERS, Contender, ours, wake
from bench.figures import Run
from bench.world import create, populate
from local.region import Region

OURS = "SMTP Fleet"
SWEEP = json.loads(Path("events/sweep.json").read_text())
Tell = Callable[[str], None]
Runs = dict[tuple[str, str], list[Run]]


def one(region: Region, layer: Path, rounds: int, tell: Tell) -> Runs:
    """A new balancer, and the same one when it is right, for each contender: runs by contender and state."""
    runs: Runs = defaultdict(list)
    for number in range(rounds):
        tell(f"one balancer, round {number + 1} of {rounds}")
        create(region, f"ours-{number}")
        for state in ("new", "right"):
            runs[OURS, state].append(ours(region, layer, wake(f"ours-{number}")))
            _sends(region, f"ours-{number}", runs[OURS, state][-1])
        for index, peer in enumerate(PEERS):
            _one(region, peer, f"peer-{index}-{number}", runs)
        region.log.clear()
    return runs


def _one(region: Region, peer: Contender, name: str, runs: Runs) -> None:
    create(region, name)
    for state in ("new", "right"):
        run = peer.run(region, peer.one(name))
        if not peer.name.endswith("finds only"):
            _sends(region, name, run)
        runs[peer.name, state].append(run)


def _sends(region: Region, name: str, run: Run) -> None:
    [described] = region.client("elb").describe_load_balancers(LoadBalancerNames=[name])["LoadBalancerDescriptions"]
    if run.code or not any(backend["PolicyNames"] for backend in described["BackendServerDescriptions"]):
        raise RuntimeError(f"{name} does not send, exit status {run.code}: {run.said}")


def sweep(region: Region, layer: Path, count: int, rounds: int, tell: Tell) -> dict[str, list[Run]]:
    """Everybody who can finds the balancers that lack the policy among so many; nobody repairs them."""
    lacking, runs = populate(region, count, tell), defaultdict(list)
    for number in range(rounds):
        tell(f"sweep of {count}, round {number + 1} of {rounds}")
        runs[OURS].append(ours(region, layer, SWEEP))
        for peer in PEERS:
            if peer.all:
                runs[peer.name].append(peer.run(region, peer.all))
        region.log.clear()
        for name, (*_, last) in runs.items():
            if found(last.said) != len(lacking):
                raise RuntimeError(f"{name} found {found(last.said)} of {len(lacking)}: {last.said[-2000:]}")
    return runs


def found(said: str) -> int:
    """How many balancers a contender says to lack the policy: by a line each, or by its count."""
    count = re.search(r"count:(\d+)", said)
    return int(count[1]) if count else len(re.findall(r"lacks: |audit: nobody behind it", said))
