"""What an audit will cost before it starts, from the plan and a few seconds of real forwards."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mechunlearn.analysis.across import GRADES, evidence
from mechunlearn.attacks.jailbreaks import JAILBREAKS
from mechunlearn.attacks.perturbation import naive_grid
from mechunlearn.audit.cells import Cell, Kind, Setup
from mechunlearn.audit.work import SHAMS
from mechunlearn.bench import score
from mechunlearn.cost.memory import needed, shape_of, sizes_of
from mechunlearn.hooks import metered
from mechunlearn.models import configuration, load
from mechunlearn.models.tokenizer import load_tokenizer
from mechunlearn.registry import find

CALIBRATION = 3.0
"""Seconds of forwards that are timed."""
UNKNOWN = 40.0
"""Passes that an attack is taken to need which does not say."""
BACKWARD = 3.0
"""A training step costs three forwards."""


@dataclass(frozen=True, slots=True)
class Speed:
    """What this machine does with the original model."""

    flops: float
    """Per second, while scoring."""
    per_question: float
    """FLOPs of one question."""
    device: str
    """Kind of device: ``cpu``, ``cuda``."""
    number: int
    """Bytes of a number in its weights."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """One cell's cost."""

    cell: Cell
    flops: float
    seconds: float
    memory: float
    """Peak bytes."""


def calibrate(setup: Setup) -> Speed:
    """Time real forwards of the original over select-fold questions."""
    model = load(setup.sources["original"], **setup.plan.loading)
    questions = setup.task.questions("forget", "select")[:64]
    prompt, scoring = setup.task.prompt, setup.task.scoring
    score(model, questions, prompt, scoring=scoring)  # The first one is slower.
    start, runs = time.perf_counter(), 0
    with metered() as meter:
        while runs < 2 or (time.perf_counter() - start < CALIBRATION and runs < 20):
            score(model, questions, prompt, scoring=scoring)
            runs += 1
    seconds = time.perf_counter() - start
    kind = str(model.cfg.device).partition(":")[0]
    each = meter.flops / (runs * len(questions))
    return Speed(meter.flops / seconds, each, kind, next(model.parameters()).element_size())


def estimates(setup: Setup, cells: Sequence[Cell], speed: Speed) -> list[Estimate]:
    """The cost of each cell on this machine."""
    original = setup.plan.original
    shape = shape_of(configuration(original))
    sizes = sizes_of(setup.task, load_tokenizer(original), (speed.device, speed.number))
    found = []
    for cell in cells:
        flops = _questions(setup, cell) * speed.per_question
        config = setup.config(cell.attack) if cell.attack else None
        memory = needed(cell.attack or "baseline", config, shape, sizes).total
        found.append(Estimate(cell, flops, flops / speed.flops, memory))
    return found


def _questions(setup: Setup, cell: Cell) -> float:
    """Question forwards that a cell is worth."""
    task = setup.task
    n = {
        (role, fold): len(task.questions(role, fold))
        for role in ("forget", "retain")
        for fold in ("select", "confirm")
    }
    confirm = n["forget", "confirm"]
    if cell.kind == "baseline":
        return float(sum(n.values()) + sum(map(len, task.extra.values())))
    if cell.kind == "ceiling":
        return confirm + _change(setup, cell.attack)
    find_, variants = _search(setup, cell.attack)
    if cell.kind == "control":
        return find_ + confirm + _change(setup, cell.attack)
    chosen = (1 + SHAMS) * (confirm + _change(setup, cell.attack)) + n["retain", "confirm"]
    return find_ + variants * n["forget", "select"] + 3 * n["retain", "select"] + chosen


def _search(setup: Setup, attack: str) -> tuple[float, float]:
    """Question forwards of an attack's search, and variants that it tries on the select fold."""
    config, n = setup.config(attack), len(setup.task.questions("forget", "select"))
    layers = setup.layers
    entry = find("attack", attack)
    if hasattr(entry, "passes"):
        return n * entry.passes(config, layers), 0.0
    if attack == "logit_lens":
        return 0.0, 1.0
    if attack == "direction_ablation":
        spans = 2 + min(layers, 8)
        return 4.0 * n, 14.0 * spans  # Four sources to three targets, two at every write.
    if attack.startswith("pruning"):
        pairs = len(config.levels) * (len(config.levels) + 1) / 2
        return BACKWARD * 4 * config.examples, 1.0 * pairs * 2 * (1 if "weights" in attack else 2)
    if attack.startswith("relearning"):
        runs = len(config.rates) * len(config.seeds)
        measured = (1 + len(config.checkpoints)) * (
            2 * n + len(setup.task.questions("forget", "confirm"))
        )
        return runs * (BACKWARD * config.steps * (config.batch + config.keep) + measured), 0.0
    if attack == "perturbation_naive":
        return 0.0, float(len(naive_grid(config)))
    if attack == "perturbation_informed":
        return 2.0 * n, 2.0 * len(config.thresholds) * (1 + config.rounds)
    if attack == "gcg":
        asked = round(config.questions / (1 - config.retain_share))
        return config.search.forwards(asked), float(config.search.restarts)
    if attack == "soft_prompt":
        return float(BACKWARD * config.steps * config.batch), 3.0
    if attack == "jailbreak":
        return 0.0, 3.0 * len(JAILBREAKS)  # Templates are longer than the questions.
    return 0.0, UNKNOWN


def _change(setup: Setup, attack: str) -> float:
    """What applying a chosen variant costs beside the forward: training, for relearning."""
    if not attack.startswith("relearning"):
        return 0.0
    config: Any = setup.config(attack)
    return BACKWARD * config.steps * (config.batch + config.keep)


def by_worth(setup: Setup) -> Iterator[tuple[str, str]]:
    """Unlearned models and attacks, the most informative first.

    The strongest grade of evidence comes first, then the plan's order of attacks; within an attack
    every model, so that a stopped audit compares all of them.
    """
    attacks = sorted(setup.plan.attacks, key=lambda a: GRADES.index(evidence(a)))
    for attack in attacks:
        for name in setup.unlearned:
            yield name, attack


def affordable(setup: Setup, found: Sequence[Estimate], seconds: float) -> list[Cell]:
    """Baselines, and as many whole attacks as fit into the time.

    An attack without its control and its ceiling says nothing, so it counts with them.

    Raises:
        ValueError: If not even one fits.
    """
    kinds: tuple[Kind, ...] = ("attack", "control", "ceiling")
    cost = {(e.cell.kind, e.cell.model, e.cell.attack): e for e in found}
    baselines = [e for e in found if e.cell.kind == "baseline"]
    left = seconds - sum(e.seconds for e in baselines)
    kept = [e.cell for e in baselines]
    prices = []
    for name, attack in by_worth(setup):
        mine = [cost[key] for kind in kinds if (key := (kind, name, attack)) in cost]
        price = sum(e.seconds for e in mine)
        prices.append(price)
        if mine and price <= left:
            left -= price
            kept += [e.cell for e in mine]
    if found and len(kept) == len(baselines) and len(found) > len(baselines):
        raise ValueError(
            f"a budget of {seconds:.0f} s holds no attack: baselines and the cheapest attack need "
            f"about {seconds - left + min(p for p in prices if p):.0f} s; raise --budget"
        )
    return kept
