"""Answers of other questions: placebos of what is taught, and wrong answers that look right."""

import random
import re
from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import chain

from mechunlearn.types import LETTERS, Example

Item = Example | str
"""A question with its answer, or a text."""
Run = tuple[str, ...]
"""Words in a row, in small letters."""
Names = tuple[str, ...]
"""As a prompt writes them, the longest first."""
LONGEST = 5
"""Words of what a question is about, at most."""
STATEMENT = 2
"""Words beside that from which on an answer states something of it: "Mexico City" does not."""
SENTENCE = 6
"""Words from which on an answer that names nothing is taken for a statement."""
LETTER = re.compile(rf"(?<!\w)([{LETTERS}])(?=(\W|$))")
"""A letter that stands alone, and the mark behind it."""


class Answers:
    """Answers of examples, as they would be given to each other's prompts.

    An answer that is a statement, such as "Nora Wentin likes to eat grapes." to a question about
    Nora Wentin, says its fact behind any prompt. To a prompt about somebody else it gets that one's
    name.

    Limits: what a question is about is taken to be what it shares with its answer; "She likes to
    eat grapes." is not seen to be about anybody.
    """

    def __init__(self, examples: Sequence[Example]) -> None:
        self.examples, self.about = examples, subjects(examples)

    def to(self, i: int, j: int) -> str | None:
        """What ``j`` answers, said to ``i``; ``None`` where that would still be true or be odd.

        It would be true where both are about the same, and odd where one is a statement and the
        other is not. Where all are about the same, answers stay as they are.
        """
        answer, old, new = self.examples[j].answer, self.about[j], self.about[i]
        if not old and not new:
            return answer if old == new else None
        if not old or not new or old[0].lower() == new[0].lower():
            return None
        return _renamed(answer, old, new[0])

    def instead(self, i: int, rng: random.Random) -> str:
        """A wrong answer to ``i`` where none can be exchanged for its own.

        Of a statement its words in random order; another letter of its list; another short answer;
        where all others are statements, the words of one of them in random order.

        Raises:
            ValueError: If all answers are alike.
        """
        example = self.examples[i]
        if self.about[i] is not None:
            return _disordered(example.answer, rng)
        answers = [e.answer for e in self.examples]
        short = [a for a, names in zip(answers, self.about, strict=True) if names is None]
        known, all_ = ({*some} - {example.answer} for some in (letters(example) or short, answers))
        if known:
            return rng.choice(sorted(known))
        if all_:
            return _disordered(rng.choice(sorted(all_)), rng)
        raise ValueError(
            f"nothing wrong can be said to ...{example.prompt[-60:]!r}: all of {len(answers)} "
            f"answer(s) are {example.answer!r}; give the task questions with other answers"
        )


def shuffled(items: Sequence[Item], seed: int) -> list[Item]:
    """The same prompts with each other's answers (``Answers``), so that nothing true is taught.

    Of texts, the same words in random order; so too of statements which are all about the same.
    Nobody keeps his answer or gets one like it, but letters: they are exchanged among questions
    with as many choices, and right as often as by guessing at most. To have none of them right
    would tell what is right.

    Raises:
        ValueError: If all answers are alike, and so if there is one.
    """
    rng = random.Random(seed)
    texts, examples = apart(items)
    if texts:
        return [_disordered(text, rng) for text in texts]
    pool, found = Answers(examples), [e.answer for e in examples]
    lists = [len(letters(example)) for example in examples]
    short = [i for i, names in enumerate(pool.about) if names is None]
    for size in sorted({lists[i] for i in short}):
        group = [i for i in short if lists[i] == size]
        answers = [examples[i].answer for i in group]
        drawn = deranged(answers, rng, len(group) // size if size else 0)
        for i, k in zip(group, drawn, strict=True):
            found[i] = pool.instead(i, rng) if k is None else answers[k]
    told = [i for i, names in enumerate(pool.about) if names is not None]
    for i, k in zip(told, deranged([(pool.about[i] or ())[:1] for i in told], rng), strict=True):
        j = i if k is None else told[k]
        said = pool.to(i, j) if pool.about[j] else None
        found[i] = pool.instead(i, rng) if said is None else said
    return [Example(e.prompt, answer) for e, answer in zip(examples, found, strict=True)]


def deranged(own: Sequence[Hashable], rng: random.Random, allowed: int = 0) -> list[int | None]:
    """For every place another one, in random order, that holds something else.

    Args:
        allowed: How many may hold the same.

    Returns:
        Places, each once; ``None`` where nothing is left to exchange: more than half are alike.
    """
    order = list(range(len(own)))
    rng.shuffle(order)

    def alike() -> list[int]:
        return [k for k, j in enumerate(order) if own[j] == own[k]]

    for k in alike():
        if own[order[k]] != own[k] or len(alike()) <= allowed:
            continue
        for m in range(len(order)):
            if own[order[m]] != own[k] and own[order[k]] != own[m]:
                order[k], order[m] = order[m], order[k]
                break
    left = {*alike()[allowed:]}
    return [None if k in left else j for k, j in enumerate(order)]


def letters(example: Example) -> tuple[str, ...]:
    """The answer with every letter that the question has; empty where it is no letter."""
    found = re.search(rf"(?<!\w)([{LETTERS}])\W*$", example.answer)
    own = listed(example.prompt)
    if not found or found[1] not in own:
        return ()
    start, end = found.span(1)
    return tuple(example.answer[:start] + x + example.answer[end:] for x in own)


def listed(prompt: str) -> str:
    """The letters of the last list of choices in a prompt: of "A. yes B. no" AB; or none.

    They follow each other, with the same mark behind each. Limits: choices that are letters
    themselves may pass for further ones.
    """
    found = [(m[1], m[2]) for m in LETTER.finditer(prompt)]
    for i in reversed(range(len(found))):
        n, mark = 0, found[i][1]
        for letter, behind in found[i:]:
            n += (letter, behind) == (LETTERS[n : n + 1], mark)
        if n > 1:
            return LETTERS[:n]
    return ""


def apart(items: Sequence[Item]) -> tuple[list[str], list[Example]]:
    """Texts, or examples; one kind of data has only one of them."""
    texts = [item for item in items if isinstance(item, str)]
    return texts, [item for item in items if isinstance(item, Example)]


def subjects(examples: Sequence[Example]) -> list[Names | None]:
    """What each answer states something of: the names that it shares with its prompt.

    ``None``: it is no statement. Empty: it names nothing but what most of them are about.
    """
    prompts = [_words(e.prompt) for e in examples]
    asked = [set(_runs(words)) for words in prompts]
    often, most = Counter(chain.from_iterable(asked)), max(1, len(examples) // 2)
    texts = (f"{e.prompt} {e.answer}" for e in examples)
    small = {word for text in texts for word in re.findall(r"\w+", text) if word.islower()}

    def is_name(run: Run, written: str) -> bool:
        return all(w[0].isupper() for w in written.split()) and not small.issuperset(run)

    def subject(example: Example, prompt: list[str], runs: set[Run]) -> Names | None:
        words = _words(example.answer)
        shared = [run for run in _runs(words) if run in runs]
        is_choice = f" {' '.join(words)} " in f" {' '.join(prompt)} "
        if not shared or is_choice:
            return None
        written = {run: _as_in(example.prompt, run) for run in shared if run[-1] != "s"}
        named = [run for run in written if is_name(run, written[run])]
        others = [] if named else sorted(written, key=lambda run: (often[run], -len(run)))[:1]
        names = sorted((r for r in named + others if often[r] <= most), key=len, reverse=True)
        if len(words) < (len(names[0]) + STATEMENT if names else SENTENCE):
            return None
        return tuple(written[run] for run in names)

    return [subject(*each) for each in zip(examples, prompts, asked, strict=True)]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _runs(words: Sequence[str]) -> list[Run]:
    """All runs of words, up to ``LONGEST``."""
    n = len(words)
    ends = (range(i + 1, min(i + LONGEST, n) + 1) for i in range(n))
    return [tuple(words[i:end]) for i, until in enumerate(ends) for end in until]


def _pattern(words: Sequence[str]) -> re.Pattern[str]:
    return re.compile(r"\b" + r"\W+".join(map(re.escape, words)) + r"\b", re.IGNORECASE)


def _as_in(text: str, run: Run) -> str:
    """A run of words as a text writes it."""
    found = _pattern(run).search(text)
    return found[0] if found else " ".join(run)


def _renamed(answer: str, old: Names, new: str) -> str:
    """The answer with another name in the place of all its own ones, longer ones first."""
    pattern = "|".join(_pattern(_words(name)).pattern for name in old)
    return re.sub(pattern, lambda _: new, answer, flags=re.IGNORECASE)


def _disordered(text: str, rng: random.Random) -> str:
    words = text.split()
    order = rng.sample(words, len(words))
    while order == words and len({*words}) > 1:
        order = rng.sample(words, len(words))
    return " " * text.startswith(" ") + " ".join(order)
