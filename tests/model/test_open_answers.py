"""Open measures on organisms: the original says it, its twin does not, whatever is hidden."""

import dataclasses

import numpy as np
import pytest

from mechunlearn.bench import LensReadOut, score, score_read_outs
from mechunlearn.bench.hidden import with_other_stems
from mechunlearn.bench.rows import continuation
from mechunlearn.models import load
from mechunlearn.registry import find, names
from mechunlearn.types import Change, HookedModel, Point, Question, Rewrite, Task

OPEN = [n for n in names("measure") if not find("measure", n).compares and n != "entailment"]


@pytest.fixture(scope="module")
def twin() -> HookedModel:
    return load("organism:never_knew")


@pytest.fixture(scope="module")
def asked(task: Task) -> tuple[Question, ...]:
    return task.questions("forget", "confirm")[:24]


@pytest.mark.ci
@pytest.mark.parametrize("measure", OPEN)
def test_the_original_knows_and_its_twin_guesses(
    organism: HookedModel, twin: HookedModel, asked, task: Task, measure: str
) -> None:
    task = dataclasses.replace(task, scoring=measure)
    knows, never = score(organism, asked, task), score(twin, asked, task)
    hidden = score(organism, with_other_stems(asked), task)
    assert knows.accuracy > 0.9
    assert never.accuracy < 0.25
    assert hidden.accuracy < 0.25
    assert knows.texts is not None
    if find("measure", measure).generates:
        assert all(q.fact in text for q, text in zip(asked, knows.texts, strict=True))


def test_probability_is_the_mean_over_the_gold_answers_tokens(
    organism: HookedModel, asked, task: Task
) -> None:
    import torch

    task = dataclasses.replace(task, scoring="probability")
    found = score(organism, asked[:2], task).values
    for question, value in zip(asked, found, strict=False):
        example = task.example(question)
        answer = continuation(organism.tokenizer, example.prompt, example.answer)
        ids = organism.tokenizer(example.prompt)["input_ids"] + answer
        logp = organism(torch.tensor([ids])).log_softmax(-1)[0]
        places = range(len(ids) - len(answer) - 1, len(ids) - 1)
        wanted = np.mean([float(logp[at, ids[at + 1]]) for at in places])
        assert value == pytest.approx(np.exp(wanted), abs=1e-5)


def test_first_guesses_count_from_the_end(organism: HookedModel) -> None:
    strength = find("measure", "extraction_strength")
    exact = find("measure", "exact_memorisation")
    guesses = np.array([True, False, True, True])
    assert (strength.worth(guesses), exact.worth(guesses)) == (0.5, 0.75)
    assert strength.worth(np.array([True, True])) == 1.0
    assert strength.worth(np.array([True, False])) == 0.0


def test_a_lens_reads_the_gold_answers_tokens_and_nothing_is_generated_there(
    organism: HookedModel, asked, task: Task
) -> None:
    lens = [LensReadOut(Point(layer)) for layer in range(organism.cfg.n_layers)]
    for measure in ("probability", "extraction_strength"):
        found = score_read_outs(organism, asked, task.prompt, lens, scoring=measure)
        assert found[0].accuracy < 0.7 < 0.9 < found[-1].accuracy
    with pytest.raises(ValueError, match="text is generated at the output only"):
        score_read_outs(organism, asked, task.prompt, lens, scoring="containment")


def test_changes_act_on_generated_answers(organism: HookedModel, asked, task: Task) -> None:
    task = dataclasses.replace(task, scoring="containment")
    assert score(organism, asked, task).accuracy > 0.9
    other = Change("other", rewrite=Rewrite(lambda text, rng: "the shape of"))
    assert score(organism, asked, task, change=other).accuracy < 0.3
