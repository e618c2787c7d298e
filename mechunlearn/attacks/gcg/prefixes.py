"""Optimised texts of one model, and what is worth drawing of them."""

import dataclasses
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch

from mechunlearn.attacks.gcg.effect import token_effects
from mechunlearn.attacks.gcg.examples import shuffled
from mechunlearn.attacks.gcg.objective import Hidden, Objective, Reference
from mechunlearn.attacks.gcg.problem import Place, Problem, Slot, ids_of, text_of
from mechunlearn.attacks.gcg.search import TextSearch
from mechunlearn.attacks.gcg.settings import GCGConfig
from mechunlearn.attacks.gcg.state import State
from mechunlearn.attacks.protocol import Confirm, Search, Trace
from mechunlearn.attacks.seen import Scored
from mechunlearn.bench import score
from mechunlearn.types import Change, HookedModel, Rewrite


@dataclass(frozen=True, slots=True)
class RankedText:
    """The best text of a restart."""

    rank: int
    """0: the one with the lowest loss."""
    text: str


class PrefixTrace(Trace, frozen=True, kw_only=True):
    """A text, the course of its search, and what each of its tokens does at each layer."""

    kind: ClassVar[str] = "prefix"
    text: str
    tokens: list[str]
    place: Place
    losses: list[float]
    """The best of each restart, best first."""
    curve: list[float]
    """Best loss so far of the restart, after each step of each restart."""
    steps: int
    candidates: int
    """Texts scored."""
    effects: list[list[float]]
    """``[token][layer]``, see ``token_effects``."""
    shuffled_answers: float | None = None
    """In reports of schema 1, what is a ``ShuffledTrace`` now."""


class ShuffledTrace(Trace, frozen=True, kw_only=True):
    """What a text brings back that was optimised for shuffled answers."""

    kind: ClassVar[str] = "shuffled prefix"
    value: float
    """Accuracy on the forget questions of the confirm fold."""


def optimise(
    model: HookedModel,
    problem: Problem,
    config: GCGConfig,
    reference: Reference | None = None,
    *,
    state_file: Path | None = None,
    label: str = "GCG",
) -> tuple[State, list[str]]:
    """Search; the best text of each restart, best first.

    Args:
        reference: What the original computes, for objectives with hidden states.
        state_file: Keeps the search; where it exists, it goes on from there.

    Returns:
        The final state, and the texts to put into prompts.

    Raises:
        ValueError: If the text does not fit the model's context, or a layer does not exist.
    """
    search = TextSearch(
        model,
        problem,
        config.objective,
        config.search,
        reference,
        seed=config.seed,
        state_file=state_file,
        label=label,
    )
    state = search.run()
    ranked = sorted(state.bests, key=lambda t: (t.loss, t.ids))
    return state, list(dict.fromkeys(search.text(t) for t in ranked))


def fill_slot(prompt: str, rng: object, slot: Slot, text: str) -> str:
    """The prompt with a text in its slot, as a rewrite."""
    return slot.fill(text, prompt)


def text_change(slot: Slot, text: str) -> Change:
    """Every prompt with ``text`` in its slot."""
    return Change(f"GCG {slot.place}", rewrite=Rewrite(partial(fill_slot, slot=slot, text=text)))


@dataclass(frozen=True, slots=True)
class ShuffledView:
    """Searches for shuffled answers, and asks the reported questions behind that text."""

    problem: Problem
    reference: Reference
    config: GCGConfig

    def __call__(self, model: HookedModel, confirm: Confirm) -> ShuffledTrace:
        """What the text that is optimised on ``model`` brings back there."""
        config = self.config
        n = min(config.questions, len(self.problem.items))
        problem, reference = shuffled(self.problem, self.reference, n, config.seed)
        if config.objective.dynamic.weight:  # It would pull towards the right answers.
            without = dataclasses.replace(config.objective, dynamic=Hidden())
            config = dataclasses.replace(config, objective=without)
        label = "GCG, shuffled answers"
        _, texts = optimise(model, problem, config, reference, label=label)
        change = text_change(problem.slot, texts[0])
        prompt, scoring = confirm.prompt, confirm.scoring
        answers = score(model, confirm.forget, prompt, scoring=scoring, change=change)
        return ShuffledTrace(value=round(answers.accuracy, 4))


@dataclass(frozen=True, slots=True)
class GCGSearch(Search[RankedText]):
    """The best text of each restart on one model."""

    model: HookedModel
    config: GCGConfig
    problem: Problem
    reference: Reference
    texts: Sequence[str]
    """Best first."""
    state: State

    def variants(self) -> Generator[Sequence[RankedText], Sequence[Scored], None]:
        """The best text of each restart."""
        yield [RankedText(i, text) for i, text in enumerate(self.texts)]

    def change(self, variant: RankedText) -> Change:
        """This model's own text of that rank; another model's text was sought for that one."""
        return text_change(self.problem.slot, self._own(variant))

    def sham(self, variant: RankedText, seed: int) -> Change:
        """A random text of the same length."""
        search = dataclasses.replace(self.config.search, length=len(self._ids(variant)))
        drawing = TextSearch(self.model, self.problem, Objective(), search)
        ids = drawing.drawn(torch.Generator().manual_seed(seed))
        return text_change(self.problem.slot, text_of(self.model.tokenizer, ids))

    def traces(self, variant: RankedText) -> list[Trace]:
        """The text, its course, and what each token does at each layer."""
        ids, state = self._ids(variant), self.state
        trace = PrefixTrace(
            text=self._own(variant),
            tokens=[self.model.tokenizer.decode([i]) for i in ids],
            place=self.config.place,
            losses=[round(t.loss, 5) for t in sorted(state.bests, key=lambda t: t.loss)],
            curve=[round(x, 5) for x in state.curve],
            steps=len(state.curve),
            candidates=state.scored,
            effects=token_effects(self.model, self.problem, ids),
        )
        return [trace]

    def view(self, variant: RankedText) -> ShuffledView | None:
        """What shuffled answers bring back, where the settings ask for it."""
        if not self.config.shuffled_search:
            return None
        states = dataclasses.replace(self.reference, original=None)
        return ShuffledView(self.problem, states, self.config)

    def _own(self, variant: RankedText) -> str:
        return self.texts[min(variant.rank, len(self.texts) - 1)]

    def _ids(self, variant: RankedText) -> tuple[int, ...]:
        return ids_of(self.model.tokenizer, self.problem, self._own(variant))
