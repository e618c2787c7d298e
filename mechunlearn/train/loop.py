"""The only training loop."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from accelerate import PartialState
from accelerate.utils import reduce
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mechunlearn.bench.batches import halving
from mechunlearn.half import fast_half
from mechunlearn.interrupts import uninterrupted
from mechunlearn.progress import track
from mechunlearn.train.log import TrainLog, Watch, keep, report, resumed
from mechunlearn.train.masters import Masters
from mechunlearn.train.steps import DivergedError, Loss, Optimizer, Share, UnsplittableError
from mechunlearn.types import HookedModel

EXPLODED = 100.0
"""A total loss this many times its first value (or 1, if that is larger) ends the run."""

MOST_PARTS = 1024
"""Times as many backward passes a step as were asked for, when the memory is short, at most."""


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

    Parameters in half precision are rounded from float32 copies, which is what AdamW steps on.

    Only these parameters require gradients while it runs; flags are restored afterwards. Started
    with ``torchrun`` (or ``accelerate launch``), every process computes its share of each step and
    all of them take the same step.

    Args:
        label: What the progress bar says.
        watch: What to measure and keep on the way.
        model: Needed for ``optimizer.recompute``, and where its weights are in half precision and
            the parameters are not.
        seed: Of dropout; every step has random numbers of its own.
        stop: End after this step of the schedule.

    Raises:
        ValueError: If there are no parameters, or one of them gets no gradient.
        DivergedError: If the loss explodes or stops being finite.
    """
    parameters, watch = list(parameters), watch or Watch()
    if not parameters:
        raise ValueError(f"{label}: there are no parameters to train")
    device = parameters[0].device
    processes = PartialState(cpu=device.type == "cpu")
    masters = Masters(parameters)
    backward = _Backward(label, loss, masters, optimizer.accumulate, processes, model)
    stepper = _stepper(masters.stepped, optimizer)
    log = resumed(watch.state, masters.stepped, stepper)
    masters.write()
    if not log.measured:
        report(label, watch, optimizer.steps, log)
    recompute = model if optimizer.recompute else None
    with _trainable(parameters):
        for step in track(range(log.steps, stop or optimizer.steps), label):
            for group in stepper.param_groups:
                group["lr"] = optimizer.lr * optimizer.rate(step)
            with _recomputing(recompute):
                named = backward(step, _Numerics(device, seed + step, optimizer.autocast))
            if processes.num_processes > 1:
                named = _summed(named, masters.stepped)
            for name, value in named.items():
                log.terms.setdefault(name, []).append(value)
            _refuse_divergence(label, log, optimizer.lr)
            if optimizer.clip:
                torch.nn.utils.clip_grad_norm_(masters.stepped, optimizer.clip)
            stepper.step()
            masters.write()
            stepper.zero_grad(set_to_none=True)
            if watch.due(step + 1, optimizer.steps):
                report(label, watch, optimizer.steps, log)
                if watch.state and processes.is_main_process:
                    keep(watch.state, masters.stepped, stepper, log)
    return log


@contextmanager
def _trainable(parameters: Sequence[torch.nn.Parameter]) -> Iterator[None]:
    """Parameters that require gradients inside the block, with flags as before afterwards."""
    flags = [p.requires_grad for p in parameters]
    try:
        for p in parameters:
            p.requires_grad_(True)
        yield
    finally:
        with uninterrupted():
            for p, flag in zip(parameters, flags, strict=True):
                p.requires_grad_(flag)
                p.grad = None


def _stepper(
    parameters: Sequence[torch.nn.Parameter], optimizer: Optimizer
) -> torch.optim.Optimizer:
    """Weight decay acts on matrices only."""
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": optimizer.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if optimizer.rule == "sgd":
        return torch.optim.SGD(groups, lr=optimizer.lr, momentum=0.9)
    return torch.optim.AdamW(groups, lr=optimizer.lr, betas=optimizer.betas)


@dataclass(frozen=True, slots=True)
class _Numerics:
    """How a step is computed: dropout from a seed, perhaps in bfloat16."""

    device: torch.device
    seed: int
    autocast: bool

    @contextmanager
    def on(self) -> Iterator[None]:
        """Leaves the global generators as they were."""
        half = self.autocast and fast_half(self.device.type)
        cast = torch.autocast(self.device.type, torch.bfloat16, enabled=half)
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []), cast:
            if self.device.type == "cpu":  # ``torch.manual_seed`` notes a stack for every device.
                torch.default_generator.manual_seed(self.seed)
            else:
                torch.manual_seed(self.seed)
            yield


class _Backward:
    """Gradients of a step, in as many parts as the memory asks for.

    Out of memory, a step is computed again in twice as many parts, and so are all later ones; not
    with several processes, which would have to agree.
    """

    def __init__(
        self,
        label: str,
        loss: Loss,
        masters: Masters,
        parts: int,
        processes: PartialState,
        model: HookedModel | None,
    ) -> None:
        self.label, self.loss, self.masters, self.parts = label, loss, masters, parts
        self.weight = next(model.parameters()) if model else masters.weights[0]
        self.index, self.of = processes.process_index, processes.num_processes
        self.short = False

    def __call__(self, step: int, numerics: _Numerics) -> dict[str, float]:
        """Leave the gradients at the masters; the loss terms of this process."""
        named: dict[str, float] = {}

        def compute() -> None:
            named.update(self._shares(step, numerics))

        most = MOST_PARTS * self.parts if self.of == 1 else 0

        def smaller() -> str:
            if self.parts >= most:
                return ""
            self.parts, self.short = 2 * self.parts, True
            for p in (*self.masters.weights, *self.masters.stepped):
                p.grad = None
            return f"{self.parts} backward passes a step of {self.label}"

        halving(compute, smaller, self.weight)
        if step == 0 and (missing := sum(p.grad is None for p in self.masters.stepped)):
            raise ValueError(f"{self.label}: {missing} parameter(s) got no gradient from the loss")
        return named

    def _shares(self, step: int, numerics: _Numerics) -> dict[str, float]:
        """Add the gradients of all shares; the terms they add up to."""
        found: list[dict[str, Tensor]] = []
        first = self.index * self.parts
        with torch.enable_grad(), numerics.on():  # Edits may be entered while text is generated.
            for i in range(first, first + self.parts):
                terms = self._terms(step, Share(i, self.of * self.parts))
                torch.stack([t.float() for t in terms.values()]).sum().backward()
                self.masters.collect()
                found.append({name: term.detach().double() for name, term in terms.items()})
        # A GPU is waited for once a step.
        values = torch.stack([torch.stack(list(terms.values())) for terms in found]).tolist()
        return {name: sum(row[i] for row in values) for i, name in enumerate(found[0])}

    def _terms(self, step: int, share: Share) -> Mapping[str, Tensor]:
        try:
            return self.loss(step, share)
        except UnsplittableError as error:
            if not self.short:
                raise
            raise ValueError(
                f"{self.label}: out of memory with {share.of // 2} backward passes a step, each of "
                "an example or two; set optimizer.recompute, a lower max_tokens or lora.rank"
            ) from error


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
        raise DivergedError(
            f"{label}: the loss is {last:.4g} at step {log.steps} ({first:.4g} at the first); "
            f"lower optimizer.lr (now {lr:g})"
        )


@contextmanager
def _recomputing(model: HookedModel | None) -> Iterator[None]:
    """Run each block under activation checkpointing."""
    if model is None:
        yield
        return
    config, blocks = model.original_model.config, [b.original_component for b in model.blocks]
    caching, plain = config.use_cache, [block.forward for block in blocks]
    try:
        config.use_cache = False  # The second pass would append its keys to the first one's.
        for block in blocks:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        yield
    finally:
        with uninterrupted():
            config.use_cache = caching
            for block, forward in zip(blocks, plain, strict=True):
                block.forward = forward
