"""Runs a command and writes its CPU seconds and the peak memory of its largest process, in MB, to a file.

A process of its own, because a child inherits the peak of the process that starts it (exec keeps `ru_maxrss`): this one
is smaller than anything it measures.
"""

import json
import resource
import subprocess
import sys

told, *command = sys.argv[1:]
code = subprocess.run(command, check=False).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(told, "w") as file:
    json.dump({"cpu": used.ru_utime + used.ru_stime, "peak": used.ru_maxrss / 1024}, file)
sys.exit(code)
