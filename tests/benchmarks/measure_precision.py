"""bfloat16 beside float32 on one model: MODEL [TASK [METHOD]], a Markdown table to stdout.

1. Training: the share of the weights that three steps at a method's published rate step on and, in
   what the model computes with, change; beside AdamW on the bfloat16 weights themselves.
2. Reading: answers that tie at the read-out, and accuracies; METHOD unlearns the model first (in
   float32, with its preset for the model), since unlearned models tie most.
"""

import copy
import sys
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from mechunlearn.bench import score
from mechunlearn.hooks import live_parameters
from mechunlearn.models import load, save
from mechunlearn.presets import configured
from mechunlearn.registry import find
from mechunlearn.tasks import load_task
from mechunlearn.train import loop
from mechunlearn.train.masters import Masters
from mechunlearn.types import HookedModel, Score, Task
from mechunlearn.unlearn.run import UnlearnPlan, train_method

STEPS, QUESTIONS = 3, 400
CHANGES = [
    f"optimizer.steps={STEPS}", "optimizer.warmup=0", "optimizer.autocast=False",
    "optimizer.recompute=False", "optimizer.accumulate=1", "batch=4", "max_tokens=128",
]  # fmt: skip
"""The paper's rate, loss and weights; fewer examples a step, computed in the weights' own type."""


class Watched(Masters):
    """Copies that are remembered, with what they began as."""

    latest: "Watched"

    def __init__(self, parameters: list[torch.nn.Parameter]) -> None:
        super().__init__(parameters)
        self.before = [p.detach().clone() for p in self.stepped]
        Watched.latest = self


class Naive(Watched):
    """No copies: AdamW steps on the weights, as it did before there were any."""

    def __init__(self, parameters: list[torch.nn.Parameter]) -> None:
        super().__init__(parameters)
        self.stepped = self.weights
        self.before = [p.detach().clone() for p in self.weights]


def share_moved(before: list[torch.Tensor], after: list[torch.nn.Parameter]) -> float:
    """The share of numbers that are no longer the same."""
    moved = sum(int((a != b).sum()) for a, b in zip(before, after, strict=True))
    return moved / sum(p.numel() for p in after)


def training(name: str, task: Task, method: str) -> list[str]:
    """Rows of the first table."""
    rows = []
    for dtype, kind in (("float32", Watched), ("bfloat16", Watched), ("bfloat16", Naive)):
        model = load(name, dtype=dtype)
        weights = [p.detach().clone() for p in live_parameters(model)]
        config = configured(find("method", method), "paper", CHANGES)
        with mock.patch.object(loop, "Masters", kind):
            find("method", method).apply_(model, task, config)
        stepped = share_moved(Watched.latest.before, Watched.latest.stepped)
        seen = share_moved(weights, live_parameters(model))
        how = "no copies" if kind is Naive else "as shipped"
        rows.append(f"| {name} | {method} | {dtype}, {how} | {stepped:.1%} | {seen:.1%} |")
    return rows


def ties(answers: Score) -> int:
    """Questions whose best two choices have one logit."""
    best = np.sort(answers.logits, axis=1)
    return int((best[:, -1] == best[:, -2]).sum())


def reading(label: str, exact: HookedModel, half: HookedModel, task: Task) -> list[str]:
    """Rows of the second table."""
    rows = []
    for role in ("forget", "retain"):
        questions = getattr(task, role)[: QUESTIONS // 2]
        full, ours = (score(model, questions, task) for model in (exact, half))
        rounded = copy.copy(ours.logits)
        rounded = torch.tensor(rounded).bfloat16().float().numpy()
        product = Score("rounded", rounded, ours.answers)
        other = int((full.predictions != ours.predictions).sum())
        rows.append(
            f"| {label} | {role} | {len(questions)} | {ties(full)} | {ties(ours)} | {ties(product)}"
            f" | {full.accuracy:.4f} | {ours.accuracy:.4f} | {product.accuracy:.4f} | {other} |"
        )
    return rows


def main(name: str, task_name: str = "", unlearned: str = "") -> None:
    """Print both tables."""
    task = load_task(task_name or None, name)
    lines = [
        "| model | method | weights | stepped on | changed in the model |",
        "|---|---|---|---|---|",
    ]
    for method in () if unlearned else ("npo", "dpo"):
        lines += training(name, task, method)
    lines += [
        "",
        "| model | questions | n | ties float32 | ties bfloat16 | ties, product in bfloat16 "
        "| right float32 | right bfloat16 | right, product in bfloat16 | other answers |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        source = name
        if unlearned:
            model = load(name, dtype="float32")
            train_method(model, task, UnlearnPlan(unlearned, name))
            source = str(save(model, Path(folder) / "unlearned"))
            del model
        models = [load(source, original=name, dtype=d) for d in ("float32", "bfloat16")]
        lines += reading(f"{name} {unlearned}".strip(), *models, task)
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
