"""Unlearn from the command line: load, apply, measure, save with a card."""

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mechunlearn import __version__
from mechunlearn.bench import score_task
from mechunlearn.models import describe, load, save
from mechunlearn.registry import find
from mechunlearn.tasks import load_task
from mechunlearn.unlearn import configured, preset_for


def unlearn_to(
    out: Path, method: str, model: str, task: str, preset: str, changes: Sequence[str]
) -> dict[str, Any]:
    """Apply a method and write the checkpoint and its ``runcard.json``.

    Args:
        preset: Empty for the one that suits the model's size.
        changes: ``key=value`` settings on top of the preset.

    Raises:
        ValueError: For an unknown name or setting.
        FileExistsError: If ``out`` exists and is not empty.
    """
    chosen = find("method", method)
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} exists and is not empty; nothing was written")
    questions = load_task(task or None, model)
    hooked = load(model)
    preset = preset or preset_for(hooked)
    config = configured(chosen, preset, changes)
    before, source = score_task(hooked, questions), describe(hooked)
    start = time.perf_counter()
    log = chosen.apply_(hooked, questions, config)
    seconds = round(time.perf_counter() - start, 2)
    after = score_task(hooked, questions)
    card = {
        "method": method,
        "preset": preset,
        "config": dataclasses.asdict(config),
        "model": source,
        "task": questions.name,
        "steps": log.steps,
        "seconds": seconds,
        "accuracy": {
            name: {
                "before": before[name].accuracy,
                "after": s.accuracy,
                "after_ci": list(s.interval),
                "n": s.n,
            }
            for name, s in after.items()
        },
        "version": __version__,
    }
    save(hooked, out)
    (out / "runcard.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return card
