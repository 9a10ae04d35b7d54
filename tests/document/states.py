"""The two states that the tests take a host from and to: it expects the header on port 25, or was let go."""

from local.machine import Machine

IN, OUT = "25", "none"
"""The ports to ask for, to get into a state."""

SAID = {IN: ("ok", {"25": "proxy"}), OUT: ("ok", {"25": "plain"})}
"""What a look says in it."""

BACK = {IN: OUT, OUT: IN}
FILES = ("/etc/postfix/main.cf", "/etc/postfix/master.cf")


def bytes_of(machine: Machine) -> dict[str, bytes]:
    """Both files."""
    return {path: machine.read(path) for path in FILES}
