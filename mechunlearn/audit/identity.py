"""What results depend on, as hashes: models, tasks, settings and versions."""

import hashlib
import json
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache

from mechunlearn.environment import versions
from mechunlearn.models.sources import ADAPTER, carrier, locate
from mechunlearn.records import plain
from mechunlearn.types import Task

ARITHMETIC = ("mechunlearn", "torch", "transformers", "transformer-lens")
"""Packages whose versions a stored number depends on; statistics are computed anew each time."""
WEIGHTS = (".safetensors", ".gguf", ".json", ".py", ".jinja", ".model", ".txt")
"""Files that decide what a model answers, the tokenizer's among them."""


def digest(data: Any) -> str:
    """SHA-256 of plain data, the same whatever the order of keys."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def model_identity(name: str, original: str = "") -> str:
    """Equal for equal weights and tokenizers, without loading them.

    Args:
        original: As for ``load``: what an adapter is put on.

    Returns:
        SHA-256 over the files of a local model; name and commit of one on the Hub. An adapter's
        also depends on the model that carries it.
    """
    location, extra = locate(name)
    path, base = Path(location), carrier(name, original)
    if not path.exists():
        own = _on_hub(location)
        return own if base == name else digest({"adapter": own, "base": model_identity(base)})
    total = hashlib.sha256()
    if base != name:
        total.update(model_identity(base).encode())
    files = [path / extra["gguf_file"]] if "gguf_file" in extra else sorted(path.iterdir())
    for file in files:
        if file.suffix in WEIGHTS and file.name not in ("card.json", "runcard.json"):
            with file.open("rb") as data:
                total.update(file.name.encode())
                total.update(hashlib.file_digest(data, "sha256").digest())
    return total.hexdigest()


def _on_hub(location: str) -> str:
    """Name and commit of what the cache holds of a model or an adapter."""
    files = (try_to_load_from_cache(location, file) for file in ("config.json", ADAPTER))
    commits = (f"{location}@{Path(file).parent.name}" for file in files if isinstance(file, str))
    return next(commits, location)


def task_revision(task: Task) -> str:
    """Changes with any question, text or prompt of a task.

    Twin questions, further measures and samples are left out: only the cells that ask them depend
    on them.
    """
    about = plain(task)
    del about["twins"], about["also"], about["samples"]
    del about["prompt"]["turn"]["notes"]  # The template's text says it all.
    return digest(about)


def arithmetic() -> dict[str, str]:
    """The versions that matter, and the kind of device, which decides the number format."""
    import torch

    found = versions()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return {name: found[name] for name in ARITHMETIC} | {"device": device}
