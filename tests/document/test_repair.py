"""Whatever keeps a change from being made or proven, the host ends in one of the two proven states."""

import pytest

from tests.document.states import FILES, IN, OUT, SAID, bytes_of

NO_ROOM = ("no room on the disk", "the state directory cannot be written")
SMALL = """
mkdir -p {folder} /tmp/kept && cp -a {folder}/. /tmp/kept/
mount -t tmpfs -o size={size}k tmpfs {folder} && cp -a /tmp/kept/. {folder}/
dd if=/dev/zero of={folder}/filler bs=1k count=10000 2>/dev/null
truncate -s -{left}k {folder}/filler
"""
"""Puts a small file system over a folder, with what was in it, and fills it but for a few KiB."""


def small(machine, folder, size, left):
    machine.run(["sh", "-c", SMALL.format(folder=folder, size=size, left=left)]).check_returncode()


@pytest.mark.parametrize(
    ("folder", "size", "left"),
    [*(("/var/lib/smtp-fleet", 200, left) for left in (0, 8, 16, 24)), *(("/etc/postfix", 600, n) for n in (0, 8, 16))],
)
def test_no_room_on_the_disk_changes_nothing_and_says_so(ask, machine, dial, folder, size, left):
    small(machine, folder, size, left)
    before = bytes_of(machine)
    answer = ask("expect")
    if answer.verdict["class"] != "ok":
        assert (answer.verdict["class"], answer.verdict["reason"] in NO_ROOM) == ("broken", True), answer.verdict
        assert bytes_of(machine) == before
        assert dial().line().startswith("220 ")
    assert machine.run(["find", "/etc/postfix", "-name", ".smtp-fleet.new"]).stdout == ""
    machine.run(["rm", f"{folder}/filler"]).check_returncode()
    assert ask("expect").said == ("ok", {"25": "proxy"})
    assert ask("expect", "none").said == ("ok", {"25": "plain"})
    assert bytes_of(machine) == before


@pytest.mark.parametrize(
    ("folder", "size", "left"),
    [*(("/var/lib/smtp-fleet", 200, left) for left in (0, 8, 16, 24)), *(("/etc/postfix", 600, n) for n in (0, 4, 8))],
)
def test_no_room_to_let_go_leaves_it_expecting_and_says_so(ask, machine, proven, folder, size, left):
    ask("expect")
    small(machine, folder, size, left)
    answer = ask("expect", "none")
    if answer.verdict["class"] != "ok":
        assert (answer.verdict["class"], answer.verdict["reason"] in NO_ROOM) == ("broken", True), answer.verdict
        assert answer.verdict["changed"] is False
        assert bytes_of(machine) == proven[IN]
        assert machine.run(["find", "/etc/postfix", "-name", ".smtp-fleet.new"]).stdout == ""
        machine.run(["rm", f"{folder}/filler"]).check_returncode()
        assert ask("look").said == SAID[IN]
        assert ask("expect", "none").said == SAID[OUT]
    assert bytes_of(machine) == proven[OUT]


def read_only(machine, folder):
    machine.run(["mount", "--bind", folder, folder]).check_returncode()
    machine.run(["mount", "-o", "remount,bind,ro", folder]).check_returncode()


@pytest.mark.parametrize(
    ("folder", "said", "reason"),
    [
        ("/etc/postfix", ("failed", {"25": "proxy"}), "the configuration could not be written"),
        ("/var/lib/smtp-fleet", ("broken", {}), "the state directory cannot be written"),
    ],
)
def test_what_is_read_only_cannot_be_let_go_and_still_expects(ask, machine, proven, folder, said, reason):
    ask("expect")
    read_only(machine, folder)
    answer = ask("expect", "none")
    assert (answer.said, answer.verdict["reason"], answer.verdict["changed"]) == (said, reason, False)
    assert bytes_of(machine) == proven[IN]
    machine.run(["umount", folder]).check_returncode()
    assert ask("look").said == SAID[IN]
    assert ask("expect", "none").said == SAID[OUT]
    assert bytes_of(machine) == proven[OUT]


def test_a_reload_that_fails_again_and_again_leaves_it_expecting(ask, machine, proven, dial, header):
    ask("expect")
    machine.run(["mv", "/usr/sbin/postfix", "/usr/sbin/postfix.real"]).check_returncode()
    machine.write("/usr/sbin/postfix", b'#!/bin/sh\ncase "$*" in *reload*) exit 1 ;; esac\nexec postfix.real "$@"\n')
    machine.run(["chmod", "0755", "/usr/sbin/postfix"]).check_returncode()
    answer = ask("expect", "none")
    assert (answer.said, answer.verdict["reason"]) == (("failed", {"25": "proxy"}), "Postfix did not reload")
    assert bytes_of(machine) == proven[IN]
    assert dial(header=header()).line().startswith("220")
    machine.await_log("CONNECT from [203.0.113.9]")
    machine.run(["mv", "/usr/sbin/postfix.real", "/usr/sbin/postfix"]).check_returncode()
    assert ask("expect", "none").said == SAID[OUT]
    assert bytes_of(machine) == proven[OUT]


def test_room_that_comes_back_does_not_make_a_file_that_was_cut_off_one_that_was_read(ask, machine):
    """Another program frees the disk just after our copy of main.cf was cut off."""
    lines = b"# " + b"x" * 9000 + b"\nmessage_size_limit = 1234567\n"
    machine.write(FILES[0], machine.read(FILES[0]) + lines)
    machine.run(["sh", "-c", "touch -d '1 minute ago' /etc/postfix/main.cf; postfix reload"]).check_returncode()
    small(machine, "/var/lib/smtp-fleet", 200, 8)
    frees = '#!/bin/sh\nrm -f /var/lib/smtp-fleet/filler\nexec {real}.real "$@"\n'
    real = machine.run(["which", "cp"]).stdout.strip()
    machine.run(["mv", real, f"{real}.real"]).check_returncode()
    machine.write(real, frees.format(real=real).encode())
    machine.run(["chmod", "0755", real])
    ask("expect")
    assert b"message_size_limit = 1234567" in machine.read(FILES[0])


def test_a_change_that_cannot_be_proven_is_put_back(ask, machine, dial):
    # postscreen dies at its start: the files are right, Postfix is not
    machine.run(["sh", "-c", "printf '#!/bin/sh\\nexit 1\\n' >$(postconf -h daemon_directory)/postscreen"])
    machine.run(["postconf", "-e", "service_throttle_time=2s"])
    machine.run(["touch", "-d", "1 minute ago", FILES[0]])
    plain = bytes_of(machine)
    answer = ask("expect")
    assert answer.said == ("failed", {"25": "plain"})
    assert answer.verdict["changed"] is False
    assert bytes_of(machine) == plain
    assert dial().line().startswith("220 ")


def test_letting_go_that_cannot_be_proven_is_put_back(ask, machine, dial, header):
    # smtpd dies at its start, as nobody notices while postscreen answers before it
    machine.run(["postconf", "-e", "service_throttle_time=2s"])
    machine.run(["touch", "-d", "1 minute ago", FILES[0]])
    ask("expect")
    expecting = bytes_of(machine)
    smtpd = machine.run(["postconf", "-h", "daemon_directory"]).stdout.strip() + "/smtpd"
    machine.run(["rm", smtpd]).check_returncode()  # it runs, so it cannot be written over
    machine.write(smtpd, b"#!/bin/sh\nexit 1\n")
    machine.run(["chmod", "0755", smtpd]).check_returncode()
    answer = ask("expect", "none")
    assert answer.said == ("failed", {"25": "proxy"})
    assert answer.verdict["reason"] == "the change could not be proven"
    assert answer.verdict["changed"] is False
    assert bytes_of(machine) == expecting
    assert dial(header=header()).line().startswith("220")
    machine.await_log("CONNECT from [203.0.113.9]")


def test_a_master_that_dies_of_the_change_is_started_as_it_was(ask, machine, dial):
    plain = bytes_of(machine)
    machine.run(["mv", "/usr/sbin/postfix", "/usr/sbin/postfix.real"])
    deadly = '#!/bin/sh\ncase "$* $(cat /etc/postfix/master.cf)" in *reload*"smtp-fleet begin"*) set -- stop ;; esac\n'
    machine.write("/usr/sbin/postfix", (deadly + 'exec postfix.real "$@"\n').encode())
    machine.run(["chmod", "0755", "/usr/sbin/postfix"])
    assert ask("expect").said == ("failed", {"25": "plain"})
    assert bytes_of(machine) == plain
    assert dial().line().startswith("220 ")


@pytest.fixture
def in_data(dial):
    """A client in the middle of its message."""

    def in_data(header=""):
        client = dial(header=header)
        client.reply()
        client.say("EHLO client.example")
        client.say("MAIL FROM:<a@client.example>")
        client.say("RCPT TO:<postmaster@example.net>")
        assert client.say("DATA").startswith("354")
        return client

    return in_data


END = "Subject: hi\r\n\r\nhi\r\n."


def test_a_session_in_data_survives_and_does_not_hold_up_the_next(ask, dial, header, in_data):
    client = in_data()
    assert ask("expect").said == ("ok", {"25": "proxy"})
    # One process of postscreen would have to wait for this session to end, so smtpd itself expects the header.
    assert dial(header=header()).line().startswith("220 ")
    assert client.say(END).startswith("250 2.0.0 Ok: queued")
    client.close()
    assert ask("expect").verdict["changed"] is False


def test_a_session_survives_letting_go_of_smtpd(ask, dial, header, in_data):
    ask("expect", FrontEnd="keep")
    client = in_data(header())
    assert ask("expect", "none").said == ("ok", {"25": "plain"})
    assert dial().line().startswith("220 ")
    assert client.say(END).startswith("250 2.0.0 Ok: queued")


def test_a_session_behind_postscreen_is_cut_when_letting_go_and_its_mail_is_not_taken(ask, machine, header, in_data):
    # Postfix ends the processes of a service that is gone; the sender sees no reply and tries again.
    machine.run(["postconf", "-e", "postscreen_greet_wait=1s"])
    machine.run(["touch", "-d", "1 minute ago", FILES[0]])
    ask("expect")
    client = in_data(header())
    assert ask("expect", "none").said == ("ok", {"25": "plain"})
    with pytest.raises((ConnectionError, AssertionError)):
        assert client.say(END).startswith("2")
    assert "from=<a@client.example>" not in machine.mail_log()
