"""Ask differently: add to the prompt or deform it, and nothing else, until the answer comes back.

    prompt -> lead-in + prompt,    p r o m p t,    PROMPT, ...

Characters or words are inserted, and case, order, repetition, a lead-in or few-shot examples are
tried; the last words of a prompt, which ask for the answer, stay. The sham makes as many changes at
random places; for what is added in front, the added words in random order.

Reference:
    Łucki et al. 2024, arXiv:2409.18025 (perturbations; their grid is the ``paper`` preset).
    Differs: the kind of change and its rate are chosen on the select fold. ``paper`` has the
    published 117 insertions, into the whole prompt as it is asked.
    Limits: a list of changes at some rates; it says nothing about changes that are not on it.
"""

import random
import re
import string
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from mechunlearn.attacks.protocol import Attack, Search
from mechunlearn.attacks.seen import Scored, Seen
from mechunlearn.attacks.vocabulary import Access, Family, Need
from mechunlearn.cost.job import Cost, Job
from mechunlearn.records import Record
from mechunlearn.types import Change, Example, HookedModel, Rewrite

Kind = Literal[
    "insert",
    "insert at random",
    "fillers",
    "few-shot",
    "repeat",
    "lead-in",
    "upper case",
    "lower case",
    "spaces",
]
CUE_WORDS = 2
"""Words at the end of a prompt that stay: the cue for the answer."""
SHUFFLE = "shuffle"
"""In place of a character: at every place another one, a punctuation mark or a digit."""
PAPER_CHARACTERS = ("!", "_", " ", ")", ";", "?", "5", "~", "^", ".", "-", "Q", SHUFFLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class NaiveConfig:
    """Settings.

    Raises:
        ValueError: If a number or rate makes no sense.
    """

    characters: tuple[str, ...] = ("~", " ", "-")
    every: tuple[int, ...] = (1, 5, 15)
    """A character after every n-th character."""
    rates: tuple[float, ...] = (0.1, 0.3)
    """Chances of a character after each, and of a filler word before each word."""
    published: bool = False
    """Insert characters only, and as the paper's code does: into the whole prompt, cue included,
    and with every n-th character counted from the first one on."""

    def __post_init__(self) -> None:
        if any(n < 1 for n in self.every) or not all(0 < r <= 1 for r in self.rates):
            raise ValueError(f"every needs n >= 1, rates chances in (0, 1], not {self}")


class Naive(Record, frozen=True, omit_defaults=True):
    """One way to change a prompt; what its kind does not use is left at 0."""

    kind: Kind
    what: str = ""
    """Character to insert."""
    every: int = 0
    """Characters between insertions."""
    rate: float = 0.0
    """Chance of an insertion."""
    shots: int = 0
    """Examples in front."""
    whole: bool = False
    """Whether characters go into the cue too, the first one after the first character."""


@dataclass(frozen=True, slots=True)
class Material:
    """What prompts are changed with."""

    words: tuple[str, ...]
    lead_ins: tuple[str, ...]
    examples: tuple[Example, ...]
    separator: str

    @classmethod
    def of(cls, seen: Seen) -> "Material":
        """Benign text, and retain questions with their answers."""
        return cls(
            neutral_words(seen),
            seen.plain_text or ("Please answer the following.",),
            tuple(seen.shown(q) for q in seen.retain),
            seen.prompt.separator,
        )


def neutral_words(seen: Seen) -> tuple[str, ...]:
    """Words of texts that have to do with neither set."""
    texts = seen.plain_text or seen.retain_text or ("well so now then",)
    return tuple(sorted({w for text in texts[:200] for w in text.split()}))


def insert(text: str, places: Sequence[int], character: str, rng: random.Random) -> str:
    """A character after each of some places; of ``SHUFFLE`` a random one each time."""
    draw = partial(rng.choice, string.punctuation + string.digits)
    at = {i: draw() if character == SHUFFLE else character for i in sorted(set(places))}
    return "".join(c + at.get(i, "") for i, c in enumerate(text))


def split_cue(text: str) -> tuple[str, str]:
    """The prompt without the words that ask for the answer, and those words."""
    words = list(re.finditer(r"\S+", text))
    if len(words) <= CUE_WORDS:
        return "", text
    cut = words[-CUE_WORDS].start()
    return text[:cut], text[cut:]


def shuffle_words(text: str, rng: random.Random) -> str:
    """The words in random order."""
    words = text.split()
    return " ".join(rng.sample(words, len(words)))


def rewriting(
    variant: Naive, material: Material, *, sham: bool = False
) -> Callable[[str, random.Random], str]:
    """The change of one kind; with ``sham``, as much of it at random places or in random order."""
    functions: dict[str, Callable[..., str]] = dict.fromkeys(
        ("repeat", "lead-in", "few-shot"), _in_front
    )
    functions |= {"insert": _inside, "insert at random": _inside, "fillers": _fillers}
    function = functions.get(variant.kind, _whole)
    return partial(function, variant=variant, material=material, sham=sham)


def _in_front(text: str, rng: random.Random, variant: Naive, material: Material, sham: bool) -> str:
    if variant.kind == "repeat":
        added = text
    elif variant.kind == "lead-in":
        added = rng.choice(material.lead_ins)
    else:
        examples = rng.sample(material.examples, min(variant.shots, len(material.examples)))
        added = material.separator.join(e.prompt + e.answer for e in examples)
    return (shuffle_words(added, rng) if sham else added) + material.separator + text


def _inside(text: str, rng: random.Random, variant: Naive, material: Material, sham: bool) -> str:
    body, cue = (text, "") if variant.whole else split_cue(text)
    if variant.kind == "insert":
        start = 0 if variant.whole else variant.every - 1
        places: Sequence[int] = range(start, len(body), variant.every)
    else:
        places = [i for i in range(len(body)) if rng.random() < variant.rate]
    if sham:
        places = rng.sample(range(len(body)), len(places))
    return insert(body, places, variant.what, rng) + cue


def _fillers(text: str, rng: random.Random, variant: Naive, material: Material, sham: bool) -> str:
    body, cue = split_cue(text)
    words = material.words
    parts = [
        f"{rng.choice(words)} {w}" if rng.random() < variant.rate else w
        for w in re.findall(r"\S+\s*", body)
    ]
    if sham:  # As many words, but in front of everything.
        added = (len("".join(parts)) - len(body)) // 6
        return " ".join([*(rng.choice(words) for _ in range(added)), body + cue])
    return "".join(parts) + cue


def _whole(text: str, rng: random.Random, variant: Naive, material: Material, sham: bool) -> str:
    body, cue = split_cue(text)
    if sham:
        return shuffle_words(body, rng) + " " + cue
    if variant.kind == "spaces":
        return re.sub(r"\s", lambda m: m[0] * 2, body) + cue
    return (body.upper() if variant.kind == "upper case" else body.lower()) + cue


def naive_grid(config: NaiveConfig) -> list[Naive]:
    """All naive changes to try."""
    whole = config.published
    grid = [
        Naive(kind="insert", what=c, every=n, whole=whole)
        for c in config.characters
        for n in config.every
    ]
    grid += [
        Naive(kind="insert at random", what=c, rate=r, whole=whole)
        for c in config.characters
        for r in config.rates
    ]
    if whole:
        return grid
    grid += [Naive(kind="fillers", rate=r) for r in config.rates]
    grid += [Naive(kind="few-shot", shots=n) for n in (1, 3)]
    single: tuple[Kind, ...] = ("repeat", "lead-in", "upper case", "lower case", "spaces")
    return grid + [Naive(kind=kind) for kind in single]


@dataclass(frozen=True, slots=True)
class NaiveSearch(Search[Naive]):
    """The changes to try."""

    grid: Sequence[Naive]
    material: Material

    def variants(self) -> Generator[Sequence[Naive], Sequence[Scored], None]:
        """See ``Search``."""
        yield self.grid

    def change(self, variant: Naive) -> Change:
        """See ``Search``."""
        return Change(variant.kind, rewrite=Rewrite(rewriting(variant, self.material)))

    def sham(self, variant: Naive, seed: int) -> Change:
        """As much, at random places or in random order."""
        function = rewriting(variant, self.material, sham=True)
        return Change(f"sham of {variant.kind}", rewrite=Rewrite(function, seed))


class NaivePerturbation(Attack[NaiveConfig, None, Naive]):
    """Changed prompts as a registered attack."""

    family: ClassVar[Family] = "prompt"
    access: frozenset[Access] = frozenset({"prompts"})
    needs: frozenset[Need] = frozenset({"retain facts", "benign text"})
    variant = Naive
    presets: Mapping[str, NaiveConfig] = {
        "paper": NaiveConfig(
            characters=PAPER_CHARACTERS,
            every=(1, 3, 5, 7, 11, 15),
            rates=(0.1, 0.2, 0.3),
            published=True,
        ),
        "small": NaiveConfig(),
        "organism": NaiveConfig(),
    }

    def search(
        self, model: HookedModel, seen: Seen, reference: None, config: NaiveConfig
    ) -> NaiveSearch:
        """There is nothing to find in a model; every kind at every rate is tried."""
        return NaiveSearch(naive_grid(config), Material.of(seen))

    def cost(self, config: NaiveConfig, job: Job) -> Cost:
        """One pass for each change."""
        return Cost(variants=float(len(naive_grid(config))))
