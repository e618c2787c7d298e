"""How the cost of scoring and of an audit grows: ``python tests/benchmarks/cost_growth.py``.

CPU seconds of one thread on random-weight Llamas, at four sizes each of the number of questions,
of their tokens, of the model's blocks, and of the checkpoints of one original that one audit
attacks; and the exponent e of ``seconds ~ size^e`` by least squares of the logarithms. Sizes of one
table take turns, and the least of some repeats counts, so that a busy machine disturbs all alike.
"""

import dataclasses
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
import transformers

from mechunlearn.analysis.analyse import audit
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.bench import score
from mechunlearn.models import hook, load, save
from mechunlearn.models.tokenizer import load_tokenizer
from mechunlearn.tasks import load_task
from mechunlearn.types import HookedModel, Question, Task

QUESTIONS = (64, 128, 256, 512)
TOKENS = (32, 64, 128, 256)
LAYERS = (2, 4, 8, 16)
CHECKPOINTS = (1, 2, 4, 8)
REPEATS = 3
WIDTH = 192
ATTACKS = ("direction_ablation", "logit_lens", "perturbation_naive")


def model_of(layers: int, seed: int = 0) -> HookedModel:
    """A random-weight Llama that reads the organism's words."""
    words = load_tokenizer("organism:original")
    config = transformers.LlamaConfig(
        vocab_size=len(words),
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=2 * max(TOKENS),
    )
    torch.manual_seed(seed)
    return hook(transformers.AutoModelForCausalLM.from_config(config), words, name="llama")


def questions_of(task: Task, model: HookedModel, n: int, tokens: int) -> list[Question]:
    """``n`` questions of ``tokens`` tokens each, none of which begins as another does."""
    rng, every = random.Random(0), (*task.forget, *task.retain)
    words = [w for w in sorted({w for q in every for w in q.stem.split()}) if w.isalpha()]
    asked = []
    for i in range(n):
        question = every[i % len(every)]
        length = len(model.tokenizer(task.prompt.text(question, task.scoring))["input_ids"])
        front = " ".join(rng.choices(words, k=max(0, tokens - length)))
        asked.append(dataclasses.replace(question, stem=f"{front} {question.stem}".strip()))
    return asked


def timed(jobs: Sequence[Callable[[], object]], repeats: int = REPEATS) -> list[float]:
    """The least CPU seconds of each job."""
    seconds = [float("inf")] * len(jobs)
    for _ in range(repeats):
        for i, job in enumerate(jobs):
            start = time.process_time()
            job()
            seconds[i] = min(seconds[i], time.process_time() - start)
    return seconds


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """Slope of the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def scoring(
    task: Task, questions: Sequence[int], tokens: Sequence[int], layers: Sequence[int]
) -> list[float]:
    """Seconds of every combination, of which only one thing varies."""
    sizes = max((questions, tokens, layers), key=len)
    jobs: list[Callable[[], object]] = []
    for i in range(len(sizes)):
        n, width, depth = (x[i % len(x)] for x in (questions, tokens, layers))
        model = model_of(depth)
        asked = questions_of(task, model, n, width)
        jobs.append(partial(score, model, asked, task))
    return timed(jobs)


def audits(task: Task, folder: Path) -> list[float]:
    """Seconds of audits of the first checkpoints of one original, each with every one before."""
    before = str(save(model_of(4), folder / "before"))
    after = [str(save(model_of(4, 1 + i), folder / f"after{i}")) for i in range(max(CHECKPOINTS))]
    lines = [
        {"set": role, "stem": q.stem, "choices": q.choices, "answer": q.answer, "source": q.source}
        for role in ("forget", "retain")
        for q in getattr(task, role)[::4]
    ]
    (folder / "task.jsonl").write_text("\n".join(map(json.dumps, lines)))

    def run(n: int) -> None:
        plan = AuditPlan(
            original=before,
            unlearned=tuple(after[:n]),
            control="none",
            task=str(folder / "task.jsonl"),
            attacks=ATTACKS,
            planted="never",
            threads=1,
        )
        audit(plan, Path(tempfile.mkdtemp(dir=folder)))

    run(1)  # What is imported when first needed is no part of it.
    return timed([partial(run, n) for n in CHECKPOINTS], repeats=1)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    task = load_task("organism", original="organism:original")
    score(load("organism:original"), task.forget[:8], task)
    start = time.process_time()
    grown = {
        "questions": (QUESTIONS, scoring(task, QUESTIONS, (64,), (4,))),
        "tokens of a question": (TOKENS, scoring(task, (128,), TOKENS, (4,))),
        "blocks": (LAYERS, scoring(task, (128,), (64,), LAYERS)),
    }
    with tempfile.TemporaryDirectory() as folder:
        grown["checkpoints of one original"] = (CHECKPOINTS, audits(task, Path(folder)))
    lines = ["| what grows | sizes | CPU seconds | exponent |", "|---|---|---|---|"]
    for name, (sizes, seconds) in grown.items():
        numbers = ", ".join(f"{s:.2f}" for s in seconds)
        about = f"{', '.join(map(str, sizes))} | {numbers} | {exponent(sizes, seconds):.2f}"
        lines.append(f"| {name} | {about} |")
    lines.append(f"\nmeasured in {time.process_time() - start:.0f} CPU seconds")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
