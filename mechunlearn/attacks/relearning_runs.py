"""One training run of relearning: in place, as a change that is undone, or measured on the way."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from weakref import ref

import torch
from torch import Tensor

from mechunlearn.attacks.relearning_data import Lessons
from mechunlearn.attacks.relearning_settings import RelearningConfig, Run
from mechunlearn.attacks.relearning_sweep import race_cost
from mechunlearn.attacks.seen import Progress, Seen
from mechunlearn.bench.likelihood import log_likelihoods
from mechunlearn.hooks import metered
from mechunlearn.models import fingerprint
from mechunlearn.progress import console
from mechunlearn.train import DivergedError, Draws, Share, Watch, fit, restored, trained
from mechunlearn.types import Change, HookedModel

ROOM = 2**28
"""Bytes of trained weights that a search keeps on the host."""


def copies(size: float, config: RelearningConfig, ends_only: bool) -> int:
    """How many copies of ``size`` bytes a search keeps: of what can be chosen, as far as they fit.

    Args:
        ends_only: Whether the ends of the runs alone can be chosen.
    """
    runs = len(config.rates) * len(config.seeds)
    if config.sweep.schedules:
        runs = int(race_cost(config)[1])
    each = 1 if ends_only or config.lora.rank else len(config.checkpoints)
    return min(runs * each, int(ROOM / size))


class Trained:
    """Weights of runs that were measured, at what can be chosen: none is trained twice.

    Args:
        ends_only: Whether the ends of the runs alone can be chosen.
    """

    def __init__(self, ends_only: bool = False) -> None:
        self.ends_only, self.start = ends_only, ""
        self.weights: dict[Run, list[Tensor]] = {}

    def begin(self, model: HookedModel) -> None:
        """Note what the runs start from."""
        if _bytes(model) <= ROOM:
            self.start = fingerprint(model)

    def keep(self, model: HookedModel, run: Run) -> None:
        """Copy the weights as they are now; where the room ends, earlier copies go."""
        if (size := _bytes(model)) > ROOM:
            return
        while (len(self.weights) + 1) * size > ROOM:
            del self.weights[next(iter(self.weights))]
        self.weights[run] = [p.detach().to("cpu", copy=True) for p in model.parameters()]

    @torch.no_grad()
    def put_(self, model: HookedModel, run: Run) -> bool:
        """Give a model the weights of a run, if they are here and it is what the run began with."""
        if run not in self.weights or fingerprint(model) != self.start:
            return False
        for p, after in zip(model.parameters(), self.weights[run], strict=True):
            p.copy_(after)
        return True


def _bytes(model: HookedModel) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())


def relearn_(
    model: HookedModel,
    lessons: Lessons,
    config: RelearningConfig,
    run: Run,
    watch: Watch | None = None,
) -> None:
    """Train the model in place on the mean loss per token of the rows' reads.

    Args:
        lessons: Of its retain rows each step takes ``config.keep``, in a term of equal weight.
        run: Stops after its steps; the schedule stays that of all of ``config.steps``.

    Raises:
        ValueError: If LoRA targets match nothing, or there are retain rows and no ``config.keep``,
            or the other way round.
        DivergedError: If the loss explodes.
    """
    rows, retain, config = lessons.rows, lessons.retain, config.of(run)
    if bool(retain) != bool(config.keep):
        raise ValueError(
            f"keep={config.keep} with {len(retain)} rows to keep: give both or neither"
        )
    generator = torch.Generator().manual_seed(run.seed)
    sets = {"answers": (rows, Draws(len(rows), config.batch, config.steps, generator))}
    if retain:
        sets["kept"] = retain, Draws(len(retain), config.keep, config.steps, generator)

    def loss(step: int, share: Share) -> dict[str, Tensor]:
        counts = [sum(len(pool[i].reads) for i in draws[step]) for pool, draws in sets.values()]
        batch = [[pool[i] for i in share(draws[step])] for pool, draws in sets.values()]
        values = log_likelihoods(model, [row for part in batch for row in part])  # In one pass.
        parts = values.split([len(part) for part in batch])
        return {k: -x.sum() / n for k, x, n in zip(sets, parts, counts, strict=True)}

    with trained(model, config.lora, seed=run.seed) as (parameters, _):
        # As the paper does: it makes room on a GPU.
        recompute = str(model.cfg.device).startswith("cuda")
        fit(
            parameters,
            loss,
            config.optimizer(run.rate, recompute=recompute),
            label="relearning",
            watch=watch,
            model=model,
            seed=run.seed,
            stop=run.steps,
        )


def relearning(
    lessons: Lessons,
    config: RelearningConfig,
    run: Run,
    *,
    exploded: Callable[[Run], None] | None = None,
    done: Trained | None = None,
) -> Change:
    """``relearn_`` as a reversible change: trains on entry, restores bit for bit on exit.

    Args:
        exploded: Called with a run that explodes, which then leaves the model as it was; default:
            the error is raised.
        done: Runs on these lessons that were measured; not kept in memory by the change.
    """
    known = None if done is None else ref(done)

    @contextmanager
    def edit(model: HookedModel) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(restored(model))
            earlier = None if known is None else known()
            try:
                if earlier is None or not earlier.put_(model, run):
                    relearn_(model, lessons, config, run)
            except DivergedError as error:
                if exploded is None:
                    raise
                exploded(run)
                console.print(f"[dim]{error}[/dim]")
                stack.close()
            yield

    return Change(f"relearned, lr {run.rate:g}, {run.steps} steps", edits=(edit,))


def measure_run(
    model: HookedModel,
    lessons: Lessons,
    config: RelearningConfig,
    whole: Run,
    *,
    seen: Seen,
    reads: Sequence[int],
    done: Trained,
) -> list[Run]:
    """What was measured of one run from start to end; a run that explodes ends early.

    Args:
        reads: Tokens of forget information in each row.
        done: Is given the weights.
    """
    done.begin(model)
    generator = torch.Generator().manual_seed(whole.seed)
    order = Draws(len(lessons.rows), config.batch, config.steps, generator).all
    runs: list[Run] = []
    with metered() as meter, restored(model):
        measuring = 0

        def measure(steps: int) -> dict[str, float]:
            nonlocal measuring
            flops, samples = meter.flops - measuring, steps * config.batch
            tokens = sum(reads[i] for i in order[:samples])
            run = dataclasses.replace(whole, steps=steps)
            progress = Progress(whole.name, steps, samples, tokens, flops)
            values = seen.watch(model, run if steps else None, progress)
            measuring = meter.flops - flops
            if steps:
                runs.append(run)
                adapted = config.of(run).lora.rank  # Adapters are merged at the end only.
                if not (adapted or done.ends_only):
                    done.keep(model, run)
            return {"forget": values.forget}

        watch = Watch(measure=measure, at=(0, *config.checkpoints), printed=False)
        try:
            relearn_(model, lessons, config, whole, watch)
            done.keep(model, whole)
        except DivergedError as error:
            if not runs:
                raise
            console.print(f"[dim]{error}[/dim]")
    return runs
