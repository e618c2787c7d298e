"""Ask about every entity under another's name: are the facts there, behind the wrong name?

    alias(q) = argmax_n  sum over other facts q' of q's source:  log p(right answer of q' | q', n)

where q' is asked as a statement with the name n in the place of its own, and p is the share among
all choices of questions with the same words. Then q is asked with alias(q) in it. Nothing is
trained: what two facts say about an entity finds the name under which the model knows it, and a
third fact tests that. The sham exchanges the aliases between entities.

A model whose names were exchanged knows every fact and finds none. Nothing that works without
knowing the entity's other facts can undo that, since nothing else says whose facts are whose.

Reference:
    Pham et al. 2023, arXiv:2308.01508 (words that stand for an erased concept bring it back in
    image models); Gal et al. 2022, arXiv:2208.01618 (words for new concepts).
    Differs: names that exist instead of trained embeddings; each is chosen by facts that leave out
    the one that is asked.
    Limits: entities with several facts, whose name stands in every question, among the names of the
    forget set. Facts about one entity may go together in the real world too, so that this counts
    only beside a model that never knew.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from mechunlearn.attacks.protocol import Attack, Grid
from mechunlearn.attacks.seen import Seen
from mechunlearn.attacks.vocabulary import Access, Family, Need
from mechunlearn.bench.engine import output, read
from mechunlearn.bench.rows import branching_rows
from mechunlearn.cost.job import Cost, Job
from mechunlearn.tasks.entities import names_of
from mechunlearn.types import Change, HookedModel, Question, Rewrite, Task


@dataclass(frozen=True, slots=True)
class AliasesConfig:
    """Settings.

    Raises:
        ValueError: If there is nothing to choose from.
    """

    names: int = 256
    """Most names that are tried for an entity."""
    seed: int = 0
    """Of which names, where there are more."""

    def __post_init__(self) -> None:
        if self.names < 2:
            raise ValueError(f"an alias is chosen among two names or more, not {self.names}")


@dataclass(frozen=True, slots=True)
class Named:
    """The name that suits an entity's other facts best."""


@dataclass(frozen=True, slots=True)
class Entities:
    """Facts about named entities, and the names to try."""

    questions: tuple[Question, ...]
    names: Mapping[str, str]
    """By source."""
    candidates: tuple[str, ...]

    @classmethod
    def of(cls, questions: Sequence[Question], config: AliasesConfig) -> "Entities":
        """The questions of sources that have a name and two different facts."""
        found = names_of(questions)
        facts = {s: {q.fact for q in questions if q.source == s} for s in found}
        names = {s: name for s, name in found.items() if len(facts[s]) > 1}
        candidates = sorted(names.values())
        if len(candidates) > config.names:
            candidates = random.Random(config.seed).sample(candidates, config.names)
        own = tuple(q for q in questions if q.source in names)
        return cls(own, names, tuple(candidates))

    def evidence(self, model: HookedModel, seen: Seen) -> Float[np.ndarray, "question name"]:
        """Log-probability of every right answer, among all that are given to the same words.

        What is asked in the same words is computed once.
        """
        endings: dict[str, dict[str, int]] = {}
        wanted = []
        for question in self.questions:
            prompt, answers = seen.prompt.cloze_prompt(question)
            name = self.names[question.source]
            prompts = [prompt.replace(name, other) for other in self.candidates]
            for text in prompts:
                of = endings.setdefault(text, {})
                for answer in answers:
                    of.setdefault(answer, len(of))
            wanted.append((prompts, answers[question.answer]))
        texts = list(endings)
        rows = branching_rows(model.tokenizer, texts, [list(endings[t]) for t in texts])
        (values,) = read(model, rows, [output(model)], ids=None)
        # Where there is but one answer its own probability has to do.
        said = {
            t: v - np.logaddexp.reduce(v) if len(endings[t]) > 1 else v
            for t, v in zip(texts, values, strict=True)
        }
        return np.array([[said[t][endings[t][answer]] for t in of] for of, answer in wanted])

    def aliases(self, evidence: Float[np.ndarray, "question name"]) -> list[str]:
        """For each question the name that suits the other facts of its source best."""
        rows: dict[str, list[int]] = {}
        for i, question in enumerate(self.questions):
            rows.setdefault(question.source, []).append(i)
        best = []
        for question in self.questions:
            others = [i for i in rows[question.source] if self.questions[i].fact != question.fact]
            best.append(self.candidates[int(evidence[others].sum(axis=0).argmax())])
        return best

    def exchanged(self, aliases: Sequence[str], seed: int) -> list[str]:
        """The aliases of other entities."""
        sources = list(self.names)
        order = random.Random(f"aliases-{seed}").sample(sources, len(sources))
        next_one = dict(zip(order, [*order[1:], *order[:1]], strict=True))
        of: dict[str, list[str]] = {}
        for question, alias in zip(self.questions, aliases, strict=True):
            of.setdefault(question.source, []).append(alias)
        taken = dict.fromkeys(sources, 0)
        found = []
        for question in self.questions:
            other = of[next_one[question.source]]
            found.append(other[taken[question.source] % len(other)])
            taken[question.source] += 1
        return found


class Aliases(Attack[AliasesConfig, None, Named]):
    """Other names for the same entities as a registered attack."""

    family: ClassVar[Family] = "prompt"
    access: frozenset[Access] = frozenset({"logits"})
    needs: frozenset[Need] = frozenset({"the tested facts", "other facts of the forget domain"})
    variant = Named
    presets: Mapping[str, AliasesConfig] = {"organism": AliasesConfig()}

    def suits(self, task: Task) -> bool:
        """See ``Attack``: whether there are named entities with several facts."""
        return len(Entities.of(task.questions("forget", "confirm"), AliasesConfig()).names) > 1

    def check(self, config: AliasesConfig, seen: Seen, layers: int) -> None:
        """See ``Attack``.

        Raises:
            ValueError: If no two entities have a name and two different facts.
        """
        if len(Entities.of(seen.tested, config).names) < 2:
            raise ValueError(
                "there are no entities to rename: it takes sources with two different facts or "
                "more, and a name that stands in every question of its source and in no other's; "
                "give the task's questions such sources, or leave this attack out"
            )

    def search(
        self, model: HookedModel, seen: Seen, reference: None, config: AliasesConfig
    ) -> Grid[Named]:
        """Try every name on every fact.

        Raises:
            ValueError: See ``check``.
        """
        self.check(config, seen, model.cfg.n_layers)
        entities = Entities.of((*seen.forget, *seen.tested), config)
        aliases = entities.aliases(entities.evidence(model, seen))

        def change(variant: Named, seed: int | None = None) -> Change:
            used = aliases if seed is None else entities.exchanged(aliases, seed)
            texts = {}
            for question, alias in zip(entities.questions, used, strict=True):
                text = seen.prompt.turn.inside(seen.text(question))
                texts[text] = text.replace(entities.names[question.source], alias)
            rewrite = Rewrite(lambda text, rng: texts.get(text, text))
            return Change("alias" if seed is None else "another's alias", rewrite=rewrite)

        return Grid([Named()], change, change)

    def cost(self, config: AliasesConfig, job: Job) -> Cost:
        """Every wording with every name."""
        names = min(config.names, job.sizes.entities)
        return Cost(search=float(names * job.sizes.wordings), variants=1.0)
