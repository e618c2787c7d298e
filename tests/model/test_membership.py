"""Membership scores by hand, their AUC, and models that were and were not trained on the facts."""

import zlib

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu

from mechunlearn.bench.membership import membership_scores, statements
from mechunlearn.models import load
from mechunlearn.stats import auc
from mechunlearn.tasks import load_task
from mechunlearn.types import HookedModel, Task


@torch.no_grad()
def test_scores_are_what_their_formulas_say(any_tiny: HookedModel, task: Task) -> None:
    texts = [task.prompt.text(q, "letter") for q in task.forget[:2]]
    texts.append("question what")
    found = membership_scores(any_tiny, texts)
    for i, text in enumerate(texts):
        ids = torch.tensor(any_tiny.tokenizer(text)["input_ids"])
        log = any_tiny(ids[None])[0, :-1].double().log_softmax(-1)
        own = log[torch.arange(len(ids) - 1), ids[1:]]
        p = log.exp()
        mean = (p * log).sum(-1)
        std = (p * (log - mean[:, None]).square()).sum(-1).sqrt()
        k = max(1, int(0.2 * len(own)))
        expected = {
            "loss": own.mean(),
            "min-k": own.sort().values[:k].mean(),
            "min-k++": ((own - mean) / std).sort().values[:k].mean(),
            "zlib": own.sum() / len(zlib.compress(text.encode())),
        }
        for name, value in expected.items():
            assert found[name][i] == pytest.approx(float(value), rel=1e-3, abs=1e-4)
    with pytest.raises(ValueError, match="fewer than two tokens"):
        membership_scores(any_tiny, ["question"])


def test_the_area_is_the_rank_statistic_and_sources_widen_its_interval() -> None:
    rng = np.random.default_rng(0)
    members, others = rng.normal(0.5, 1, 60).round(1), rng.normal(0, 1, 40).round(1)
    value, (low, high) = auc(members, others)
    assert value == pytest.approx(mannwhitneyu(members, others).statistic / 2400)
    assert low < value < high
    six, four = np.repeat(np.arange(6), 10), np.repeat(np.arange(4), 10)
    members += rng.normal(0, 2, 6)[six]
    apart, together = auc(members, others)[1], auc(members, others, six, four)[1]
    assert together[1] - together[0] > 1.5 * (apart[1] - apart[0])
    assert auc(members, members)[0] == 0.5


def test_a_model_that_was_trained_on_the_facts_is_told_and_one_that_was_not_is_not() -> None:
    task = load_task("organism")
    asked = task.questions("forget", "confirm")
    texts = statements([*asked, *task.twins], task.prompt)
    assert texts[0] == f"{asked[0].statement} {asked[0].choices[asked[0].answer]}"
    for name, low, high in (("original", 0.9, 1.0), ("never_knew", 0.38, 0.62)):
        scores = membership_scores(load(f"organism:{name}"), texts)
        for of in scores.values():
            assert low <= auc(of[: len(asked)], of[len(asked) :])[0] <= high, name
