"""What one cell computes, on a model that is loaded already."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import UNSET

from mechunlearn.attacks import Attack, Confirm, Progress, Scored, Search, Seen, View, Watch
from mechunlearn.attacks.seen import unwatched
from mechunlearn.audit.also import Asked, Further, further, measures, scores_by
from mechunlearn.audit.cells import Cell, Setup
from mechunlearn.audit.checks import told, untouched
from mechunlearn.audit.kept import by_kind, stages, tried
from mechunlearn.audit.planting import hide_
from mechunlearn.audit.pool import ModelPool
from mechunlearn.audit.records import (
    Answers,
    AttackResult,
    CeilingResult,
    ControlResult,
    Kind,
    Result,
)
from mechunlearn.audit.select import Choice, Deciding, Measured, choose, confirmed
from mechunlearn.bench import edited, score
from mechunlearn.bench.hidden import with_other_stems
from mechunlearn.hooks import metered
from mechunlearn.records import Plain, plain, typed
from mechunlearn.registry import find
from mechunlearn.types import Change, HookedModel, Question, Score, Scoring

SHAMS = 3
"""Placebos drawn; the one of median accuracy is reported."""
Done = Callable[[Cell, Result, float], None]
"""Called with a cell, its result and the seconds it took."""


@dataclass(slots=True)
class Group:
    """The missing cells of one attack on one unlearned model, and what they share."""

    model: str
    """Label of the unlearned model."""
    attack: str
    missing: dict[Kind, Cell]
    further: list[Cell] = field(default_factory=list)
    """Of controls after the first one."""
    asked: tuple[Question, ...] = ()
    """Select-fold questions that were lost, or all of them."""
    retain_before: float = 0.0
    variant: Plain = None
    """What the select fold chose, where the attack cell is there already."""
    reference: Any = None
    flops: int = 0
    change: Change | None = None
    """The chosen variant, for the original."""
    view: View | None = None

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All that is missing."""
        return (*self.missing.values(), *self.further)


def loaded(setup: Setup, label: str, load: ModelPool) -> HookedModel:
    """A model of the audit; a planted one is the original, with its knowledge hidden."""
    entry = setup.entry(label)
    if entry.hiding is None:
        return load(entry.source)
    hiding = entry.hiding
    return load(entry.source, (label, lambda model: hide_(model, hiding, setup.task)))


def compute(setup: Setup, groups: Sequence[Group], load: ModelPool, done: Done) -> None:
    """Compute the groups' missing cells, model after model.

    Args:
        done: Called with each cell as soon as its result is there.
    """
    original = setup.original.label
    # Don't bind a model to a local; that keeps it alive while the next one loads.
    for group in groups:
        if "original model" in find("attack", group.attack).needs:
            _Work(setup, group).learn(loaded(setup, original, load))
    for label in dict.fromkeys(group.model for group in groups):
        same = [group for group in groups if group.model == label]
        for group in same:
            if (cell := group.missing.get("attack")) is not None:
                _timed(_Work(setup, group, cell), _Work.attack, loaded(setup, label, load), done)
            elif (cell := group.missing.get("ceiling")) is not None:
                _Work(setup, group, cell).rebuild(loaded(setup, label, load), ceiling=True)
        for i, control in enumerate(setup.entry(label).controls):
            for group in same:
                found = [group.missing.get("control")] if i == 0 else group.further
                for cell in found:
                    if cell is not None and cell.further == (control if i else ""):
                        work = _Work(setup, group, cell)
                        _timed(work, _Work.control, loaded(setup, control, load), done)
        for group in same:
            group.reference = None
    for group in groups:
        if (cell := group.missing.get("ceiling")) is not None:
            _timed(_Work(setup, group, cell), _Work.ceiling, loaded(setup, original, load), done)


def chosen_change(setup: Setup, group: Group, load: ModelPool) -> Change:
    """The variant that a finished attack chose, made again on the model that was attacked."""
    if "original model" in find("attack", group.attack).needs:
        _Work(setup, group).learn(loaded(setup, setup.original.label, load))
    _Work(setup, group).rebuild(loaded(setup, group.model, load))
    assert group.change is not None
    return group.change


def _timed(
    work: "_Work",
    compute: "Callable[[_Work, HookedModel], Result]",
    model: HookedModel,
    done: Done,
) -> None:
    assert work.cell is not None
    start = time.perf_counter()
    with told(f"{work.group.attack} on {work.cell.model}"), untouched(model, work.group.attack):
        result = compute(work, model)
    done(work.cell, result, round(time.perf_counter() - start, 2))
    work.setup.search_file(work.cell).unlink(missing_ok=True)


class _Work:
    """One attack on one model after another."""

    def __init__(self, setup: Setup, group: Group, cell: Cell | None = None) -> None:
        self.setup, self.group, self.cell, self.task = setup, group, cell, setup.task
        self.entry: Attack[Any, Any, Any] = find("attack", group.attack)
        self.config = setup.config(group.attack)

    def learn(self, original: HookedModel) -> None:
        """What the attack has to know of the original."""
        with metered() as meter, untouched(original, self.group.attack):
            seen = self._seen(original, None)
            self.group.reference = self.entry.learn(original, seen, self.config)
        self.group.flops = meter.flops

    def attack(self, model: HookedModel) -> AttackResult:
        """Choose on the select fold; then the confirm fold and the shams, once."""
        group = self.group
        with metered() as meter:
            search, measured = self._search(model, self.setup.twins(group.model))
            choice = self._choose(model, search, measured, group.retain_before)
        variant = choice.variant
        self._keep(search, variant)
        reported = confirmed(model, search, measured, variant)
        change = search.change(variant)
        forget, retain = (self.task.questions(r, "confirm") for r in ("forget", "retain"))
        disguised = with_other_stems(forget)
        with edited(model, change) as rest:
            kept, hidden = (score(model, q, self.task, change=rest) for q in (retain, disguised))
            more = self._further(model, rest, {"hidden": disguised, "twins": measured.twins})
        shams = self._shams(model, search, variant, measures(self.task, change))
        return AttackResult(
            variant=group.variant,
            within_limit=choice.within_limit,
            flops=group.flops + meter.flops,
            forget=Answers.of(reported.confirm),
            retain=Answers.of(kept),
            shams=tuple(Answers.of(own) for own, _ in shams),
            tried=tuple(tried(a) for a in choice.tried),
            decided_by=measured.deciding.places,
            stages=stages(measured),
            traces=self._traces(model, search, variant),
            hidden=Answers.of(hidden),
            twins=UNSET if reported.twins is None else Answers.of(reported.twins),
            **more.beside([others for _, others in shams])._asdict(),
        )

    def control(self, model: HookedModel) -> ControlResult:
        """The same attack on the never-knew model, at the variant chosen for the unlearned one.

        An adaptive search is made anew, and the variant is its own choice.
        """
        variant = None if self.entry.adaptive else self._variant()
        search, measured = self._search(model, variant=variant)
        if variant is None:
            before = score(model, measured.deciding.retain, self.task).accuracy
            variant = self._choose(model, search, measured, before).variant
        return ControlResult(
            forget=Answers.of(confirmed(model, search, measured, variant).confirm),
            stages=stages(measured),
            traces=self._traces(model, search, variant),
            **self._further(model, search.change(variant))._asdict(),
        )

    def _choose(
        self, model: HookedModel, search: Search[Any], measured: Measured, before: float
    ) -> Choice:
        limit, limited = self.setup.plan.retain_limit, self.entry.limited
        return choose(model, search, measured, retain_before=before, limit=limit, limited=limited)

    def rebuild(self, model: HookedModel, *, ceiling: bool = False) -> None:
        """The chosen variant of an attack that was computed in an earlier run.

        Args:
            ceiling: Whether the ceiling is asked next: a rewrite that looks at a model looks at
                this one, as it does where the attack was computed in the same run.
        """
        seen, variant, known = self._seen(model, None), self._variant(), self.group.reference
        with untouched(model, self.group.attack):
            search = self.entry.rebuild(model, seen, known, variant, self.config)
        self._keep(search, variant)
        change = self.group.change
        if not ceiling or change is None or change.rewrite is None:
            return
        for name in (self.task.scoring, *measures(self.task, change)):
            prompt = self.task.measured_by(name).prompt
            texts = [prompt.turn.inside(prompt.text(q, name)) for q in self._confirm.forget]
            change.rewrite.prepare(model, texts, prompt.turn)

    def ceiling(self, model: HookedModel) -> CeilingResult:
        """The chosen variant on the original itself: does the attack hurt or inflate accuracy?"""
        change = self.group.change
        assert change is not None
        with edited(model, change) as rest:
            forget = score(model, self._confirm.forget, self.task, change=rest)
            more = self._further(model, rest)
        traces = {} if self.group.view is None else by_kind([self.group.view(model, self._confirm)])
        return CeilingResult(forget=Answers.of(forget), traces=traces, also=more.also)

    def _further(self, model: HookedModel, change: Change, others: Asked | None = None) -> Further:
        """What the task wants beside its measure, of the confirm fold and of other questions."""
        asked: Asked = {"forget": self._confirm.forget, **(others or {})}
        return further(model, self.task, asked, self.setup.plan.seed, change)

    def _seen(self, model: HookedModel, measured: Measured | None) -> Seen:
        return Seen.of(
            self.task,
            self.entry,
            name=self.group.attack,
            config=self.config,
            asked=self.group.asked,
            state=None if self.cell is None else self.setup.search_file(self.cell),
            tokenizer=model.tokenizer,
            watch=unwatched if measured is None else _watch(measured),
        )

    def _search(
        self, model: HookedModel, twins: tuple[Question, ...] = (), variant: Any = None
    ) -> tuple[Search[Any], Measured]:
        """The search, or what is needed of it for one variant."""
        splits, reference = self.entry.splits(self.config), self.group.reference
        measured = Measured(Deciding.of(self.task, self.group.attack, splits), twins)
        seen = self._seen(model, measured)
        if variant is None:
            return self.entry.search(model, seen, reference, self.config), measured
        return self.entry.repeat(model, seen, reference, variant, self.config), measured

    def _variant(self) -> Any:
        return typed(self.group.variant, self.entry.variant, f"{self.group.attack}'s variant")

    def _keep(self, search: Search[Any], variant: Any) -> None:
        self.group.variant = plain(variant)
        self.group.change, self.group.view = search.change(variant), search.view(variant)

    def _shams(
        self, model: HookedModel, search: Search[Any], variant: Any, names: Sequence[Scoring]
    ) -> list[tuple[Score, dict[Scoring, Score]]]:
        """Under each placebo the confirm fold, and the same by further measures."""
        drawn = [search.sham(variant, self.setup.plan.seed + i) for i in range(SHAMS)]
        changes = [c for c in drawn if c is not None]
        if not changes and self.entry.family != "read-out":
            what = "only a read-out, whose placebo is shuffled answers, may return None"
            raise TypeError(f"{self.group.attack} has no sham; {what}")
        scores, asked = [], self._confirm.forget
        for change in changes:
            with edited(model, change) as rest:
                own = score(model, asked, self.task, change=rest)
                scores.append((own, scores_by(model, self.task, names, asked, rest)))
        return scores

    @property
    def _confirm(self) -> Confirm:
        asked, kept = (self.task.questions(r, "confirm") for r in ("forget", "retain"))
        return Confirm(asked, kept, self.task.prompt, self.task.scoring)

    def _traces(self, model: HookedModel, search: Search[Any], variant: Any) -> dict[str, Plain]:
        view = search.view(variant)
        views = [] if view is None else [view(model, self._confirm)]
        return by_kind([*search.traces(variant), *views])


def _watch(measured: Measured) -> Watch:
    """Measures for an attack, which gets nothing from it but the select fold's values."""

    def watch(model: HookedModel, variant: Any, progress: Progress) -> Scored:
        return measured(model, variant, progress)

    return watch
