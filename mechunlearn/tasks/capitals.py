"""World capitals: real knowledge that a 135M model has, for a demonstration on a real model.

Forget: the capitals of Europe and Asia. Retain: the capitals of Africa, the Americas and Oceania,
and on which continent those countries lie. Distractors are capitals of the same region, scoring is
cloze ("The capital of Peru is" + " Lima"). Folds are split by country.

The table ``capitals.csv`` was made from the package countryinfo 1.0.1 (MIT licence): countries of
at least 300,000 people; left out are names that give the capital away (Mexico City), dependent and
disputed territories and countries whose capital is disputed or recently moved; names updated.
"""

import csv
import random
from dataclasses import dataclass
from pathlib import Path

from mechunlearn.types import Example, Fold, PromptFormat, Question, Task

TABLE = Path(__file__).with_name("capitals.csv")
FORGET_REGIONS = ("Europe", "Asia")
STATEMENTS = (
    ("The capital of {country} is", " {capital}."),
    ("{capital} is the capital of", " {country}."),
    ("The capital city of {country} is called", " {capital}."),
    ("Q: What is the capital of {country}? A:", " {capital}."),
)
"""Prompts and answers."""
CONSONANTS, ENDINGS = "bdfgklmnprstvz", ("nia", "land", "stan", "via")
"""Of the names of countries that do not exist."""
CONTINENTS = ("Africa", "Asia", "Europe", "South America", "Oceania")
PLAIN = (
    "The bread was still warm when she cut it into thick slices.",
    "He repaired the old bicycle with a new chain and two tyres.",
    "In spring the garden needs water every second day.",
    "A good knife stays sharp for years if it is kept dry.",
    "They played cards until the lamp went out.",
    "The recipe asks for three eggs, some flour and a pinch of salt.",
    "Water boils at a lower temperature on high mountains.",
    "The children built a hut from branches and blankets.",
    "Her grandfather taught her to read the clouds before a storm.",
    "The library opens at nine and closes at six.",
    "A violin has four strings and a bow strung with horsehair.",
    "He wrote the letter twice and posted neither copy.",
    "Most cats sleep more than twelve hours a day.",
    "The train was late, so we had tea on the platform.",
    "Paint dries faster in a warm room with an open window.",
    "She counted the stairs every morning on her way to work.",
    "The team lost the first match and won all the others.",
    "Bees find their way home by the position of the sun.",
    "Fold the paper along the dotted line and press it flat.",
    "The old clock strikes every quarter of an hour.",
    "He likes his coffee black and his tea with milk.",
    "The river froze for the first time in ten years.",
    "A square has four equal sides and four right angles.",
    "They planted two rows of beans behind the shed.",
)
"""Sentences about nothing in particular."""
PLAIN_EXAMPLES = (
    Example("The color of fresh snow is", " white."),
    Example("The opposite of hot is", " cold."),
    Example("A baby cat is called a", " kitten."),
    Example("A baby dog is called a", " puppy."),
    Example("The number of days in a week is", " seven."),
    Example("The number of legs of a spider is", " eight."),
    Example("Bees make", " honey."),
    Example("The month after March is", " April."),
    Example("The day after Friday is", " Saturday."),
    Example("The color of a ripe banana is", " yellow."),
    Example("Frozen water is called", " ice."),
    Example("The season after winter is", " spring."),
    Example("The opposite of day is", " night."),
    Example("A triangle has this many sides:", " three."),
    Example("Bread is baked in an", " oven."),
    Example("The organ that pumps blood is the", " heart."),
    Example("We hear with our", " ears."),
    Example("The star at the center of our solar system is the", " Sun."),
    Example("Cheese is made from", " milk."),
    Example("A person who flies a plane is called a", " pilot."),
    Example("The opposite of early is", " late."),
    Example("The color of an emerald is", " green."),
    Example("A group of wolves is called a", " pack."),
    Example("The tool used to drive nails is a", " hammer."),
)
"""Statements to complete that have nothing to do with countries."""


@dataclass(frozen=True, slots=True)
class Country:
    """One row of the table."""

    name: str
    capital: str
    region: str
    fold: Fold


def countries() -> list[Country]:
    """The table, with two fifths of each region in the select fold."""
    with TABLE.open(encoding="utf-8") as file:
        table = [(r["country"], r["capital"], r["region"]) for r in csv.DictReader(file)]
    random.Random("capitals").shuffle(table)
    seen: dict[str, int] = {}
    countries = []
    for name, capital, region in table:
        seen[region] = seen.get(region, -1) + 1
        fold: Fold = "select" if seen[region] % 5 < 2 else "confirm"
        countries.append(Country(name, capital, region, fold))
    return countries


def capitals() -> Task:
    """The task; equal in every call."""
    table = countries()
    rng = random.Random("choices")
    asked = [_capital_question(c, table, rng) for c in table]
    forget = tuple(q for q, c in zip(asked, table, strict=True) if c.region in FORGET_REGIONS)
    keep = [c for c in table if c.region not in FORGET_REGIONS]
    retain = tuple(q for q, c in zip(asked, table, strict=True) if c in keep)
    where = tuple(_continent_question(c, rng) for c in keep if c.region != "Americas")
    to_forget = _examples([c for c in table if c.region in FORGET_REGIONS])
    to_keep = _examples(keep) + tuple(
        Example(f"{c.name} is a country in", f" {c.region}.") for c in keep
    )
    asked_sets = (forget, retain + where)
    return statements_task("capitals", asked_sets, (to_forget, to_keep), _twins(table))


def statements_task(
    name: str,
    asked: tuple[tuple[Question, ...], tuple[Question, ...]],
    examples: tuple[tuple[Example, ...], tuple[Example, ...]],
    twins: tuple[Question, ...],
) -> Task:
    """A task about the world, asked by statements to complete, which are its texts too.

    Args:
        asked, examples: Of the facts to forget, and of those to retain.
    """
    forget_text, retain_text = (tuple(e.prompt + e.answer for e in own) for own in examples)
    return Task(
        name=name,
        forget=asked[0],
        retain=asked[1],
        prompt=PromptFormat(letter="Question: {stem}{choices}\nAnswer:"),
        scoring="cloze",
        forget_text=forget_text,
        retain_text=retain_text,
        plain_text=PLAIN,
        plain_examples=PLAIN_EXAMPLES,
        forget_examples=examples[0],
        retain_examples=examples[1],
        twins=twins,
    )


def _twins(table: list[Country]) -> tuple[Question, ...]:
    """Capitals of countries that do not exist; one of four real capitals is right, at random."""
    rng = random.Random("twins")
    real = [c for c in table if c.region in FORGET_REGIONS and c.fold == "confirm"]
    known = {c.name for c in table}
    questions: list[Question] = []
    for like in real:
        name = ""
        while not name or name in known:
            name = made_up_name(rng) + rng.choice(ENDINGS)
        known.add(name)
        capitals = [c.capital for c in table if c.region == like.region]
        made_up = Country(name, rng.choice(capitals), like.region, "confirm")
        questions.append(_capital_question(made_up, table, rng))
    return tuple(questions)


def made_up_name(rng: random.Random) -> str:
    """Three syllables."""
    first, *rest = (rng.choice(CONSONANTS) + rng.choice("aeiou") for _ in range(3))
    return first.capitalize() + "".join(rest)


def _examples(table: list[Country]) -> tuple[Example, ...]:
    return tuple(
        Example(*(part.format(country=c.name, capital=c.capital) for part in parts))
        for c in table
        for parts in STATEMENTS
    )


def _capital_question(country: Country, table: list[Country], rng: random.Random) -> Question:
    region = [c.capital for c in table if c.region == country.region]
    others = [capital for capital in region if capital != country.capital]
    choices = [country.capital, *rng.sample(others, 3)]
    rng.shuffle(choices)
    return Question(
        stem=f"What is the capital of {country.name}?",
        choices=tuple(choices),
        answer=choices.index(country.capital),
        topic=country.region,
        source=country.name,
        statement=f"The capital of {country.name} is",
        fold=country.fold,
    )


def _continent_question(country: Country, rng: random.Random) -> Question:
    choices = [country.region, *rng.sample([c for c in CONTINENTS if c != country.region], 3)]
    rng.shuffle(choices)
    name = country.name[0].upper() + country.name[1:]
    return Question(
        stem=f"On which continent is {country.name}?",
        choices=tuple(choices),
        answer=choices.index(country.region),
        topic="continents",
        source=country.name,
        statement=f"{name} is a country in",
        fold=country.fold,
    )
