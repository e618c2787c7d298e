"""One attack on a model that is loaded already, without the rest of an audit."""

from dataclasses import dataclass, field
from typing import Any

from mechunlearn.attacks import Attack, Search, Seen
from mechunlearn.audit.select import Attempt, Deciding, Measured, choose, lost
from mechunlearn.bench import score
from mechunlearn.presets import size_of
from mechunlearn.registry import find
from mechunlearn.types import Change, HookedModel, Task


@dataclass(frozen=True, slots=True)
class Attacked:
    """An attack on one model, at the variant that the select fold chose."""

    variant: Any
    change: Change
    """What the variant does; ``score(model, questions, task, change=...)`` judges it."""
    within_limit: bool
    """Whether it costs no more retain accuracy than allowed."""
    tried: tuple[Attempt, ...] = field(repr=False)
    search: Search[Any] = field(repr=False)
    """What was learned about the model; makes other variants."""

    def sham(self, seed: int = 0) -> Change:
        """A placebo of the same size.

        Raises:
            ValueError: If the attack only reads: there is nothing to put in place of its change.
        """
        sham = self.search.sham(self.variant, seed)
        if sham is None:
            raise ValueError(
                "this attack only reads and has no sham to apply; an audit compares it with its "
                "own answers held against other questions"
            )
        return sham


def attack(
    name: str | Attack[Any, Any, Any],
    unlearned: HookedModel,
    original: HookedModel,
    task: Task,
    *,
    config: Any = None,
    limit: float = 0.05,
) -> Attacked:
    """Search a model with one attack and choose on the select fold, as an audit does.

    The confirm fold stays untouched, but by attacks that need "the tested facts" and by those that
    measure as they train. ``mechunlearn.analysis.analyse.audit`` adds the controls.

    Args:
        name: Of a registered attack, or an attack.
        config: Settings of the attack; default: its preset for models of this size.
        limit: Largest loss of retain accuracy on the select fold.

    Raises:
        ValueError: If the name is not registered, or the task has not what the attack needs.

    Example:
        >>> from mechunlearn import attack, load, load_task
        >>> model, task = load("organism:original"), load_task("organism")
        >>> attack("logit_lens", model, model, task).variant
        Point(layer=3, stream='resid_post')
    """
    entry: Attack[Any, Any, Any] = find("attack", name) if isinstance(name, str) else name
    called = name if isinstance(name, str) else type(name).__name__
    if config is None:
        config = entry.presets[entry.preset(size_of(unlearned.cfg.d_model))]
    asked = task.questions("forget", "select")
    measured = Measured(Deciding.of(task, called, entry.splits(config)))
    seen = Seen.of(
        task,
        entry,
        name=called,
        config=config,
        asked=lost(asked, *(score(m, asked, task).values for m in (original, unlearned))),
        watch=measured,
        tokenizer=unlearned.tokenizer,
    )
    entry.check(config, seen, unlearned.cfg.n_layers)
    reference = None
    if "original model" in entry.needs:
        reference = entry.learn(original, seen, config)
    search = entry.search(unlearned, seen, reference, config)
    kept = score(unlearned, task.questions("retain", "select"), task).accuracy
    choice = choose(
        unlearned, search, measured, retain_before=kept, limit=limit, limited=entry.limited
    )
    change = search.change(choice.variant)
    return Attacked(choice.variant, change, choice.within_limit, choice.tried, search)
