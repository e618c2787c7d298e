"""Membership and what outsiders see: right values, and a half where there is nothing."""

import zlib
from collections import Counter

import numpy as np
import pytest
import torch

from mechunlearn.bench.membership import membership_scores, right_and_wrong
from mechunlearn.bench.outsider import last_states, responses, shifts
from mechunlearn.models import load
from mechunlearn.stats import auc
from mechunlearn.tasks import load_task
from mechunlearn.types import Example, HookedModel, Question, Task


def test_scores_are_those_of_the_formulas(any_tiny: HookedModel, task: Task) -> None:
    example = task.forget_examples[0]
    long = Example(example.prompt, f"{example.answer} {example.prompt}")
    found = membership_scores(any_tiny, [example, long])
    for i, one in enumerate((example, long)):
        prompt = any_tiny.tokenizer(one.prompt)["input_ids"]
        ids = any_tiny.tokenizer(one.prompt + one.answer)["input_ids"]
        log = any_tiny(torch.tensor([ids]))[0].float().log_softmax(-1)
        places = range(len(prompt) - 1, len(ids) - 1)
        own = np.array([float(log[at, ids[at + 1]]) for at in places])
        mean = np.array([float((log[at].exp() * log[at]).sum()) for at in places])
        square = np.array([float((log[at].exp() * log[at] ** 2).sum()) for at in places])
        normed = (own - mean) / np.sqrt(square - mean**2)
        k = max(1, len(own) // 5)
        size = len(zlib.compress(one.answer.strip().encode()))
        expected = {
            "loss": own.mean(),
            "min-k": np.sort(own)[:k].mean(),
            "min-k++": np.sort(normed)[:k].mean(),
            "zlib": own.sum() / size,
        }
        assert {name: of[i] for name, of in found.items()} == pytest.approx(expected, rel=1e-3)


def test_every_answer_is_wrong_as_often_as_it_is_right(task: Task) -> None:
    right, wrong = right_and_wrong(task.forget, task.prompt)
    assert [e.prompt for e in right] == [e.prompt for e in wrong]
    assert all(a.answer != b.answer for a, b in zip(right, wrong, strict=True))
    counts = Counter(e.answer for e in right), Counter(e.answer for e in wrong)
    assert (counts[0] - counts[1]).total() <= 0.05 * len(right)
    alone = Question("Which?", ("a", "b", "c"), 2)
    _, (only,) = right_and_wrong([alone], task.prompt)
    assert only.answer == " a"


def test_area_by_hand_and_over_sources() -> None:
    value, (low, high) = auc(np.array([3.0, 2.0]), np.array([1.0, 2.0]), ("ab", "ab"))
    assert value == 0.875
    assert low <= value <= high
    rng = np.random.default_rng(0)
    members, others, apart = (
        rng.normal(1, 1, 200),
        rng.normal(0, 1, 200),
        list(map(str, range(400))),
    )
    value, alone = auc(members, others, (apart[:200], apart[200:]))
    assert value == pytest.approx(0.76, abs=0.05)  # Phi(1 / sqrt 2)
    assert alone[0] < value < alone[1]
    assert alone[1] - alone[0] < 0.12
    groups = [str(i // 20) for i in range(200)]
    low, high = auc(np.repeat(rng.normal(1, 1, 10), 20), others, (groups, apart[200:]))[1]
    assert high - low > 2 * (alone[1] - alone[0])
    assert auc(others + 9, others, (apart[:200], apart[:200]))[1] == pytest.approx(
        (0.98, 1), abs=0.01
    )


@pytest.mark.ci
def test_the_never_knew_model_stands_at_a_half_and_the_original_at_one(task: Task) -> None:
    asked = load_task("facts", original="organism:original").questions("forget", "confirm")
    prompt = load_task("facts", original="organism:original").prompt
    sources = [q.source for q in asked]
    right, wrong = right_and_wrong(asked, prompt)
    found = {}
    for name in ("original", "never_knew"):
        scores = membership_scores(load(f"organism:{name}"), [*right, *wrong])
        found[name] = {
            score: auc(of[: len(right)], of[len(right) :], (sources, sources))
            for score, of in scores.items()
        }
    assert all(value > 0.97 for value, _ in found["original"].values())
    assert all(low < 0.5 < high for _, (low, high) in found["never_knew"].values())


def test_responses_are_those_of_the_last_token(any_tiny: HookedModel, task: Task) -> None:
    prompts = [task.prompt.text(q, task.scoring) for q in task.forget[:5]]
    found = responses(any_tiny, prompts, last_states(any_tiny, prompts))
    for i, text in enumerate(prompts):
        logits = any_tiny(torch.tensor([any_tiny.tokenizer(text)["input_ids"]]))[0, -1].float()
        p = logits.softmax(-1)
        assert found["entropy"][i] == pytest.approx(-float((p * p.log()).sum()), abs=1e-3)
        first, second = logits.log_softmax(-1).topk(2).values
        assert found["margin"][i] == pytest.approx(float(first - second), abs=1e-3)


def test_a_shift_is_measured_along_the_mean_of_others() -> None:
    before = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    along = torch.tensor([0.0, 2.0, 0.0, 0.0, 0.0, 0.0])
    after = before + torch.tensor([[0.0], [1.0], [-1.0], [3.0]]) * along
    assert shifts(before, after, along) == pytest.approx([0.0, 2.0, -2.0, 6.0], abs=1e-5)
    assert not shifts(before, before, 0 * along).any()
