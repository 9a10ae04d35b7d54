"""The processes of this machine: who started whom, since when, and in which namespaces they live."""

import os
from pathlib import Path

KINDS = ("net", "mnt", "pid")


def family(pid):
    """A process and all that it started, near and far."""
    found = [pid]
    for one in found:  # grows while it is read
        try:
            children = [p.read_text().split() for p in Path(f"/proc/{one}/task").glob("*/children")]
        except OSError:
            continue
        found += [int(child) for each in children for child in each]
    return found


def began(pid):
    """The moment at which a process was started; None if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


def namespaces(pid):
    """The namespaces of a process; none if it has ended."""
    try:
        return frozenset(os.readlink(f"/proc/{pid}/ns/{kind}") for kind in KINDS)
    except OSError:
        return frozenset()


class Spaces:
    """The namespaces of others, held: one that ended would leave its number to the next that begins, anywhere."""

    def __init__(self):
        self._held, self._own = {}, namespaces("self")

    def close(self):
        """Lets them end."""
        for held in self._held.values():
            os.close(held)
        self._held.clear()

    def __len__(self):
        return len(self._held)

    def hold(self, pid):
        """Adds those that a process lives in and we do not."""
        for kind in KINDS:
            try:
                opened = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY)
            except OSError:  # it has ended
                continue
            name = os.readlink(f"/proc/self/fd/{opened}")
            if name in self._held or name in self._own:
                os.close(opened)
            else:
                self._held[name] = opened

    def inhabitants(self):
        """The processes that live in any of them."""
        every = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        return [pid for pid in every if namespaces(pid) & self._held.keys()]
