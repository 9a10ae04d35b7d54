"""Cold starts: each function beside a bare handler that has the same clients and makes the same calls for its event."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from botocore import xform_name

from bench.contenders import batch, wake
from bench.figures import Used, medians
from bench.lambdas import fresh, used
from bench.world import counting, create
from local.functions import Function
from local.region import Region

BARE = Path("bench/bare").resolve()


@dataclass(frozen=True)
class Start:
    """One function's medians: as deployed, deployed without compiled files, and the bare handler's."""

    name: str
    clients: int
    calls: int
    ours: Used
    plain: Used
    bare: Used


def measure(region: Region, layer: Path, plain: Path, rounds: int, tell: Callable[[str], None]) -> list[Start]:
    """Every function, bare and not, in turns: what slows the machine slows all of them."""
    create(region, "web", tagged=False)
    runs, facts = defaultdict(list), {}
    with cloudformation() as url:
        events = first_events(url)
        asked = {name: calls_for(region.functions[name], layer, event) for name, event in events.items()}
        for number in range(rounds):
            tell(f"cold starts, round {number + 1} of {rounds}")
            for name, event in events.items():
                function = region.functions[name]
                runs[name, "ours"].append(used(fresh(function, layer), event))
                runs[name, "plain"].append(used(fresh(function, plain), event))
                bare = fresh(function, layer, folder=BARE, variables={"CLIENTS": " ".join(clients(function))})
                runs[name, "bare"].append(used(bare, event | {"calls": asked[name]}))
                facts[name] = len(clients(function)), len(asked[name])
                region.log.clear()
    return [Start(n, *facts[n], *(medians(runs[n, kind]) for kind in ("ours", "plain", "bare"))) for n in facts]


def first_events(url: str) -> dict[str, dict[str, Any]]:
    """For each function an event that asks little: an untagged balancer, an old ask, a stack that is created."""
    machine = {"instance": "i-0123456789abcdef0", "volume": "vol-0123456789abcdef0", "asked_at": 1}
    stale = {"kind": "ask", "machines": [machine]}
    created = {"RequestType": "Create", "ResponseURL": url, "StackId": "s", "RequestId": "r", "LogicalResourceId": "l"}
    return {
        "ReconcileFleetFunction": batch(wake("web")),
        "ConfigurePostfixFunction": batch(stale),
        "GuardStackFunction": created,
    }


def calls_for(function: Function, layer: Path, event: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """The calls that a function makes for an event, as a client of boto3 takes them."""
    with counting() as seen:
        used(fresh(function, layer), event)
    return [(call.service, xform_name(call.operation), call.params) for call in seen]


def clients(function: Function) -> list[str]:
    """The services for which a function's door makes a client."""
    return list(dict.fromkeys(re.findall(r'client\("([a-z0-9]+)"\)', (function.folder / "app.py").read_text())))


@contextmanager
def cloudformation() -> Iterator[str]:
    """An address that takes answers, as CloudFormation's does."""
    server = HTTPServer(("127.0.0.1", 0), _Taking)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


class _Taking(BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass
