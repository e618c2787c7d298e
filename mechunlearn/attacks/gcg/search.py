"""The search: a buffer of the best texts so far, single edits of its best, races among children.

Children run on a few questions first, and only the better ones on more. Every step is a function of
the state before it and of (seed, restart, step), so a search that was stopped goes on bit for bit.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mechunlearn.attacks.gcg.caches import Ids
from mechunlearn.attacks.gcg.forward import Forwards
from mechunlearn.attacks.gcg.objective import Objective, Reference
from mechunlearn.attacks.gcg.problem import (
    Problem,
    ids_of,
    survives,
    survives_everywhere,
    text_of,
)
from mechunlearn.attacks.gcg.proposals import (
    OPERATORS,
    Operator,
    allowed_tokens,
    combinations,
    deletions,
    drawn_text,
    insertions,
    place_ranks,
    spoken_tokens,
    substitutions,
    swaps,
)
from mechunlearn.attacks.gcg.settings import SearchConfig
from mechunlearn.attacks.gcg.state import State, Text, read_state, write_state
from mechunlearn.hooks import add_flops, metered
from mechunlearn.progress import track
from mechunlearn.types import HookedModel

TRIES = 8
"""Tokens drawn at once for a place of a random text, of which one has to be read back as itself."""
DRAWS = 32
"""Draws for a place: at the start of a prompt, where spaces are lost, few byte-pair tokens are."""


class TextSearch:
    """A search for one text that minimises an objective over a problem's questions.

    Args:
        state_file: Where the state is kept every ``every`` steps; where it exists, the search goes
            on from it.

    Raises:
        ValueError: If the text does not fit the context, a start is not read back as the tokens
            it is made of, or the file belongs to another search.
    """

    def __init__(
        self,
        model: HookedModel,
        problem: Problem,
        objective: Objective,
        config: SearchConfig,
        reference: Reference | None = None,
        *,
        seed: int = 0,
        state_file: Path | None = None,
        every: int = 10,
        label: str = "GCG",
    ) -> None:
        problem.room(model, config.most_tokens)
        self.model, self.problem, self.config = model, problem, config
        memory = int(config.memory_gib * 2**30)
        self.forwards = Forwards(model, problem, objective, reference, memory=memory)
        self.allowed: Bool[Tensor, " d_vocab"] = allowed_tokens(
            model.tokenizer, self.forwards.table.shape[0], config.printable
        )
        self.seed, self.state_file, self.every, self.label = seed, state_file, every, label
        identity = (model.provenance, problem.slot, problem.items, objective, config, seed)
        self.identity = hashlib.sha256(repr(identity).encode()).hexdigest()
        self.state = State()
        if state_file is not None and state_file.is_file():
            self.state = read_state(state_file, self.identity)
            add_flops(self.state.flops)

    def run(self, on_step: Callable[[State], None] | None = None) -> State:
        """Search to the end.

        Args:
            on_step: Called after every step.
        """
        total = self.config.steps * self.config.restarts
        begun = self.state.restart * self.config.steps + self.state.step
        for _ in track(range(begun, total), self.label):
            if self.state.restart >= self.config.restarts:
                break
            if self.state.step % self.every == 0:
                self.forwards.forget_parent()  # As after an interruption: the same arithmetic.
            with metered() as meter:
                self._advance()
            self.state.flops += meter.flops
            if on_step is not None:
                on_step(self.state)
            if self.state_file and (self.state.step % self.every == 0):
                write_state(self.state_file, self.identity, self.state)
        if self.state_file:
            write_state(self.state_file, self.identity, self.state)
        return self.state

    def text(self, text: Text) -> str:
        """The text to put into prompts."""
        return text_of(self.model.tokenizer, text.ids)

    def _advance(self) -> None:
        """One step, or the start of a restart and its first step."""
        state, config = self.state, self.config
        if not state.buffer:
            start = self.start()
            everything = range(len(self.problem.items))
            loss = float(self.forwards.losses(start, [start], everything).mean())
            state.buffer = [Text(start, loss)]
            state.bests.append(state.buffer[0])
        random = self._random("step", state.step)
        children = self._children(state.buffer[0].ids, random)
        scored, first = self._race(state.buffer[0].ids, children, random)
        state.places = place_ranks(state.places, state.buffer[0].ids, children, first)
        together = self._combined(state.buffer[0], scored)
        scored += together
        state.scored += len(children) + len(together)
        old = state.buffer if config.elitist else state.buffer[1:]
        merged = {t.ids: t for t in [*scored, *old]}
        if merged:
            state.buffer = self._best(merged.values()) or state.buffer
        if state.buffer[0].loss < state.bests[-1].loss:
            state.bests[-1] = state.buffer[0]
        state.curve.append(state.bests[-1].loss)
        state.step += 1
        if state.step == config.steps or state.bests[-1].loss <= config.goal:
            state.restart, state.step, state.buffer = state.restart + 1, 0, []
            state.places = []

    def _best(self, texts: Iterable[Text]) -> list[Text]:
        """The texts for the buffer, best first; none that some prompt reads as other tokens."""
        best: list[Text] = []
        for text in sorted(texts, key=lambda t: (t.loss, t.ids)):
            if survives_everywhere(self.model.tokenizer, self.problem, text.ids):
                best.append(text)
            if len(best) == self.config.buffer:
                break
        return best

    def _children(self, parent: Ids, random: torch.Generator) -> list[Ids]:
        """Edits of the parent whose text is read back as the same tokens."""
        config, step = self.config, self.state.step
        operator = self._operator(len(parent), step, random)
        wanted = 2 * config.width  # Some do not survive.
        if operator == "delete":
            children = deletions(parent, wanted, random)
        elif operator == "substitute":
            count = config.gradient_questions or len(self.problem.items)
            picked = torch.randperm(len(self.problem.items), generator=random)[:count].tolist()
            gradient = self.forwards.gradient(parent, picked)
            chances = self._chances(parent) if config.adaptive else ()
            find = partial(substitutions, parent, gradient, self.allowed, config.top_k)
            children = find(wanted, random, chances)
        else:
            item = int(torch.randint(len(self.problem.items), (1,), generator=random))
            spoken = spoken_tokens(
                self.model, self.problem, parent, item, self.allowed, config.top_k, random
            )
            make = insertions if operator == "insert" else swaps
            children = make(parent, spoken, wanted, random)
        children = [c for c in dict.fromkeys(children) if c != parent]
        alive = survives(self.model.tokenizer, self.problem, children)
        return [c for c, fine in zip(children, alive, strict=True) if fine][: config.width]

    def _chances(self, parent: Ids) -> list[float]:
        """How often each place is to be changed."""
        ranks = self.state.places
        ranks = ranks if len(ranks) == len(parent) else [0.5] * len(parent)
        costs = self.forwards.costs(parent)
        return [(1.001 - r) ** 2 / cost for r, cost in zip(ranks, costs, strict=True)]

    def _operator(self, length: int, step: int, random: torch.Generator) -> Operator:
        chances = dict(zip(OPERATORS, self.config.chances, strict=True))
        if length <= self.config.shortest.at(step):
            if chances["insert"]:
                return "insert"
            chances["delete"] = 0.0
        if length >= self.config.longest.at(step):
            chances["insert"] = 0.0
        weights = torch.tensor(list(chances.values()))
        return OPERATORS[int(torch.multinomial(weights, 1, generator=random))]

    def _race(
        self, parent: Ids, children: Sequence[Ids], random: torch.Generator
    ) -> tuple[list[Text], Float[np.ndarray, " child"]]:
        """The children that reach the end with their mean losses, and all children's first ones."""
        n = len(self.problem.items)
        order = torch.randperm(n, generator=random).tolist()
        stages = (*(r for r in self.config.races if r < n), n)
        alive, seen, first = list(children), 0, np.zeros(0)
        if self.config.screen:
            first = self.forwards.losses(parent, alive, order[: stages[0]], coarse=True).mean(1)
            alive = [alive[i] for i in first.argsort(kind="stable")]
            alive = alive[: math.ceil(self.config.screen * len(alive))]
        losses = {ids: np.zeros(0) for ids in alive}
        for until in stages:
            if not alive:
                break
            scores = self.forwards.losses(parent, alive, order[seen:until])
            first = first if len(first) else scores.mean(1)
            for ids, values in zip(alive, scores, strict=True):
                losses[ids] = np.concatenate([losses[ids], values])
            seen = until
            if seen < n:
                alive.sort(key=lambda ids: (losses[ids].mean(), ids))
                alive = alive[: math.ceil(self.config.keep * len(alive))]
        return [Text(ids, float(losses[ids].mean())) for ids in alive], first

    def _combined(self, parent: Text, scored: Sequence[Text]) -> list[Text]:
        """The best two, three, ... edits that help, made together."""
        better = sorted((t for t in scored if t.loss < parent.loss), key=lambda t: (t.loss, t.ids))
        together = combinations(parent.ids, [t.ids for t in better], self.config.combine)
        alive = survives(self.model.tokenizer, self.problem, together) if together else []
        together = [ids for ids, fine in zip(together, alive, strict=True) if fine]
        if not together:
            return []
        losses = self.forwards.losses(parent.ids, together, range(len(self.problem.items))).mean(1)
        return [Text(ids, float(loss)) for ids, loss in zip(together, losses, strict=True)]

    def start(self) -> Ids:
        """A start text, or the best of ``width`` random ones that survive being read back.

        Raises:
            ValueError: If the start text does not survive, or no random text does.
        """
        tokenizer, config = self.model.tokenizer, self.config
        if self.state.restart < len(config.starts):
            text = config.starts[self.state.restart]
            ids = ids_of(tokenizer, self.problem, text)
            fine = bool(ids) and bool(self.allowed[list(ids)].all())
            if not fine or not survives_everywhere(tokenizer, self.problem, ids):
                raise ValueError(
                    f"the start {text!r} holds tokens that may not be used, or is read as others "
                    "inside a prompt"
                )
            return ids
        random = self._random("start")
        drawn = [self.drawn(random) for _ in range(config.width)]
        if not (best := self._best(self._race(drawn[0], drawn, random)[0])):
            raise ValueError(
                f"no random text of {config.length} tokens is read back as itself in every prompt; "
                "give search.starts"
            )
        return best[0].ids

    def drawn(self, random: torch.Generator) -> Ids:
        """A random text that survives being read back.

        Raises:
            ValueError: If none is found.
        """
        ids: Ids = ()
        for _ in range(self.config.length):
            for _ in range(DRAWS):
                new = [(*ids, t) for t in drawn_text(TRIES, self.allowed, random)]
                fine = survives(self.model.tokenizer, self.problem, new)
                if any(fine):
                    ids = new[fine.index(True)]
                    break
            else:
                raise ValueError(
                    f"no random text of {self.config.length} tokens is read back as itself; give "
                    "search.starts"
                )
        return ids

    def _random(self, *what: object) -> torch.Generator:
        words = repr((self.seed, self.state.restart, *what)).encode()
        number = int.from_bytes(hashlib.sha256(words).digest()[:7], "big")
        return torch.Generator().manual_seed(number)
