"""The original protocol, cell by cell, beside the published table.

For every unlearned model: default decoding, the logit lens, finetuning, orthogonalization, the
enhanced GCG and set-difference pruning with the published grids, each at the variant that is best
on the forget questions, as published: chosen on the questions that are reported. An audit chooses
on other questions and has controls; this mode is for comparison with the paper alone.

Rows that attack with questions of the task take its select fold, and the confirm fold is reported;
default decoding, the lens, and finetuning on other examples (the paper's generated questions, or
those of the task) report every question. The settings: ``mechunlearn.studies.published_attacks``,
what finetuning trains on: ``mechunlearn.studies.published_lessons``. The published numbers stand
beside Zephyr-7B-beta and what was made of it, asked WMDP-Bio, and no other.

Reference:
    Łucki et al. 2024, arXiv:2409.18025; published numbers: ``mechunlearn.studies.published``.
    Differs: these bugs are not reproduced. Lens: probabilities rounded to six decimals, whose ties
    count as "A"; all positions unembedded. Orthogonalization: the principal component left in
    standardised coordinates; the first 40 tokens skipped instead of those all prompts share; the
    original's letter tokens taken from the unlearned model's tokenizer. GCG: cyber models optimised
    on the bio checkpoints; padding counted as repetition; questions of the test set in the
    objective; four stored prefixes merged by missing commas; the last buffer's best text kept
    instead of the best ever. Pruning: scores in bfloat16, whose ties decide at thresholds; a second
    <bos> in the targets. The model stays in eval mode. GCG starts from
    the best of 16 random texts of 32 tokens, stands before the whole prompt with a blank line
    between, matches states at the answer's places too, and aims at blocks 5 to 7 of every model.
    Not known and so not repeated: whether a cell is of the plain or the chat template (here: the
    task's format), the finetuning set and n of the table (here: the best of all), the flags behind
    each GCG prefix.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mechunlearn.audit.labels import free_label, tail
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.audit.pool import ModelPool
from mechunlearn.environment import write_json
from mechunlearn.models import check
from mechunlearn.models.identity import arithmetic, digest, model_identity, task_revision
from mechunlearn.models.tokenizer import compare_tokenizers
from mechunlearn.progress import console
from mechunlearn.records import Plain, Record, plain, read_record
from mechunlearn.stats import difference_interval, wilson
from mechunlearn.studies.published import COLUMNS, Set, published
from mechunlearn.studies.published_attacks import (
    Data,
    Situation,
    learn,
    missing_data,
    needs_original,
    trials,
)
from mechunlearn.studies.published_lessons import Lesson, Subject, lessons
from mechunlearn.tasks import load_task, task_config
from mechunlearn.train.origin import differences, say_unknown
from mechunlearn.types import Score, Task

ATTACKS = (
    "default decoding",
    "logit lens",
    "finetuning",
    "orthogonalization",
    "enhanced GCG",
    "set-difference pruning",
)
"""Rows of the table."""
MEASURED = ("wmdp-bio", "zephyr-7b-beta")
"""Task and original whose numbers are published."""
EXAMPLES = "examples to finetune on"
"""What a message calls what the rows of finetuning depend on, and no others."""


class Cell(Record, frozen=True):
    """One number of our table, and the published one beside it."""

    set: Set
    attack: str
    model: str
    """Its label."""
    column: str
    """The published column: original, rmu, npo or dpo."""
    right: int
    n: int
    settings: Plain
    """The best variant."""
    tried: int
    """Variants among which the best was taken."""
    seconds: float
    measured: bool = True
    """Whether the published numbers are of this model and these questions."""

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.right / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval."""
        return wilson(self.right, self.n)

    @property
    def published(self) -> tuple[int, int] | None:
        """Right answers and questions of the published cell."""
        return published(self.set, self.attack, self.column) if self.measured else None

    @property
    def difference(self) -> tuple[float, float, float] | None:
        """Ours minus published, with its 95 % interval; ``None`` where nothing is published."""
        other = self.published
        if other is None:
            return None
        return self.accuracy - other[0] / other[1], *difference_interval(self.right, self.n, *other)


class Table(Record, frozen=True):
    """The finished cells: ``paper.json``."""

    plan: dict[str, Plain]
    """What was asked for, by names."""
    cells: tuple[Cell, ...]
    made_from: dict[str, Plain] | None = None
    """What else the cells depend on: questions, weights and what finetuning trains on, as hashes,
    and versions. ``None``: not known."""
    schema: Literal[3] = 3
    """In 1 a row could report questions its attack had seen; in 2 finetuning had one subject."""


def paper(
    plan: AuditPlan, out: Path, attacks: Sequence[str] = ATTACKS, pool: ModelPool | None = None
) -> list[Cell]:
    """Our table; every finished cell is kept in ``out/paper.json``, and the same call goes on.

    The same call of other questions, weights or versions is refused.

    Args:
        plan: Its models, task, format and device; ``changes`` of ``gcg`` and ``pruning_weights``.
        attacks: Rows of the table.
        pool: Where models are loaded; default: one at a time.

    Raises:
        ValueError: If the folder holds another table, or a model or task is unusable.
        PrerequisiteError: If a download is needed that is not there.
    """
    trust = plan.trust_remote_code
    chosen = task_config(plan.changes)
    task = load_task(plan.task or None, plan.original, chosen, trust_remote_code=trust)
    data = Data(task, lessons(task, chosen) if "finetuning" in attacks else {})
    known = check(plan.original, trust_remote_code=trust)
    for source in given(plan).values():
        own = check(source, plan.original, trust_remote_code=trust)
        compare_tokenizers(source, own, plan.original, known, task.texts)
    pool = (pool or ModelPool(room=0.0)).with_options(plan.loading)
    file = out / "paper.json"
    found = _table(file, plan)
    origin = _made_from(plan, task, data.lessons if "finetuning" in attacks else None)
    table = found or Table(plan=plan.identity, cells=(), made_from=origin)
    cells, made_from = list(table.cells), _continued(file, table, origin)
    measured = data.task.name == MEASURED[0] and tail(plan.original).lower() == MEASURED[1]
    for suspect in suspects(plan, measured):
        for attack in missing(suspect, attacks, cells):
            cells += _cells(attack, suspect, plan, data, pool)
            whole = Table(plan=plan.identity, cells=tuple(cells), made_from=made_from)
            write_json(file, plain(whole))
    return cells


def _made_from(
    plan: AuditPlan, task: Task, taught: Mapping[Subject, Lesson] | None
) -> dict[str, Plain]:
    """What cells depend on beside the plan, by what a message calls it."""
    models = {suspect.label: suspect.source for suspect in suspects(plan)}
    weights = {f"weights of {k}": model_identity(m, plan.original) for k, m in models.items()}
    examples = {} if taught is None else {EXAMPLES: digest(plain(taught))}
    return {
        "questions": task_revision(task),
        **weights,
        **examples,
        "versions": arithmetic(plan.device),
    }


def _continued(file: Path, table: Table, made_from: Mapping[str, Plain]) -> dict[str, Plain] | None:
    """What a table is made from, cells that are added included; rows may be added to it.

    Raises:
        ValueError: If its cells are of other questions, weights, examples or versions.
    """
    if table.made_from is None:
        say_unknown(file, made_from)
        return None
    known = dict(table.made_from)
    if not any(cell.attack == "finetuning" for cell in table.cells):
        known.pop(EXAMPLES, None)
    if differing := differences(known, made_from):
        raise ValueError(
            f"{file} is another table (not the same: {differing}); choose another --out"
        )
    return {**known, **made_from}


def given(plan: AuditPlan) -> dict[str, str]:
    """The unlearned models of a table: label -> name, folder or Hub id."""
    return {label: m for label, m in plan.labels.items() if m not in plan.methods}


def suspects(plan: AuditPlan, measured: bool = False) -> list["Suspect"]:
    """The models of a table, the original first.

    Args:
        measured: Whether the published numbers are of this original and task.
    """
    tested = given(plan)
    original = free_label(tail(plan.original), [*tested], "original")
    found = [Suspect(original, plan.original, "original", measured)]
    for label, source in tested.items():
        column, names = column_of(f"{label} {tail(source)}"), words_of(f"{label} {source}")
        found.append(Suspect(label, source, column, measured and "cyber" not in names))
    return found


def missing(suspect: "Suspect", attacks: Sequence[str], cells: Sequence[Cell]) -> list[str]:
    """Rows of the table that are not there yet for a model."""
    done = {cell.attack for cell in cells if cell.model == suspect.label}
    asked = [attack for attack in ATTACKS if attack in attacks and attack not in done]
    if suspect.column != "original":
        return asked
    return [attack for attack in asked if published("forget", attack, "original")]


def kept(out: Path, plan: AuditPlan) -> tuple[Cell, ...]:
    """The finished cells of a folder, by the plan alone: nothing is loaded.

    Raises:
        ValueError: If it holds the table of another plan.
    """
    table = _table(out / "paper.json", plan)
    return () if table is None else table.cells


def _table(file: Path, plan: AuditPlan) -> Table | None:
    """What is finished of a plan's table."""
    if not file.is_file():
        return None
    table = read_record(file, Table)
    if table.plan != plan.identity:
        raise ValueError(f"{file} is another table; choose another --out")
    return table


def column_of(model: str) -> str:
    """The published column that an unlearned model's name stands for; ``""`` where none does.

    Example:
        >>> column_of("cais/Zephyr_RMU"), column_of("J4Q8/zephyr-dpo-cyber"), column_of("mine")
        ('rmu', 'dpo', '')
    """
    names = words_of(model)
    return next((c for c in COLUMNS[1:] if c in names), "")


def words_of(model: str) -> list[str]:
    """The parts of a model's name, in lower case."""
    return re.findall(r"[a-z0-9]+", model.lower())


@dataclass(frozen=True, slots=True)
class Suspect:
    """A model of the table."""

    label: str
    source: str
    column: str
    measured: bool
    """Whether the published numbers are of it."""


def _cells(
    attack: str, suspect: Suspect, plan: AuditPlan, data: Data, pool: ModelPool
) -> Iterator[Cell]:
    """The forget and, where it is published, the retain cell of an attack on a model."""
    console.print(f"[dim]{suspect.label}: {attack}[/dim]")
    start = time.perf_counter()
    reference, asked = None, data.select
    if needs_original(attack):
        if attack == "orthogonalization":
            asked = data.lost(*(pool(source) for source in (plan.original, suspect.source)))
        reference = learn(attack, pool(plan.original), data.task, asked, plan)
    at = Situation(pool(suspect.source), data, plan, suspect.column, asked, reference)
    if (reason := missing_data(attack, at)) is not None:
        console.print(f"[yellow]{suspect.label}: {reason}[/yellow]")
    tried = trials(attack, at)
    best = max(tried, key=lambda trial: trial.forget.accuracy)
    scores: dict[Set, Score] = {"forget": best.forget}
    if published("retain", attack, "rmu"):
        scores["retain"] = at.scored(attack, best.change, "retain")
    seconds = round(time.perf_counter() - start, 1)
    for name, scored in scores.items():
        yield Cell(
            set=name,
            attack=attack,
            model=suspect.label,
            column=suspect.column,
            measured=suspect.measured,
            right=int(scored.correct.sum()),
            n=scored.n,
            settings=plain(best.variant),
            tried=len(tried),
            seconds=seconds,
        )
