"""What this machine has, for bug reports and before long runs."""

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version

import torch

from mechunlearn.models import named_models


def examine() -> dict[str, str]:
    """One line each: Python, packages, devices, memory, browser, models."""
    found = {"python": platform.python_version(), "system": platform.platform()}
    for package in ("torch", "transformer-lens", "transformers", "gguf", "kaleido", "ray"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    if torch.cuda.is_available():
        devices = range(torch.cuda.device_count())
        found["devices"] = ", ".join(torch.cuda.get_device_name(i) for i in devices)
        found["to measure the GPU"] = "python tests/benchmarks/gpu.py, in a checkout"
    else:
        found["devices"] = f"CPU, {torch.get_num_threads()} threads"
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        found["memory"] = f"{size / 2**30:.0f} GiB"
    browsers = ("chromium", "google-chrome", "chrome")
    browser = next((b for b in browsers if shutil.which(b)), None)
    found["browser for images"] = browser or "none; run plotly_get_chrome"
    found["models"] = ", ".join(sorted(named_models()))
    return found
