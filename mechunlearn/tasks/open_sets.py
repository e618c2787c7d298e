"""Published sets of open questions: TOFU, MUSE and RWKU, each a task with its retain set.

``tofu`` forgets a hundredth, a twentieth or a tenth of 200 fictional authors and keeps the others;
folds keep an author's questions together. Real authors, world facts and the forget questions in
other words are reported beside. ``muse-news`` and ``muse-books`` ask about texts; the published
number has ten examples in front (``task.shots=10``), and their questions name no document, so only
near-duplicates share a fold. ``rwku`` asks about famous people, by level: questions, sentences with
a blank, adversarial ones; folds keep a person together.

Plain prompts are ``Question: ...`` and ``Answer:``. Chat models of TOFU are asked in their template
with a system message (``--models tofu-1b`` sets both); the date in it is not the published one.

Reference: Maini et al. 2024, arXiv:2401.06121; Shi et al. 2024, arXiv:2407.06460; Jin et al. 2024,
arXiv:2406.10890.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from mechunlearn.tasks.benchmark import Benchmark, TaskConfig
from mechunlearn.tasks.files import usual_prompt
from mechunlearn.tasks.folds import assign_folds
from mechunlearn.tasks.hub import HubSet, rows
from mechunlearn.tasks.measure import suggested
from mechunlearn.tasks.open_reader import open_question
from mechunlearn.types import OpenQuestion, Question

TOFU = "324592d84ae4f482ac7249b9285c2ecdb53e3a68"
MUSE = RWKU = "main"
"""Not pinned: no commit of these sets could be checked when this was written."""
AUTHOR = 20
"""Questions about each of TOFU's authors, one after the other."""
TEXTS = 1_000
"""Documents taken of a corpus."""


@dataclass(frozen=True, slots=True)
class OpenSet:
    """Where the parts of a published set are."""

    forget: HubSet
    retain: HubSet
    extra: Mapping[str, HubSet] = field(default_factory=dict)
    examples: HubSet | None = None
    """Answered questions to show."""
    authors: HubSet | None = None
    """All questions in their order, which tells a question's author."""
    forget_text: HubSet | None = None
    retain_text: HubSet | None = None

    @property
    def parts(self) -> list[HubSet]:
        """What every use of it reads."""
        authors = () if self.authors is None else (self.authors,)
        return [self.forget, self.retain, *self.extra.values(), *authors]


def _tofu(split: str) -> OpenSet:
    def part(config: str) -> HubSet:
        return HubSet("locuslab/TOFU", config, "train", TOFU)

    extra = {x: part(f"{x}_perturbed") for x in ("real_authors", "world_facts")}
    return OpenSet(
        part(f"{split}_perturbed"), part("retain_perturbed"), extra, authors=part("full")
    )


def _muse(name: str) -> OpenSet:
    def part(config: str, split: str) -> HubSet:
        return HubSet(f"muse-bench/MUSE-{name}", config, split, MUSE)

    return OpenSet(
        part("knowmem", "forget_qa"),
        part("knowmem", "retain_qa"),
        examples=part("knowmem", "retain_qa_icl"),
        forget_text=part("raw", "forget"),
        retain_text=part("raw", "retain1"),
    )


def _rwku() -> OpenSet:
    def part(config: str) -> HubSet:
        return HubSet("jinzhuoran/RWKU", config, "test", RWKU)

    extra = {x: part(x) for x in ("forget_level1", "forget_level3")}
    return OpenSet(part("forget_level2"), part("neighbor_level2"), extra)


OPEN_SETS = {
    "tofu": _tofu("forget10"),
    "tofu-forget05": _tofu("forget05"),
    "tofu-forget01": _tofu("forget01"),
    "muse-news": _muse("News"),
    "muse-books": _muse("Books"),
    "rwku": _rwku(),
}


def open_set(name: str, config: TaskConfig) -> Benchmark:
    """A published set with folds.

    Raises:
        ValueError: If a local copy is damaged, or there are no corpora where some are wanted.
        PrerequisiteError: If a data set cannot be fetched.
    """
    about = OPEN_SETS[name]
    authors = _authors(about, config)
    sets = {
        "forget": _questions(about.forget, authors, config),
        "retain": _questions(about.retain, authors, config),
    }
    extra = {kind: _questions(part, {}, config) for kind, part in about.extra.items()}
    if reworded := tuple(map(_reworded, (q for q in sets["forget"] if q.paraphrases))):
        extra["forget_paraphrased"] = reworded
    shots: tuple[Question, ...] = ()
    if config.shots and about.examples is not None:
        shots = _questions(about.examples, {}, config)
    return Benchmark(
        name=name,
        sets={k: assign_folds(q, by=config.group) for k, q in sets.items()} | extra,
        prompt=usual_prompt(sets["forget"], config),
        scoring=config.scoring or suggested(sets["forget"]),
        shots={"": shots} if shots else {},
        texts=_texts(name, about, config),
    )


def downloads(name: str, config: TaskConfig) -> list[HubSet]:
    """The data sets that an audit of a published set reads."""
    about = OPEN_SETS[name]
    parts = about.parts
    for wanted, part in (
        (config.shots, about.examples),
        (config.corpora, about.forget_text),
        (config.corpora, about.retain_text),
    ):
        parts += [part] if wanted and part is not None else []
    return parts


def _reworded(question: OpenQuestion) -> OpenQuestion:
    """The question as its first paraphrase asks it."""
    return dataclasses.replace(question, stem=question.paraphrases[0], paraphrases=())


def _authors(about: OpenSet, config: TaskConfig) -> dict[str, str]:
    """The author of each question, where the set has them."""
    if about.authors is None:
        return {}
    asked = [str(row["question"]).strip() for _, row in rows(about.authors, config.data)]
    return {question: f"author {i // AUTHOR}" for i, question in enumerate(asked)}


def _questions(
    part: HubSet, sources: Mapping[str, str], config: TaskConfig
) -> tuple[OpenQuestion, ...]:
    questions: list[OpenQuestion] = []
    for place, row in rows(part, config.data):
        try:
            question = open_question(row, source=place)
        except ValueError as err:
            raise ValueError(f"{part}, {place}: {err}") from err
        source = sources.get(question.stem, question.source)
        questions.append(dataclasses.replace(question, source=source))
    return tuple(questions)


def _texts(name: str, about: OpenSet, config: TaskConfig) -> dict[str, tuple[str, ...]]:
    if not config.corpora:
        return {}
    if about.forget_text is None or about.retain_text is None:
        raise ValueError(f"{name} has no corpora; leave out task.corpora")
    parts = {"forget_text": about.forget_text, "retain_text": about.retain_text}
    return {
        kind: tuple(str(row["text"]) for _, row in rows(part, config.data))[:TEXTS]
        for kind, part in parts.items()
    }
