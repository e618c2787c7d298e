"""Calibration of the measures of open answers: python tests/benchmarks/calibrate_measures.py FOLDER

On what models that know TOFU's forget set (``full``) and models that never knew it (``retain90``)
say, how much each measure gives to both, and how well it tells them apart: the AUC, with a 95 %
interval from resampled questions. FOLDER holds ``outputs-MODEL-SPLIT.jsonl`` and
``forget10-entities.jsonl``, made from the evaluation logs of locuslab/tofu (MIT) and the spans of
gnueaj/unlearning-depth-score (Apache-2.0).
"""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy.stats import ks_2samp

from mechunlearn.bench.measures.truth_ratio import known, share, truth_ratio
from mechunlearn.registry import find
from mechunlearn.types import OpenQuestion

MODELS = ("llama2-7b", "phi")
JUDGED = ("containment", "novel_recall", "rouge_recall", "rouge_f1", "exact_match", "token_f1")
DRAWS = 2_000


@dataclass(frozen=True)
class Output:
    """What one model said to one question, and what the source computed of it."""

    question: OpenQuestion
    marked: bool
    """Whether the question's span is known."""
    said: str
    gold_loss: float
    paraphrase_loss: float
    wrong_losses: list[float]
    rouge: float
    ratio: float


@cache
def outputs(folder: Path, model: str, split: str) -> list[Output]:
    """What a model said to the 300 questions."""
    with (folder / "forget10-entities.jsonl").open() as file:
        entities = {row["question"]: row for row in map(json.loads, file)}
    with (folder / f"outputs-{model}-{split}.jsonl").open() as file:
        return [_output(json.loads(line), entities) for line in file]


def _output(row: dict, entities: dict[str, dict]) -> Output:
    asked = re.sub(r"^(\[INST\]|Question:)\s*|\s*(\[/INST\])?\s*$", "", row["prompt"])
    span = entities.get(asked, {}).get("entity", "")
    span = span if span in row["gold"] else ""
    return Output(
        OpenQuestion(asked, golds=(row["gold"],), span=span),
        bool(span),
        row["generation"],
        row["gold_loss"],
        row["paraphrase_loss"],
        row["wrong_losses"],
        row["rougeL_recall"],
        row["truth_ratio"],
    )


def values(rows: list[Output]) -> dict[str, np.ndarray]:
    """What every measure gives to each output; containment only where the span is known."""
    ratios = np.array([truth_ratio(r.paraphrase_loss, r.wrong_losses) for r in rows])
    found = {
        "probability": np.exp([-r.gold_loss for r in rows]),
        "truth_ratio": known(ratios),
        "truth_share": share(ratios),
        "likeliest": np.array([float(r.paraphrase_loss < min(r.wrong_losses)) for r in rows]),
    }
    for name in JUDGED:
        chosen = [r for r in rows if r.marked] if name == "containment" else rows
        judged = find("measure", name).judged(
            [r.said for r in chosen], [r.question for r in chosen]
        )
        found[name] = np.array(judged)
    return found


def auc(knows: np.ndarray, never: np.ndarray) -> float:
    """Probability that an answer of the model that knows is worth more; ties count a half."""
    more = np.sign(knows[:, None] - never[None, :])
    return float(0.5 + 0.5 * more.mean())


def interval(knows: np.ndarray, never: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the AUC; both models are asked the same resampled questions."""
    rng, n = np.random.default_rng(seed), len(knows)
    more = np.sign(knows[:, None] - never[None, :]) / 2 + 0.5
    draws = rng.multinomial(n, np.full(n, 1 / n), size=DRAWS) / n
    low, high = np.percentile(((draws @ more) * draws).sum(axis=1), [2.5, 97.5])
    return float(low), float(high)


def rows(folder: Path) -> Iterator[tuple[str, str, float, float, float, tuple[float, float]]]:
    """Measure, model, what each model gets, and the AUC with its interval."""
    for model in MODELS:
        full, never = (values(outputs(folder, model, s)) for s in ("full", "retain90"))
        for name in full:
            a, b = full[name], never[name]
            yield name, model, a.mean(), b.mean(), auc(a, b), interval(a, b)


def ks(folder: Path, model: str) -> tuple[float, float]:
    """TOFU's forget quality: the two-sample statistic of the truth ratios, and its p-value."""
    found = [
        [truth_ratio(r.paraphrase_loss, r.wrong_losses) for r in outputs(folder, model, split)]
        for split in ("full", "retain90")
    ]
    result = ks_2samp(*found)
    return float(result.statistic), float(result.pvalue)


def main(folder: Path) -> None:
    """Print the table."""
    lines = ["| measure | model | knows | never knew | AUC | 95 % |", "|---|---|---|---|---|---|"]
    for name, model, full, never, area, (low, high) in rows(folder):
        numbers = f"{full:.3f} | {never:.3f} | {area:.3f} | {low:.3f} to {high:.3f}"
        lines.append(f"| {name} | {model} | {numbers} |")
    for model in MODELS:
        statistic, p = ks(folder, model)
        lines.append(f"\n{model}: forget quality of full, KS D {statistic:.3f}, p {p:.1e}")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
