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


def inhabitants(spaces):
    """The processes in these namespaces, without those of tests that run beside this one.

    A namespace that ends leaves its number to the next that begins, whoever begins it.
    """
    found = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if namespaces(pid) & spaces]
    all_tests = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    beside = set(family(all_tests)).difference(family(os.getpid()))
    return [pid for pid in found if pid not in beside]
