"""Models that were loaded, kept while they are small."""

from collections.abc import Callable, Mapping
from typing import Any

from mechunlearn.models import load
from mechunlearn.types import HookedModel

KEPT = 2 * 2**30
"""Bytes of models that stay loaded; a larger model is let go of before the next one comes."""


class Loaded:
    """Loads each model once where they fit, the least recently used being let go of first."""

    def __init__(self, kept: int = KEPT, loader: Callable[..., HookedModel] = load) -> None:
        self.kept, self.loader = kept, loader
        self.models: dict[str, HookedModel] = {}
        self.options: dict[str, str] = {}
        self.loads = 0

    def like(self, options: Mapping[str, str]) -> "Loaded":
        """This, loading with some arguments of ``load``; models loaded otherwise are let go of."""
        if self.options != dict(options):
            self.options = dict(options)
            self.models.clear()
        return self

    def __call__(self, source: str) -> HookedModel:
        """The model from a name, folder or Hub id; callers leave it as they found it."""
        if source in self.models:
            self.models[source] = self.models.pop(source)
            return self.models[source]
        while sum(map(_bytes, self.models.values())) > self.kept:
            del self.models[next(iter(self.models))]
        self.models[source] = self.loader(source, **self.options)
        self.loads += 1
        return self.models[source]


def _bytes(model: Any) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())
