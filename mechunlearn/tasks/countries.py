"""Facts about the world's countries: real knowledge of small models, in every form of question.

Forget: capitals, currencies, languages, neighbours and second cities of Europe and Asia. Retain:
the same of Africa, the Americas and Oceania. Every fact can be asked by letters, as a statement to
complete ("The capital of Peru is") and as an open question; wrong choices are of the same region.
Folds are split by country, and a neighbour that stands among choices is in its country's fold,
since the fact is the neighbour's too. What a name gives away is not asked. Twins are countries that
do not exist.

The table ``countries.csv`` was made from the package countryinfo 1.0.1 (MIT licence), of the
countries in ``capitals.csv``: currencies in words, without their country's name, and brought up to
2025; an official language; neighbours that are in the table. Second cities were added by hand.
"""

import csv
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mechunlearn.tasks.capitals import (
    ENDINGS,
    FORGET_REGIONS,
    Country,
    countries,
    made_up_name,
    statements_task,
)
from mechunlearn.types import Example, OpenQuestion, Task

TABLE = Path(__file__).with_name("countries.csv")
KINDS = {
    "capital": ("What is the capital of {0}?", "The capital of {0} is"),
    "currency": ("What is the currency of {0} called?", "The currency of {0} is the"),
    "language": ("What is an official language of {0}?", "An official language of {0} is"),
    "neighbour": ("Which country borders {0}?", "A country that borders {0} is"),
    "city": ("In which country is the city of {0}?", "{0} is a city in"),
}
"""Question, and statement to complete, of every kind of fact."""
WRONG = 3
"""Other choices of a question."""
ALIKE = 4
"""First letters of an answer that may not stand in the name it is asked about."""


@dataclass(frozen=True, slots=True)
class CountryFact:
    """One fact: what is asked about, and the right answers."""

    country: Country
    kind: str
    about: str
    """The country, or a city of it."""
    right: tuple[str, ...]
    others: tuple[str, ...]
    """Wrong answers of the same kind and region."""

    def question(self, rng: random.Random) -> OpenQuestion:
        """The fact as a question."""
        stem, statement = (part.format(self.about) for part in KINDS[self.kind])
        return OpenQuestion(
            stem,
            golds=self.right,
            wrong=tuple(rng.sample(self.others, WRONG)),
            topic=self.kind,
            source=self.country.name,
            statement=statement[0].upper() + statement[1:],
            fold=self.country.fold,
        )

    def examples(self) -> Iterator[Example]:
        """Statements to train on."""
        stem, statement = (part.format(self.about) for part in KINDS[self.kind])
        yield Example(statement[0].upper() + statement[1:], f" {self.right[0]}.")
        yield Example(f"Q: {stem} A:", f" {self.right[0]}.")


def country_facts() -> list[CountryFact]:
    """Every fact of the table, by country."""
    with TABLE.open(encoding="utf-8") as file:
        rows = {row["country"]: row for row in csv.DictReader(file)}
    table = [c for c in countries() if c.name in rows]
    return [fact for country in table for fact in _facts(country, table, rows)]


def _facts(
    country: Country, table: Sequence[Country], rows: dict[str, dict[str, str]]
) -> Iterator[CountryFact]:
    row, near = rows[country.name], [c for c in table if c.region == country.region]
    for kind in ("capital", "currency", "language"):
        if row[kind] and not _told(row[kind], country.name):
            others = sorted({rows[c.name][kind] for c in near} - {row[kind], ""})
            yield CountryFact(country, kind, country.name, (row[kind],), tuple(others))
    names = sorted(c.name for c in near)
    if row["city"]:
        others = [name for name in names if name != country.name]
        yield CountryFact(country, "city", row["city"], (country.name,), tuple(others))
    beside = row["neighbours"].split("; ") if row["neighbours"] else []
    own = [c.name for c in table if c.name in beside and c.fold == country.fold]
    if own:
        others = [name for name in names if name not in (*beside, country.name)]
        right = (own[0], *(name for name in beside if name != own[0]))
        yield CountryFact(country, "neighbour", country.name, right, tuple(others))


def _told(answer: str, name: str) -> bool:
    """Whether a name begins like the answer: Tunis is the capital of Tunisia."""
    return answer[:ALIKE].lower() in name.lower()


def country_task() -> Task:
    """The task; equal in every call."""
    facts = [f for f in country_facts() if len(f.others) >= WRONG]
    rng = random.Random("choices")
    asked = [f.question(rng) for f in facts]
    forget, retain = (
        [i for i, f in enumerate(facts) if (f.country.region in FORGET_REGIONS) is wanted]
        for wanted in (True, False)
    )
    to_forget, to_keep = (
        tuple(example for i in chosen for example in facts[i].examples())
        for chosen in (forget, retain)
    )
    sets = tuple(asked[i] for i in forget), tuple(asked[i] for i in retain)
    twins = _twins([facts[i] for i in forget], rng)
    return statements_task("countries", sets, (to_forget, to_keep), twins)


def _twins(facts: Sequence[CountryFact], rng: random.Random) -> tuple[OpenQuestion, ...]:
    """The confirm fold's questions about names that do not exist; right answers at random."""
    names: dict[str, str] = {}
    twins = []
    for fact in facts:
        if fact.country.fold == "confirm":
            name = names.setdefault(fact.about, _made_up(rng, fact.kind))
            right = rng.choice((*fact.right[:1], *fact.others))
            others = tuple(x for x in (*fact.right[:1], *fact.others) if x != right)
            made = CountryFact(
                Country(name, "", fact.country.region, "confirm"), fact.kind, name, (right,), others
            )
            twins.append(made.question(rng))
    return tuple(twins)


def _made_up(rng: random.Random, kind: str) -> str:
    return made_up_name(rng) + ("" if kind == "city" else rng.choice(ENDINGS))
