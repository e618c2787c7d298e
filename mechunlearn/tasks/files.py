"""Questions from a file: JSONL, JSON, CSV, TSV, Parquet, or what ``save_to_disk`` wrote.

    {"set": "forget", "stem": "...", "choices": ["..", ".."], "answer": 1, "source": "doc-7"}

``set`` is ``forget``, ``retain``, ``twin`` (questions of the forget questions' form that nobody can
know: made-up entities, right answers at random) or ``shots`` (examples to show); without it all
rows are questions to be scored, or to be forgotten. Optional: ``id`` (unique), ``topic``,
``source`` (default: the id, else the row), ``statement`` (cloze), ``fold`` (default: two fifths of
the sources select, the others confirm; near-duplicates stay together). Rows with ``set``
``forget_text``, ``retain_text`` or ``plain_text`` and a ``text`` are corpora. A row with ``set``
``prompt`` says how to ask, by the templates of ``PromptFormat``:

    {"set": "prompt", "letter": "question {stem}{choices} letter :", "choice": " {letter} {text}"}

Open questions have an ``answer`` in words and no choices; ``wrong`` answers, ``paraphrases`` and
the ``span`` that carries the fact are optional:

    {"set": "forget", "question": "Where was Ina born?", "answer": "In Bern.", "span": "Bern"}

The shapes of published sets do too, TOFU's, MUSE's and RWKU's among them: see
``mechunlearn.tasks.reader``. Rows that are in memory are read by ``mechunlearn.tasks.task_from``.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mechunlearn.errors import unknown
from mechunlearn.tasks.benchmark import DEFAULT, Benchmark, TaskConfig
from mechunlearn.tasks.folds import assign_folds, with_shared_sources
from mechunlearn.tasks.measure import suggested
from mechunlearn.tasks.open_reader import Row
from mechunlearn.tasks.reader import read_rows, to_question
from mechunlearn.tasks.tables import CORPORA, SETS
from mechunlearn.tasks.words import characters, composed, parted
from mechunlearn.types import Fold, OpenQuestion, PromptFormat, Question

OPEN = "{header}Question: {statement}\nAnswer:"
"""How open questions are asked in plain text, by ``PromptFormat.cloze``."""
CLOZE = "{header}{statement}"
"""How statements are to be completed."""
TEMPLATES = ("letter", "choice", "cloze", "ending", "header", "answer", "separator")


def from_file(path: Path, config: TaskConfig = DEFAULT) -> Benchmark:
    """Read question sets and corpora.

    Raises:
        ValueError: Naming file and row of whatever is missing or wrong.
    """
    return from_rows(read_rows(path), str(path), config, name=path.stem)


def from_rows(
    rows: Iterable[tuple[str, Row]], source: str, config: TaskConfig = DEFAULT, *, name: str = ""
) -> Benchmark:
    """Question sets and corpora from rows, each with its place in their source.

    Args:
        source: What messages call it.
        name: The benchmark's; default: the source.

    Raises:
        ValueError: Naming source and place of whatever is missing or wrong.
    """
    sets: dict[str, list[Question]] = {}
    texts: dict[str, list[str]] = {}
    ids: dict[str, str] = {}
    folds: dict[str, Fold] = {}
    prompt = None
    for place, row in rows:
        row = {k: composed(v) if isinstance(v, str) else v for k, v in row.items()}
        try:
            kind = row.get("set") or "questions"
            if kind in CORPORA:
                if row.get("text") is None:
                    raise ValueError("the column 'text' is missing")
                texts.setdefault(kind, []).append(str(row["text"]))
                continue
            if kind == "prompt":
                prompt = _prompt(row)
                continue
            if kind not in (*SETS, "questions"):
                raise ValueError(f"'set' is {kind!r}; it must be one of {', '.join(SETS)}")
            _check_id(row, place, ids)
            question = to_question(row, source=place)
            _check_answers(question)
            if fold := row.get("fold"):
                _check_fold(fold, question.source, folds)
            sets.setdefault(kind, []).append(question)
        except ValueError as err:
            raise ValueError(f"{source}, {place}: {err}") from err
    if not sets:
        raise ValueError(f"{source} holds no questions")
    if "questions" in sets and len(sets) > 1:
        raise ValueError(f"{source}: some rows have a 'set' and some have none; give it to all")
    shots = tuple(sets.pop("shots", ()))
    asked = [q for questions in sets.values() for q in questions]
    return Benchmark(
        name=name or source,
        sets={k: _split(questions, folds, config) for k, questions in sets.items()},
        prompt=prompt or usual_prompt(asked, config),
        own_prompt=prompt is not None,
        scoring=config.scoring or suggested(asked),
        shots={"": shots} if shots else {},
        texts={name: tuple(lines) for name, lines in texts.items()},
    )


def _check_fold(fold: Any, source: str, folds: dict[str, Fold]) -> None:
    if fold not in ("select", "confirm"):
        raise ValueError(f"'fold' is {fold!r}; it must be select or confirm")
    if folds.setdefault(source, fold) != fold:
        raise ValueError(f"the source {source!r} is in both folds; its facts must share one")


def _prompt(row: Row) -> PromptFormat:
    given: dict[str, Any] = {k: str(v) for k, v in row.items() if k != "set" and v is not None}
    for key in given:
        if key not in TEMPLATES:
            raise unknown("template", key, TEMPLATES)
    prompt = PromptFormat(**{"cloze": CLOZE} | given)
    probe = Question("stem", ("a", "b"), 0)
    try:
        for scoring in ("letter", "cloze"):
            prompt.shown(probe, scoring)
    except (KeyError, IndexError, AttributeError) as err:
        raise ValueError(f"a template has a field that is not filled in: {err}") from err
    except ValueError as err:
        raise ValueError(f"a template is no format string: {err}") from err
    for name, fields in (("letter", ("{stem}", "{choices}")), ("cloze", ("{statement}",))):
        template = getattr(prompt, name)
        if missing := [field for field in fields if field not in template]:
            raise ValueError(f"the template {name} has no {' and no '.join(missing)}: {template!r}")
    return prompt


def usual_prompt(questions: Sequence[Question], config: TaskConfig) -> PromptFormat:
    """How questions are asked that come without a prompt; in chat open ones stand alone."""
    if not any(isinstance(q, OpenQuestion) for q in questions):
        return PromptFormat(cloze=CLOZE)
    return PromptFormat(cloze=OPEN if config.chat == "no" else CLOZE)


def _check_answers(question: Question) -> None:
    """What published sets may hold, and one's own should not."""
    if any("\ud800" <= character <= "\udfff" for character in question.stem):
        raise ValueError(f"the question {question.stem!a} holds half a character; mend the file")
    if isinstance(question, OpenQuestion):
        asked = f" {' '.join(characters(question.stem))} "
        for text in (question.fact, *question.golds):
            said = characters(text)
            if len(said) == 1 and parted(said[0] * 2) == said * 2:
                continue  # One Chinese character may be a part of any word.
            if f" {' '.join(said)} " in asked:
                raise ValueError(
                    f"the answer {text[:60]!r} stands in its question {question.stem[:60]!r}, so "
                    "that who repeats it is right; ask otherwise, or give another span"
                )
        return
    if not all(choice.strip() for choice in question.choices):
        raise ValueError(f"there is an empty choice: {question.choices}")
    texts = [choice.strip() for choice in question.choices]
    if texts.count(texts[question.answer]) > 1:
        raise ValueError(f"the right choice is there twice: {question.choices}")


def _check_id(row: Row, place: str, ids: dict[str, str]) -> None:
    key = row.get("id")
    if key is None or key == "":
        return
    if (first := ids.setdefault(str(key), place)) != place:
        raise ValueError(f"the id {str(key)[:60]!r} is in {first} too; ids must be unique")


def _split(
    questions: list[Question], given: dict[str, Fold], config: TaskConfig
) -> tuple[Question, ...]:
    """Folds as the rows give them, and for the other rows by source."""
    free = [q for q in questions if q.source not in given]
    assigned = iter(assign_folds(free, by=config.group))
    placed = tuple(
        dataclasses.replace(q, fold=given[q.source]) if q.source in given else next(assigned)
        for q in questions
    )
    return with_shared_sources(placed) if given else placed
