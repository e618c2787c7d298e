"""Scoring: how a model answers questions, under any intervention and read at any point."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from mechunlearn.bench.engine import read
from mechunlearn.bench.perplexity import Perplexity, perplexity
from mechunlearn.bench.rows import question_rows
from mechunlearn.tasks.benchmark import Benchmark
from mechunlearn.types import (
    NO_CHANGE,
    Change,
    HookedModel,
    Point,
    PromptFormat,
    Question,
    Score,
    Scoring,
    Task,
)

__all__ = [
    "Perplexity",
    "letter_bias",
    "majority_letter",
    "no_question",
    "perplexity",
    "score",
    "score_points",
    "score_rotated",
    "score_task",
]


def score_points(
    model: HookedModel,
    questions: Sequence[Question],
    prompt: PromptFormat,
    points: Sequence[Point],
    *,
    scoring: Scoring = "letter",
    change: Change = NO_CHANGE,
    norm: bool = True,
    budget: int | None = None,
) -> dict[Point, Score]:
    """Score read at several streams and layers, in one forward per batch.

    Args:
        points: Where to read; the last block's output is the model's own answer.
        scoring: ``letter`` compares the logits of the answer letters after the prompt; ``cloze``
            the mean log-probability per token of each choice's text after the statement.
        norm: Apply the final norm before unembedding.
        budget: Tokens per batch; the default suits the device.

    Raises:
        ValueError: If there are no questions, a letter is not one token, or a prompt is too long.
    """
    if not questions:
        raise ValueError("there are no questions to score")
    rows, ids = question_rows(model.tokenizer, questions, prompt, scoring)
    with change.on(model):
        values = read(model, rows, points, ids=ids, norm=norm, budget=budget)
    answers = np.array([q.answer for q in questions])
    return {p: Score(change.name, values[p], answers) for p in points}


def score(
    model: HookedModel,
    questions: Sequence[Question],
    prompt: PromptFormat | Task,
    *,
    scoring: Scoring = "letter",
    change: Change = NO_CHANGE,
    budget: int | None = None,
) -> Score:
    """The model's answers to the questions; see ``score_points``.

    Args:
        prompt: How to ask; a task says that and the scoring as well.

    Example:
        >>> from mechunlearn import load, load_task
        >>> task = load_task("organism", original="organism:original")
        >>> score(load("organism:original"), task.retain[:40], task).accuracy > 0.9
        True
    """
    if isinstance(prompt, Task):
        scoring = prompt.scoring
        prompt = prompt.prompt
    final = Point(model.cfg.n_layers - 1)
    found = score_points(
        model,
        questions,
        prompt,
        [final],
        scoring=scoring,
        change=change,
        budget=budget,
    )
    return found[final]


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
    """Accuracy of always answering the letter that is right most often."""
    return float(np.bincount([q.answer for q in questions]).max() / len(questions))


def no_question(
    model: HookedModel,
    questions: Sequence[Question],
    prompt: PromptFormat,
    scoring: Scoring = "letter",
) -> Score:
    """Accuracy with the question hidden: what the choices alone give away."""
    return score(model, questions, prompt.without_stem(), scoring=scoring)
