"""What others did to the host before us, beside us and after us."""

import pytest

from local.machine import await_until

FILES = ("/etc/postfix/main.cf", "/etc/postfix/master.cf")
MASTER_CF = FILES[1]
SYSLOG = """
import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind("/dev/log")
open("/dev/log-ready", "w").close()
while True:
    line = s.recv(4096).decode().partition(">")[2]
    with open("/run/journal", "a") as journal:
        journal.write(line.rstrip("\\n\\0") + "\\n")
"""


def bytes_of(machine):
    return {path: machine.read(path) for path in FILES}


def reloads(machine):
    logs = ["/var/log/mail.log", "/var/log/postfix-edge.log", "/run/journal"]
    return machine.run(["grep", "-hsc", "reload --", *logs]).stdout.split()


def settle(machine, shell):
    """Edit as an administrator would, and have Postfix read it."""
    before = reloads(machine)
    edit = f"{shell}\ntouch -d '1 minute ago' /etc/postfix/ma*.cf\npostfix reload"
    done = machine.run(["sh", "-ec", edit])
    assert done.returncode == 0, done.stderr
    await_until(lambda: reloads(machine) != before, "the reload")


def test_expecting_already_is_adopted_and_never_undone(ask, machine):
    settle(machine, "postconf -P smtp/inet/smtpd_upstream_proxy_protocol=haproxy")
    before = bytes_of(machine)
    answer = ask("expect")
    assert answer.said == ("ok", {"25": "proxy"})
    assert answer.verdict["changed"] is False
    answer = ask("expect", "none")
    assert answer.said == ("edited", {"25": "proxy"})
    assert bytes_of(machine) == before


def test_expecting_by_main_cf_is_adopted_as_well(ask, machine):
    settle(machine, "postconf -e smtpd_upstream_proxy_protocol=haproxy")
    before = bytes_of(machine)
    assert ask("look").said == ("ok", {"25": "proxy"})
    assert ask("expect").said == ("ok", {"25": "proxy"})
    assert bytes_of(machine) == before


def test_an_image_baked_from_a_configured_host_starts_afresh_and_can_be_let_go(ask, machine):
    before = bytes_of(machine)
    ask("expect", epoch=9_000)
    machine.instance_id = "i-0baked00000000000"
    answer = ask("expect", epoch=1_000)
    assert answer.said == ("ok", {"25": "proxy"})
    assert answer.verdict["changed"] is False
    assert ask("expect", "none", epoch=1_001).said == ("ok", {"25": "plain"})
    assert bytes_of(machine) == before


def test_edits_beside_our_block_stay(ask, machine):
    before = bytes_of(machine)
    ask("expect")
    theirs = {FILES[0]: b"message_size_limit = 1000000\n", FILES[1]: b"2600 inet n - y - - smtpd\n  -o syslog_name=x\n"}
    for path, more in theirs.items():
        machine.write(path, b"# theirs\n" + machine.read(path) + more)
    answer = ask("expect", "none")
    assert answer.said == ("ok", {"25": "plain"})
    assert answer.verdict["detail"] == "only our lines were undone, others edited since: main.cf master.cf"
    assert bytes_of(machine) == {path: b"# theirs\n" + before[path] + theirs[path] for path in FILES}


def test_where_nobody_edited_nothing_is_said_of_it(ask):
    ask("expect")
    ask("expect", "25 2525")
    assert ask("expect", "none").verdict["detail"] == ""


@pytest.mark.parametrize(
    "edit",
    [
        f"sed -i 's/^  -o mynetworks=$/  -o mynetworks=10.0.0.0\\/8/' {MASTER_CF}",
        f"sed -i '/^# smtp-fleet end 25/a \\  -o syslog_name=hung-on' {MASTER_CF}",
        f"sed -i '/^# smtp-fleet end 25/d' {MASTER_CF}",
        f"sed -i '/^#=/d' {MASTER_CF}",
    ],
)
def test_edits_inside_our_block_are_left_alone(ask, machine, edit):
    ask("expect")
    settle(machine, edit)
    before = bytes_of(machine)
    assert ask("expect", "none").said == ("edited", {"25": "proxy"})
    assert bytes_of(machine) == before


def test_a_file_written_over_by_others_is_made_to_expect_again(ask, machine, dial, header):
    stock = machine.read(MASTER_CF)
    ask("expect")
    machine.write(MASTER_CF, stock)
    settle(machine, "true")
    client = dial(header=header())
    assert client.reply().startswith("220 ")
    # The guard in main.cf: not 500, which shifts every reply and bounces the mail, but an end that defers it.
    assert client.reply().startswith("221 ")
    assert client.line() == ""
    assert ask("expect").said == ("ok", {"25": "proxy"})


def test_without_the_guard_the_replies_would_shift(dial, header):
    client = dial(header=header())
    client.reply()
    assert client.reply().startswith("500 ")
    assert client.say("NOOP").startswith("250 ")


@pytest.mark.parametrize("front_end", ["postscreen", "keep"])
def test_a_forged_address_cannot_speak_xclient(ask, machine, dial, header, front_end):
    settle(
        machine,
        "postconf -e smtpd_authorized_xclient_hosts=127.0.0.0/8 smtpd_authorized_xforward_hosts=127.0.0.0/8 "
        "postscreen_greet_wait=1s",
    )
    ask("expect", FrontEnd=front_end)
    client = dial(header=header("127.0.0.1"))
    client.reply()
    offered = client.say("EHLO forger.example")
    assert "XCLIENT" not in offered
    assert "XFORWARD" not in offered
    assert client.say("XCLIENT ADDR=10.0.0.1")[:1] == "5"


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("2.9.6", "this Postfix is too old to read the header: 2.10 or later is needed"),
        ("2.10.1", "this Postfix cannot keep a plain port for local clients beside it"),
    ],
)
@pytest.mark.parametrize("verb", ["look", "expect"])
def test_a_postfix_that_is_too_old_is_refused(ask, machine, verb, version, reason):
    settle(machine, f"postconf -e mail_version={version}")
    before = bytes_of(machine)
    answer = ask(verb)
    assert (answer.verdict["class"], answer.verdict["reason"]) == ("refused", reason)
    assert version in answer.verdict["detail"]
    assert bytes_of(machine) == before


def test_another_program_on_the_port_is_refused(ask, machine):
    before = bytes_of(machine)
    listen = "import socket, time; s = socket.create_server(('', 2525)); open('/run/up', 'w').close(); time.sleep(999)"
    machine.popen(["python3", "-c", listen])
    machine.run(["sh", "-c", "until [ -e /run/up ]; do sleep 0.05; done"])
    answer = ask("expect", "2525")
    assert answer.verdict["class"] == "refused"
    assert answer.verdict["reason"] == "the port belongs to another program"
    assert "python" in answer.verdict["detail"]
    assert bytes_of(machine) == before


def test_a_child_of_master_that_was_just_forked_is_no_other_program(ask, machine):
    # On a busy host the listing shows it as a master; a moment later it is smtpd.
    child = """'$(pgrep -o qmgr)'"""
    listing = f"""sed -E 's/users:\\(\\("master",pid=[0-9]+/users:(("master",pid={child},fd=12),&/; s/,users:\\(/,/'"""
    machine.run(["mv", "/usr/bin/ss", "/usr/bin/ss.real"]).check_returncode()
    machine.write("/usr/bin/ss", f'#!/bin/sh\nss.real "$@" | {listing}\n'.encode())
    machine.run(["chmod", "0755", "/usr/bin/ss"]).check_returncode()
    listed = machine.run(["ss", "-Hltnp", "sport = :25"]).stdout
    assert listed.splitlines()[0].count('"master",pid=') == 2
    assert ask("look").verdict["class"] == "ok"
    assert ask("expect").said == ("ok", {"25": "proxy"})


def test_a_postfix_in_a_container_is_not_ours(ask, machine):
    machine.run(["postfix", "stop"])
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "MAIL_CONFIG": "/etc/postfix"}
    daemons = machine.run(["postconf", "-h", "daemon_directory"]).stdout.strip()
    machine.run(["unshare", "--mount", f"{daemons}/master", "-w"], environment).check_returncode()
    answer = ask("expect")
    assert answer.verdict["class"] == "refused"
    assert answer.verdict["reason"] == "the port belongs to another program"


def test_no_readable_log_is_refused_before_anything_is_changed(ask, machine):
    # No reload: the log that would tell of it is the one that goes.
    machine.run(["postconf", "-X", "maillog_file"]).check_returncode()
    before = bytes_of(machine)
    answer = ask("expect")
    assert answer.said == ("refused", {"25": "plain"})
    assert answer.verdict["reason"] == "the mail log cannot be read"
    assert bytes_of(machine) == before


def test_the_journal_is_read_where_there_is_no_file(ask, machine):
    machine.popen(["python3", "-c", SYSLOG])
    machine.run(["sh", "-c", "until [ -e /dev/log-ready ]; do sleep 0.05; done"])
    machine.run(["sh", "-c", "mkdir -p /var/spool/postfix/dev; ln -f /dev/log /var/spool/postfix/dev/log || true"])
    machine.write("/usr/bin/journalctl", b"#!/bin/sh\nexec cat /run/journal\n")
    machine.run(["chmod", "0755", "/usr/bin/journalctl"])
    unjail = f"sed -i 's/^\\(smtp *inet.*\\) y /\\1 n /' {MASTER_CF}"
    machine.run(
        ["sh", "-ec", f"postconf -X maillog_file; {unjail}; postfix stop; rm /var/log/mail.log"]
    ).check_returncode()
    machine.start_postfix()
    assert ask("expect").said == ("ok", {"25": "proxy"})


def test_another_log_file_is_found_by_its_name(ask, machine):
    settle(machine, "postconf -e maillog_file=/var/log/postfix-edge.log; touch /var/log/postfix-edge.log")
    assert ask("expect").said == ("ok", {"25": "proxy"})


def test_marks_of_configuration_management_are_named(ask, machine):
    machine.write(FILES[0], b"# Ansible managed\n" + machine.read(FILES[0]))
    assert ask("look").verdict["owner"] == "ansible"


def test_a_hostile_file_cannot_break_the_verdict(ask, machine):
    settle(machine, "postconf -M smtp/inet='smtp inet n - y - 1 postscreen -o smtpd_service_name=NAME'")
    hostile = machine.read(MASTER_CF).replace(b"smtpd_service_name=NAME", b'smtpd_service_name="\\we\xffird')
    machine.write(MASTER_CF, hostile)
    assert ask("look").verdict["detail"] == '"\\we ird'


def test_submission_and_smtps_keep_smtpd(ask, machine, dial, header):
    settle(
        machine,
        "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=mx -keyout /etc/k.pem -out /etc/c.pem 2>/dev/null\n"
        "postconf -e smtpd_tls_cert_file=/etc/c.pem smtpd_tls_key_file=/etc/k.pem\n"
        f"printf '%s\\n' 'submission inet n - y - - smtpd -o syslog_name=postfix/submission'"
        f" 'submissions inet n - y - - smtpd' '  -o smtpd_tls_wrappermode=yes' >>{MASTER_CF}",
    )
    before = bytes_of(machine)
    assert ask("look", "465 587").said == ("ok", {"465": "plain", "587": "plain"})
    assert ask("expect", "465 587").said == ("ok", {"465": "proxy", "587": "proxy"})
    assert b"postscreen_upstream" not in machine.read(MASTER_CF)
    assert dial(587, header()).line().startswith("220 ")
    assert "submission/smtpd" in machine.await_log("connect from unknown[203.0.113.9]")
    assert dial(25).line().startswith("220 ")
    local = machine.run(["openssl", "s_client", "-quiet", "-connect", "127.0.0.1:465"], input="QUIT\n", timeout=10)
    assert "220 " in local.stdout
    assert ask("expect", "none").said == ("ok", {"465": "plain", "587": "plain"})
    assert bytes_of(machine) == before


def test_a_host_with_only_ipv6_is_served(ask, machine, dial):
    machine.run(["ip", "-4", "addr", "flush", "dev", "eth0"])
    settle(machine, "postconf -e inet_protocols=ipv6")
    machine.run(["postfix", "stop"])
    machine.start_postfix()
    before = bytes_of(machine)
    assert ask("expect").said == ("ok", {"25": "proxy"})
    header = f"PROXY TCP6 2001:db8::9 {machine.address_6} 4321 25"
    assert dial(header=header, host=machine.address_6).line().startswith("220")
    machine.await_log("CONNECT from [2001:db8::9]:4321")
    assert ask("expect", "none").said == ("ok", {"25": "plain"})
    assert bytes_of(machine) == before
