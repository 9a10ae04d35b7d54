"""Runs the deployed folder of a function as Lambda does: awslambdaric in processes of its own, killed when late."""

import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any
from uuid import uuid4

INIT_SECONDS = 60  # Lambda gives 10; a shared machine may need more


class FunctionError(Exception):
    """A function that raised, died, or was killed at its timeout; the text is what Lambda would report."""


@dataclass
class Function:
    """A function as the template describes it, with its warm execution environments."""

    name: str
    arn: str
    folder: Path
    handler: str
    timeout: float
    variables: dict[str, str]
    on_line: Callable[[str, dict[str, Any]], None]
    allows_recursion: bool = False
    # The kernel's parent-death signal fires when the *thread* that started the child ends: so one thread, for good.
    spawner: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    _idle: list["_Environment"] = field(default_factory=list)
    _all: list["_Environment"] = field(default_factory=list)

    def invoke(self, event: Any, trace: str) -> Any:
        """Gives what the handler returns, from a warm environment if one is free."""
        try:
            environment = self._idle.pop()
        except IndexError:
            environment = _Environment(self)
            self._all.append(environment)
        try:
            answer = environment.invoke(event, trace)
        finally:
            if environment.is_alive:
                self._idle.append(environment)
            else:
                self._all.remove(environment)
                environment.close()
        return answer

    def close(self) -> None:
        """Kills the processes, for good."""
        self.spawner.shutdown()
        for environment in list(self._all):
            environment.close()

    @property
    def pids(self) -> list[int]:
        """The processes that run the function now."""
        return [each.child.pid for each in self._all if each.is_alive and each.child]


class _Environment:
    """One execution environment: a child process, and the runtime API that it asks for work."""

    def __init__(self, function: Function) -> None:
        self.function, self.is_alive = function, False
        self.child: subprocess.Popen[bytes] | None = None
        self._work: SimpleQueue[Any] = SimpleQueue()
        self._outcomes: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        self._reading, self._rest, self._began = Lock(), b"", False
        self._server = _Server(("127.0.0.1", 0), self._handler())
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def _spawn(self) -> None:
        mortal = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        self.child = subprocess.Popen(
            [*mortal, sys.executable, "-m", "awslambdaric", self.function.handler],
            cwd=self.function.folder,
            env=self.function.variables | {"AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._server.server_port}"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def _start(self) -> None:
        try:
            self.function.spawner.submit(self._spawn).result()
        except RuntimeError:
            raise FunctionError("the function is gone") from None
        os.set_blocking(self.child.stdout.fileno(), False)
        Thread(target=self._read, daemon=True).start()
        self._outcome(INIT_SECONDS, f"Init timed out after {INIT_SECONDS} seconds")
        self.is_alive = True

    def invoke(self, event: Any, trace: str) -> Any:
        """Gives what the handler returns, or raises; a process that is late is not alive any more."""
        if not self.child:
            self._start()
        limit = self.function.timeout
        headers = {
            "Lambda-Runtime-Aws-Request-Id": str(uuid4()),
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + limit) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": self.function.arn,
            "Lambda-Runtime-Trace-Id": trace,
            "Content-Type": "application/json",
        }
        self._work.put((headers, json.dumps(event).encode()))
        return self._outcome(limit, f"Task timed out after {limit:.2f} seconds")

    def _outcome(self, limit: float, too_late: str) -> Any:
        try:
            kind, what = self._outcomes.get(timeout=limit)
        except Empty:
            kind, what = "dead", too_late
        if kind == "dead":
            self.is_alive = False
        if kind in {"dead", "error"}:
            raise FunctionError(what)
        return what

    def close(self) -> None:
        """Kills the child and ends its runtime API."""
        self.is_alive = False
        if self.child:
            self.child.kill()
            self.child.wait()
        self._work.put(None)
        self._server.shutdown()
        self._server.server_close()

    def _read(self) -> None:
        """Passes on the child's lines until it has closed its output."""
        pipe = self.child.stdout.fileno()
        while True:
            select.select([pipe], [], [])
            if not self._drain():
                break
        with self._reading:
            self.child.stdout.close()
        self._outcomes.put(("dead", f"Runtime exited with status {self.child.wait()}"))

    def _drain(self) -> bool:
        """Passes on what is in the pipe; False once it is closed. Called before each answer, so no line comes after."""
        with self._reading:
            while not self.child.stdout.closed:
                try:
                    chunk = os.read(self.child.stdout.fileno(), 1 << 16)
                except BlockingIOError:
                    return True
                *lines, self._rest = (self._rest + chunk).split(b"\n")
                for line in [*lines, self._rest] if not chunk else lines:
                    if line.strip():
                        self.function.on_line(self.function.name, _parsed(line.decode(errors="replace")))
                if not chunk:
                    return False
        return False

    def _handler(environment) -> type[BaseHTTPRequestHandler]:
        class RuntimeApi(BaseHTTPRequestHandler):
            """https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html."""

            protocol_version, disable_nagle_algorithm = "HTTP/1.1", True

            def do_GET(self) -> None:
                if not environment._began:
                    environment._began = True
                    environment._outcomes.put(("ready", None))
                if work := environment._work.get():
                    self._answer(200, *work)
                self.close_connection = work is None

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"null")
                environment._drain()
                self._answer(202, {}, b"{}")
                if self.path.endswith("/error"):
                    environment._outcomes.put(("error", f"{body['errorType']}: {body['errorMessage']}"))
                else:
                    environment._outcomes.put(("answer", body))

            def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in (headers | {"Content-Length": str(len(body))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        return RuntimeApi


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a function that is killed hangs up
            super().handle_error(request, client_address)


def _parsed(line: str) -> dict[str, Any]:
    try:
        parsed = json.loads(line)
    except ValueError:
        parsed = None
    return parsed if isinstance(parsed, dict) else {"message": line}


def log_group_of(name: str, properties: dict[str, Any]) -> str:
    """Where the lines of a function go: the group that the template gives it, or the one that Lambda makes."""
    return str(properties.get("LoggingConfig", {}).get("LogGroup", f"/aws/lambda/{name}"))


def environment_of(
    name: str, properties: dict[str, Any], folder: Path, region: str, key: str, endpoint: str
) -> dict[str, str]:
    """What a function finds in its environment: what the template gives, what Lambda sets, and nothing of the host."""
    given = {each: str(value) for each, value in properties.get("Environment", {}).get("Variables", {}).items()}
    return given | {
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SESSION_TOKEN": "token",
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.11",
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(properties.get("MemorySize", 128)),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_FORMAT": properties.get("LoggingConfig", {}).get("LogFormat", "Text"),
        "AWS_LAMBDA_LOG_GROUP_NAME": log_group_of(name, properties),
        "AWS_LAMBDA_LOG_STREAM_NAME": "local",
        "LAMBDA_TASK_ROOT": str(folder),
        "LANG": "en_US.UTF-8",
        "PATH": os.defpath,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join(properties.get("Layers", [])),
        "PYTHONUNBUFFERED": "1",
        "TZ": ":UTC",
        "_HANDLER": properties["Handler"],
    }
