"""What results depend on, as hashes: models, tasks, settings and versions."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache

from mechunlearn.environment import versions
from mechunlearn.models.sources import ADAPTER, carrier, locate
from mechunlearn.models.tokenizer import FILES
from mechunlearn.records import Plain, plain
from mechunlearn.registry import added_version
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
        original: As for ``load``: what an adapter is put on, and whose tokenizer is taken where
            there is none.

    Returns:
        SHA-256 over the files of a local model; name and commit of one on the Hub. An adapter's
        also depends on the model that carries it, and that of a model without a tokenizer on the
        one that it takes.
    """
    base = carrier(name, original)
    own = _files_identity(name, base)
    if original in ("", name, base) or _has_tokenizer(name) or _has_tokenizer(base):
        return own
    return digest({"model": own, "tokenizer": _tokenizer_identity(original)})


def content_identity(name: str) -> str:
    """Equal for equal content of a file, or else of a model, that a setting names."""
    path = Path(name)
    return _hashed([path], every=True) if path.is_file() else model_identity(name)


def _files_identity(name: str, base: str) -> str:
    """Of a model, or of an adapter on ``base``."""
    location, extra = locate(name)
    path = Path(location)
    if not path.exists():
        own = _on_hub(location)
        return own if base == name else digest({"adapter": own, "base": model_identity(base)})
    start = "" if base == name else model_identity(base)
    return _hashed([path / extra["gguf_file"]] if "gguf_file" in extra else path.iterdir(), start)


def _hashed(files: Iterable[Path], start: str = "", *, every: bool = False) -> str:
    """SHA-256 of what is in files, with their names; of a folder only those that decide answers.

    Args:
        start: What is hashed before them.
        every: Whether any file counts, and its name does not.
    """
    total = hashlib.sha256(start.encode())
    for file in sorted(f for f in files if f.is_file()):  # A folder may be called x.json.
        if every or (file.suffix in WEIGHTS and file.name not in ("card.json", "runcard.json")):
            with file.open("rb") as data:
                total.update(b"" if every else file.name.encode())
                total.update(hashlib.file_digest(data, "sha256").digest())
    return total.hexdigest()


def _has_tokenizer(name: str) -> bool:
    """Whether a model brings a tokenizer, as far as files or the Hub's cache say."""
    location, extra = locate(name)
    path = Path(location)
    if path.exists():
        return "gguf_file" in extra or any((path / file).is_file() for file in FILES)
    return any(isinstance(try_to_load_from_cache(location, file), str) for file in FILES)


def _tokenizer_identity(name: str) -> str:
    """Of the files of a model that are no weights; of one that is no folder, of all of it."""
    location, extra = locate(name)
    path = Path(location)
    if "gguf_file" in extra or not path.exists():
        return model_identity(name)
    return _hashed(f for f in path.iterdir() if f.suffix not in (".safetensors", ".gguf"))


def _on_hub(location: str) -> str:
    """Name and commit of what the cache holds of a model or an adapter."""
    files = (try_to_load_from_cache(location, file) for file in ("config.json", ADAPTER))
    commits = (f"{location}@{Path(file).parent.name}" for file in files if isinstance(file, str))
    return next(commits, location)


def task_revision(task: Task) -> str:
    """Changes with any question, text or prompt of a task.

    Twin questions, further measures and samples are left out: only the cells that ask them depend
    on them. Where the task's measure is not the package's own, its version belongs to it.
    """
    about = plain(task)
    del about["twins"], about["also"], about["samples"]
    del about["prompt"]["turn"]["notes"]  # The template's text says it all.
    return digest(about | added_measures([task.scoring]))


def added_measures(words: Iterable[str]) -> dict[str, Plain]:
    """Versions of the measures among some words that are not the package's own, where there are.

    ``registry.register`` promises that a new version is computed anew.
    """
    found = {word: added_version("measure", word) for word in words}
    added = {word: version for word, version in found.items() if version is not None}
    return {"measures": added} if added else {}


def texts_in(data: Plain) -> Iterator[str]:
    """Every text of plain data, without keys."""
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict | list):
        for part in data.values() if isinstance(data, dict) else data:
            yield from texts_in(part)


def arithmetic(device: str = "auto") -> dict[str, str]:
    """The versions that matter, and the kind of device, which decides the number format.

    Args:
        device: Where models are put, as for ``load``; whether it is there is seen when they load.
    """
    import torch

    found = versions()
    if device in ("auto", "map"):
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return {name: found[name] for name in ARITHMETIC} | {"device": torch.device(device).type}
