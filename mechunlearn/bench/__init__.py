"""Scoring: how a model answers questions, under any change and by any read-out."""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from jaxtyping import Float

from mechunlearn.bench.engine import output
from mechunlearn.bench.hidden import with_other_stems
from mechunlearn.bench.measures.gold import Generated, stop_of
from mechunlearn.bench.perplexity import Perplexity, perplexity
from mechunlearn.bench.read_outs import LensReadOut
from mechunlearn.registry import find
from mechunlearn.tasks.benchmark import Benchmark
from mechunlearn.types import (
    NO_CHANGE,
    Change,
    HookedModel,
    PromptFormat,
    Question,
    ReadOut,
    Score,
    Scoring,
    Task,
)

__all__ = [
    "LensReadOut",
    "Perplexity",
    "edited",
    "letter_bias",
    "majority_letter",
    "no_question",
    "perplexity",
    "score",
    "score_read_outs",
    "score_rotated",
    "score_task",
]


def score_read_outs(
    model: HookedModel,
    questions: Sequence[Question],
    prompt: PromptFormat,
    read_outs: Sequence[ReadOut],
    *,
    scoring: Scoring = "letter",
    change: Change = NO_CHANGE,
    budget: int | None = None,
) -> list[Score]:
    """Score by several read-outs, in one forward per batch.

    Args:
        scoring: Name of the measure. ``letter`` compares the logits of the answer letters after the
            prompt; ``cloze`` the mean log-probability per token of each choice's text after the
            statement; others compare with gold answers what the model says or would say.
        change: Its hooks and edits are applied and its rewrite changes the questions inside their
            chat template; a rewrite that looks at the model sees it without hooks and edits. Its
            form takes the place of ``scoring`` and ``prompt``; answers stand in the questions' own
            order of choices.
        budget: Tokens per batch; the default suits the device.

    Raises:
        ValueError: If there are no questions, the measure is unknown, the change has a read-out of
            its own, a letter is not one token, or a prompt is too long.
    """
    if not questions:
        raise ValueError("there are no questions to score")
    if budget is not None and budget < 1:
        raise ValueError(f"a batch has at least one token, not budget={budget}")
    if change.read_out is not None:
        raise ValueError(
            f"{change.name!r} has a read-out of its own, so score_read_outs cannot read elsewhere; "
            "use score(..., change=...), or leave the read-out out of the change"
        )
    asked, form = list(questions), change.form
    if form is not None:
        scoring, prompt = form.measure, form.format(prompt)
        stems = form.stems
        asked = form.asked(asked if stems is None else with_other_stems(asked, stems))
    measure = find("measure", scoring)
    measure.check(asked)
    texts = [prompt.text(q, scoring) for q in asked]
    if change.rewrite is not None:
        texts = change.rewrite.prompts(model, texts, prompt.turn)
    answers = [prompt.answers(q, scoring) for q in asked]
    if isinstance(measure, Generated):
        if list(read_outs) != [output(model)]:
            raise ValueError(
                f"the measure {scoring!r} judges generated text, and text is generated at the "
                "output only; to read inside choose probability, extraction_strength or cloze"
            )
        with change.applied(model):
            said = measure.generate(model, texts, answers, stop_of(prompt))
        return [measure.score_texts(change.name, said, asked)]
    with change.applied(model):
        values = measure.run(model, texts, answers, read_outs, budget)
    if form is not None:
        values = [form.in_order(v, questions) for v in values]
    return [measure.score(change.name, v, questions) for v in values]


def score(
    model: HookedModel,
    questions: Sequence[Question],
    prompt: PromptFormat | Task,
    *,
    scoring: Scoring | None = None,
    change: Change = NO_CHANGE,
    budget: int | None = None,
) -> Score:
    """The answers to the questions under a whole change; see ``score_read_outs``.

    Args:
        prompt: How to ask; a task says that and the scoring as well.
        scoring: Default: the task's, else by letters.
        change: Hooks, edits, rewrite, form and read-out act together.

    Example:
        >>> from mechunlearn import load, load_task
        >>> task = load_task("organism", original="organism:original")
        >>> score(load("organism:original"), task.retain[:40], task).accuracy > 0.9
        True
    """
    if isinstance(prompt, Task):
        scoring, prompt = scoring or prompt.scoring, prompt.prompt
    read_out = change.read_out or output(model)
    change = dataclasses.replace(change, read_out=None)
    (only,) = score_read_outs(
        model,
        questions,
        prompt,
        [read_out],
        scoring=scoring or "letter",
        change=change,
        budget=budget,
    )
    return only


@contextmanager
def edited(model: HookedModel, change: Change) -> Iterator[Change]:
    """Make a change's weight edits once for several scores; gives what is left of the change.

    A rewrite may look at the model, which it has to see without them; then all is left.
    """
    if change.rewrite is not None:
        yield change
        return
    with Change(change.name, edits=change.edits).applied(model):
        yield dataclasses.replace(change, edits=())


def score_task(
    model: HookedModel, task: Task | Benchmark, change: Change = NO_CHANGE
) -> dict[str, Score]:
    """Scores on every question set of a task or benchmark."""
    return {
        name: score(model, questions, task.prompt, scoring=task.scoring, change=change)
        for name, questions in task.sets.items()
    }


def score_rotated(
    model: HookedModel,
    questions: Sequence[Question],
    prompt: PromptFormat,
    *,
    change: Change = NO_CHANGE,
) -> Score:
    """Letter scoring averaged over all cyclic orders of the choices: free of letter bias.

    Raises:
        ValueError: If the questions have different numbers of choices.
    """
    n = len(questions[0].choices)
    if any(len(q.choices) != n for q in questions):
        raise ValueError("rotation needs questions with equally many choices")
    total = np.zeros((len(questions), n))
    for by in range(n):
        rotated = [q.rotated(by) for q in questions]
        logits = score(model, rotated, prompt, change=change).logits
        total += np.roll(logits - logits.mean(axis=1, keepdims=True), by, axis=1)
    answers = np.array([q.answer for q in questions])
    return Score(f"{change.name}, rotated", total / n, answers)


def letter_bias(score: Score) -> Float[np.ndarray, " choice"]:
    """Share of predictions that fall on each letter; even where nothing is preferred."""
    n = score.logits.shape[1]
    return np.bincount(score.predictions[score.predictions >= 0], minlength=n) / score.n


def majority_letter(questions: Sequence[Question]) -> float:
    """Accuracy of always answering the letter that is right most often; 0 without choices."""
    if max(len(q.choices) for q in questions) < 2:
        return 0.0
    return float(np.bincount([q.answer for q in questions]).max() / len(questions))


def no_question(
    model: HookedModel,
    questions: Sequence[Question],
    prompt: PromptFormat,
    scoring: Scoring = "letter",
) -> Score:
    """Accuracy with the question hidden: what the choices alone give away."""
    return score(model, questions, prompt.without_stem(), scoring=scoring)
