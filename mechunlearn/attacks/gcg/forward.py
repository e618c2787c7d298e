"""Losses and gradients of candidates, computing no token, position or block twice.

A candidate differs from its parent from some token on; what stands before keeps its keys and
values. A prefix is run once per candidate and shared by all questions; a suffix is run behind each
question, whose keys and values are computed once per search. A row of a forward holds several
continuations of the same text, each from its own first changed token on and unseen by the others.
Only places that an objective reads are unembedded, and nothing after the last block that it needs
is run, forward or backward.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache

from mechunlearn.attacks.gcg.caches import Caches, Ids
from mechunlearn.attacks.gcg.objective import (
    Hidden,
    Objective,
    Reference,
    likelihood_losses,
    matched,
    repetition,
)
from mechunlearn.attacks.gcg.packing import Batch, Piece, batch_of, packed
from mechunlearn.attacks.gcg.problem import Problem
from mechunlearn.bench.cache import chosen, extend, leaves, new_cache
from mechunlearn.bench.engine import token_budget
from mechunlearn.bench.rows import encode, pad
from mechunlearn.hooks import embedding_table, first_embeddings, unembed
from mechunlearn.types import HookedModel, Point

ROW = 0.25
"""Tokens of a row that holds several continuations, as a share of ``d_model``: they attend to each
other in vain, which costs a twentieth of the arithmetic at this length."""


class Forwards:
    """Cached forwards of one problem.

    Args:
        reference: What the original computes; for objectives with hidden states.
        budget: Tokens per batch; the default suits the device.
        memory: Bytes that a batch may take, by an estimate; 0: no limit but the budget.

    Raises:
        ValueError: If a layer of the objective does not exist, or letters are asked for where
            answers are not letters.
    """

    def __init__(
        self,
        model: HookedModel,
        problem: Problem,
        objective: Objective,
        reference: Reference | None = None,
        *,
        budget: int = 0,
        memory: int = 0,
    ) -> None:
        if objective.over == "choices" and not problem.choices:
            raise ValueError("objective.over='choices' needs letter scoring; use 'vocabulary'")
        self.model, self.problem, self.objective = model, problem, objective
        self.reference = reference or Reference()
        self.blocks, self.points = objective.blocks(model), objective.points(model)
        self.budget, self.memory = budget or token_budget(model), memory
        self.backward_budget = budget or token_budget(model, backward=True)
        self.device = torch.device(model.cfg.device)
        self.table = embedding_table(model)
        # What has to be run after the slot; without hidden states, the last forced token is only
        # predicted.
        self.tails = [
            [*i.after, *(i.target if objective.hidden else i.target[: i.forced - 1])]
            for i in problem.items
        ]
        models = [model] + ([self.reference.original] if objective.dynamic.weight else [])
        self._caches = [Caches(m, problem, self.blocks) for m in models if m is not None]
        for group in self._groups(range(len(problem.items))):
            for caches in self._caches:
                caches.before(group[:1])

    def forget_parent(self) -> None:
        """Compute the parent's keys and values again when they are needed next."""
        for caches in self._caches:
            caches.parent = ()

    def losses(
        self,
        parent: Ids,
        candidates: Sequence[Ids],
        picked: Sequence[int],
        *,
        coarse: bool = False,
    ) -> Float[np.ndarray, "candidate item"]:
        """Every candidate's loss on every picked item.

        Args:
            parent: What the candidates were made from; need not be among them.
            coarse: Multiply matrices in bfloat16.
        """
        for group in self._groups(picked):
            for caches in self._caches:  # Exact ones: later passes use them too.
                caches.run_parent(parent, group[:1] if self._splits(group) else group)
        half = torch.autocast(self.device.type, torch.bfloat16, enabled=coarse)
        with torch.no_grad(), half:
            return self._losses(parent, candidates, picked)

    def _losses(
        self, parent: Ids, candidates: Sequence[Ids], picked: Sequence[int]
    ) -> Float[np.ndarray, "candidate item"]:
        found = np.zeros((len(candidates), len(picked)))
        column = {item: j for j, item in enumerate(picked)}
        for length in sorted({len(c) for c in candidates}):
            same = {
                i: _shared(parent, ids) for i, ids in enumerate(candidates) if len(ids) == length
            }
            order = sorted(same, key=lambda i: (same[i], i))
            for group in self._groups(picked):
                run = self._split if self._splits(group) else self._whole
                for batch, values in run(parent, candidates, order, same, group):
                    for (i, item), value in zip(batch.pairs, values.tolist(), strict=True):
                        found[i, column[item]] = value
        return found + self._alone(candidates)[:, None]

    def gradient(self, ids: Ids, picked: Sequence[int]) -> Float[Tensor, "pos d_vocab"]:
        """Gradient of the mean loss over the picked items with respect to one-hot tokens.

        The original's states count as constants, also where they depend on the tokens.
        """
        leaf = self.embeddings(ids).requires_grad_()
        self.backward(leaf, ids, picked)
        assert leaf.grad is not None
        return leaf.grad @ self.table.T.to(leaf.grad)

    def costs(self, ids: Ids) -> list[float]:
        """Tokens to run for a candidate that is changed at each place, over all items."""
        tails = sum(len(tail) for tail in self.tails)
        return [float(len(ids) - i + tails) for i in range(len(ids))]

    def embeddings(self, ids: Ids) -> Float[Tensor, "pos d_model"]:
        """A copy of the tokens' embeddings."""
        return self.table[torch.tensor(ids, device=self.device)].detach().clone()

    def backward(self, leaf: Float[Tensor, "pos d_model"], ids: Ids, picked: Sequence[int]) -> None:
        """Add to ``leaf.grad`` the gradient of the mean loss with ``leaf`` in the slot.

        Args:
            ids: Tokens that stand there, for their number and for terms that need tokens.
        """
        with torch.enable_grad():
            for group in self._groups(picked):
                if self._splits(group):
                    self._split_backward(leaf, ids, group, len(picked))
                else:
                    self._whole_backward(leaf, ids, group, len(picked))
            if self.objective.fluency:
                with first_embeddings(self.model, leaf, skip=len(self._specials())):
                    (self.objective.fluency * self._fluency([ids])[0]).backward()

    def _groups(self, picked: Sequence[int]) -> list[list[int]]:
        """Items with equally long text before the slot, the longest rest first."""
        groups: dict[int, list[int]] = {}
        for item in sorted(picked, key=lambda i: (-len(self.tails[i]), i)):
            groups.setdefault(len(self.problem.items[item].before), []).append(item)
        return list(groups.values())

    def _splits(self, group: Sequence[int]) -> bool:
        """Whether a candidate runs once for all items of a group."""
        return self.problem.shared and len(group) > 1

    def _size(self, tokens: int, cached: int, reads: int = 1, graph: bool = False) -> int:
        """Rows of a batch, for ``tokens`` new and ``cached`` old ones a row.

        A row takes its keys and values twice (kept, and joined for attention), about twelve
        activations a token (in every block where a graph is kept), and logits where it is read.
        """
        rows = (self.backward_budget if graph else self.budget) // max(1, tokens)
        if self.memory:
            cfg = self.model.cfg
            heads = getattr(cfg, "n_key_value_heads", None) or cfg.n_heads
            row = 4 * self.blocks * heads * cfg.d_head * (tokens + cached)
            row += 12 * tokens * cfg.d_model * (self.blocks if graph else 1)
            if self.objective.cross_entropy:
                row += 3 * reads * max(i.forced for i in self.problem.items) * cfg.d_vocab
            rows = min(rows, self.memory // (self.table.element_size() * row))
        return max(1, rows)

    def _batches(self, pieces: Sequence[Piece], graph: bool = False) -> Iterator[Batch]:
        """Pieces in rows, rows in batches."""
        rows = packed(pieces, int(ROW * self.model.cfg.d_model))
        while rows:
            cached = max(piece.seen for row in rows for piece in row)
            size = self._size(sum(len(p.tokens) for p in rows[0]), cached, len(rows[0]), graph)
            part, rows = rows[:size], rows[size:]
            yield batch_of(self.model, part)

    def _whole(
        self,
        parent: Ids,
        candidates: Sequence[Ids],
        order: Sequence[int],
        same: dict[int, int],
        group: list[int],
    ) -> Iterator[tuple[Batch, Float[Tensor, " pair"]]]:
        """Candidates and the rest of each question in one forward."""
        before = len(self.problem.items[group[0]].before)
        pieces = [
            Piece(
                (i, item),
                item,
                before + same[i],
                [*candidates[i][same[i] :], *self.tails[item]],
                len(candidates[i]) - same[i],
            )
            for item in group
            for i in order
        ]
        for batch in self._batches(pieces):
            wanted = batch.sources, batch.cached
            caches = [c.after_parent(parent, group, *wanted) for c in self._caches]
            yield batch, self._judged(batch, caches)

    def _split(
        self,
        parent: Ids,
        candidates: Sequence[Ids],
        order: Sequence[int],
        same: dict[int, int],
        group: list[int],
    ) -> Iterator[tuple[Batch, Float[Tensor, " pair"]]]:
        """Candidates once, then every question behind each."""
        before, rest = len(self.problem.items[group[0]].before), list(order)
        while rest:
            start = same[rest[0]]
            size = self._size(len(candidates[rest[0]]) - start, before + start, reads=0)
            part, rest = rest[:size], rest[size:]
            tokens, _ = pad(self.model, [candidates[i][start:] for i in part])
            prefixes = [
                c.after_parent(parent, group[:1], group[:1] * len(part), before + start)
                for c in self._caches
            ]
            for caches, cache in zip(self._caches, prefixes, strict=True):
                extend(caches.model, cache, tokens, blocks=self.blocks)
            pieces = [
                Piece((i, item), at, before + len(candidates[i]), self.tails[item], 0)
                for at, i in enumerate(part)
                for item in group
            ]
            for batch in self._batches(pieces):
                which = torch.tensor(batch.sources, device=self.device)
                yield batch, self._judged(batch, [chosen(p, which) for p in prefixes])

    def _split_backward(self, leaf: Tensor, ids: Ids, group: list[int], n: int) -> None:
        (main, *others) = self._caches
        cache = main.before(group[:1])
        with first_embeddings(self.model, leaf):
            extend(self.model, cache, torch.tensor([ids], device=self.device), blocks=self.blocks)
        prefix, passed_on = leaves(cache)
        main.keep_parent(ids, group[:1], prefix)
        seen = len(self.problem.items[group[0]].before) + len(ids)
        pieces = [Piece((0, item), 0, seen, self.tails[item], 0) for item in group]
        for batch in self._batches(pieces, graph=True):
            wanted = group[:1] * len(batch.sources), seen
            behind = [chosen(prefix, torch.tensor(batch.sources, device=self.device))]
            behind += [c.after_parent(ids, group[:1], *wanted) for c in others]
            (self._judged(batch, behind).sum() / n).backward()
        used = [(whole, copy.grad) for whole, copy in passed_on if copy.grad is not None]
        torch.autograd.backward([whole for whole, _ in used], [grad for _, grad in used])

    def _whole_backward(self, leaf: Tensor, ids: Ids, group: list[int], n: int) -> None:
        before = len(self.problem.items[group[0]].before)
        pieces = [
            Piece((0, item), item, before, [*ids, *self.tails[item]], len(ids)) for item in group
        ]
        for batch in self._batches(pieces, graph=True):
            caches = [c.before(batch.sources) for c in self._caches]
            (self._judged(batch, caches, leaf).sum() / n).backward()
            if batch.sources == group:  # Its forward began with the parent.
                self._caches[0].keep_parent(ids, group, caches[0])

    def _judged(
        self, batch: Batch, caches: Sequence[DynamicCache], leaf: Tensor | None = None
    ) -> Float[Tensor, " pair"]:
        """Run the rows behind their caches and weigh the objective's terms."""
        reads = self._reads(batch)
        places = [place for found in reads.values() for place, _, _ in found]
        pick = torch.tensor(places, device=self.device)
        kept = []
        for own, cache in zip(self._caches, caches, strict=True):
            with first_embeddings(own.model, leaf if own.model is self.model else None):
                read = (batch.tokens, self.points, pick, self.blocks)
                kept.append(extend(own.model, cache, *read, **batch.extra))
        total = torch.zeros(len(batch.pairs), device=self.device)
        begin = 0
        for name, found in reads.items():
            part = slice(begin, begin + len(found))
            begin = part.stop
            pairs = torch.tensor([pair for _, pair, _ in found], device=self.device)
            shares = torch.tensor([share for _, _, share in found], device=self.device)
            for values in self._values(name, kept, part, batch):
                total = total.index_add(0, pairs, values * shares)
        return total

    def _reads(self, batch: Batch) -> dict[str, list[tuple[int, int, float]]]:
        """For each term with a weight: flat place, pair and share in the pair's mean."""
        objective = self.objective
        found: dict[str, list[tuple[int, int, float]]] = {}
        for pair, (_, item) in enumerate(batch.pairs):
            known = self.problem.items[item]
            spans: dict[str, range] = {}
            if objective.cross_entropy:
                last = len(known.after) - 1
                spans["likely"] = range(last, last + known.forced)
            if objective.static.weight:
                spans["static"] = self._static_places(item)
            if objective.dynamic.weight:
                spans["dynamic"] = matched(known, objective.dynamic.span)
            for name, places in spans.items():
                found.setdefault(name, []).extend(
                    (batch.places[pair] + place, pair, 1 / len(places)) for place in places
                )
        return found

    def _static_places(self, item: int) -> range:
        """The last places, as many as the clean prompt has."""
        places = matched(self.problem.items[item], self.objective.static.span)
        return places[-min(len(places), self.reference.static[item].shape[1]) :]

    def _values(
        self, name: str, kept: Sequence[dict[Point, Tensor]], part: slice, batch: Batch
    ) -> Iterator[Float[Tensor, " read"]]:
        """A term's weighted value at every place it reads, once per layer."""
        items, objective = [item for _, item in batch.pairs], self.objective
        if name == "likely":
            known = [self.problem.items[i] for i in items]
            targets = torch.tensor(
                [t for i in known for t in i.target[: i.forced]], device=self.device
            )
            states = kept[0][Point(self.model.cfg.n_layers - 1)][part]
            yield objective.cross_entropy * likelihood_losses(
                self.model, states, targets, objective, self.problem.choices
            )
            return
        term: Hidden = getattr(objective, name)
        for at, layer in enumerate(objective.layers):
            if name == "static":
                lengths = {i: len(self._static_places(i)) for i in items}
                there = torch.cat([self.reference.static[i][at, -lengths[i] :] for i in items])
            else:
                there = kept[1][Point(layer)][part].detach()
            far = term.distance(kept[0][Point(layer)][part], there.to(self.device))
            yield term.weight / len(objective.layers) * far

    def _alone(self, candidates: Sequence[Ids]) -> Float[np.ndarray, " candidate"]:
        """Terms that depend on the optimised text only."""
        found = np.array([self.objective.repetition * repetition(ids) for ids in candidates])
        if self.objective.fluency:
            for length in sorted({len(c) for c in candidates}):
                members = [i for i, c in enumerate(candidates) if len(c) == length]
                values = self._fluency([candidates[i] for i in members])
                found[members] += self.objective.fluency * values.cpu().numpy()
        return found

    def _fluency(self, candidates: Sequence[Ids]) -> Float[Tensor, " candidate"]:
        """Mean negative log-likelihood of the tokens, each after those before it."""
        specials = self._specials()
        first = max(1, len(specials))
        tokens = torch.tensor([[*specials, *ids] for ids in candidates], device=self.device)
        final = Point(self.model.cfg.n_layers - 1)
        kept = extend(self.model, new_cache(), tokens, [final])[final]
        states, targets = kept[:, first - 1 : -1], tokens[:, first:]
        logits = unembed(self.model, states.flatten(0, 1)).float()
        losses = torch.nn.functional.cross_entropy(logits, targets.flatten(), reduction="none")
        return losses.view(targets.shape).mean(dim=1)

    def _specials(self) -> list[int]:
        return encode(self.model.tokenizer, "")


def _shared(parent: Ids, ids: Ids) -> int:
    """Number of leading tokens that a candidate shares with its parent, at least one short."""
    most = min(len(parent), len(ids) - 1)
    return next((i for i in range(most) if parent[i] != ids[i]), most)
