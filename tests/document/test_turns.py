"""One command at a time on a host: the others wait for their turn, or say that they waited in vain."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from local.machine import await_until
from tests.document.states import IN, OUT, SAID, bytes_of

HELD = """\
#!/bin/sh
case "$*" in *reload*)
  if mkdir /tmp/held 2>/dev/null; then echo $PPID >/tmp/held/script; until [ -e /tmp/go ]; do sleep 0.05; done; fi ;;
esac
exec postfix.real "$@"
"""
"""The first reload waits until it may go on, and its command with it."""

IMPATIENT = """\
#!/bin/sh
[ "$*" = "-w 60 9" ] || exit 99
exec flock.real -w 0 9
"""
"""A minute of waiting passes at once."""


def replace(machine, name, wrapper):
    real = machine.run(["which", name]).stdout.strip()
    machine.run(["mv", real, f"{real}.real"]).check_returncode()
    machine.write(real, wrapper.encode())
    machine.run(["chmod", "0755", real]).check_returncode()


def exists(machine, path):
    return machine.run(["test", "-s", path]).returncode == 0


def remembered(machine):
    return machine.run(["sh", "-c", "cd /var/lib/smtp-fleet && find . -type f -exec sha256sum {} + | sort"]).stdout


@pytest.fixture
def pool():
    with ThreadPoolExecutor() as pool:
        yield pool


@pytest.fixture
def first(ask, machine, pool):
    """An `expect` of epoch 10 that is at work, about to reload; what it will have answered."""
    replace(machine, "postfix", HELD)
    first = pool.submit(ask, "expect", epoch=10)
    await_until(lambda: first.done() or exists(machine, "/tmp/held/script"), "the reload")
    assert not first.done()
    yield first
    machine.write("/tmp/go", b"")  # or the pool would never end


@pytest.fixture
def second(ask, machine, pool, first):
    """Ask for something else meanwhile, and see that it waits."""

    def second(*asked, epoch):
        second = pool.submit(ask, *asked, epoch=epoch)
        await_until(lambda: second.done() or machine.run(["pgrep", "-x", "flock"]).returncode == 0, "the wait")
        assert not second.done()
        return second

    return second


def test_a_second_command_waits_for_the_first_to_finish(machine, first, second):
    waiting = second("expect", OUT, epoch=11)
    assert first.running()
    machine.write("/tmp/go", b"")
    assert first.result().said == SAID[IN]
    assert waiting.result().said == SAID[OUT]


def test_an_older_command_that_waited_learns_that_a_newer_one_was_first(machine, first, second):
    waiting = second("expect", OUT, epoch=9)
    machine.write("/tmp/go", b"")
    assert waiting.result().said == ("older-epoch", {})
    assert waiting.result().verdict["stored"] == 10
    assert first.result().said == SAID[IN]


@pytest.mark.parametrize(("verb", "ports"), [("look", IN), ("expect", OUT)])
def test_a_command_that_waits_in_vain_says_so_and_changes_nothing(ask, machine, first, verb, ports):
    replace(machine, "flock", IMPATIENT)
    files, memory = bytes_of(machine), remembered(machine)
    answer = ask(verb, ports, epoch=11)
    assert (answer.said, answer.verdict["reason"]) == (("not-ready", {}), "another command is at work")
    assert answer.verdict["changed"] is False
    assert (bytes_of(machine), remembered(machine)) == (files, memory)  # nor does its epoch fence anybody
    assert not first.done()
    machine.write("/tmp/go", b"")
    assert first.result().said == SAID[IN]
    assert ask(verb, ports, epoch=11).verdict["class"] == "ok"  # when asked again


def test_a_killed_command_frees_its_turn_even_while_a_child_of_it_lives_on(ask, machine, first):
    replace(machine, "flock", IMPATIENT)
    script = machine.read("/tmp/held/script").decode().strip()
    machine.run(["kill", "-9", script]).check_returncode()
    await_until(lambda: machine.run(["kill", "-0", script]).returncode, "its end")
    assert machine.run(["pgrep", "-f", "postfix -c /etc/postfix reload"]).returncode == 0
    assert ask("expect", epoch=11).said == SAID[IN]


def test_a_command_that_waits_gets_its_turn_when_the_first_is_killed(machine, first, second):
    waiting = second("expect", epoch=11)
    machine.run(["kill", "-9", machine.read("/tmp/held/script").decode().strip()]).check_returncode()
    assert waiting.result().said == SAID[IN]
