"""Versions, machine and memory, as RunCards record them, and the file they go to."""

import json
import math
import os
import platform
import re
import resource
import sys
import tempfile
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from mechunlearn.records import Record
from mechunlearn.version import __version__

PARTIAL = ".partial-"
"""How the names of files begin that are not written to the end."""
PACKAGES = ("torch", "transformers", "transformer-lens", "numpy", "scipy")


def versions() -> dict[str, str]:
    """Of this package and of those whose arithmetic results depend on."""
    return {"mechunlearn": __version__} | {p: _version(p) for p in PACKAGES}


@cache
def _version(package: str) -> str:
    """Read once: looking through the installed packages takes milliseconds."""
    return version(package)


class MachineCard(Record, frozen=True):
    """Where something was computed."""

    system: str
    threads: int
    device: str
    python: str


def machine(device: str) -> MachineCard:
    """This machine, with a model on ``device``."""
    return MachineCard(
        system=platform.platform(),
        threads=torch.get_num_threads(),
        device=device,
        python=sys.version.split()[0],
    )


def peak_memory(device: str) -> int:
    """Largest memory so far in bytes: of the device's allocator, else of this process."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would count what a large parent process had at the start.
        peak = re.search(r"VmHWM:\s*(\d+) kB", status.read_text())
        if peak:
            return int(peak[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def free_memory(device: str) -> float:
    """Bytes that a process may still take on a device; infinite where nobody says.

    On the host no more than its control group allows, which is what kills a container.
    """
    if device.startswith("cuda"):
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(torch.cuda.mem_get_info(device)[0] + unused)
    free, meminfo, group = math.inf, Path("/proc/meminfo"), Path("/sys/fs/cgroup")
    if meminfo.is_file() and (line := re.search(r"MemAvailable:\s*(\d+)", meminfo.read_text())):
        free = int(line[1]) * 1024.0
    limit, used, cached = (group / f"memory.{x}" for x in ("max", "current", "stat"))
    if limit.is_file() and used.is_file() and (most := limit.read_text().strip()).isdigit():
        files = re.search(r"^inactive_file (\d+)", cached.read_text(), re.MULTILINE)
        taken = int(used.read_text()) - (int(files[1]) if files else 0)
        free = min(free, float(int(most) - taken))
    return max(free, 0.0)


def write_json(path: Path, data: Any) -> None:
    """Write JSON, whole or not at all; see ``write_bytes``."""
    write_bytes(path, (json.dumps(data, indent=1, allow_nan=False) + "\n").encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write atomically: a reader sees the old file or the whole new one, also after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=PARTIAL, delete=False) as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            os.unlink(file.name)  # A full disk must not fill up with pieces.
            raise
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)
