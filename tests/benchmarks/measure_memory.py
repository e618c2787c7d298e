"""Peak memory and seconds of attacks, in a process of its own: FOLDER TASK {ATTACK: [CHANGE]}."""

import ctypes
import gc
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from mechunlearn.attacks.logit_lens import logit_lens
from mechunlearn.attacks.seen import Seen
from mechunlearn.audit.outlook import job_of
from mechunlearn.bench import score
from mechunlearn.cost.job import Cost, peak_memory
from mechunlearn.cost.memory import shape_of, sizes_of
from mechunlearn.models import configuration, load
from mechunlearn.presets import configured, size_of
from mechunlearn.registry import find
from mechunlearn.tasks import load_task
from mechunlearn.types import Task


def resident(key: str = "VmRSS") -> int:
    """Bytes of this process that are in memory, now or (``VmHWM``) at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024


def trim() -> None:
    """Give back what was freed, and forget the peak so far."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def measured(folder: str, task: Task, attacks: dict[str, list[str]]) -> Iterator[dict[str, Any]]:
    """Run the search and one variant of each attack on a model, loaded once."""
    warm = load("organism:original")  # Libraries set themselves up on first use.
    logit_lens(warm, task.forget[:2], task)
    torch.nn.Linear(8, 8)(torch.ones(4, 8)).sum().backward()
    del warm
    config = configuration(folder)
    shape = shape_of(config)
    asked = task.questions("forget", "select")
    trim()
    before = resident()
    model = load(folder)
    sizes = sizes_of(task, model.tokenizer, ("cpu", 4))
    trim()
    loaded = resident() - before
    for attack, changes in attacks.items():
        trim()
        start, settings, begin = time.perf_counter(), None, resident()
        if attack == "baseline":
            logit_lens(model, asked, task)
        else:
            entry = find("attack", attack)
            own = entry.preset(size_of(shape.d_model)) if entry.presets else ""
            settings = configured(entry, own, changes) if own else None
            seen = Seen.of(task, entry, config=settings, tokenizer=model.tokenizer)
            reference = entry.learn(model, seen, settings)
            search = entry.search(model, seen, reference, settings)
            change = search.change(next(iter(next(search.variants()))))
            for role in ("forget", "retain"):
                score(model, task.questions(role, "confirm"), task, change=change)
            del seen, reference, search, change
        seconds, peak = time.perf_counter() - start, resident("VmHWM") - begin + loaded
        cost = Cost()
        if attack != "baseline":
            cost = find("attack", attack).cost(settings, job_of(task, shape, sizes))
        expected = peak_memory(cost, shape, sizes)
        yield {
            "name": attack, "seconds": round(seconds, 1), "peak": peak,
            "estimate": round(expected.total), "parts": expected.parts,
        }  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    os.environ["TQDM_DISABLE"] = "1"
    for found in measured(sys.argv[1], load_task(sys.argv[2]), json.loads(sys.argv[3])):
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()
