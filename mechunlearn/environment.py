"""Versions, machine and memory, as RunCards record them."""

import platform
import resource
import sys
from importlib.metadata import version
from typing import Any

import torch

from mechunlearn import __version__

PACKAGES = ("torch", "transformers", "transformer-lens", "numpy", "scipy")


def versions() -> dict[str, str]:
    """Of this package and of those whose arithmetic results depend on."""
    return {"mechunlearn": __version__} | {p: version(p) for p in PACKAGES}


def machine(device: str) -> dict[str, Any]:
    """System, threads, device and Python."""
    return {
        "system": platform.platform(),
        "threads": torch.get_num_threads(),
        "device": device,
        "python": sys.version.split()[0],
    }


def peak_memory(device: str) -> int:
    """Largest memory so far in bytes: of the device's allocator, else of this process."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
