"""Throw-away hosts are real, strangers to each other, and gone when they are gone."""

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from local.machine import Machine, await_until
from tests.processes import Spaces

ROOT = Path(__file__).parents[2]
OWNER = """
import signal
import sys
from local.machine import Machine
from local.network import Network

# As in a terminal: what a shell starts in the background ignores it.
signal.signal(signal.SIGINT, signal.default_int_handler)
network = Network()
machine = Machine(network, "i-0", "10.77.0.9").boot()
sleeper = network.popen(["sleep", "1000"])
print(network.pid, machine.pid, sleeper.pid, flush=True)
{last_act}
"""


def mounts():
    return Path("/proc/self/mounts").read_text()


def leftovers():
    return {str(path) for folder in ("/run", "/mnt", "/var/lib") for path in Path(folder).glob("*")}


@pytest.mark.parametrize(
    ("last_act", "signal_number"),
    [
        ("sys.stdin.read()", signal.SIGKILL),
        ("sys.stdin.read()", signal.SIGINT),
        ("sys.exit('an error')", None),
        ("machine.halt(); network.close()", None),
    ],
    ids=["SIGKILL", "Ctrl-C", "an error", "in order"],
)
def test_nothing_is_left(last_act, signal_number, tmp_path):
    mounted, files = mounts(), leftovers()
    arguments = [sys.executable, "-c", OWNER.format(last_act=last_act)]
    owner = subprocess.Popen(
        arguments,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with closing(Spaces()) as spaces, owner:
        pids = owner.stdout.readline().split()
        assert len(pids) == 3
        if signal_number:
            for pid in pids:
                spaces.hold(pid)
            assert len(spaces) >= 5
            assert len(spaces.inhabitants()) >= 5
            owner.send_signal(signal_number)
            owner.wait()
        else:
            owner.communicate(timeout=20)
        gone = [Path("/proc", pid) for pid in pids]
        await_until(lambda: not spaces.inhabitants() and not any(path.exists() for path in gone), "the end")
    assert mounts() == mounted
    assert os.listdir(tmp_path) == []
    assert {path for path in leftovers() - files if "smtp" in path or "fleet" in path} == set()


def test_two_hosts_do_not_see_each_other(network, new_address):
    with (
        Machine(network, "i-a", new_address()) as one,
        Machine(network, "i-b", new_address()) as other,
    ):
        one.write("/etc/postfix/main.cf", b"ruined\n")
        one.write("/var/lib/mark", b"mine")
        assert other.run(["postconf", "-h", "mail_version"]).returncode == 0
        with pytest.raises(FileNotFoundError):
            other.read("/var/lib/mark")
        assert not Path("/var/lib/mark").exists()
        names = {host.run(["hostname"]).stdout for host in (one, other)}
        assert len(names) == 2
        assert (
            one.run(["pgrep", "-c", "-x", "master"]).stdout
            == other.run(["pgrep", "-c", "-x", "master"]).stdout
            == "1\n"
        )


def test_a_host_says_what_was_changed(machine):
    assert "/etc/postfix/main.cf" not in machine.changed_files()
    machine.write("/etc/postfix/main.cf", machine.read("/etc/postfix/main.cf") + b"# more\n")
    machine.run(["rm", "/etc/services"])
    assert machine.changed_files() - {"/var/log/mail.log"} == {"/etc/postfix/main.cf", "/etc/services"}


def test_a_stock_postfix_serves_its_domain_and_no_other(dial, machine):
    client = dial()
    assert client.reply().startswith("220 ")
    client.say("EHLO client.example")
    client.say("MAIL FROM:<a@client.example>")
    assert client.say("RCPT TO:<postmaster@example.net>").startswith("250")
    assert client.say("RCPT TO:<b@other.example>")[:3] in {"454", "554"}
    assert client.say("DATA").startswith("354")
    assert client.say("Subject: hi\r\n\r\nhi\r\n.").startswith("250 ")
    machine.await_log("status=sent")
    assert "connect from unknown[198.51.100.10]" in machine.mail_log()
