"""Hosts with a real Postfix, and our document run on them by the agent's stand-in."""

import itertools
import json
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from local.agent import Outcome, run_document
from local.machine import Machine
from local.network import Network
from tests.document.states import IN, OUT, SAID, bytes_of
from tests.document.tripwire import Step, Tripwire

DOCUMENT = Path(__file__).parents[2] / "documents" / "configure-postfix.yaml"
CLIENT = "198.51.100.10"
BALANCER = "10.77.0.5"
EXIT = {"ok": 0, "not-ready": 10, "broken": 11, "refused": 12, "edited": 13, "older-epoch": 14, "failed": 15}


@dataclass(frozen=True)
class Answer:
    """What the document said about a host."""

    verdict: dict[str, Any]
    outcome: Outcome

    @property
    def said(self) -> tuple[str, dict[str, str]]:
        return self.verdict["class"], self.verdict["ports"]


class Client:
    """Somebody who speaks SMTP by hand, with or without a header in front."""

    def __init__(self, connection: socket.socket, header: str = ""):
        self.connection = connection
        if header:
            connection.sendall(header.encode() + b"\r\n")
        self.lines = connection.makefile("rb")

    def line(self) -> str:
        return self.lines.readline().decode()

    def reply(self) -> str:
        text = ""
        while True:
            line = self.line()
            text += line
            if not re.match(r"\d{3}-", line):
                return text

    def say(self, line: str) -> str:
        self.connection.sendall(line.encode() + b"\r\n")
        return self.reply()

    def close(self) -> None:
        self.lines.close()
        self.connection.close()


@pytest.fixture(scope="session")
def content() -> dict[str, Any]:
    return yaml.safe_load(DOCUMENT.read_text())


@pytest.fixture(scope="session")
def script(content) -> str:
    (command,) = content["mainSteps"][0]["inputs"]["runCommand"]
    return command


@pytest.fixture(scope="session")
def network() -> Iterator[Network]:
    with Network() as network:
        for address in (CLIENT, BALANCER):
            network.add_address(address)
        yield network


@pytest.fixture(scope="session")
def new_address() -> Callable[[], str]:
    numbers = itertools.count(20)
    return lambda: f"10.77.0.{next(numbers)}"


@pytest.fixture
def machine(network, new_address) -> Iterator[Machine]:
    with Machine(network, "i-0123456789abcdef0", new_address()) as machine:
        yield machine


@pytest.fixture
def attempt(content, machine) -> Callable[..., Outcome]:
    """Run the document, whatever becomes of it."""
    epochs, commands = itertools.count(1_764_000_000), itertools.count(1)

    def attempt(verb: str, ports: str = "25", *, epoch: int | None = None, **more: str) -> Outcome:
        parameters = {"Verb": verb, "Ports": ports, "Epoch": str(epoch or next(epochs)), **more}
        command = {"instance_id": machine.instance_id, "command_id": f"c-{next(commands)}", "region": "eu-west-1"}
        return run_document(content, parameters, machine, **command)

    return attempt


@pytest.fixture
def ask(attempt) -> Callable[..., Answer]:
    """Run the document, which must end with a verdict that keeps its contract."""

    def ask(verb: str, ports: str = "25", *, epoch: int | None = None, **more: str) -> Answer:
        outcome = attempt(verb, ports, epoch=epoch, **more)
        first, _, rest = outcome.stdout.partition("\n")
        assert rest == "", outcome
        assert len(first) < 2000
        verdict = json.loads(first)
        assert verdict["contract"] == 1
        assert verdict["verb"] == verb
        assert epoch is None or verdict["epoch"] == epoch
        assert outcome.response_code == EXIT[verdict["class"]], outcome
        return Answer(verdict, outcome)

    return ask


@pytest.fixture
def dial(network, machine) -> Iterator[Callable[..., Client]]:
    clients: list[Client] = []

    def dial(port: int = 25, header: str = "", *, host: str = machine.address, source: str = CLIENT) -> Client:
        source_or_none = None if ":" in host else source
        clients.append(Client(network.connect((host, port), source_or_none), header))
        return clients[-1]

    yield dial
    for client in clients:
        client.close()


@pytest.fixture
def header(machine) -> Callable[..., str]:
    return lambda client="203.0.113.9", port=4321: f"PROXY TCP4 {client} {machine.address} {port} 25"


@pytest.fixture
def trip(machine) -> Tripwire:
    return Tripwire(machine)


@pytest.fixture
def proven(ask, machine) -> dict[str, dict[str, bytes]]:
    """The bytes of the two proven states. The host is let go, and remembers what is remembered once and for good."""
    plain = bytes_of(machine)
    ask("expect", IN)
    proxy = bytes_of(machine)
    ask("expect", OUT)
    return {IN: proxy, OUT: plain}


@pytest.fixture
def steps(ask, trip, proven) -> dict[str, list[Step]]:
    """The steps into each of the states."""
    noted = {}
    for ports in (IN, OUT):
        trip.note()
        assert ask("expect", ports).said == SAID[ports]
        noted[ports] = trip.noted()
        assert len(noted[ports]) > 25
    return noted


@pytest.fixture
def kill(attempt, trip) -> Callable[[str, int], None]:
    """Ask for a state, and kill the script before its n-th step."""

    def kill(ports: str, number: int) -> None:
        trip.kill(number)
        assert attempt("expect", ports).status == "TimedOut", number
        trip.disarm()

    return kill
