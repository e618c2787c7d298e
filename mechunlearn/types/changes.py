"""What an attack does: hooks, weight edits, another prompt, another form, another place to read."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechunlearn.errors import unknown
from mechunlearn.interrupts import uninterrupted
from mechunlearn.types.display import table
from mechunlearn.types.form import Form
from mechunlearn.types.items import Turn
from mechunlearn.types.model import HookedModel
from mechunlearn.types.points import Point

HookFn = Callable[..., Any]
WeightEdit = Callable[[HookedModel], AbstractContextManager[object]]
Scope = Literal["token", "sequence"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
TOLERANCE = 1e-2
"""Relative difference by which a hook may treat tokens together and apart differently: rounding."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one forward, for hooks that look at more than one token's activation."""

    items: Int[Tensor, " row"]
    """Which question, of those that are scored, each row asks."""
    positions: Int[Tensor, "row pos"]
    """Place of each token in its own prompt, from 0."""
    real: Bool[Tensor, "row pos"]
    """False where a token only pads."""


_ROWS: ContextVar[Rows | None] = ContextVar("rows", default=None)


@contextmanager
def running(rows: Rows) -> Iterator[None]:
    """Tell sequence hooks which rows the forwards inside the ``with`` block compute."""
    token = _ROWS.set(rows)
    try:
        yield
    finally:
        _ROWS.reset(token)


@dataclass(frozen=True, slots=True)
class ForModel:
    """A token hook that needs something of the very model that it is put on."""

    made: Callable[[HookedModel], HookFn]


@dataclass(frozen=True, slots=True)
class Hook:
    """A function of the activation at one hook point.

    A ``token`` hook ``(activation, hook) -> activation`` treats every token alike and apart, so
    that scoring may cache shared prefixes and pack several endings into one row. A ``sequence``
    hook ``(activation, hook, rows) -> activation`` may look at positions, questions and neighbours;
    then every prompt is computed whole, in a row of its own. A token hook that depends on positions
    or on other rows is refused when it first runs.

    Raises:
        ValueError: For an unknown scope.
    """

    place: str
    """TransformerLens' name of the hook point."""
    function: HookFn | ForModel = field(repr=False)
    scope: Scope = "token"

    def __post_init__(self) -> None:
        if self.scope not in SCOPES:
            raise unknown("scope", str(self.scope), SCOPES)

    def bound(self, model: HookedModel) -> HookFn:
        """The function as TransformerLens calls it."""
        if isinstance(self.function, ForModel):
            return _Checked(self.place, self.function.made(model))
        return self._with_rows if self.scope == "sequence" else _Checked(self.place, self.function)

    def _with_rows(self, activation: Tensor, hook: object) -> Any:
        rows = _ROWS.get()
        shape = activation.shape[:2]
        if rows is None or rows.positions.shape != shape:
            everything = torch.ones(shape, dtype=torch.bool, device=activation.device)
            positions = torch.arange(shape[1], device=activation.device).expand(shape)
            items = torch.arange(shape[0], device=activation.device)
            rows = Rows(items, positions, everything)
        assert not isinstance(self.function, ForModel)
        return _returned(self.function(activation, hook, rows), self.place)


def _returned(out: Any, place: str) -> Any:
    """What a hook returned; nothing would look like a change without effect, and is refused."""
    if out is None:
        raise ValueError(f"the hook at {place} returns nothing; let it return the activation")
    return out


class _Checked:
    """A token hook that is compared, once, with itself on parts of its input."""

    def __init__(self, place: str, function: HookFn) -> None:
        self.place, self.function, self.checked = place, function, False

    def __call__(self, activation: Tensor, hook: object) -> Any:
        out = _returned(self.function(activation, hook), self.place)
        if not self.checked and isinstance(out, Tensor) and max(activation.shape[:2]) > 1:
            self.checked = True
            with torch.no_grad():
                self._check(activation.detach(), hook, out.detach())
        return out

    def _check(self, x: Tensor, hook: object, whole: Tensor) -> None:
        rows, width = (-(-n // 2) for n in x.shape[:2])
        parts = [
            torch.cat([self.function(part, hook) for part in half.split(width, dim=1)], dim=1)
            for half in x.split(rows)
        ]
        apart = float((torch.cat(parts) - whole).float().norm())
        if apart > TOLERANCE * max(float(whole.float().norm()), 1e-30):
            raise ValueError(
                f"the hook at {self.place} does not treat every token alike and apart, so cached "
                "prefixes and packed prompts would be wrong; declare "
                "Hook(place, function, scope='sequence')"
            )


@dataclass(slots=True)
class Rewrite:
    """A change of questions: the same text always becomes the same text.

    It is given what stands inside the user's turn, never a chat template.
    """

    change: Callable[[str, random.Random], str]
    seed: int = 0

    def prepare(self, model: HookedModel, texts: Sequence[str], turn: Turn) -> None:
        """Look at questions before they are asked; only informed changes need to.

        Args:
            turn: What will stand around every question.
        """

    def __call__(self, text: str) -> str:
        """The question to ask instead."""
        return self.change(text, random.Random(f"{self.seed}-{text}"))

    def prompts(self, model: HookedModel, prompts: Sequence[str], turn: Turn) -> list[str]:
        """Whole prompts with the question inside their turn changed.

        Raises:
            ValueError: If a prompt is not in the turn's template.
        """
        texts = [turn.inside(prompt) for prompt in prompts]
        self.prepare(model, texts, turn)
        return [turn.around(self(text)) for text in texts]


@runtime_checkable
class ReadOut(Protocol):
    """Where an answer is read, and how activations become logits of its tokens."""

    @property
    def point(self) -> Point:
        """What is captured."""
        ...

    def logits(
        self,
        model: HookedModel,
        resid: Float[Tensor, "row d_model"],
        ids: Int[Tensor, " token"] | None = None,
    ) -> Float[Tensor, "row token"]:
        """Logits of some tokens (default: all), in float32."""
        ...


@dataclass(frozen=True, slots=True)
class Change:
    """A named, reversible change: hooks, weight edits, a rewrite of prompts, a form, a read-out.

    ``a + b`` makes both, in that order. Scoring honours all parts together; ``with
    change.on(model)`` applies hooks and edits to a model and refuses a change that has more.
    """

    name: str
    hooks: tuple[Hook, ...] = field(default=(), repr=False)
    edits: tuple[WeightEdit, ...] = field(default=(), repr=False)
    """Context managers that change weights on entry and restore them bit for bit on exit, and also
    when entering fails half-way (``mechunlearn.attacks.edits.written`` does)."""
    rewrite: Rewrite | None = field(default=None, repr=False)
    """What is done to every question before it is asked."""
    read_out: ReadOut | None = field(default=None, repr=False)
    """Where the answer is read instead of at the output."""
    form: Form | None = field(default=None, repr=False)
    """In which the questions are asked and measured instead of the task's own."""

    def __add__(self, other: "Change") -> "Change":
        """Both changes.

        Raises:
            ValueError: If both read out, rewrite prompts or ask in a form: there is one answer to
                read, and one text to ask.
        """
        for part in ("read_out", "rewrite", "form"):
            if getattr(self, part) is not None and getattr(other, part) is not None:
                raise ValueError(
                    f"{self.name!r} and {other.name!r} both have a {part.replace('_', '-')}; "
                    "only one of two changes can have one"
                )
        return Change(
            f"{self.name} + {other.name}",
            self.hooks + other.hooks,
            self.edits + other.edits,
            self.rewrite or other.rewrite,
            self.read_out or other.read_out,
            self.form or other.form,
        )

    @property
    def sequence(self) -> bool:
        """Whether a hook looks at more than one token."""
        return any(hook.scope == "sequence" for hook in self.hooks)

    @property
    def changes_model(self) -> bool:
        """Whether the model itself computes something else."""
        return bool(self.hooks or self.edits)

    @property
    def leaves_model(self) -> bool:
        """Whether model and prompts stay: the answer is only read elsewhere or asked otherwise."""
        asks = self.read_out is not None or self.form is not None
        return asks and not self.changes_model and self.rewrite is None

    @contextmanager
    def on(self, model: HookedModel) -> Iterator[HookedModel]:
        """Apply to ``model`` inside a ``with`` block; restored also after an exception.

        Raises:
            ValueError: If the change rewrites prompts, reads elsewhere or asks in another form,
                which no model can hold.
        """
        parts = {
            "rewrites prompts": self.rewrite,
            "reads elsewhere": self.read_out,
            "asks in another form": self.form,
        }
        if part := next((does for does, held in parts.items() if held is not None), ""):
            raise ValueError(
                f"{self.name!r} {part}, which is not part of a model; use score(..., change=...)"
            )
        with self.applied(model):
            yield model

    @contextmanager
    def applied(self, model: HookedModel) -> Iterator[HookedModel]:
        """Hooks and edits alone, for scoring, which honours the other parts itself."""
        with ExitStack() as stack:
            for edit in self.edits:
                stack.enter_context(edit(model))
            if self.hooks:
                pairs = [(hook.place, hook.bound(model)) for hook in self.hooks]
                stack.enter_context(_attached(model, pairs))
            if self.sequence:
                stack.enter_context(_whole_prompts())
            yield model

    def _repr_html_(self) -> str:
        places = ", ".join(hook.place for hook in self.hooks) or "none"
        parts: dict[str, object] = {"hooks": places, "weight edits": len(self.edits)}
        parts["prompts"] = "as they are" if self.rewrite is None else "rewritten"
        parts["read at"] = "the output" if self.read_out is None else self.read_out.point.name
        parts["asked"] = "as the task does" if self.form is None else self.form.measure
        return table(parts, self.name)


@contextmanager
def _attached(model: HookedModel, pairs: Sequence[tuple[str, HookFn]]) -> Iterator[None]:
    """Hooks of which no Ctrl-C leaves one behind."""
    with ExitStack() as stack:
        with uninterrupted():
            stack.enter_context(model.hooks(fwd_hooks=list(pairs)))
        try:
            yield
        finally:
            with uninterrupted():
                stack.close()


_WHOLE: ContextVar[bool] = ContextVar("whole", default=False)


@contextmanager
def _whole_prompts() -> Iterator[None]:
    token = _WHOLE.set(True)
    try:
        yield
    finally:
        _WHOLE.reset(token)


def whole_prompts() -> bool:
    """Whether a sequence hook is on, so that prompts must be computed whole and one by row."""
    return _WHOLE.get()


NO_CHANGE = Change("none")
