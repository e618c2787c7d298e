"""Keys and values of one model that no candidate of a step changes."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import DynamicCache

from mechunlearn.attacks.gcg.problem import Problem
from mechunlearn.bench.cache import chosen, extend, new_cache
from mechunlearn.bench.rows import placed
from mechunlearn.types import HookedModel

Ids = tuple[int, ...]


class Caches:
    """Keys and values of one model that do not depend on a candidate."""

    def __init__(self, model: HookedModel, problem: Problem, blocks: int) -> None:
        self.model, self.blocks = model, blocks
        self.device = model.cfg.device
        self.texts = [item.before for item in problem.items]
        if problem.shared:
            self.texts = self.texts[:1]
        self._before: dict[int, DynamicCache] = {}
        self._after: dict[Ids, DynamicCache] = {}
        self.parent: Ids = ()

    def before(self, wanted: Sequence[int]) -> DynamicCache:
        """Everything before the slot, which is equally long for all wanted items; a row each."""
        length = len(self._text(wanted[0]))
        same = [i for i, text in enumerate(self.texts) if len(text) == length]
        if length not in self._before:
            cache = new_cache()
            if length:
                tokens = torch.tensor([self.texts[i] for i in same], device=self.device)
                with torch.no_grad():
                    extend(self.model, cache, tokens, blocks=self.blocks)
            self._before[length] = cache
        return chosen(self._before[length], self._places(same, wanted))

    def after_parent(
        self, parent: Ids, group: Sequence[int], wanted: Sequence[int], length: int
    ) -> DynamicCache:
        """The first ``length`` tokens of the text before the slot and the parent behind it.

        Args:
            group: Items whose rows are computed together.
            wanted: Some of them, as often as wanted; a row each.
        """
        if length == 0:
            return new_cache()
        own = self.run_parent(parent, group)
        return chosen(self._after[tuple(own)], self._places(own, wanted), length)

    def run_parent(self, parent: Ids, group: Sequence[int]) -> list[int]:
        """Compute what a parent adds behind the texts of a group, unless it is known already."""
        own = self._own(parent, group)
        if tuple(own) not in self._after:
            cache = self.before(own)
            if parent:
                tokens = torch.tensor([parent] * len(own), device=self.device)
                with torch.no_grad():
                    extend(self.model, cache, tokens, blocks=self.blocks)
            self._after[tuple(own)] = cache
        return own

    def keep_parent(self, parent: Ids, group: Sequence[int], cache: DynamicCache) -> None:
        """Take over what a parent adds from a cache that starts with it, a row for each item."""
        own = self._own(parent, group)
        length = len(self._text(group[0])) + len(parent)
        rows = torch.arange(len(own), device=self.device)
        with torch.no_grad():
            self._after[tuple(own)] = chosen(cache, rows, length)

    def _own(self, parent: Ids, group: Sequence[int]) -> list[int]:
        if parent != self.parent:
            self.parent, self._after = parent, {}
        return list(group) if len(self.texts) > 1 else [0]

    def _text(self, item: int) -> Ids:
        return self.texts[item if len(self.texts) > 1 else 0]

    def _places(self, rows: Sequence[int], wanted: Sequence[int]) -> Int[Tensor, " row"]:
        place = {item: at for at, item in enumerate(rows)}
        places = [place[i] if len(self.texts) > 1 else 0 for i in wanted]
        return placed(torch.tensor(places), self.device)
