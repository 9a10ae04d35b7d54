"""Makes the n-th outward step of the script fail or be its last, and tells what each step found.

A step is a program that the script starts: what it does with the shell alone lies between two of them, so a kill before
each step leaves everything that a kill can leave.
"""

from dataclasses import dataclass

from local.machine import Machine

STEPS = ("mkdir", "mv", "rm", "sync", "cp", "touch", "postfix")
WRAPPER = """\
#!/bin/sh
if [ "$(cat /proc/$PPID/comm)" = _script.sh ]; then
  count=$(($(cat /tmp/count) + 1))
  echo $count >/tmp/count
  case $(cat /tmp/mode) in
    $count:kill) kill -9 $PPID; exit 1 ;;
    $count:fail) exit 1 ;;
    note) echo "$(cd / && find etc/postfix var/lib/smtp-fleet -type f -exec sha256sum {} + -o -type d -print |
      sort | sha256sum | cut -c1-64) NAME $*" >>/tmp/steps ;;
  esac
fi
exec REAL "$@"
"""


@dataclass(frozen=True)
class Step:
    """What the script was about to start, and a sum of all that it keeps on the disk, as it was then."""

    found: str
    words: str

    @property
    def settles(self) -> bool:
        """Does the script, by this step, take the change for proven?"""
        return self.words.startswith("mv -T") and self.words.endswith("/pending.done")


class Tripwire:
    """Stands between the script on a machine and the programs that change anything."""

    def __init__(self, machine: Machine):
        self._machine = machine
        for name in STEPS:
            real = machine.run(["which", name]).stdout.strip()
            machine.run(["cp", "-a", real, f"{real}.real"]).check_returncode()
            wrapper = WRAPPER.replace("REAL", f"{real}.real").replace("NAME", name).encode()
            # In one go, since the programs that put it there are among those that it replaces.
            put = f"cat >{real}.new && chmod 0755 {real}.new && exec mv {real}.new {real}"
            machine.run(["sh", "-c", put], input=wrapper).check_returncode()
        self.disarm()

    def disarm(self) -> None:
        """Let every step pass."""
        self._set("")

    def kill(self, number: int) -> None:
        """Let the script be killed before its n-th step."""
        self._set(f"{number}:kill")

    def fail(self, number: int) -> None:
        """Let the script's n-th step fail, with nothing done."""
        self._set(f"{number}:fail")

    def note(self) -> None:
        """Let every step pass, and note what it found."""
        self._set("note")

    def noted(self) -> list[Step]:
        """The steps since `note`; the first is number 1."""
        lines = self._machine.read("/tmp/steps").decode().splitlines()
        self.disarm()
        return [Step(*line.split(" ", 1)) for line in lines]

    def _set(self, mode: str) -> None:
        self._machine.run(["sh", "-c", f"echo {mode} >/tmp/mode; echo 0 >/tmp/count; : >/tmp/steps"])


def worth_a_kill(steps: list[Step]) -> list[int]:
    """The numbers of the steps before which a kill leaves something that a kill one step earlier does not."""
    return [
        number
        for number, (before, step) in enumerate(zip([None, *steps], steps, strict=False), 1)
        if before is None or before.found != step.found or before.words.startswith("postfix")
    ]
