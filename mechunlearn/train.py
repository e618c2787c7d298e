"""The only training loop, and the guarantee that a model comes back unchanged."""

import dataclasses
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import reduce
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mechunlearn.hooks import live_parameters
from mechunlearn.models.lora import Adapter, LoRA
from mechunlearn.progress import console, track
from mechunlearn.types import HookedModel
from mechunlearn.types.display import table

T = TypeVar("T")
MOMENTS = ("exp_avg", "exp_avg_sq")
"""AdamW's state of a parameter."""
EXPLODED = 100.0
"""A total loss this many times its first value (or 1, if that is larger) ends the run."""


@dataclass(frozen=True, slots=True)
class Share:
    """The part of a step's examples that one process computes in one backward pass.

    The shares of a step partition it: a loss divides by the whole step's counts, so that the
    contributions of all shares add up to the step's loss.
    """

    index: int = 0
    of: int = 1

    def __call__(self, items: Sequence[T]) -> Sequence[T]:
        """This share of a step's items.

        Raises:
            ValueError: If there are fewer items than shares.
        """
        if len(items) < self.of:
            raise ValueError(
                f"a batch of {len(items)} cannot be split over {self.of} processes and "
                "accumulated parts; raise batch or lower optimizer.accumulate"
            )
        return items[self.index :: self.of]


Loss = Callable[[int, Share], Mapping[str, Tensor]]
"""Maps a step number and a share to named loss terms, already weighted; the sum is minimised."""


class Draws:
    """Which items each step takes: shuffled passes, so that each is drawn equally often."""

    def __init__(self, n: int, batch: int, steps: int, generator: torch.Generator) -> None:
        count, self.batch = steps * batch, batch
        passes = [torch.randperm(n, generator=generator) for _ in range(-(-count // n))]
        self.all: list[int] = torch.cat(passes)[:count].tolist()

    def __getitem__(self, step: int) -> list[int]:
        return self.all[step * self.batch : (step + 1) * self.batch]


@dataclass(frozen=True, slots=True)
class Optimizer:
    """AdamW with linear warm-up, a flat part and a linear decay to zero.

    Raises:
        ValueError: If the steps or the learning rate are not positive.
    """

    steps: int
    lr: float
    warmup: int = 0
    """Steps over which the rate rises to ``lr``."""
    decay: float = 0.0
    """Last share of the steps over which the rate falls to 0."""
    weight_decay: float = 0.0
    """Applied to matrices only."""
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = 0.0
    """Largest gradient norm; 0: no limit."""
    accumulate: int = 1
    """Backward passes per step, each over a part of the batch; the same losses in less memory."""
    autocast: bool = False
    """Compute in bfloat16, with weights and optimizer in their own type."""
    recompute: bool = False
    """Keep block inputs only and compute the rest again in the backward pass (activation
    checkpointing)."""

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.lr > 0 or self.accumulate < 1:
            raise ValueError(
                "training needs steps >= 1, lr > 0 and accumulate >= 1, not "
                f"steps={self.steps}, lr={self.lr}, accumulate={self.accumulate}"
            )

    def rate(self, step: int) -> float:
        """Factor on ``lr`` at a step."""
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        left = (self.steps - step) / (self.decay * self.steps) if self.decay else 1.0
        return rise * min(1.0, left)


@dataclass(frozen=True, slots=True)
class TrainLog:
    """What happened while training."""

    terms: dict[str, list[float]] = field(default_factory=dict)
    """Loss terms per step."""
    measured: list[dict[str, int | float]] = field(default_factory=list)
    """What was measured on the way; each entry has its ``step``, counted in steps taken."""
    adapter: Adapter | None = None
    """The adapters that were trained and then merged, where there were any."""

    @property
    def steps(self) -> int:
        """Number of steps taken."""
        return max((len(v) for v in self.terms.values()), default=0)

    def having(self, adapter: Adapter | None) -> "TrainLog":
        """The same log with the adapters that were trained."""
        return dataclasses.replace(self, adapter=adapter)

    def __repr__(self) -> str:
        return f"TrainLog({self.steps} steps)"

    def _repr_html_(self) -> str:
        rows: dict[str, object] = {"steps": self.steps}
        for name, values in self.terms.items():
            rows[f"{name} loss"] = f"{values[0]:.3g} at first, {values[-1]:.3g} at last"
        for found in self.measured[-1:]:
            rows["measured last"] = ", ".join(f"{k} {v:.4g}" for k, v in found.items())
        return table(rows)


@dataclass(frozen=True, slots=True)
class Watch:
    """What is measured and kept while a model trains."""

    every: int = 0
    """Steps between measurements and checkpoints; 0: none."""
    measure: Callable[[int], Mapping[str, float]] | None = None
    """Called with the steps taken; may end the run by raising."""
    state: Path | None = None
    """File for weights, optimizer and log; where it exists, training goes on from it."""
    at: tuple[int, ...] = ()
    """Further steps at which to measure."""
    printed: bool = True
    """Whether measurements are printed."""

    def due(self, step: int, steps: int) -> bool:
        """Whether something happens after ``step`` of ``steps`` steps."""
        regular = self.every > 0 and (step % self.every == 0 or step == steps)
        return regular or step in self.at


def fit(
    parameters: Sequence[torch.nn.Parameter],
    loss: Loss,
    optimizer: Optimizer,
    *,
    label: str,
    watch: Watch | None = None,
    model: HookedModel | None = None,
    seed: int = 0,
    stop: int | None = None,
) -> TrainLog:
    """Minimise ``loss`` over ``parameters`` in place.

    Only these parameters require gradients while it runs; flags are restored afterwards. Started
    with ``torchrun`` (or ``accelerate launch``), every process computes its share of each step and
    all of them take the same step.

    Args:
        label: What the progress bar says.
        watch: What to measure and keep on the way.
        model: Needed for ``optimizer.recompute`` only.
        seed: Of dropout; every step has random numbers of its own.
        stop: End after this step of the schedule.

    Raises:
        ValueError: If there are no parameters, one of them gets no gradient, or the loss explodes
            or stops being finite.
    """
    parameters, watch = list(parameters), watch or Watch()
    if not parameters:
        raise ValueError(f"{label}: there are no parameters to train")
    device = parameters[0].device
    processes = PartialState(cpu=device.type == "cpu")
    n = processes.num_processes * optimizer.accumulate
    first = processes.process_index * optimizer.accumulate
    shares = [Share(i, n) for i in range(first, first + optimizer.accumulate)]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": optimizer.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    flags = [p.requires_grad for p in parameters]
    adamw = torch.optim.AdamW(groups, lr=optimizer.lr, betas=optimizer.betas)
    log = _resumed(watch.state, parameters, adamw)
    if not log.measured:
        _report(label, watch, optimizer.steps, log)
    recompute = model if optimizer.recompute else None
    try:
        for p in parameters:
            p.requires_grad_(True)
        for step in track(range(log.steps, stop or optimizer.steps), label):
            for group in adamw.param_groups:
                group["lr"] = optimizer.lr * optimizer.rate(step)
            with (
                _recomputing(recompute),
                _drawing(device, seed + step),
                _casting(device, optimizer.autocast),
            ):
                named = _backward(loss, step, shares)
            if step == 0 and any(p.grad is None for p in parameters):
                missing = sum(p.grad is None for p in parameters)
                raise ValueError(f"{label}: {missing} parameter(s) got no gradient from the loss")
            if processes.num_processes > 1:
                named = _summed(named, parameters)
            for name, value in named.items():
                log.terms.setdefault(name, []).append(value)
            _refuse_divergence(label, log, optimizer.lr)
            if optimizer.clip:
                torch.nn.utils.clip_grad_norm_(parameters, optimizer.clip)
            adamw.step()
            adamw.zero_grad(set_to_none=True)
            if watch.due(step + 1, optimizer.steps):
                _report(label, watch, optimizer.steps, log)
                if watch.state and processes.is_main_process:
                    _keep(watch.state, parameters, adamw, log)
    finally:
        for p, flag in zip(parameters, flags, strict=True):
            p.requires_grad_(flag)
            p.grad = None
    return log


def _report(label: str, watch: Watch, steps: int, log: TrainLog) -> None:
    """Measure, remember and print."""
    if watch.measure is None or not watch.due(log.steps, steps):
        return
    found = watch.measure(log.steps)
    log.measured.append({"step": log.steps, **found})
    if not watch.printed:
        return
    losses = "".join(f", {name} loss {v[-1]:.3g}" for name, v in log.terms.items())
    shown = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
    console.print(f"[dim]{label}, step {log.steps} of {steps}: {shown}{losses}[/dim]")


def _backward(loss: Loss, step: int, shares: Sequence[Share]) -> dict[str, float]:
    """Add the gradients of all shares; the terms they add up to."""
    named: dict[str, float] = {}
    for share in shares:
        terms = loss(step, share)
        torch.stack([t.float() for t in terms.values()]).sum().backward()
        for name, term in terms.items():
            named[name] = named.get(name, 0.0) + term.item()
    return named


def _summed(
    named: Mapping[str, float], parameters: Sequence[torch.nn.Parameter]
) -> dict[str, float]:
    """Sum gradients and loss terms over the processes."""
    for p in parameters:
        p.grad = reduce(p.grad, reduction="sum")
    values = torch.tensor(list(named.values()), dtype=torch.float32, device=parameters[0].device)
    return dict(zip(named, reduce(values, reduction="sum").tolist(), strict=True))


def _refuse_divergence(label: str, log: TrainLog, lr: float) -> None:
    first, last = (math.fsum(v[i] for v in log.terms.values()) for i in (0, -1))
    if not math.isfinite(last) or abs(last) > EXPLODED * max(1.0, abs(first)):
        raise ValueError(
            f"{label}: the loss is {last:.4g} at step {log.steps} ({first:.4g} at the first); "
            f"lower optimizer.lr (now {lr:g})"
        )


@contextmanager
def _drawing(device: torch.device, seed: int) -> Iterator[None]:
    """Random numbers (dropout) from a seed, leaving the global generators as they were."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _casting(device: torch.device, on: bool) -> AbstractContextManager[object]:
    return torch.autocast(device.type, torch.bfloat16) if on else nullcontext()


@contextmanager
def _recomputing(model: HookedModel | None) -> Iterator[None]:
    """Run each block under activation checkpointing."""
    if model is None:
        yield
        return
    config, blocks = model.original_model.config, [b.original_component for b in model.blocks]
    caching, plain = config.use_cache, [block.forward for block in blocks]
    config.use_cache = False  # The second pass would append its keys to the first one's.
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    try:
        yield
    finally:
        config.use_cache = caching
        for block, forward in zip(blocks, plain, strict=True):
            block.forward = forward


def _keep(
    path: Path, parameters: Sequence[Tensor], adamw: torch.optim.Optimizer, log: TrainLog
) -> None:
    """Write a checkpoint atomically: weights, both moments, and the log as metadata."""
    tensors = {f"weight.{i}": p.detach().contiguous() for i, p in enumerate(parameters)}
    for i, p in enumerate(parameters):
        for moment in MOMENTS:
            tensors[f"{moment}.{i}"] = adamw.state[p][moment].contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_file = path.with_suffix(".partial")
    log_text = json.dumps({"terms": log.terms, "measured": log.measured})
    save_file(tensors, partial_file, metadata={"log": log_text})
    os.replace(partial_file, path)


@torch.no_grad()
def _resumed(
    path: Path | None, parameters: Sequence[torch.nn.Parameter], adamw: torch.optim.Optimizer
) -> TrainLog:
    """Load what ``_keep`` wrote; an empty log where there is nothing.

    Raises:
        ValueError: If the file belongs to other parameters.
    """
    if path is None or not path.is_file():
        return TrainLog()
    with safe_open(path, framework="pt") as file:
        if len(file.keys()) != (1 + len(MOMENTS)) * len(parameters):
            raise ValueError(f"{path} is a checkpoint of other weights; remove it to start again")
        log = TrainLog(**json.loads(file.metadata()["log"]))
        for i, p in enumerate(parameters):
            p.copy_(file.get_tensor(f"weight.{i}"))
            moments = {m: file.get_tensor(f"{m}.{i}").to(p.device) for m in MOMENTS}
            adamw.state[p] = {"step": torch.tensor(float(log.steps)), **moments}
    return log


@contextmanager
def trained(
    model: HookedModel, lora: LoRA, blocks: Sequence[int] = (), seed: int = 0
) -> Iterator[tuple[list[torch.nn.Parameter], Adapter | None]]:
    """What to train: all live weights, or adapters that are merged at the end.

    After an exception the adapters are taken out again and the weights are as they were.

    Args:
        lora: Rank 0 trains the weights themselves.
        blocks: Where adapters go; default: everywhere.
    """
    if not lora.rank:
        yield live_parameters(model), None
        return
    adapter = Adapter(model, lora, blocks, seed)
    merge = False
    try:
        yield adapter.parameters, adapter
        merge = True
    finally:
        adapter.remove(merge=merge)


@contextmanager
def restored(model: HookedModel) -> Iterator[HookedModel]:
    """Undo, bit for bit, every weight change made inside the ``with`` block.

    The copies lie in the host's memory, where there is more of it.
    """
    saved = [(p, p.detach().to("cpu", copy=True)) for p in model.parameters()]
    try:
        yield model
    finally:
        with torch.no_grad():
            for p, before in saved:
                p.copy_(before)
