"""Wherever a change fails or is killed, the host ends in one of the two proven states."""

import itertools

import pytest

FILES = ("/etc/postfix/main.cf", "/etc/postfix/master.cf")
STEPS = ("mv", "sync", "cp", "touch", "postfix")
TRIPWIRE = """\
#!/bin/sh
if [ "$(cat /proc/$PPID/comm)" = _script.sh ]; then
  count=$(($(cat /tmp/count) + 1))
  echo $count >/tmp/count
  if [ $count = "$(cat /tmp/trip)" ]; then
    case $(cat /tmp/mode) in
      kill) kill -9 $PPID; exit 1 ;;
      fail) exit 1 ;;
    esac
  fi
fi
exec REAL "$@"
"""


@pytest.fixture
def trip(machine):
    """Make the script's n-th outward step fail or be its last; 0 is never."""
    for step in STEPS:
        real = machine.run(["which", step]).stdout.strip()
        machine.run(["mv", real, f"{real}.real"]).check_returncode()
        machine.write(real, TRIPWIRE.replace("REAL", f"{real}.real").encode())
        machine.run(["chmod", "0755", real])

    def trip(mode, number):
        machine.run(["sh", "-c", f"echo {mode} >/tmp/mode; echo {number} >/tmp/trip; echo 0 >/tmp/count"])

    trip("fail", 0)
    return trip


def bytes_of(machine):
    return {path: machine.read(path) for path in FILES}


def states(ask, machine, trip):
    """The bytes of the two proven states, and how many steps lie between them."""
    plain = bytes_of(machine)
    trip("fail", 0)
    assert ask("expect").said == ("ok", {"25": "proxy"})
    steps = int(machine.read("/tmp/count"))
    assert steps > 15
    return plain, bytes_of(machine), steps


@pytest.mark.parametrize("next_verb", ["look", "expect"])
def test_a_kill_at_any_step_is_repaired_by_the_next_command(ask, attempt, machine, trip, next_verb):
    plain, proxy, steps = states(ask, machine, trip)
    killed = 0
    for number in range(1, steps + 1):
        trip("fail", 0)
        ask("expect", "none")
        assert bytes_of(machine) == plain
        trip("kill", number)
        killed += attempt("expect").status == "TimedOut"
        trip("fail", 0)
        answer = ask(next_verb)
        assert answer.verdict["class"] == "ok", number
        assert (
            answer.verdict["ports"]["25"]
            == {plain_or: name for plain_or, name in ((True, "plain"), (False, "proxy"))}[bytes_of(machine) == plain]
        ), number
        assert bytes_of(machine) in (plain, proxy), number
        if next_verb == "expect":
            assert bytes_of(machine) == proxy
    assert killed == steps


def test_a_kill_while_letting_go_is_repaired(ask, attempt, machine, trip):
    plain, proxy, steps = states(ask, machine, trip)
    for number in itertools.islice(range(4, steps), 0, None, 2):
        trip("fail", 0)
        ask("expect")
        trip("kill", number)
        attempt("expect", "none")
        trip("fail", 0)
        assert ask("expect", "none").said[0] == "ok"
        assert bytes_of(machine) == plain, number


def test_a_failure_at_any_step_puts_back_what_was(ask, machine, trip, dial):
    plain, proxy, steps = states(ask, machine, trip)
    classes = set()
    for number in range(1, steps + 1):
        trip("fail", 0)
        ask("expect", "none")
        trip("fail", number)
        answer = ask("expect")
        classes.add(answer.verdict["class"])
        if answer.verdict["class"] == "ok":
            assert bytes_of(machine) == proxy, number
        else:
            assert bytes_of(machine) == plain, number
            assert answer.verdict["ports"].get("25", "plain") == "plain", number
            assert dial().line().startswith("220 ")
    assert classes == {"ok", "failed", "broken"}


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


def test_a_session_in_data_survives_the_reload(ask, dial):
    client = dial()
    client.reply()
    client.say("EHLO client.example")
    client.say("MAIL FROM:<a@client.example>")
    client.say("RCPT TO:<postmaster@example.net>")
    assert client.say("DATA").startswith("354")
    assert ask("expect").said == ("ok", {"25": "proxy"})
    assert client.say("Subject: hi\r\n\r\nhi\r\n.").startswith("250 2.0.0 Ok: queued")
