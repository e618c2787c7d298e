"""Peak memory and seconds of making models, in a process of its own: FOLDER TASK {NAME: [CHANGE]}.

Each name begins with the method's, before a space.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from measure_memory import resident, trim

from mechunlearn.audit.outlook import job_of
from mechunlearn.cost.job import peak_memory
from mechunlearn.cost.memory import shape_of, sizes_of
from mechunlearn.models import configuration, load
from mechunlearn.presets import configured, preset_for, size_of
from mechunlearn.registry import find
from mechunlearn.tasks import load_task
from mechunlearn.types import Task
from mechunlearn.unlearn import Settings
from mechunlearn.unlearn.costs import corpora_of, method_cost
from mechunlearn.unlearn.run import UnlearnPlan, train_method


def measured(folder: str, task: Task, runs: dict[str, list[str]]) -> Iterator[dict[str, Any]]:
    """Make each model from a fresh copy, as an audit does."""
    warm = load("organism:original")  # Libraries set themselves up on first use.
    train_method(warm, load_task("organism", "organism:original"), UnlearnPlan(
        "npo", changes=("optimizer.steps=1", "lora.rank=2", "batch=2"),
    ))  # fmt: skip
    del warm
    config = configuration(folder)
    shape, preset = shape_of(config), size_of(config.hidden_size)
    for name, changes in runs.items():
        trim()
        before = resident()
        model = load(folder)
        sizes = sizes_of(task, model.tokenizer, ("cpu", 4))
        trim()
        loaded, begin = resident() - before, resident()
        method = name.partition(" ")[0]
        plan = UnlearnPlan(method, folder, changes=tuple(changes))
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as kept:
            train_method(model, task, plan, state=Path(kept) / "state", every=10)
        seconds, peak = time.perf_counter() - start, resident("VmHWM") - begin + loaded
        settings = configured(
            find("method", method), preset_for(find("method", method), model), changes
        )
        assert isinstance(settings, Settings)
        cost = method_cost(settings, job_of(task, shape, sizes), corpora_of(task, model.tokenizer))
        expected = peak_memory(cost, shape, sizes)
        yield {
            "name": name, "seconds": round(seconds, 1), "peak": peak, "forwards": cost.search,
            "estimate": round(expected.total), "parts": expected.parts, "preset": preset,
        }  # fmt: skip
        del model


if __name__ == "__main__":
    torch.set_num_threads(1)
    os.environ["TQDM_DISABLE"] = "1"
    for found in measured(sys.argv[1], load_task(sys.argv[2]), json.loads(sys.argv[3])):
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()
