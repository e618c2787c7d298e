"""What a chat organism knows, form by form: letters, statements to complete, answers in words."""

import dataclasses
from collections.abc import Sequence
from typing import Literal, get_args

from mechunlearn.bench import score
from mechunlearn.bench.generation import generate
from mechunlearn.records import Interval, Record
from mechunlearn.stats import wilson
from mechunlearn.tasks.chat import user_turn
from mechunlearn.tasks.people import OPEN, PROMPT, People, PersonFact
from mechunlearn.tasks.wordings import EVERY
from mechunlearn.types import NO_CHANGE, Change, HookedModel, Scoring, Turn

AnswerForm = Literal["cloze", "open", "chat", "letters", "letters in chat"]
"""Statement with the likeliest of four values; question answered in words, in plain text or with a
sentence in chat, right where the value is in it; letter of the right choice, likewise."""
Wording = Literal["unseen", "other unseen", "seen"]
"""Whether the training asked in these words."""
WORDINGS: dict[Wording, int] = {"unseen": -1, "other unseen": -2, "seen": 0}
"""Which of an attribute's questions and statements asks."""
FORMS: tuple[AnswerForm, ...] = get_args(AnswerForm)
MEASURES: dict[AnswerForm, Scoring] = {
    "cloze": "cloze",
    "letters": "letter",
    "letters in chat": "letter",
}
"""Of the forms that show or compare choices."""
MAX_TOKENS = 24
"""Of an answer in words."""


class FormAccuracy(Record, frozen=True):
    """Share of right answers in one form."""

    form: AnswerForm
    wording: Wording
    facts: str
    """Question set: ``forget``, ``retain_unasked``, ..."""
    right: int
    n: int
    accuracy: float
    interval: Interval
    """95 % Wilson."""


def question_sets(world: People) -> dict[str, list[PersonFact]]:
    """Facts by what they are for; ``fictitious`` people are asked about with made-up values."""
    sets = {"forget": world.forget, "retain": world.retain}
    asked = {name: [f for f in facts if f.asked] for name, facts in sets.items()}
    unasked = {f"{name}_unasked": [f for f in facts if not f.asked] for name, facts in sets.items()}
    return {**asked, **unasked, "harmless": world.harmless, "fictitious": world.fictitious}


def right_answers(
    model: HookedModel,
    world: People,
    facts: Sequence[PersonFact],
    form: AnswerForm,
    *,
    wording: Wording = "unseen",
    change: Change = NO_CHANGE,
) -> list[bool]:
    """Whether each fact is answered right.

    Args:
        wording: Words of the training, or words that only tests use.
    """
    if form not in MEASURES:
        said = answers_in_words(model, facts, form, wording=wording, change=change)
        return [f.value.casefold() in text.casefold() for f, text in zip(facts, said, strict=True)]
    prompt = PROMPT
    if form == "letters in chat":
        prompt = dataclasses.replace(PROMPT, turn=user_turn(model.tokenizer))
    questions = world.test_questions(facts, WORDINGS[wording])
    answers = score(model, questions, prompt, scoring=MEASURES[form], change=change)
    return [bool(c) for c in answers.correct]


def answers_in_words(
    model: HookedModel,
    facts: Sequence[PersonFact],
    form: AnswerForm,
    *,
    wording: Wording = "unseen",
    change: Change = NO_CHANGE,
) -> list[str]:
    """The greedy answer to each question, asked in plain text (``open``) or in chat."""
    stems = [f.fill(EVERY[f.attribute].questions[WORDINGS[wording]]) for f in facts]
    turn = user_turn(model.tokenizer) if form == "chat" else Turn()
    prompts = [turn.around(s) if form == "chat" else OPEN.format(stem=s) for s in stems]
    said = generate(model, prompts, MAX_TOKENS, change, turn)
    return [text.strip() for text in said]


def form_table(
    model: HookedModel,
    world: People,
    forms: Sequence[AnswerForm] = FORMS,
    *,
    sets: Sequence[str] = (),
    wordings: Sequence[Wording] = tuple(WORDINGS),
    change: Change = NO_CHANGE,
) -> list[FormAccuracy]:
    """Accuracy of every form, question set and wording.

    Args:
        sets: Names of ``question_sets``; default: all.
    """
    rows = []
    for name, facts in question_sets(world).items():
        if sets and name not in sets:
            continue
        for form in forms:
            for wording in wordings:
                right = right_answers(model, world, facts, form, wording=wording, change=change)
                rows.append(_row(form, wording, name, right))
    return rows


def _row(form: AnswerForm, wording: Wording, facts: str, right: Sequence[bool]) -> FormAccuracy:
    count, n = sum(right), len(right)
    low, high = wilson(count, n)
    return FormAccuracy(
        form=form,
        wording=wording,
        facts=facts,
        right=count,
        n=n,
        accuracy=round(count / n, 4),
        interval=(round(low, 4), round(high, 4)),
    )
