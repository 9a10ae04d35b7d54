"""A fresh process of a function in awslambdaric: its CPU and peak memory up to an answer, as the kernel has them."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.figures import Used
from local.functions import Function

TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793"


def fresh(function: Function, layer: Path, **changes: Any) -> Function:
    """The same function in an environment of its own, on a layer as it is deployed."""
    variables = function.variables | changes.pop("variables", {}) | {"PYTHONPATH": str(layer)}
    apart = {"spawner": ThreadPoolExecutor(1), "_idle": [], "_all": [], "timeout": 900, "variables": variables}
    return replace(function, **apart, **changes)


def used(function: Function, event: Any) -> Used:
    """What a fresh process has used when it has handled its first event."""
    try:
        function.invoke(event, TRACE)
        [pid] = function.pids
        # The clock of another process's CPU (clock_getcpuclockid): nanoseconds of all its threads, ended ones too.
        cpu = time.clock_gettime((~pid << 3) | 2)
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        return Used(cpu, int(peak[1]) / 1024 if peak else 0)
    finally:
        function.close()
