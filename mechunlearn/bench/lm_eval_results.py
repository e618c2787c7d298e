"""Scores as lm-eval's ``results_*.json``, written and read without lm-eval.

One entry a question set under ``results``, its metrics as ``NAME,FILTER`` with
``NAME_stderr,FILTER`` beside them, and its number of questions under ``n-samples``.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mechunlearn.environment import write_json
from mechunlearn.records import Plain
from mechunlearn.types import Score
from mechunlearn.version import __version__

FILTER = "none"
"""What lm-eval calls answers that nothing was taken out of."""


@dataclass(frozen=True, slots=True)
class Result:
    """One metric of one task."""

    task: str
    metric: str
    value: float
    stderr: float | None = None
    n: int | None = None
    """Questions."""


def write_results(scores: Mapping[str, Score], task: str, model: str, path: Path) -> Path:
    """Write the accuracies of a model's question sets.

    Args:
        scores: By question set, as ``score_task`` gives them.
    """
    named = {f"{task}_{name}": score for name, score in scores.items()}
    results = {
        name: {
            "alias": name,
            f"acc,{FILTER}": score.accuracy,
            f"acc_stderr,{FILTER}": _stderr(score),
        }
        for name, score in named.items()
    }
    counts = {name: {"original": s.n, "effective": s.n} for name, s in named.items()}
    write_json(
        path,
        {
            "results": results,
            "higher_is_better": {name: {"acc": True} for name in named},
            "n-samples": counts,
            "config": {"model": "mechunlearn", "model_args": f"pretrained={model}"},
            "model_name": model,
            "mechunlearn_version": __version__,
        },
    )
    return path


def _stderr(score: Score) -> float:
    """Of the mean, from the sample's spread, as lm-eval has it."""
    return float(np.std(score.values, ddof=1) / math.sqrt(score.n)) if score.n > 1 else 0.0


def read_results(path: Path) -> tuple[Result, ...]:
    """Every metric in a results file.

    Raises:
        ValueError: If the file cannot be read, or holds no results of lm-eval.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise ValueError(f"{path} cannot be read ({err.strerror})") from err
    except (ValueError, RecursionError) as err:
        raise ValueError(f"{path} is no JSON; give the results_*.json that lm-eval wrote") from err
    tasks = data.get("results") if isinstance(data, dict) else None
    if not isinstance(tasks, dict) or not all(isinstance(t, dict) for t in tasks.values()):
        raise ValueError(f'{path} has no "results"; give the results_*.json that lm-eval wrote')
    counts = data.get("n-samples")
    found = tuple(_results(tasks, counts if isinstance(counts, dict) else {}))
    if not found:
        raise ValueError(f"{path} holds no metric; it may be from a run that was stopped")
    return found


def _results(tasks: Mapping[str, Plain], counts: Mapping[str, Plain]) -> Iterator[Result]:
    for task, metrics in tasks.items():
        own = counts.get(task)
        n = own.get("effective") if isinstance(own, dict) else None
        for key, value in metrics.items():
            name, _, kind = key.partition(",")
            if name.endswith("_stderr") or not kind or not _number(value):
                continue
            stderr = metrics.get(f"{name}_stderr,{kind}")
            metric = name if kind == FILTER else f"{name} ({kind})"
            yield Result(
                task,
                metric,
                float(value),
                float(stderr) if _number(stderr) else None,
                n if isinstance(n, int) else None,
            )


def _number(value: Plain) -> bool:
    """Whether it is a number; lm-eval writes ``N/A`` where there is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
