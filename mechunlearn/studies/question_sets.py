"""The questions of a validation's worlds, in the shapes that users' questions have."""

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from mechunlearn.studies.conditions import QuestionSet
from mechunlearn.tasks.world import VALUES
from mechunlearn.types import Fold, Question, Role, Task

CLUSTER = 4
"""Entities that share a source where questions are clustered: twelve questions a source."""
SHORTCUTS = 0.5
"""Share of the questions whose wrong choices are of another kind than what is asked for."""
SELECT_SHARE = 2 / 3
"""Questions to choose by, for each question that is reported."""


def write_questions(task: Task, wanted: QuestionSet, seed: int, file: Path) -> str:
    """Name of the task that asks them: the world's own, or a file that is written here."""
    if wanted == "all":
        return task.name
    rows = []
    roles: tuple[Role, ...] = get_args(Role)
    for role in roles:
        questions: Sequence[Question] = task.sets[role]
        if wanted.startswith("few"):
            n = int(wanted.removeprefix("few_"))
            questions = [
                *_some(task.questions(role, "select"), round(SELECT_SHARE * n)),
                *_some(task.questions(role, "confirm"), n),
            ]
        elif wanted == "shortcuts":
            questions = with_shortcuts(questions, seed)
        else:
            questions = clustered(questions)
        rows += [
            {
                "set": role,
                "stem": q.stem,
                "choices": q.choices,
                "answer": q.answer,
                "topic": q.topic,
                "source": q.source,
                "statement": q.statement,
                "fold": q.fold,
            }
            for q in questions
        ]
    form = task.prompt
    rows.append({"set": "prompt", "cloze": form.cloze, "ending": form.ending})
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(file)


def _some(questions: Sequence[Question], n: int) -> list[Question]:
    return [questions[i * len(questions) // n] for i in range(n)]


def with_shortcuts(questions: Sequence[Question], seed: int) -> list[Question]:
    """Some questions whose right answer is the only choice that fits the kind of the question."""
    rng = random.Random(f"shortcuts-{seed}")
    out = []
    for q in questions:
        others = [v for kind, words in VALUES.items() if kind != q.topic for v in words.split()]
        choices = rng.sample(others, len(q.choices))
        choices[q.answer] = q.choices[q.answer]
        out.append(replace(q, choices=tuple(choices)) if rng.random() < SHORTCUTS else q)
    return out


def clustered(questions: Sequence[Question]) -> list[Question]:
    """The same questions, with one source for ``CLUSTER`` entities of one fold."""
    entities: dict[Fold, dict[str, int]] = {"select": {}, "confirm": {}}
    out = []
    for q in questions:
        seen = entities[q.fold]
        number = seen.setdefault(q.source, len(seen))
        out.append(replace(q, source=f"{q.fold}-{number // CLUSTER}"))
    return out
