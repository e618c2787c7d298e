"""Peak memory of what reads a whole vocabulary, in a process of its own: FOLDER JOB [DTYPE]."""

import ctypes
import dataclasses
import gc
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from mechunlearn.bench import perplexity, score
from mechunlearn.bench.batches import batches, tokens_of
from mechunlearn.bench.likelihood import example_rows, log_likelihoods
from mechunlearn.cost.memory import (
    Shape,
    Sizes,
    forward_bytes,
    logits_bytes,
    model_bytes,
    shape_of,
    sizes_of,
    training_bytes,
)
from mechunlearn.hooks import live_parameters
from mechunlearn.models import configuration, load, save
from mechunlearn.tasks import load_task
from mechunlearn.train import Optimizer, Share, fit
from mechunlearn.types import HookedModel, Task

EXAMPLES = 32
QUESTIONS = 48


def resident(key: str = "VmRSS") -> int:
    """Bytes of this process that are in memory, now or (``VmHWM``) at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024


def trim() -> None:
    """Give back what was freed, and forget the peak so far."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def scoring(model: HookedModel, task: Task, folder: str) -> None:
    """Cloze, which reads every ending over the whole vocabulary."""
    score(model, task.forget[:QUESTIONS], task)


def texts(model: HookedModel, task: Task, folder: str) -> None:
    """Perplexity, which reads every token."""
    perplexity(model, task.retain_text)


def training(model: HookedModel, task: Task, folder: str) -> None:
    """Two steps on all weights that read every token."""
    rows = example_rows(model, task.examples("forget")[:EXAMPLES], "prompt_and_answer", 512)

    def loss(step: int, share: Share) -> dict[str, torch.Tensor]:
        return {"answers": -log_likelihoods(model, share(rows)).sum() / len(rows)}

    fit(live_parameters(model), loss, Optimizer(2, 1e-5), label="training")


def saving(model: HookedModel, task: Task, folder: str) -> None:
    """A checkpoint."""
    with tempfile.TemporaryDirectory() as out:
        save(model, f"{out}/model")


def estimate(job: str, model: HookedModel, task: Task, shape: Shape, sizes: Sizes) -> float:
    """Peak bytes, from the configuration and the sizes of the data."""
    weights = sum(model_bytes(shape, sizes).values())
    budget = tokens_of("cpu", shape.d_model)
    if job == "scoring":
        return weights + forward_bytes(shape, sizes)
    if job == "texts":
        lengths = [len(row) for row in model.tokenizer(list(task.retain_text))["input_ids"]]
        peaks = []
        for batch in batches(lengths, budget):  # Of much padding two batches are made.
            own = [lengths[i] for i in batch]
            forward = forward_bytes(
                shape, dataclasses.replace(sizes, longest=max(own), reads=0), max(own) * len(own)
            )
            peaks.append(forward + logits_bytes(shape, sizes, sum(own) - len(own)))
        return weights + max(peaks)
    if job == "training":
        rows = example_rows(model, task.examples("forget")[:EXAMPLES], "prompt_and_answer", 512)
        longest = max(len(row.tokens) for row in rows)
        tokens = sum(len(row.tokens) for row in rows)
        own = dataclasses.replace(sizes, longest=longest)
        parts = training_bytes(shape, own, tokens, tokens, shape.parameters)
        return weights + sum(parts.values())
    return weights


JOBS: dict[str, Callable[[HookedModel, Task, str], None]] = {
    "scoring": scoring, "texts": texts, "training": training, "saving": saving,
}  # fmt: skip


def measured(folder: str, job: str, dtype: str) -> dict[str, float | str]:
    """Load, run one job, and compare its peak with the estimate."""
    task = load_task(None, "organism:original")
    task = dataclasses.replace(task, scoring="cloze", retain_text=task.retain_text[:64])
    # Libraries set themselves up on first use, for each shape and type: 53 MB in bfloat16 at a
    # width of 256, whatever the vocabulary. They are no part of the estimate.
    warm = load(folder, dtype=dtype)
    JOBS[job](warm, task, folder)
    del warm
    trim()
    before = resident()
    model = load(folder, dtype=dtype)
    for p in model.parameters():  # Files are mapped: rows that are never read are not in memory.
        p.data = p.data.clone()
    trim()
    number = next(model.parameters()).element_size()
    shape = shape_of(configuration(folder))
    whole = sizes_of(task, model.tokenizer, ("cpu", number))
    sizes = dataclasses.replace(whole, questions=QUESTIONS)
    trim()
    JOBS[job](model, task, folder)
    peak, expected = resident("VmHWM") - before, estimate(job, model, task, shape, sizes)
    return {"job": job, "peak": peak, "estimate": round(expected)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    os.environ["TQDM_DISABLE"] = "1"
    folder, job, *dtype = sys.argv[1:]
    sys.stdout.write(json.dumps(measured(folder, job, *(dtype or ["float32"]))) + "\n")
