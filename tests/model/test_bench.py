"""Scoring is exact: equal to one plain forward per prompt, whatever is batched or shared."""

import dataclasses
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch

from mechunlearn.bench import (
    letter_bias,
    majority_letter,
    no_question,
    perplexity,
    score,
    score_points,
    score_rotated,
)
from mechunlearn.bench.rows import prefix_groups, question_rows
from mechunlearn.hooks import move_along, softcapped, streams
from mechunlearn.models import load
from mechunlearn.tasks import load_task
from mechunlearn.types import Change, HookedModel, Point, PromptFormat, Question, Task


def naive_letters(model: HookedModel, questions: tuple[Question, ...], prompt: PromptFormat):
    ids = [model.tokenizer.get_vocab()[x] for x in "ABCD"]
    rows = []
    for q in questions:
        tokens = torch.tensor([model.tokenizer(prompt.letter_prompt(q))["input_ids"]])
        rows.append(model(tokens)[0, -1, ids].tolist())
    return np.array(rows)


def naive_cloze(model: HookedModel, questions: tuple[Question, ...], prompt: PromptFormat):
    rows = []
    for q in questions:
        stem, endings = prompt.cloze_prompt(q)
        n, row = len(model.tokenizer(stem)["input_ids"]), []
        for ending in endings:
            tokens = torch.tensor([model.tokenizer(stem + ending)["input_ids"]])
            logp = model(tokens).log_softmax(-1)[0, :-1]
            row.append(logp[range(n - 1, tokens.shape[1] - 1), tokens[0, n:]].mean().item())
        rows.append(row)
    return np.array(rows)


@pytest.fixture
def some(task: Task) -> tuple[Question, ...]:
    return task.forget[:12]


def mixed(questions: tuple[Question, ...]) -> tuple[Question, ...]:
    """Cloze questions with endings of one to three tokens and stems of different lengths."""
    return tuple(
        Question(
            ("tell " * (i % 3)) + q.stem,
            tuple(
                f"{c} {c} moss"[: len(c) + (len(c) + 6) * (j % 2)] for j, c in enumerate(q.choices)
            ),
            q.answer,
        )
        for i, q in enumerate(questions)
    )


def test_letters_equal_the_naive_loop(any_tiny: HookedModel, some, task: Task) -> None:
    found = score(any_tiny, some, task.prompt, budget=130)
    assert np.abs(found.logits - naive_letters(any_tiny, some, task.prompt)).max() < 1e-4


def test_a_shared_prefix_changes_nothing(any_tiny: HookedModel, some, task: Task) -> None:
    shots = " . ".join(
        f"{task.prompt.letter_prompt(q)} {'ABCD'[q.answer]}" for q in task.retain[:4]
    )
    prompt = PromptFormat(
        letter="{header} . question {stem}{choices} letter :",
        choice=" {letter} {text}",
        header=shots,
    )
    found = score(any_tiny, some, prompt)
    assert np.abs(found.logits - naive_letters(any_tiny, some, prompt)).max() < 1e-4


def test_a_prefix_for_each_topic_changes_nothing(any_tiny: HookedModel, task: Task) -> None:
    """Two topics, each with its own long header; a budget so small that both are cached."""
    by_topic = {}
    for q in task.forget:
        by_topic.setdefault(q.topic, []).append(q)
    first, second = list(by_topic)[:2]
    asked = (*by_topic[first][:6], *by_topic[second][:6])
    shown = {t: by_topic[t][8:12] for t in (first, second)}
    prompt = dataclasses.replace(
        task.prompt,
        letter="{header}" + task.prompt.letter,
        headers={t: "".join(task.prompt.letter_prompt(q) for q in qs) for t, qs in shown.items()},
    )
    rows, _ = question_rows(any_tiny.tokenizer, asked, prompt, "letter")
    assert [len(group) for _, group in prefix_groups(rows, 16, 64)] == [6, 6]
    found = score(any_tiny, asked, prompt, budget=64)
    np.testing.assert_allclose(found.logits, naive_letters(any_tiny, asked, prompt), atol=1e-4)


def test_cloze_equals_the_naive_loop(any_tiny: HookedModel, some, task: Task) -> None:
    questions = mixed(some)
    found = score(any_tiny, questions, task.prompt, scoring="cloze", budget=200)
    assert np.abs(found.logits - naive_cloze(any_tiny, questions, task.prompt)).max() < 1e-4


def test_cloze_with_a_shared_prefix(any_tiny: HookedModel, some, task: Task) -> None:
    prompt = PromptFormat(cloze="the " * 20 + "{statement}")
    found = score(any_tiny, mixed(some), prompt, scoring="cloze")
    assert np.abs(found.logits - naive_cloze(any_tiny, mixed(some), prompt)).max() < 1e-4


def test_interventions_are_seen_in_every_mode(any_tiny: HookedModel, some, task: Task) -> None:
    unit = torch.nn.functional.normalize(torch.arange(-9.0, 23.0), dim=0)
    change = Change("x", ((Point(1).name, partial(move_along, unit=unit)),))
    found = score(any_tiny, some, task.prompt, change=change)
    with change.on(any_tiny):
        expected = naive_letters(any_tiny, some, task.prompt)
    assert np.abs(found.logits - expected).max() < 1e-4
    plain = score(any_tiny, some, task.prompt)
    assert np.abs(found.logits - plain.logits).max() > 1e-3
    assert (plain.logits == score(any_tiny, some, task.prompt).logits).all()


def test_points_read_what_run_with_cache_holds(any_tiny: HookedModel, some, task: Task) -> None:
    points = [Point(i, s) for i in range(3) for s in streams(any_tiny)]
    found = score_points(any_tiny, some, task.prompt, points)
    text = task.prompt.letter_prompt(some[0])
    tokens = torch.tensor([any_tiny.tokenizer(text)["input_ids"]])
    _, cache = any_tiny.run_with_cache(tokens)
    ids = [any_tiny.tokenizer.get_vocab()[x] for x in "ABCD"]
    for point in points:
        resid = cache[point.name][:, -1:]
        logits = softcapped(any_tiny, any_tiny.unembed(any_tiny.ln_final(resid))[0, 0, ids])
        assert np.abs(found[point].logits[0] - logits.detach().numpy()).max() < 1e-4


def test_perplexity_equals_cross_entropy(any_tiny: HookedModel) -> None:
    texts = ["the song of the bird is wail", "the glow", "is"]
    total, n = 0.0, 0
    for text in texts:
        tokens = torch.tensor([any_tiny.tokenizer(text)["input_ids"]])
        logits = any_tiny(tokens)[0, :-1]
        total += torch.nn.functional.cross_entropy(logits, tokens[0, 1:], reduction="sum").item()
        n += tokens.shape[1] - 1
    found = perplexity(any_tiny, texts)
    assert found.n_tokens == n
    assert found.nats_per_token == pytest.approx(total / n, abs=1e-5)


def test_rotation_removes_letter_bias(tiny: Callable[[str], HookedModel], task: Task) -> None:
    model, questions = tiny("gpt2"), task.forget[:64]
    head = model.unembed.original_component
    head.bias = torch.nn.Parameter(torch.zeros(head.weight.shape[0]), requires_grad=False)
    head.bias[model.tokenizer.get_vocab()["C"]] = 100.0
    plain = score(model, questions, task.prompt)
    assert letter_bias(plain).tolist() == [0, 0, 1, 0]
    assert plain.accuracy == majority_letter(questions) == 0.25
    assert letter_bias(score_rotated(model, questions, task.prompt)).max() < 0.6


def test_guessing_without_the_question(organism: HookedModel, task: Task) -> None:
    questions = task.questions("retain", "confirm")
    assert score(organism, questions, task.prompt).accuracy > 0.9
    low, _ = no_question(organism, questions, task.prompt).interval
    assert low < 0.4


def test_refusals(tiny: Callable[[str], HookedModel], some, task: Task) -> None:
    model = tiny("gpt2")
    with pytest.raises(ValueError, match="no questions"):
        score(model, (), task.prompt)
    with pytest.raises(ValueError, match="context is 192"):
        score(model, some, PromptFormat(letter="the " * 200 + "{stem}{choices}"))
    with pytest.raises(ValueError, match="one token per letter"):
        score(model, (Question("a", tuple("abcdef"), 0),), task.prompt)


def test_half_precision_gives_the_same_answers(task: Task) -> None:
    questions = task.questions("forget", "confirm")
    full = score(load("organism:original"), questions, task.prompt)
    half = score(load("organism:original", dtype="bfloat16"), questions, task.prompt)
    top = np.sort(full.logits, axis=1)
    clear = top[:, -1] - top[:, -2] > 0.5
    assert clear.mean() > 0.9
    assert (full.predictions == half.predictions)[clear].all()


def test_a_task_says_how_to_ask_and_to_score(organism: HookedModel) -> None:
    facts = load_task("facts@0")
    by_task = score(organism, facts.forget[:16], facts)
    by_hand = score(organism, facts.forget[:16], facts.prompt, scoring="cloze")
    assert (by_task.logits == by_hand.logits).all()
    by_letter = score(organism, facts.forget[:16], facts.prompt)
    assert not np.allclose(by_task.logits, by_letter.logits)
