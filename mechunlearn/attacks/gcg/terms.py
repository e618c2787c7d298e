"""The objective's terms, from the places of a forward that they read."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache

from mechunlearn.attacks.gcg.caches import Ids
from mechunlearn.attacks.gcg.objective import (
    Objective,
    Reference,
    likelihood_losses,
    matched,
    repetition,
)
from mechunlearn.attacks.gcg.packing import Batch
from mechunlearn.attacks.gcg.problem import Problem
from mechunlearn.bench.cache import extend, new_cache
from mechunlearn.bench.rows import encode, placed
from mechunlearn.bench.vocabulary import over_rows
from mechunlearn.hooks import first_embeddings, unembed
from mechunlearn.types import HookedModel, Point


class Terms:
    """An objective on one problem.

    Raises:
        ValueError: If a layer of the objective does not exist, or letters are asked for where
            answers are not letters, or not these.
    """

    def __init__(
        self, model: HookedModel, problem: Problem, objective: Objective, reference: Reference
    ) -> None:
        if objective.over == "choices" and not problem.choices:
            raise ValueError("objective.over='choices' needs letter scoring; use 'vocabulary'")
        forced = {token for item in problem.items for token in item.target[: item.forced]}
        if objective.over == "choices" and (others := forced - {*problem.choices}):
            raise ValueError(
                f"objective.over='choices': {model.tokenizer.decode([min(others)])!r} is to follow "
                "a question, but is none of its letters; use 'vocabulary'"
            )
        self.model, self.problem = model, problem
        self.objective, self.reference = objective, reference
        self.blocks, self.points = objective.blocks(model), objective.points(model)
        self.device = torch.device(model.cfg.device)
        self.specials = encode(model.tokenizer, "")
        self.models = [model]
        """The model, and the original where its states depend on the optimised text."""
        if objective.dynamic.weight and reference.original is not None:
            self.models.append(reference.original)

    def losses(
        self, batch: Batch, caches: Sequence[DynamicCache], leaf: Tensor | None = None
    ) -> Float[Tensor, " pair"]:
        """Run the rows behind their caches and weigh the terms that depend on questions.

        Args:
            caches: What the rows continue, of every model.
            leaf: Embeddings to put in the place of the optimised tokens'.
        """
        reads = self._reads(batch)
        places = [place for read in reads.values() for place, _, _ in read]
        pick = placed(torch.tensor(places), self.device)
        states = []
        for model, cache in zip(self.models, caches, strict=True):
            with first_embeddings(model, leaf if model is self.model else None):
                where = (batch.tokens, self.points, pick, self.blocks)
                states.append(extend(model, cache, *where, **batch.extra))
        total = torch.zeros(len(batch.pairs), device=self.device)
        begin = 0
        for name, read in reads.items():
            part = slice(begin, begin + len(read))
            begin = part.stop
            pairs = placed(torch.tensor([pair for _, pair, _ in read]), self.device)
            shares = placed(torch.tensor([share for _, _, share in read]), self.device)
            for values in self._values(name, states, part, batch):
                total = total.index_add(0, pairs, values * shares)
        return total

    def _reads(self, batch: Batch) -> dict[str, list[tuple[int, int, float]]]:
        """For each term with a weight: flat place, pair and share in the pair's mean."""
        objective = self.objective
        reads: dict[str, list[tuple[int, int, float]]] = {}
        for pair, (_, number) in enumerate(batch.pairs):
            item = self.problem.items[number]
            spans: dict[str, range] = {}
            if objective.cross_entropy:
                last = len(item.after) - 1
                spans["likely"] = range(last, last + item.forced)
            if objective.static.weight:
                spans["static"] = self._static_places(number)
            if objective.dynamic.weight:
                spans["dynamic"] = matched(item, objective.dynamic.span)
            for name, places in spans.items():
                reads.setdefault(name, []).extend(
                    (batch.places[pair] + place, pair, 1 / len(places)) for place in places
                )
        return reads

    def _static_places(self, item: int) -> range:
        """The last places, as many as the clean prompt has."""
        places = matched(self.problem.items[item], self.objective.static.span)
        return places[-min(len(places), self.reference.static[item].shape[1]) :]

    def _values(
        self, name: str, states: Sequence[dict[Point, Tensor]], part: slice, batch: Batch
    ) -> Iterator[Float[Tensor, " read"]]:
        """A term's weighted value at every place it reads, once per layer."""
        items, objective = [item for _, item in batch.pairs], self.objective
        if name == "likely":
            asked = [self.problem.items[i] for i in items]
            targets = torch.tensor([t for i in asked for t in i.target[: i.forced]])
            targets = placed(targets, self.device)
            final = states[0][Point(self.model.cfg.n_layers - 1)][part]
            yield objective.cross_entropy * likelihood_losses(
                self.model, final, targets, objective, self.problem.choices
            )
            return
        term = objective.static if name == "static" else objective.dynamic
        for at, layer in enumerate(objective.layers):
            if name == "static":
                lengths = {i: len(self._static_places(i)) for i in items}
                there = torch.cat([self.reference.static[i][at, -lengths[i] :] for i in items])
            else:
                there = states[1][Point(layer)][part].detach()
            far = term.distance(states[0][Point(layer)][part], there.to(self.device))
            yield term.weight / len(objective.layers) * far

    def alone(self, candidates: Sequence[Ids]) -> Float[np.ndarray, " candidate"]:
        """Terms that depend on the optimised text only."""
        values = np.array([self.objective.repetition * repetition(ids) for ids in candidates])
        if self.objective.fluency:
            for length in sorted({len(c) for c in candidates}):
                members = [i for i, c in enumerate(candidates) if len(c) == length]
                fluency = self.fluency([candidates[i] for i in members])
                values[members] += self.objective.fluency * fluency.cpu().numpy()
        return values

    def fluency(self, candidates: Sequence[Ids]) -> Float[Tensor, " candidate"]:
        """Mean negative log-likelihood of the tokens, each after those before it.

        A single token, where the tokenizer puts nothing before it, is worth a guess among all.
        """
        first = max(1, len(self.specials))
        tokens = torch.tensor([[*self.specials, *ids] for ids in candidates], device=self.device)
        if tokens.shape[1] <= first:
            guessed = math.log(self.model.cfg.d_vocab)
            return torch.full((len(tokens),), guessed, device=self.device)
        final = Point(self.model.cfg.n_layers - 1)
        read = extend(self.model, new_cache(), tokens, [final])[final]
        states, targets = read[:, first - 1 : -1], tokens[:, first:]
        rows, wanted = states.flatten(0, 1), targets.flatten()

        def losses_of(part: slice) -> Tensor:
            logits = unembed(self.model, rows[part])
            return torch.nn.functional.cross_entropy(logits, wanted[part], reduction="none")

        parts = over_rows(losses_of, len(rows), self.model.cfg.d_vocab, rows.device)
        losses = torch.cat(parts)
        return losses.view(targets.shape).mean(dim=1)
