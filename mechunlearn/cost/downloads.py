"""What has to be fetched before something can run: models and data sets, by name."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import scan_cache_dir, try_to_load_from_cache
from huggingface_hub.errors import CacheNotFound
from transformers import AutoConfig

from mechunlearn.errors import PrerequisiteError
from mechunlearn.models import configuration
from mechunlearn.models.sets import SETS
from mechunlearn.models.sources import ADAPTER, adapter_base, locate
from mechunlearn.tasks.benchmark import TaskConfig
from mechunlearn.tasks.benchmarks import downloads
from mechunlearn.tasks.names import BENCHMARKS, OPEN_SETS
from mechunlearn.tasks.open_sets import downloads as open_downloads


@dataclass(frozen=True, slots=True)
class Download:
    """One model."""

    model: str
    there: bool
    """Whether its weights lie on this machine."""
    bytes: float | None
    """Of its weights; an estimate where they are not there, ``None`` where nothing is known."""


def model_download(name: str, parameters: int | None) -> Download:
    """What fetching a model takes.

    Args:
        parameters: Number of its weights, where it is known.
    """
    try:
        location, extra = locate(name)
    except (ValueError, PrerequisiteError):
        return Download(name, False, None)
    path = Path(location)
    if path.exists():
        pattern = extra.get("gguf_file", "*.safetensors")
        return Download(name, True, sum(f.stat().st_size for f in path.glob(pattern)))
    if cached := _cached(location):
        return Download(name, True, cached)
    # Published checkpoints of this size are in 16 bits.
    return Download(name, False, None if parameters is None else 2.0 * parameters)


def _cached(location: str) -> float:
    """Bytes of a Hub model's weights in the cache."""
    try:
        repos = scan_cache_dir().repos
    except CacheNotFound:
        return 0.0
    for repo in repos:
        if repo.repo_id == location:
            files = {f for revision in repo.revisions for f in revision.files}
            return float(sum(f.size_on_disk for f in files if f.file_name.endswith(".safetensors")))
    return 0.0


def data_sets(task: str, config: TaskConfig) -> list[str]:
    """Data sets that a task takes from the Hub, each once."""
    if config.data or task not in (*BENCHMARKS, *OPEN_SETS):
        return []
    parts = downloads(task, config) if task in BENCHMARKS else open_downloads(task, config)
    return list(dict.fromkeys(map(str, parts)))


def local_base(name: str) -> str | None:
    """What an adapter that lies on this machine is merged into; needs no network.

    Raises:
        ValueError: If the adapter's settings are damaged.
    """
    try:
        location, _ = locate(name)
    except (ValueError, PrerequisiteError):
        return None
    here = os.path.exists(location) or _is_cached(location, ADAPTER)
    return adapter_base(name) if here else None


def _is_cached(location: str, file: str) -> bool:
    return isinstance(try_to_load_from_cache(location, file), str)


def known_configuration(name: str, *, trust_remote_code: bool = False) -> Any:
    """A model's configuration without a network: a file, the cache, or a named set's.

    An adapter's is that of its base.

    Args:
        trust_remote_code: Allow code that comes with the configuration to run.

    Returns:
        ``None`` where it is not known.
    """
    try:
        name = local_base(name) or name
        location, _ = locate(name)
    except (ValueError, PrerequisiteError):
        return None
    if os.path.exists(location) or _is_cached(location, "config.json"):
        return configuration(name, trust_remote_code=trust_remote_code)
    for chosen in SETS.values():
        if chosen.holds(name):
            values = dict(chosen.configuration)
            return AutoConfig.for_model(values.pop("model_type"), **values)
    return None
