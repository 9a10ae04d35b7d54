"""A network of our own that leaves nothing behind: a bridge, its addresses, programs and sockets inside it.

The namespace lives in a holder process that ends when its standard input closes. The kernel closes that pipe however
we die, SIGKILL included, whichever thread began it; that is why no parent-death signal is used, which would fire when
the starting *thread* ends. The holder is process 1 of a pid namespace, so everything started inside dies with it.
"""

import ctypes
import ipaddress
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

BRIDGE = "br0"
ADDRESS = "10.77.0.1"
ADDRESS_6 = "fd77::1"
PREFIX = 24

_libc = ctypes.CDLL(None, use_errno=True)

# bash and not a bare `cat`: process 1 inherits the orphans and must reap them.
_HOLD = 'read -r pid _ </proc/self/stat; echo "$pid"; read -r'


class Held:
    """A process that holds namespaces for exactly as long as this object, or this program, lives."""

    def __init__(self, unshare: Sequence[str], program: str, *arguments: str):
        self._process = subprocess.Popen(
            ["unshare", *unshare, "--pid", "--fork", "--kill-child", "bash", "-c", program, "bash", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us: we halt in order
            text=True,
        )
        self.pid = int(self.line())

    def line(self) -> str:
        """The next line that the holder says, or an error if it died."""
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        if not said:
            self.end()
            raise RuntimeError(f"the holder of a namespace died with {self._process.returncode}; are you root?")
        return said.strip()

    def say(self, word: str) -> None:
        """Let the holder go on with its program."""
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()

    def end(self, children: Sequence["subprocess.Popen[Any]"] = ()) -> None:
        """End the holder and with it every process and mount inside."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        for child in children:
            child.wait()  # the kernel lets process 1 go only when we have reaped our own children inside
        self._process.wait()
        self._process.stdout.close()


class Network:
    """A bridge in a namespace of its own, where machines, balancers and clients meet."""

    def __init__(self) -> None:
        self._held = Held(["--net"], _HOLD)
        self.pid = self._held.pid
        self._inside = ThreadPoolExecutor(1, "network", initializer=self._enter)
        self._children: list[subprocess.Popen[Any]] = []
        self._ip("link", "set", "lo", "up")
        self._ip("link", "add", BRIDGE, "type", "bridge")
        self._ip("link", "set", BRIDGE, "up")
        self._ip("addr", "add", f"{ADDRESS}/{PREFIX}", "dev", BRIDGE)
        self._ip("-6", "addr", "add", f"{ADDRESS_6}/64", "dev", BRIDGE, "nodad")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything that runs inside; the namespace goes with it."""
        self._inside.shutdown()
        self._held.end(self._children)

    def add_address(self, address: str) -> None:
        """Give the network one more local address: a client's, or a balancer's."""
        length = ipaddress.ip_address(address).max_prefixlen
        self._ip("addr", "replace", f"{address}/{length}", "dev", BRIDGE, *(["nodad"] if length == 128 else []))

    def popen(self, argv: Sequence[str], **options: Any) -> "subprocess.Popen[Any]":
        """Start a program inside; its pid is its own, and it cannot outlive the network."""
        return self._call(lambda: self._spawn(argv, options))

    def run(self, argv: Sequence[str], **options: Any) -> "subprocess.CompletedProcess[Any]":
        """Run a program inside to its end."""
        wanted = {"input": None, "timeout": None, "check": False, **options}
        text, timeout, check = wanted.pop("input"), wanted.pop("timeout"), wanted.pop("check")
        stdin = subprocess.DEVNULL if text is None else subprocess.PIPE
        streams = {"stdin": stdin, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **wanted}
        with self.popen(argv, **streams) as process:
            try:
                out, err = process.communicate(text, timeout)
            except BaseException:
                process.kill()
                raise
        done = subprocess.CompletedProcess(argv, process.returncode, out, err)
        if check:
            done.check_returncode()
        return done

    def connect(self, address: tuple[str, int], source: str | None = None, timeout: float = 30.0) -> socket.socket:
        """Open a TCP connection from inside the network, from the source address if one is given."""
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        # A socket stays in the namespace that it was made in, so only its making happens inside.
        opened = self._call(lambda: socket.socket(family, socket.SOCK_STREAM))
        try:
            opened.settimeout(timeout)
            if source:
                opened.bind((source, 0))
            opened.connect(address)
        except BaseException:
            opened.close()
            raise
        return opened

    def plug(self, pid: int, address: str, address_6: str) -> None:
        """Give the namespaces of a process an eth0 on the bridge, with a default route over it."""
        ours = "v" + os.urandom(6).hex()  # a dead machine's cable may linger for a moment: never reuse a name
        self._ip("link", "add", ours, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        self._ip("link", "set", ours, "master", BRIDGE, "up")
        for command in (
            ["link", "set", "lo", "up"],
            ["addr", "add", f"{address}/{PREFIX}", "dev", "eth0"],
            ["-6", "addr", "add", f"{address_6}/64", "dev", "eth0", "nodad"],
            ["link", "set", "eth0", "up"],
            ["route", "add", "default", "via", ADDRESS],
            ["-6", "route", "add", "default", "via", ADDRESS_6],
        ):
            _ip(pid, *command)

    def _spawn(self, argv: Sequence[str], options: dict[str, Any]) -> "subprocess.Popen[Any]":
        child = subprocess.Popen(argv, **options)
        self._children = [other for other in self._children if other.returncode is None] + [child]
        return child

    def _ip(self, *arguments: str) -> None:
        _ip(self.pid, *arguments)

    def _enter(self) -> None:
        for kind in ("net", "pid"):
            handle = os.open(f"/proc/{self.pid}/ns/{kind}", os.O_RDONLY)
            try:
                if _libc.setns(handle, 0) != 0:
                    raise OSError(ctypes.get_errno(), f"setns {kind}")
            finally:
                os.close(handle)

    def _call(self, inside: Callable[[], Any]) -> Any:
        return self._inside.submit(inside).result()


def _ip(pid: int, *arguments: str) -> None:
    where = f"--net=/proc/{pid}/ns/net"
    subprocess.run(["nsenter", where, "ip", *arguments], check=True, stdin=subprocess.DEVNULL)


def missing_programs() -> list[str]:
    """The programs that this machine lacks for networks and hosts of our own."""
    wanted = ("unshare", "nsenter", "ip", "ss", "pivot_root", "postfix")
    return [name for name in wanted if not (shutil.which(name) or Path("/usr/sbin", name).exists())]
