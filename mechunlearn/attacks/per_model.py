"""What is fitted to a model, kept as long as the model is: a read-out is fitted to each anew.

A map or a probe that was fitted to the original and read another model would bring what it learned
there along. So a read-out with parameters asks here for those of the model that it reads.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from mechunlearn.types import HookedModel

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class PerModel(Generic[T]):
    """Fits each model once, when it is first asked for; keeps no model alive."""

    fit: Callable[[HookedModel], T]
    """Must not keep the model in what it returns."""
    known: WeakKeyDictionary[HookedModel, T] = field(default_factory=WeakKeyDictionary, repr=False)

    def of(self, model: HookedModel) -> T:
        """What was fitted to this model."""
        if model not in self.known:
            self.known[model] = self.fit(model)
        return self.known[model]
