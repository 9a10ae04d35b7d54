"""Whatever a kill leaves, on the way in or out, the same command finishes."""

from itertools import zip_longest

from tests.document.states import IN, OUT, SAID, bytes_of
from tests.document.tripwire import worth_a_kill


def test_what_a_kill_leaves_is_finished_by_the_same_command(ask, machine, proven, steps, kill):
    last = {ports: len(steps[ports]) for ports in (IN, OUT)}
    for pair in zip_longest(*(worth_a_kill(steps[ports]) for ports in (IN, OUT))):
        for ports, number in zip((IN, OUT), pair, strict=True):
            kill(ports, number or last[ports])
            # Where letting go was proven before the kill, no port of ours is found any more.
            assert ask("expect", ports).said in (SAID[ports], ("ok", {})), (ports, number)
            assert bytes_of(machine) == proven[ports], (ports, number)
            left = machine.run(["sh", "-c", "ls -d /var/lib/smtp-fleet/*/pending"])
            assert left.returncode, (ports, number)  # or the next look would take it for cut off
