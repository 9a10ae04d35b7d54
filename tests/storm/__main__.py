"""`python -m tests.storm SEED…`: the storms of these seeds, and the story of each that fails."""

import os
import sys

from tests.storm.run import HASHES, ended


def main(seeds: list[int]) -> int:
    """Play them; gives the exit code."""
    failed = False
    for seed in seeds:
        end = ended(seed)
        failed |= bool(end.story)
        print(end.story or f"seed {seed}: all is as it should be, {end.invocations} invocations", flush=True)
    return int(failed)


if __name__ == "__main__":
    if any(os.environ.get(name) != value for name, value in HASHES.items()):
        os.execve(sys.executable, [sys.executable, "-m", "tests.storm", *sys.argv[1:]], os.environ | HASHES)
    sys.exit(main([int(seed) for seed in sys.argv[1:]]))
