"""Losses and gradients of candidates, computing no token, position or block twice.

A candidate differs from its parent from some token on; what stands before keeps its keys and
values. A prefix is run once per candidate and shared by all questions; a suffix is run behind each
question, whose keys and values are computed once per search. A row of a forward holds several
continuations of the same text, each from its own first changed token on and unseen by the others.
Only places that an objective reads are unembedded, and nothing after the last block that it needs
is run, forward or backward.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechunlearn.attacks.gcg.caches import Caches, Ids
from mechunlearn.attacks.gcg.objective import Objective, Reference
from mechunlearn.attacks.gcg.packing import Batch, Piece, batch_of, packed
from mechunlearn.attacks.gcg.problem import Problem
from mechunlearn.attacks.gcg.terms import Terms
from mechunlearn.bench.batches import halving, lower_budget, token_budget
from mechunlearn.bench.cache import chosen, extend, leaves
from mechunlearn.bench.rows import pad, placed
from mechunlearn.half import fast_half
from mechunlearn.hooks import embedding_table, first_embeddings
from mechunlearn.types import HookedModel

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
        self.terms = Terms(model, problem, objective, reference or Reference())
        self.model, self.problem, self.objective = model, problem, objective
        self.blocks = self.terms.blocks
        self.budgets = {g: budget or token_budget(model, backward=g) for g in (False, True)}
        self.memory, self.largest = memory, 0
        self.device = torch.device(model.cfg.device)
        self.table = embedding_table(model)
        # What has to be run after the slot; without hidden states, the last forced token is only
        # predicted.
        self.tails = [
            [*i.after, *(i.target if objective.hidden else i.target[: i.forced - 1])]
            for i in problem.items
        ]
        self._caches = [Caches(m, problem, self.blocks) for m in self.terms.models]
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
            coarse: Multiply matrices in bfloat16, where the device is fast at it.
        """
        found = np.zeros((len(candidates), len(picked)))

        def compute() -> None:
            for group in self._groups(picked):
                for caches in self._caches:  # Exact ones: later passes use them too.
                    caches.run_parent(parent, group[:1] if self._splits(group) else group)
            half = coarse and fast_half(self.device.type)
            with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=half):
                found[:] = self._losses(parent, candidates, picked)

        self._halving(compute, graph=False)
        return found

    def _halving(self, compute: Callable[[], None], *, graph: bool) -> None:
        """Run it; out of memory, again with batches of half the tokens, as all later ones."""
        self.largest = 0

        def smaller() -> str:
            if not self.largest:
                return ""
            limit, self.largest = max(1, self.largest // 2), 0
            self.budgets[graph] = limit
            lower_budget(self.model, limit, backward=graph)
            return f"{limit} tokens a batch"

        halving(compute, smaller, next(self.model.parameters()))

    def _losses(
        self, parent: Ids, candidates: Sequence[Ids], picked: Sequence[int]
    ) -> Float[np.ndarray, "candidate item"]:
        losses = np.zeros((len(candidates), len(picked)))
        pairs: list[tuple[int, int]] = []
        found: list[Tensor] = []
        column = {item: j for j, item in enumerate(picked)}
        for length in sorted({len(c) for c in candidates}):
            same = {
                i: _shared(parent, ids) for i, ids in enumerate(candidates) if len(ids) == length
            }
            order = sorted(same, key=lambda i: (same[i], i))
            for group in self._groups(picked):
                run = self._split if self._splits(group) else self._whole
                for batch, values in run(parent, candidates, order, same, group):
                    pairs += batch.pairs
                    found.append(values)
        for (i, item), value in zip(pairs, torch.cat(found).tolist(), strict=True):
            losses[i, column[item]] = value
        return losses + self.terms.alone(candidates)[:, None]

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
        return self.table[placed(torch.tensor(ids), self.device)].detach().clone()

    def backward(self, leaf: Float[Tensor, "pos d_model"], ids: Ids, picked: Sequence[int]) -> None:
        """Add to ``leaf.grad`` the gradient of the mean loss with ``leaf`` in the slot.

        Args:
            ids: Tokens that stand there, for their number and for terms that need tokens.
        """
        before = None if leaf.grad is None else leaf.grad.clone()

        def compute() -> None:
            leaf.grad = None if before is None else before.clone()
            for group in self._groups(picked):
                if self._splits(group):
                    self._split_backward(leaf, ids, group, len(picked))
                else:
                    self._whole_backward(leaf, ids, group, len(picked))
            if self.objective.fluency:
                with first_embeddings(self.model, leaf, skip=len(self.terms.specials)):
                    fluency = self.objective.fluency * self.terms.fluency([ids])[0]
                    if fluency.requires_grad:  # Not of a single token behind nothing.
                        fluency.backward()

        with torch.enable_grad():
            self._halving(compute, graph=True)

    def _groups(self, picked: Sequence[int]) -> list[list[int]]:
        """Items with equally long text before the slot, the longest rest first."""
        groups: dict[int, list[int]] = {}
        for item in sorted(picked, key=lambda i: (-len(self.tails[i]), i)):
            groups.setdefault(len(self.problem.items[item].before), []).append(item)
        return list(groups.values())

    def _splits(self, group: Sequence[int]) -> bool:
        """Whether a candidate runs once for all items of a group."""
        return self.problem.shared and len(group) > 1

    def _size(
        self, there: int, tokens: int, cached: int, reads: int = 1, graph: bool = False
    ) -> int:
        """Rows of a batch, of those that are ``there``, for ``tokens`` new and ``cached`` old ones.

        A row takes its keys and values twice (kept, and joined for attention), about twelve
        activations a token (in every block where a graph is kept), and logits where it is read.
        """
        rows = min(there, self.budgets[graph] // max(1, tokens))
        if self.memory:
            cfg = self.model.cfg
            heads = getattr(cfg, "n_key_value_heads", None) or cfg.n_heads
            row = 4 * self.blocks * heads * cfg.d_head * (tokens + cached)
            row += 12 * tokens * cfg.d_model * (self.blocks if graph else 1)
            if self.objective.cross_entropy:
                row += 3 * reads * max(i.forced for i in self.problem.items) * cfg.d_vocab
            rows = min(rows, self.memory // (self.table.element_size() * row))
        if rows > 1:
            self.largest = max(self.largest, rows * tokens)
        return max(1, rows)

    def _batches(self, pieces: Sequence[Piece], graph: bool = False) -> Iterator[Batch]:
        """Pieces in rows, rows in batches."""
        rows = packed(pieces, int(ROW * self.model.cfg.d_model))
        while rows:
            cached = max(piece.seen for row in rows for piece in row)
            tokens = sum(len(p.tokens) for p in rows[0])
            size = self._size(len(rows), tokens, cached, len(rows[0]), graph)
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
            yield batch, self.terms.losses(batch, caches)

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
            tokens = len(candidates[rest[0]]) - start
            size = self._size(len(rest), tokens, before + start, reads=0)
            part, rest = rest[:size], rest[size:]
            changed, _ = pad(self.model, [candidates[i][start:] for i in part])
            prefixes = [
                c.after_parent(parent, group[:1], group[:1] * len(part), before + start)
                for c in self._caches
            ]
            for caches, cache in zip(self._caches, prefixes, strict=True):
                extend(caches.model, cache, changed, blocks=self.blocks)
            pieces = [
                Piece((i, item), at, before + len(candidates[i]), self.tails[item], 0)
                for at, i in enumerate(part)
                for item in group
            ]
            for batch in self._batches(pieces):
                which = placed(torch.tensor(batch.sources), self.device)
                yield batch, self.terms.losses(batch, [chosen(p, which) for p in prefixes])

    def _split_backward(self, leaf: Tensor, ids: Ids, group: list[int], n: int) -> None:
        (main, *others) = self._caches
        cache = main.before(group[:1])
        with first_embeddings(self.model, leaf):
            extend(self.model, cache, placed(torch.tensor([ids]), self.device), blocks=self.blocks)
        prefix, passed_on = leaves(cache)
        main.keep_parent(ids, group[:1], prefix)
        seen = len(self.problem.items[group[0]].before) + len(ids)
        pieces = [Piece((0, item), 0, seen, self.tails[item], 0) for item in group]
        for batch in self._batches(pieces, graph=True):
            wanted = group[:1] * len(batch.sources), seen
            behind = [chosen(prefix, placed(torch.tensor(batch.sources), self.device))]
            behind += [c.after_parent(ids, group[:1], *wanted) for c in others]
            (self.terms.losses(batch, behind).sum() / n).backward()
        used = [(whole, copy.grad) for whole, copy in passed_on if copy.grad is not None]
        torch.autograd.backward([whole for whole, _ in used], [grad for _, grad in used])

    def _whole_backward(self, leaf: Tensor, ids: Ids, group: list[int], n: int) -> None:
        before = len(self.problem.items[group[0]].before)
        pieces = [
            Piece((0, item), item, before, [*ids, *self.tails[item]], len(ids)) for item in group
        ]
        for batch in self._batches(pieces, graph=True):
            caches = [c.before(batch.sources) for c in self._caches]
            (self.terms.losses(batch, caches, leaf).sum() / n).backward()
            if batch.sources == group:  # Its forward began with the parent.
                self._caches[0].keep_parent(ids, group, caches[0])


def _shared(parent: Ids, ids: Ids) -> int:
    """Number of leading tokens that a candidate shares with its parent, at least one short."""
    most = min(len(parent), len(ids) - 1)
    return next((i for i in range(most) if parent[i] != ids[i]), most)
