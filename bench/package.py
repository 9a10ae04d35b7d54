"""The layer as it is deployed: built by its own Makefile, and packed."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path


def build(folder: Path, runtime: str) -> Path:
    """Build the layer, compiled by the Python `runtime` (not, if that is no Python); gives its import folder."""
    subprocess.run(
        ["make", "--silent", "-C", "layers/smtp_fleet", "build-SmtpFleetLayer", f"ARTIFACTS_DIR={folder}",
         f"PYTHON={sys.executable}", f"RUNTIME={runtime}"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder / "python"


def size(folder: Path) -> int:
    """Bytes of the folder as a zip file."""
    packed = folder.with_suffix(".zip")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder.parent))
    return packed.stat().st_size
