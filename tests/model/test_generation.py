"""Generation: batches, caches and samples say what one prompt at a time says."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from mechunlearn.attacks.edits import written
from mechunlearn.bench import decoding as decoding_
from mechunlearn.bench import generation
from mechunlearn.bench.decoding import sampled
from mechunlearn.bench.generation import Decoding, continuations, generate, sample
from mechunlearn.models import load
from mechunlearn.types import NO_CHANGE, Change, Hook, HookedModel, Point, Rewrite, Rows, Task

STEPS = 6
UNIT = torch.nn.functional.normalize(torch.arange(-9.0, 23.0), dim=0)


def prompts_of(task: Task, n: int = 5) -> list[str]:
    """Prompts of different lengths, some longer than a sliding window."""
    stems = [task.prompt.letter_prompt(q) for q in task.forget[:n]]
    return [stem[i * 7 :].strip() for i, stem in enumerate(stems)] + [task.forget[0].stem]


@torch.no_grad()
def naive(model: HookedModel, prompt: str, steps: int = STEPS) -> list[int]:
    """Whole forwards, one prompt at a time, without a cache."""
    row = model.tokenizer(prompt)["input_ids"]
    n, ends = len(row), (model.tokenizer.eos_token_id, model.tokenizer.pad_token_id)
    while len(row) < n + steps:
        row = [*row, int(model(torch.tensor([row]))[0, -1].argmax())]
        if row[-1] in ends:
            return row[n:-1]
    return row[n:]


def greedy(model: HookedModel, prompts: Sequence[str], **more: Any) -> list[list[int]]:
    found = continuations(model, prompts, Decoding(max_tokens=STEPS), **more)
    return [own for (own,) in found]


@pytest.fixture(scope="module")
def organism() -> HookedModel:
    return load("organism:original")


def scaled(model: HookedModel) -> Any:
    weight = model.unembed.original_component.weight
    return written(lambda: [(weight, torch.ones_like(weight, dtype=torch.bool), -weight.flatten())])


def first_moved(activation: torch.Tensor, hook: object, rows: Rows) -> torch.Tensor:
    """Moves real tokens at the third place of their prompts, and those alone."""
    there = (rows.positions == 2) & rows.real
    return torch.where(there[..., None], activation + 30 * UNIT.to(activation), activation)


@pytest.mark.ci
def test_a_batch_says_what_one_prompt_at_a_time_says(any_tiny: HookedModel, task: Task) -> None:
    prompts = prompts_of(task)
    assert len({len(any_tiny.tokenizer(p)["input_ids"]) for p in prompts}) > 3
    changes = (
        NO_CHANGE,
        Change("token", (Hook(Point(1).name, lambda x, hook: -x),)),
        Change("sequence", (Hook(Point(0).name, first_moved, scope="sequence"),)),
        Change("edit", edits=(scaled,)),
    )
    said = []
    for change in changes:
        with change.on(any_tiny):
            expected = [naive(any_tiny, prompt) for prompt in prompts]
        assert greedy(any_tiny, prompts, change=change) == expected
        said.append(expected)
    assert all(other != said[0] for other in said[1:])


def test_without_the_shortcuts_the_text_is_the_same(
    tiny: Callable[[str], HookedModel], task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, prompts = tiny("mistral"), prompts_of(task)
    expected = greedy(model, prompts)
    kinds: Counter[str] = Counter()
    for kind in ("Cached", "Whole"):
        real = getattr(decoding_, kind)
        monkeypatch.setattr(
            generation, kind, lambda *a, real=real, kind=kind: (kinds.update([kind]), real(*a))[1]
        )
    lengths = {len(model.tokenizer(p)["input_ids"]) for p in prompts}
    for off, used in (
        ({"left_padding": False}, {"Cached": len(lengths)}),
        ({"caching": False}, {"Whole": 1}),
    ):
        kinds.clear()
        with monkeypatch.context() as patch:
            for name, value in off.items():
                patch.setattr(model, "shortcuts", type(model.shortcuts)(**{name: value}))
            assert greedy(model, prompts) == expected
        assert kinds == used
    kinds.clear()
    with monkeypatch.context() as patch:  # As long RoPE: longer texts turn by other tables.
        patch.setattr(generation, "rotation_limit", lambda model: sorted(lengths)[1] + STEPS)
        assert greedy(model, prompts) == expected
    assert kinds == {"Cached": 1, "Whole": len(lengths) - 2}


def test_a_rewrite_changes_the_question(organism: HookedModel, task: Task) -> None:
    prompts = [q.stem for q in task.forget[:6]]
    others = [q.stem for q in task.forget[6:12]]
    pairs = dict(zip(prompts, others, strict=True))
    change = Change("rewrite", rewrite=Rewrite(lambda text, rng: pairs[text]))
    assert greedy(organism, prompts, change=change) == greedy(organism, others)
    assert greedy(organism, others) != greedy(organism, prompts)


def test_a_sample_does_not_depend_on_its_batch(organism: HookedModel, task: Task) -> None:
    prompts = [q.stem for q in task.forget[:9]]
    how = Decoding(max_tokens=8, samples=3, temperature=1.5, top_p=0.95, seed=3)
    together = sample(organism, prompts, how)
    assert [sample(organism, [p], how)[0] for p in prompts[3:5]] == together[3:5]
    assert sample(organism, prompts[::-1], how) == together[::-1]
    fewer = Decoding(max_tokens=8, samples=2, temperature=1.5, top_p=0.95, seed=3)
    assert sample(organism, prompts, fewer) == [own[:2] for own in together]
    assert len({text for own in together for text in own}) > len(prompts)
    other = Decoding(max_tokens=8, samples=3, temperature=1.5, top_p=0.95, seed=4)
    assert sample(organism, prompts, other) != together
    cold = Decoding(max_tokens=8, samples=2, temperature=1e-4, seed=3)
    assert sample(organism, prompts, cold) == [(x, x) for x in generate(organism, prompts, 8)]


def test_out_of_memory_halves_the_batch_and_draws_the_same(
    organism: HookedModel, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = prompts_of(task)
    how = Decoding(max_tokens=4, samples=2, temperature=1.0)
    expected, sizes = sample(organism, prompts, how), []
    real = generation.continued

    def small(texts: Any, draw: Any, ends: Any, stopped: Any, most: int, rows: int) -> Any:
        sizes.append(rows)
        found = real(texts, draw, ends, stopped, most, rows)
        if rows > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return found

    monkeypatch.setattr(generation, "continued", small)
    assert sample(organism, prompts, how) == expected
    assert sizes[0] == 12
    assert sum(size for size in sizes if size <= 4) == 12


def test_stop_texts_end_a_text(organism: HookedModel, task: Task) -> None:
    prompts = [q.stem for q in task.forget[:4]]
    plain = generate(organism, prompts, 8)
    stop = plain[0].split()[2]
    (first, *_), tokens = (
        [own for (own,) in run(organism, prompts, Decoding(max_tokens=8, stop=(stop,)))]
        for run in (sample, continuations)
    )
    assert first == plain[0][: plain[0].index(stop)]
    assert organism.tokenizer.decode(tokens[0]).endswith(stop)
    never = Decoding(max_tokens=8, stop=("no such text",))
    assert [own for (own,) in sample(organism, prompts, never)] == plain


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    p = torch.tensor([0.5, 0.3, 0.15, 0.05])
    logits = p.log().expand(4000, -1)
    draws = [random.Random(f"{i}") for i in range(4000)]

    def shares(temperature: float, top_p: float) -> torch.Tensor:
        return sampled(logits, draws, temperature, top_p).bincount(minlength=4) / 4000

    torch.testing.assert_close(shares(1.0, 1.0), p, atol=0.03, rtol=0)
    squared = p**2 / (p**2).sum()
    torch.testing.assert_close(shares(0.5, 1.0), squared, atol=0.03, rtol=0)
    # The fewest tokens with at least 0.7 together are the first two.
    torch.testing.assert_close(
        shares(1.0, 0.7), torch.tensor([0.625, 0.375, 0, 0]), atol=0.03, rtol=0
    )


def test_a_nucleus_wider_than_the_tokens_looked_at_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logits = torch.randn(50, 300, generator=torch.Generator().manual_seed(0))
    few = sampled(logits, [random.Random(i) for i in range(50)], 1.0, 0.9)
    monkeypatch.setattr(decoding_, "NUCLEUS", 4)
    assert sampled(logits, [random.Random(i) for i in range(50)], 1.0, 0.9).equal(few)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"max_tokens": 0}, "at least 1"),
        ({"temperature": -1.0}, "at least 0"),
        ({"temperature": 1.0, "top_p": 0.0}, "above 0"),
        ({"samples": 2}, "always says the same"),
        ({"top_p": 0.5}, "always says the same"),
        ({"stop": ("",)}, "not empty"),
    ],
)
def test_settings_out_of_range_or_without_effect_are_refused(
    settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        Decoding(**settings)


def test_no_prompts_no_texts_and_a_long_one_is_refused(organism: HookedModel) -> None:
    assert generate(organism, []) == []
    with pytest.raises(ValueError, match="there is room for"):
        generate(organism, ["the " * 5000])


def test_a_token_that_only_stands_in_for_padding_ends_no_answer(
    task: Task,
) -> None:
    model, prompts = load("organism:original"), prompts_of(task)
    before = greedy(model, prompts)
    model.tokenizer.pad_token = model.tokenizer.convert_ids_to_tokens(before[0][0])
    assert greedy(model, prompts)[0] == []  # A tokenizer's own padding does.
    model.tokenizer.borrowed_pad = model.tokenizer.pad_token
    assert greedy(model, prompts) == before
