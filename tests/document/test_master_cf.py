"""Whatever its spelling, the service that listens is edited in place, and comes back byte for byte."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest

MASTER_CF = "/etc/postfix/master.cf"
REST = """\
pickup    unix  n       -       y       60      1       pickup
cleanup   unix  n       -       y       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       y       1000?   1       tlsmgr
rewrite   unix  -       -       y       -       -       trivial-rewrite
bounce    unix  -       -       y       -       0       bounce
defer     unix  -       -       y       -       0       bounce
proxymap  unix  -       -       n       -       -       proxymap
smtp      unix  -       -       y       -       -       smtp
error     unix  -       -       y       -       -       error
discard   unix  -       -       y       -       -       discard
anvil     unix  -       -       y       -       1       anvil
postlog   unix-dgram n  -       n       -       1       postlogd
"""
TRUST = "-o mynetworks= -o smtpd_authorized_xclient_hosts= -o smtpd_authorized_xforward_hosts="
SCREEN = "-o postscreen_upstream_proxy_protocol=haproxy -o mynetworks="


@dataclass(frozen=True)
class Case:
    """A master.cf above the rest of the services, and the entries that our block should hold."""

    name: str
    before: str
    after: str
    loopback: bool = True


def sides(chroot="y", options="", maxproc="-"):
    services = f"dnsblog unix - - {chroot} - 0 dnsblog\ntlsproxy unix - - {chroot} - 0 tlsproxy\n"
    twins = "".join(f"{host}:smtp inet n - {chroot} - {maxproc} smtpd {options}\n" for host in ("127.0.0.1", "[::1]"))
    return services + twins


CASES = [
    Case(
        "Debian",
        "smtp      inet  n       -       y       -       -       smtpd\n",
        f"smtp inet n - y - 1 postscreen {SCREEN}\nsmtpd pass - - y - - smtpd {TRUST}\n" + sides(),
    ),
    Case(
        "no chroot, between comments",
        "# comment\nsmtp      inet  n       -       n       -       -       smtpd\n#smtp inet n - n - 1 postscreen\n",
        f"smtp inet n - n - 1 postscreen {SCREEN}\nsmtpd pass - - n - - smtpd {TRUST}\n" + sides("n"),
    ),
    Case(
        "a flag that is left to the version",
        "smtp inet n - - - 50 smtpd -v\n",
        f"smtp inet n - n - 1 postscreen {SCREEN}\nsmtpd pass - - n - 50 smtpd -v {TRUST}\n" + sides("n", "-v", "50"),
    ),
    Case(
        "blank and comment lines inside",
        "smtp inet n - y - - smtpd\n\n  -o smtpd_banner=first\n\n"
        "# between\n   # too\n\t-o syslog_name=postfix/edge\n\n# after\n",
        f"smtp inet n - y - 1 postscreen {SCREEN}\n"
        f"smtpd pass - - y - - smtpd -o smtpd_banner=first -o syslog_name=postfix/edge {TRUST}\n"
        + sides(options="-o smtpd_banner=first -o syslog_name=postfix/edge"),
    ),
    Case(
        "braces, and options that we set ourselves",
        "smtp inet n - y - - smtpd -o { smtpd_banner = $myhostname  is here }\n"
        "    -o mynetworks=10.77.0.0/24 -omyhostname=edge.example.net\n",
        f"smtp inet n - y - 1 postscreen {SCREEN}\n"
        "smtpd pass - - y - - smtpd -o { smtpd_banner = $myhostname  is here } -omyhostname=edge.example.net "
        f"{TRUST}\n"
        + sides(
            options="-o { smtpd_banner = $myhostname  is here } -o mynetworks=10.77.0.0/24 "
            "-omyhostname=edge.example.net"
        ),
    ),
    Case(
        "a number",
        "25 inet n - y - - smtpd\n",
        f"25 inet n - y - 1 postscreen {SCREEN}\nsmtpd pass - - y - - smtpd {TRUST}\n"
        + sides().replace(":smtp", ":25"),
    ),
    Case(
        "an address",
        "ADDRESS:smtp inet n - y - - smtpd\n",
        f"ADDRESS:smtp inet n - y - 1 postscreen {SCREEN}\nsmtpd pass - - y - - smtpd {TRUST}\n"
        "dnsblog unix - - y - 0 dnsblog\ntlsproxy unix - - y - 0 tlsproxy\n",
        loopback=False,
    ),
    Case(
        "both wildcards, each of its own",
        "[::]:smtp inet n - y - - smtpd\n0.0.0.0:smtp inet n - y - - smtpd\n",
        f"0.0.0.0:smtp inet n - y - 1 postscreen {SCREEN}\nsmtpd pass - - y - - smtpd {TRUST}\n"
        + sides().replace("[::1]:smtp inet n - y - - smtpd \n", ""),
    ),
    Case(
        "a loopback listener that is there already",
        "127.0.0.1:25 inet n - y - - smtpd -o smtpd_banner=mine\nsmtp inet n - y - - smtpd\n",
        f"smtp inet n - y - 1 postscreen {SCREEN}\nsmtpd pass - - y - - smtpd {TRUST}\n"
        + sides().replace("127.0.0.1:smtp inet n - y - - smtpd \n", ""),
    ),
    Case(
        "postscreen already",
        "smtp inet n - y - 1 postscreen -o postscreen_greet_wait=1s -o mynetworks=10.77.0.0/24\n"
        "smtpd pass - - y - 200 smtpd\n  -o smtpd_banner=second\n"
        "dnsblog unix - - y - 0 dnsblog\ntlsproxy unix - - y - 0 tlsproxy\n",
        f"smtp inet n - y - 1 postscreen -o postscreen_greet_wait=1s {SCREEN} -o smtpd_service_name=smtpd-25\n"
        f"smtpd-25 pass - - y - 200 smtpd -o smtpd_banner=second {TRUST}\n"
        "127.0.0.1:smtp inet n - y - 200 smtpd -o smtpd_banner=second\n"
        "[::1]:smtp inet n - y - 200 smtpd -o smtpd_banner=second\n",
    ),
    Case(
        "a leftover behind no postscreen",
        "smtp inet n - y - - smtpd -o smtpd_banner=right\nsmtpd pass - - y - - smtpd -o smtpd_banner=wrong\n",
        f"smtp inet n - y - 1 postscreen {SCREEN} -o smtpd_service_name=smtpd-25\n"
        f"smtpd-25 pass - - y - - smtpd -o smtpd_banner=right {TRUST}\n" + sides(options="-o smtpd_banner=right"),
    ),
    Case(
        "another postscreen elsewhere",
        "smtp inet n - y - - smtpd\n2600 inet n - y - 1 postscreen\nsmtpd pass - - y - - smtpd\n",
        f"smtp inet n - y - 1 postscreen {SCREEN} -o smtpd_service_name=smtpd-25 "
        "-o postscreen_cache_map=btree:$data_directory/postscreen_25_cache\n"
        f"smtpd-25 pass - - y - - smtpd {TRUST}\n" + sides(),
    ),
]


def install(machine, text):
    machine.write(MASTER_CF, text.encode())
    machine.run(["touch", "-d", "1 minute ago", MASTER_CF])
    machine.run(["postfix", "reload"]).check_returncode()
    machine.await_log("reload --")


def entries(text):
    joined = re.sub(
        r"\n(?=[ \t])", " ", "\n".join(line for line in text.splitlines() if not re.match(r"\s*(#|$)", line))
    )
    return [re.sub(r"\s*\n\s*|(?<!  )[ \t]+(?=-o|-v)", " ", line).strip() for line in joined.splitlines()]


def words(line):
    return shlex.split(line.replace("\t", " "), posix=False)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_in_place_and_back(ask, machine, dial, header, case):
    before = case.before.replace("ADDRESS", machine.address) + REST
    install(machine, before)
    answer = ask("expect")
    assert answer.said == ("ok", {"25": "proxy"}), answer
    after = machine.read(MASTER_CF).decode()
    blocks = re.findall(r"# smtp-fleet begin 25 .*?# smtp-fleet end 25\n", after, re.S)
    assert len(blocks) == 1
    expected = case.after.replace("ADDRESS", machine.address)
    assert [words(line) for line in entries(blocks[0])] == [words(line) for line in expected.splitlines()]
    outside = after.replace(blocks[0], "").splitlines()
    assert set(outside) <= set(before.splitlines())
    dial(header=header()).line()
    machine.await_log("CONNECT from [203.0.113.9]")
    assert ask("expect", "none").said == ("ok", {"25": "plain"})
    assert machine.read(MASTER_CF).decode() == before
    assert dial().line().startswith("220")


SHIPPED = sorted(Path(__file__).with_name("shipped").glob("*.cf"))
LISTENER = "smtp      inet  n       -       n       -       -       smtpd\n"
LOGGER = "postlog   unix-dgram n  -       n       -       1       postlogd\n"
GOLDEN = f"""\
# smtp-fleet begin 25 755506180
# Made by SMTP Fleet in place of the lines marked #=; edit outside of it, or it can no longer be undone.
#={LISTENER}\
smtp inet n - n - 1 postscreen
  -o postscreen_upstream_proxy_protocol=haproxy
  -o mynetworks=
smtpd pass - - n - - smtpd
  -o mynetworks=
  -o smtpd_authorized_xclient_hosts=
  -o smtpd_authorized_xforward_hosts=
dnsblog unix - - n - 0 dnsblog
tlsproxy unix - - n - 0 tlsproxy
127.0.0.1:smtp inet n - n - - smtpd
[::1]:smtp inet n - n - - smtpd
# smtp-fleet end 25
"""


def shipped(path):
    """The text, whose source is told in shipped/README.md. 2.10 has no logger, but the Postfix here logs by it."""
    text = path.read_text()
    return text if LOGGER in text else text + LOGGER


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_what_a_distribution_ships_is_edited_in_one_place_and_comes_back(ask, machine, dial, header, path):
    before = shipped(path)
    install(machine, before)
    assert ask("look").said == ("ok", {"25": "plain"})
    assert ask("expect").said == ("ok", {"25": "proxy"})
    after = machine.read(MASTER_CF).decode()
    assert before.count("\n" + LISTENER) == 1
    assert after == before.replace("\n" + LISTENER, "\n" + GOLDEN)
    dial(header=header()).line()
    machine.await_log("CONNECT from [203.0.113.9]")
    assert ask("expect", "none").said == ("ok", {"25": "plain"})
    assert machine.read(MASTER_CF).decode() == before
    assert dial().line().startswith("220")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_what_a_distribution_ships_keeps_smtpd_where_it_is_asked_to(ask, machine, path):
    before = shipped(path)
    install(machine, before)
    assert ask("expect", FrontEnd="keep").said == ("ok", {"25": "proxy"})
    after = machine.read(MASTER_CF).decode()
    start, _, end = before.partition("\n" + LISTENER)
    assert after.startswith(start + "\n# smtp-fleet begin 25 ")
    assert after.endswith("\n# smtp-fleet end 25\n" + end)
    block = after.removeprefix(start).removesuffix(end)
    assert [words(line) for line in entries(block)] == [
        words(line)
        for line in (
            f"smtp inet n - n - - smtpd -o smtpd_upstream_proxy_protocol=haproxy {TRUST}",
            "127.0.0.1:smtp inet n - n - - smtpd",
            "[::1]:smtp inet n - n - - smtpd",
        )
    ]
    assert ask("expect", "none").said == ("ok", {"25": "plain"})
    assert machine.read(MASTER_CF).decode() == before


def test_a_last_line_without_newline_comes_back_so(ask, machine):
    before = REST + "smtp inet n - y - - smtpd"
    install(machine, before)
    assert ask("expect").said == ("ok", {"25": "proxy"})
    assert ask("expect", "none").said == ("ok", {"25": "plain"})
    assert machine.read(MASTER_CF).decode() == before


def test_a_symbolic_link_stays_one(ask, machine):
    machine.run(["sh", "-c", "mkdir /srv/cf && cd /etc/postfix && mv master.cf /srv/cf && ln -s /srv/cf/master.cf ."])
    inode = machine.run(["stat", "-c", "%i", "/srv/cf/master.cf"]).stdout
    ask("expect")
    assert machine.run(["readlink", MASTER_CF]).stdout == "/srv/cf/master.cf\n"
    assert (
        machine.run(["stat", "-c", "%i", "/srv/cf/master.cf"]).stdout != inode
    )  # renamed into place, never half-written
    assert b"postscreen_upstream" in machine.read("/srv/cf/master.cf")


def test_owner_and_mode_stay(ask, machine):
    machine.run(["sh", "-c", f"chmod 0440 {MASTER_CF}; chown root:mail {MASTER_CF}"])
    before = machine.run(["stat", "-c", "%a %U:%G", MASTER_CF]).stdout
    assert ask("expect").said == ("ok", {"25": "proxy"})
    assert machine.run(["stat", "-c", "%a %U:%G", MASTER_CF]).stdout == before == "440 root:mail\n"


def test_a_read_only_file_system_ends_as_it_began(ask, machine, dial):
    machine.run(["mount", "--bind", "-o", "ro", "/etc/postfix", "/etc/postfix"]).check_returncode()
    machine.run(["mount", "-o", "remount,bind,ro", "/etc/postfix"]).check_returncode()
    assert ask("expect").said == ("failed", {"25": "plain"})
    assert dial().line().startswith("220")


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        ("smtp inet n - y - - smtpd\nADDRESS:25 inet n - y - - smtpd\n", "two s"),
        ("smtp inet n - y - - smtpd\n0.0.0.0:25 inet n - y - - smtpd\n", "two s"),
        ("smtp inet n - y - - smtpd\nsmtp inet n - y - - smtpd -o syslog_name=x\n", "two s"),
        ("smtp inet n n n - - spawn user=nobody argv=/bin/echo 220 hi\n", "what answers there is not smtpd"),
        ("127.0.0.1:smtp inet n - y - - smtpd\n", "Postfix does not listen on the address of the balancer"),
        ("smtp inet n - y - 1 postscreen\n", "postscreen has no smtpd behind it"),
    ],
)
@pytest.mark.parametrize("verb", ["look", "expect"])
def test_refused_with_the_reason(ask, machine, before, reason, verb):
    install(machine, before.replace("ADDRESS", machine.address) + REST)
    answer = ask(verb)
    assert answer.verdict["class"] == "refused", answer
    assert answer.verdict["reason"].startswith(reason)
    assert answer.verdict["changed"] is False
    assert machine.read(MASTER_CF).decode() == before.replace("ADDRESS", machine.address) + REST
