"""Folds that share no fact, and how much of one set of questions stands in another text.

Two questions are near-duplicates where their words (of stem and right answer), weighted by how rare
they are among all questions, point the same way: a cosine of at least 0.7. What a template repeats
in every question weighs nothing, and the name or number that makes a question its own much.
What a word is where none are written apart is said in ``mechunlearn.tasks.words``.
"""

import dataclasses
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mechunlearn.tasks.words import ABUGIDAS, HANGUL, KANA, characters, findable, words
from mechunlearn.types import Fold, OpenQuestion, Question, Task

SELECT_SHARE = 0.4
"""Share of the questions of each topic that attacks may look at."""
SIMILAR = 0.7
"""Cosine from which on two questions are near-duplicates."""
NGRAM = 8
"""Words in a row that two texts do not share by accident."""
WHOLE = 4
"""Letters of Thai and its like in a row that are about a word, as one to look for in long texts."""
CHUNK = 1_000
"""Rows of the similarity matrix held at once."""
_HALVES = re.compile(f"[{KANA}{HANGUL}]")
_LETTERS = re.compile(f"[{KANA}{HANGUL}{ABUGIDAS}]")


def assign_folds(
    questions: Sequence[Question], *, by: Literal["source", "topic"] = "source", seed: int = 0
) -> tuple[Question, ...]:
    """Two fifths select and the others confirm, in each topic; groups stay together.

    A group is what shares a source (or a topic), and all near-duplicates of its questions.

    Args:
        by: Keep sources or whole topics together.

    Returns:
        The questions in their order; near-duplicates share a source (``with_shared_sources``).
    """
    close = list(near_duplicates(questions))
    order = _groups(questions, close, ("source", "topic") if by == "topic" else ("source",))
    random.Random(f"folds {seed}").shuffle(order)
    # Topic after topic, so that each gets its share; large groups first, so that small ones even
    # out.
    order.sort(key=lambda group: (questions[group[0]].topic, -len(group)))
    fold: dict[int, Fold] = {}
    select = 0
    for group in order:
        share = SELECT_SHARE * (len(fold) + len(group))
        fold |= dict.fromkeys(group, "select" if select + len(group) / 2 <= share else "confirm")
        select += len(group) if fold[group[0]] == "select" else 0
    placed = [dataclasses.replace(q, fold=fold[i]) for i, q in enumerate(questions)]
    return with_shared_sources(placed, close)


def with_shared_sources(
    questions: Sequence[Question], close: Iterable[tuple[int, int]] | None = None
) -> tuple[Question, ...]:
    """The questions, where near-duplicates of one fold have the source of the first of them.

    Intervals and tests count sources: asked twice, a fact is no second piece of evidence.

    Args:
        close: The near-duplicates, where they are known.
    """
    close = near_duplicates(questions) if close is None else close
    pairs = [(i, j) for i, j in close if questions[i].fold == questions[j].fold]
    if not pairs:
        return tuple(questions)
    source = [q.source for q in questions]
    for group in _groups(questions, pairs, ("source",)):
        named = next((source[i] for i in group if source[i]), f"like question {group[0] + 1}")
        for i in group if len(group) > 1 else ():
            source[i] = named
    return tuple(dataclasses.replace(q, source=s) for q, s in zip(questions, source, strict=True))


def _groups(
    questions: Sequence[Question], close: Iterable[tuple[int, int]], fields: Sequence[str]
) -> list[list[int]]:
    """Indices of questions that are linked by pairs or share what a field says."""
    parent = list(range(len(questions)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[tuple[str, str], int] = {}
    for i, question in enumerate(questions):
        for field in fields:
            if value := getattr(question, field):
                parent[root(i)] = root(first.setdefault((field, value), i))
    for i, j in close:
        parent[root(j)] = root(i)
    groups: dict[int, list[int]] = {}
    for i in range(len(questions)):
        groups.setdefault(root(i), []).append(i)
    return list(groups.values())


def near_duplicates(questions: Sequence[Question]) -> Iterator[tuple[int, int]]:
    """Pairs of indices ``i < j`` of questions that ask nearly the same."""
    from scipy.sparse import csr_matrix

    texts = [words(f"{q.stem} {q.choices[q.answer]}") for q in questions]
    seen = Counter(word for text in texts for word in set(text))
    n = len(texts)
    # A word of all questions weighs nothing; among many, products over common ones fill the memory.
    limit = n - 1 if n <= 2 * CHUNK else n // 50
    column_of = {w: i for i, w in enumerate(w for w, k in seen.items() if k <= limit)}
    entries = [
        (i, column_of[word], count * np.log(n / seen[word]))
        for i, text in enumerate(texts)
        for word, count in Counter(text).items()
        if word in column_of
    ]
    if not entries:
        return
    row, column, weight = zip(*entries, strict=True)
    matrix = csr_matrix((weight, (row, column)), shape=(n, len(column_of)))
    norm = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    matrix = csr_matrix(matrix.multiply(1 / np.where(norm > 0, norm, 1)[:, None]))
    for start in range(0, n, CHUNK):
        close = (matrix[start : start + CHUNK] @ matrix.T).tocoo()
        for i, j, value in zip(close.row + start, close.col, close.data, strict=True):
            if i < j and value >= SIMILAR:
                yield int(i), int(j)


@dataclass(frozen=True, slots=True)
class Overlap:
    """How much of some questions stands in other texts."""

    n: int
    """Number of questions."""
    ngrams: tuple[int, ...]
    """Indices of questions that share eight words in a row, stem or answer, with the texts."""
    answers: tuple[int, ...]
    """Indices of questions whose stem and right answer stand in one of the texts, up to the order
    of the words."""


def overlap(questions: Sequence[Question], texts: Iterable[str]) -> Overlap:
    """What of the questions an attack or a method reads that is given these texts.

    Runs of words that more than one in twenty of the questions share are their template, not a
    leak.
    """
    asked = [f"{q.stem} {q.choices[q.answer]}" for q in questions]
    own = [set(_runs(each)) for each in asked]
    common = Counter(run for runs in own for run in runs)
    limit = max(1, len(questions) // 20)
    wanted: dict[tuple[str, ...], list[int]] = {}
    for i, runs in enumerate(own):
        for run in runs:
            if common[run] <= limit:
                wanted.setdefault(run, []).append(i)
    sets = [frozenset(words(each, WHOLE)) for each in asked]
    rarest = _by_rarest_word(sets)
    ngrams: set[int] = set()
    answers: set[int] = set()
    for text in texts:
        for run in _runs(text):
            ngrams.update(wanted.get(run, ()))
        there = findable(text, WHOLE)
        for word in there:
            answers.update(i for i in rarest.get(word, ()) if sets[i] <= there)
    return Overlap(len(questions), tuple(sorted(ngrams)), tuple(sorted(answers)))


def leaks(task: Task) -> dict[str, Overlap]:
    """What of the confirm fold's forget questions stands in what attacks and methods may read."""
    asked = task.questions("forget", "confirm")
    shown = task.questions("forget", "select") + task.retain
    texts = {
        "questions of the select fold and the retain set": [
            f"{q.stem} {q.choices[q.answer]}" for q in shown
        ],
        "examples in the prompts": [task.prompt.header, *task.prompt.headers.values()],
        "forget text": task.forget_text,
        "retain text": task.retain_text,
        "plain text": task.plain_text,
    }
    return {name: overlap(asked, corpus) for name, corpus in texts.items() if any(corpus)}


def contradictions(task: Task) -> tuple[str, ...]:
    """What is asked more than once with the same choices, and has other right answers there."""
    first: dict[tuple[str, frozenset[str]], frozenset[str]] = {}
    found: dict[str, None] = {}
    for question in (*task.forget, *task.retain):
        own = frozenset({_plain(question.choices[question.answer])})
        asked = _plain(question.stem), frozenset(map(_plain, question.choices))
        if isinstance(question, OpenQuestion):
            own, asked = frozenset(map(_plain, question.golds)), (asked[0], frozenset())
        if not first.setdefault(asked, own) & own:
            found[question.stem] = None
    return tuple(found)


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _runs(text: str) -> Iterator[tuple[str, ...]]:
    """Eight words in a row, at every word; two kana or Hangul are one, or four letters of Thai."""
    said = characters(text)
    quarters = [_quarters(word) for word in said]
    end = held = 0
    for start, own in enumerate(quarters):
        while held < 4 * NGRAM and end < len(said):
            held += quarters[end]
            end += 1
        if held < 4 * NGRAM:
            return
        yield tuple(said[start:end])
        held -= own


def _quarters(word: str) -> int:
    """Quarters of a word that one of ``characters`` is; a sign is none."""
    if word.isascii() or not _LETTERS.match(word):
        return 4
    if _HALVES.match(word):
        return 2
    return 1 if word.isalnum() else 0


def _by_rarest_word(sets: Sequence[frozenset[str]]) -> dict[str, list[int]]:
    """Indices by the word that fewest others have: only there a whole question can be found."""
    seen = Counter(word for own in sets for word in own)
    by_word: dict[str, list[int]] = {}
    for i, own in enumerate(sets):
        if own:
            by_word.setdefault(min(own, key=lambda w: (seen[w], w)), []).append(i)
    return by_word
