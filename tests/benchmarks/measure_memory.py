"""Peak memory and seconds of one attack, in a process of its own: FOLDER TASK ATTACK CHANGE..."""

import ctypes
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch

from mechunlearn.attacks.logit_lens import logit_lens
from mechunlearn.audit.arms import score_candidates
from mechunlearn.audit.memory import needed, shape_of, sizes_of
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.models import configuration, load
from mechunlearn.presets import preset_of
from mechunlearn.registry import find
from mechunlearn.tasks import load_task
from mechunlearn.types import Task


def resident(key: str = "VmRSS") -> int:
    """Bytes of this process that are in memory, now or (``VmHWM``) at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024


def trim() -> None:
    """Give back what was freed, and forget the peak so far."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def measured(folder: str, task: Task, attack: str, changes: tuple[str, ...]) -> dict[str, Any]:
    """Run the attack cell of an audit on a model."""
    warm = load("organism:original")  # Libraries set themselves up on first use.
    logit_lens(warm, task.forget[:2], task)
    torch.nn.Linear(8, 8)(torch.ones(4, 8)).sum().backward()
    del warm
    config = configuration(folder)
    plan = AuditPlan(
        original=folder,
        unlearned=(folder,),
        attacks=() if attack == "baseline" else (attack,),
        changes=changes,
    )
    preset = preset_of(config.hidden_size)
    settings = None if attack == "baseline" else plan.settings("attack", attack, preset)
    asked = task.questions("forget", "select")
    trim()
    before = resident()
    model = load(folder)
    trim()
    weights = resident() - before
    start = time.perf_counter()
    if attack == "baseline":
        logit_lens(model, asked, task)
    else:
        entry = find("attack", attack)
        known = entry.reference(model, task, asked, settings)
        found = entry.find(model, task, asked, known, settings)
        chosen = [found.build(found.grid()[0])]
        for role in ("forget", "retain"):
            score_candidates(model, chosen, role, "confirm", task)
    seconds = time.perf_counter() - start
    own = sum(p.numel() * p.element_size() for p in model.parameters())
    peak = resident("VmHWM") - before
    sizes = sizes_of(task, model.tokenizer, ("cpu", 4))
    expected = needed(attack, settings, shape_of(config), sizes)
    return {
        "seconds": round(seconds, 1), "weights": own, "loaded": weights, "peak": peak,
        "estimate": round(expected.total), "parts": expected.parts,
    }  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    os.environ["TQDM_DISABLE"] = "1"
    folder, task, attack, *changes = sys.argv[1:]
    found = measured(folder, load_task(task), attack, tuple(f"{attack}.{c}" for c in changes))
    sys.stdout.write(json.dumps(found) + "\n")
