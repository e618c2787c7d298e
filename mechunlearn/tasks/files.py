"""Questions from a JSONL file: one object a line.

    {"set": "forget", "stem": "...", "choices": ["..", ".."], "answer": 1, "source": "doc-7"}

``set`` is ``forget`` or ``retain``. Optional: ``topic``, ``source`` (default: the line number),
``statement`` (cloze), ``fold`` (default: two fifths of the sources select, the others confirm).
Lines with ``set`` ``forget_text``, ``retain_text`` or ``plain_text`` and a ``text`` are corpora.
A line with ``set`` ``prompt`` says how to ask, by the templates of ``PromptFormat``:

    {"set": "prompt", "letter": "question {stem}{choices} letter :", "choice": " {letter} {text}"}
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from mechunlearn.errors import unknown
from mechunlearn.types import Fold, PromptFormat, Question, Scoring, Task

CORPORA = ("forget_text", "retain_text", "plain_text")
SETS = ("forget", "retain", "prompt", *CORPORA)
TEMPLATES = tuple(f.name for f in dataclasses.fields(PromptFormat) if f.name != "rewrite")


def from_jsonl(path: Path, scoring: Scoring = "letter") -> Task:
    """Read a task.

    Raises:
        ValueError: Naming file and line of whatever is missing or wrong.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    questions: dict[str, list[Question]] = {"forget": [], "retain": []}
    texts: dict[str, list[str]] = {name: [] for name in CORPORA}
    folds: dict[str, Fold] = {}
    prompt = PromptFormat()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as err:
        raise ValueError(f"{path} is not UTF-8 text ({err}); convert it first") from err
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
            kind = item["set"]
            if kind not in SETS:
                raise ValueError(f"'set' is {kind!r}; it must be one of {', '.join(SETS)}")
            if kind == "prompt":
                prompt = _prompt(item)
            elif kind in CORPORA:
                texts[kind].append(str(item["text"]))
            else:
                questions[kind].append(_question(item, number, folds))
        except KeyError as err:
            raise ValueError(f"{path}, line {number}: the key {err} is missing") from err
        except (ValueError, TypeError) as err:
            raise ValueError(f"{path}, line {number}: {err}") from err
    return Task(
        name=path.stem,
        forget=tuple(questions["forget"]),
        retain=tuple(questions["retain"]),
        prompt=prompt,
        scoring=scoring,
        forget_text=tuple(texts["forget_text"]),
        retain_text=tuple(texts["retain_text"]),
        plain_text=tuple(texts["plain_text"]),
    )


def _prompt(item: dict[str, Any]) -> PromptFormat:
    given: dict[str, Any] = {key: str(text) for key, text in item.items() if key != "set"}
    for key in given:
        if key not in TEMPLATES:
            raise unknown("template", key, TEMPLATES)
    prompt = PromptFormat(**given)
    probe = Question("stem", ("a", "b"), 0)
    try:
        prompt.letter_prompt(probe), prompt.cloze_prompt(probe)
    except (KeyError, IndexError) as err:
        raise ValueError(f"a template has a field that is not filled in: {err}") from err
    return prompt


def _question(item: dict[str, Any], number: int, folds: dict[str, Fold]) -> Question:
    source = str(item.get("source", f"line {number}"))
    if source not in folds:
        folds[source] = "select" if len(folds) % 5 < 2 else "confirm"
    if not isinstance(item["answer"], int) or not isinstance(item["choices"], list):
        raise ValueError("'choices' must be a list and 'answer' the index of the right one")
    fold = item.get("fold", folds[source])
    if fold not in ("select", "confirm"):
        raise ValueError(f"'fold' is {fold!r}; it must be select or confirm")
    return Question(
        stem=str(item["stem"]),
        choices=tuple(str(c) for c in item["choices"]),
        answer=item["answer"],
        topic=str(item.get("topic", "")),
        source=source,
        statement=str(item.get("statement", "")),
        fold=fold,
    )
