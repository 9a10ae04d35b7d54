"""What a host remembers is of one instance and one root volume; an image brings along what was another's."""

import pytest

from tests.document.states import IN, OUT, SAID, bytes_of

STATE = "/var/lib/smtp-fleet"
VOLUME = '#!/bin/sh\n[ "$*" = "-no UUID /" ] && echo {}\n'
OURS, THEIRS = "1b4e28ba-2fa1-11d2-883f-0016d3cca427", "6fa459ea-ee8a-3ca4-894e-db77e160355e"


@pytest.fixture
def live_on(machine):
    """Give the host another root volume, or make it another instance, with all that is on the disk."""

    def live_on(volume, instance_id=machine.instance_id):
        machine.write("/usr/bin/findmnt", VOLUME.format(volume).encode())
        machine.instance_id = instance_id

    live_on(THEIRS)
    return live_on


MOVES = pytest.mark.parametrize(
    "moved",
    [(OURS,), (THEIRS, "i-0baked00000000000"), (OURS, "i-0baked00000000000")],
    ids=["volume", "instance", "both"],
)


def remembered(machine):
    """Every file of the state directory but the lock, with its sum."""
    return machine.run(["sh", "-c", f"cd {STATE} && find . -type f ! -name lock -exec sha256sum {{}} +"]).stdout


def test_the_state_is_kept_under_the_instance_and_its_root_volume(ask, machine, live_on):
    ask("look")
    live_on(OURS)
    ask("look")
    folders = machine.run(["ls", STATE]).stdout.split()
    assert folders == [f"{machine.instance_id}.{OURS}", f"{machine.instance_id}.{THEIRS}", "lock"]


def test_a_root_volume_that_has_no_uuid_is_kept_by_the_instance(ask, machine):
    ask("look")
    assert machine.run(["ls", STATE]).stdout.split() == [f"{machine.instance_id}.", "lock"]


@MOVES
def test_the_epoch_of_another_does_not_fence(ask, live_on, moved):
    ask("look", epoch=9_000)
    live_on(*moved)
    assert ask("expect", epoch=1_000).said == SAID[IN]
    assert ask("look", epoch=999).verdict["class"] == "older-epoch"  # its own does
    live_on(THEIRS, "i-0123456789abcdef0")
    assert ask("look", epoch=8_999).verdict["stored"] == 9_000


@MOVES
def test_a_change_of_another_that_was_cut_off_is_not_put_back(ask, machine, live_on, proven, steps, kill, moved):
    """The image was made of a host whose command was killed once both files were written."""
    reload = next(number for number, step in enumerate(steps[IN], 1) if step.words.startswith("postfix"))
    kill(IN, reload)
    assert bytes_of(machine) == proven[IN]
    theirs = remembered(machine)
    assert "/pending/master.cf" in theirs
    machine.run(["postfix", "stop"])
    machine.start_postfix()  # as the image boots, on the files that it has
    live_on(*moved)
    answer = ask("look")
    assert (answer.said, answer.verdict["changed"]) == (SAID[IN], False)
    assert bytes_of(machine) == proven[IN]
    assert ask("expect", OUT).said == SAID[OUT]
    assert bytes_of(machine) == proven[OUT]
    assert set(theirs.splitlines()) <= set(remembered(machine).splitlines())  # what is theirs stays as it was


@MOVES
def test_lines_of_ours_that_an_image_brings_are_let_go_with_nothing_said_of_edits(ask, machine, live_on, proven, moved):
    ask("expect")
    machine.write("/etc/postfix/main.cf", machine.read("/etc/postfix/main.cf") + b"# baked\n")
    live_on(*moved)
    answer = ask("expect", OUT)
    assert (answer.said, answer.verdict["detail"]) == (SAID[OUT], "")  # they were edited, but not since our change
    assert bytes_of(machine)["/etc/postfix/master.cf"] == proven[OUT]["/etc/postfix/master.cf"]
    assert bytes_of(machine)["/etc/postfix/main.cf"] == proven[OUT]["/etc/postfix/main.cf"] + b"# baked\n"


@MOVES
def test_what_another_adopted_is_not_ours_to_speak_of(ask, machine, live_on, moved):
    machine.run(["postconf", "-P", "smtp/inet/smtpd_upstream_proxy_protocol=haproxy"]).check_returncode()
    machine.run(["touch", "-d", "1 minute ago", "/etc/postfix/master.cf"])
    machine.run(["postfix", "reload"]).check_returncode()
    machine.await_log("reload --")
    before = bytes_of(machine)
    assert ask("expect").said == SAID[IN]
    live_on(*moved)
    assert ask("expect", OUT).said == ("ok", {})
    assert ask("expect").verdict["detail"] == "as others made it: 25"  # adopted anew
    assert ask("expect", OUT).said == ("edited", {"25": "proxy"})
    assert bytes_of(machine) == before
