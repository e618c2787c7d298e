"""What an audit would need, said before anything is downloaded: files, and memory per attack."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import scan_cache_dir, try_to_load_from_cache
from huggingface_hub.errors import CacheNotFound
from transformers import AutoConfig

from mechunlearn.audit.plan import AuditPlan
from mechunlearn.cost.memory import Memory, Shape, Sizes, needed, shape_of, sizes_of
from mechunlearn.errors import PrerequisiteError
from mechunlearn.models import configuration
from mechunlearn.models.placement import FLOATS
from mechunlearn.models.sources import SETS, locate
from mechunlearn.models.tokenizer import load_tokenizer
from mechunlearn.presets import preset_of
from mechunlearn.tasks import load_task, task_config
from mechunlearn.tasks.benchmarks import downloads
from mechunlearn.tasks.hub import HubSet
from mechunlearn.tasks.names import BENCHMARKS

CARDS = (24, 80)
"""GB of the GPUs that are considered."""
SPARE = 0.9
"""Share of a GPU's memory that a process can count on."""
TYPICAL = (512, 1000, 400)
"""Tokens of the longest prompt, questions of the largest set and forget questions of the select
fold, where the task cannot be read yet."""
BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "8bit": 1.0, "4bit": 0.6}
"""Of a weight, constants of the quantisation included."""


@dataclass(frozen=True, slots=True)
class Download:
    """One model of the plan."""

    model: str
    there: bool
    """Whether its weights lie on this machine."""
    bytes: float | None
    """Of its weights; an estimate where they are not there, ``None`` where nothing is known."""


@dataclass(frozen=True, slots=True)
class Step:
    """One attack on one model on a GPU."""

    attack: str
    memory: Memory

    def fits(self, card: int) -> bool:
        """Whether a GPU of ``card`` GB holds it."""
        return self.memory.total <= SPARE * card * 1e9


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known of an audit from its plan, configuration files and what is on this machine."""

    downloads: list[Download]
    steps: list[Step]
    """Empty where nothing is known of the models."""
    parameters: int
    sizes: Sizes | None
    typical: bool
    """Whether ``sizes`` are a guess, since the task is not there."""
    data: list[str]
    """Data sets of the task that come from the Hub."""


def outlook(plan: AuditPlan) -> Outlook:
    """Look ahead; needs no network, loads no weights and computes nothing."""
    config = known_configuration(plan.original)
    shape = None if config is None else shape_of(config)
    dtype = plan.dtype if plan.dtype != "auto" else "bfloat16"
    names = dict.fromkeys((plan.original, *plan.unlearned, *filter(None, [plan.control_model])))
    found = [_download(name, shape) for name in names]
    data = list(dict.fromkeys(map(str, _data(plan))))
    if shape is None:
        return Outlook(found, [], 0, None, False, data)
    sizes, typical = _sizes(plan, 4 if dtype == "float32" else 2)
    preset = preset_of(shape.d_model)
    steps = []
    for attack in ("baseline", *plan.attacks):
        settings = None if attack == "baseline" else plan.settings("attack", attack, preset)
        memory = needed(attack, settings, shape, sizes)
        if dtype not in FLOATS:
            weights = BYTES[dtype] * shape.parameters
            memory = Memory({**memory.parts, "weights": weights})
        steps.append(Step(attack, memory))
    return Outlook(found, steps, shape.parameters, sizes, typical, data)


def known_configuration(name: str) -> Any:
    """A model's configuration without a network: a file, the cache, or a named set's.

    Returns:
        ``None`` where it is not known.
    """
    try:
        location, _ = locate(name)
    except (ValueError, PrerequisiteError):
        return None
    if os.path.exists(location) or isinstance(try_to_load_from_cache(location, "config.json"), str):
        return configuration(name)
    for chosen in SETS.values():
        if name in (chosen.original, *chosen.unlearned):
            values = dict(chosen.configuration)
            return AutoConfig.for_model(values.pop("model_type"), **values)
    return None


def _download(name: str, shape: Shape | None) -> Download:
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
    return Download(name, False, None if shape is None else 2.0 * shape.parameters)


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


def _data(plan: AuditPlan) -> list[HubSet]:
    config = task_config(plan.changes)
    from_hub = plan.task in BENCHMARKS and not config.data
    return downloads(plan.task, config) if from_hub else []


def _sizes(plan: AuditPlan, number: int) -> tuple[Sizes, bool]:
    try:
        task = load_task(plan.task or None, plan.original, task_config(plan.changes))
        return sizes_of(task, load_tokenizer(plan.original), ("cuda", number)), False
    except (ValueError, PrerequisiteError):
        return Sizes(*TYPICAL, "cuda", number), True
