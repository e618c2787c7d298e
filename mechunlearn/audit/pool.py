"""Models that stay loaded while they are small."""

from collections.abc import Callable, Mapping

from mechunlearn.models import load
from mechunlearn.types import HookedModel

ROOM = 2 * 2**30
"""Bytes of models that stay loaded; a larger model is let go of before the next one comes."""


Prepared = tuple[str, Callable[[HookedModel], object]]


class ModelPool:
    """Loads each model once where they fit, letting go of the least recently used first."""

    def __init__(self, room: float = ROOM, loader: Callable[..., HookedModel] = load) -> None:
        self.room, self.loader = room, loader
        self.models: dict[str, HookedModel] = {}
        self.options: dict[str, object] = {}
        self.loads = 0

    def with_options(self, options: Mapping[str, object]) -> "ModelPool":
        """This pool, loading with some arguments of ``load``; lets go of what others loaded."""
        if self.options != dict(options):
            self.options = dict(options)
            self.models.clear()
        return self

    def __call__(self, source: str, prepared: Prepared | None = None) -> HookedModel:
        """The model from a name, folder or Hub id; callers leave it as they found it.

        Args:
            prepared: A name, and what is done to the model once it is loaded; it is then another
                model than without.
        """
        key = source if prepared is None else f"{source} {prepared[0]}"
        if key in self.models:
            self.models[key] = self.models.pop(key)
            return self.models[key]
        while sum(map(_bytes, self.models.values())) > self.room:
            del self.models[next(iter(self.models))]
        model = self.loader(source, **self.options)
        self.loads += 1
        if prepared is not None:
            prepared[1](model)
        self.models[key] = model
        return model


def _bytes(model: HookedModel) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())
