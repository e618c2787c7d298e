"""The training loop: it learns, goes on where it stopped, refuses what cannot work, is undone."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from mechunlearn.hooks import live_parameters
from mechunlearn.models import fingerprint, load
from mechunlearn.models.lora import Adapter, LoRA
from mechunlearn.presets import configured
from mechunlearn.train import Optimizer, Share, TrainLog, Watch, fit, restored
from mechunlearn.types import HookedModel, Task
from mechunlearn.unlearn.guard import Guard
from mechunlearn.unlearn.npo import NPO, npo_
from mechunlearn.unlearn.rmu import RMU, rmu_

Terms = Mapping[str, torch.Tensor]


@pytest.fixture(scope="module")
def few(task: Task) -> Task:
    """A task of few questions, examples and texts: reading them all takes longer than training."""
    return dataclasses.replace(
        task,
        forget=task.forget[::4],
        retain=task.retain[::4],
        forget_examples=task.forget_examples[::100],
        retain_examples=task.retain_examples[::100],
        forget_text=task.forget_text[::100],
        retain_text=task.retain_text[::100],
    )


@pytest.fixture
def half(lent: Any) -> Iterator[HookedModel]:
    """The original in bfloat16, like a fresh one."""
    name = "organism:original"
    yield lent.take((name, "bfloat16"), lambda: load(name, dtype="bfloat16"))
    lent.put_back()


def ones() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.ones(2))


def test_fit_reaches_the_minimum_and_restores_flags() -> None:
    p = torch.nn.Parameter(torch.zeros(3), requires_grad=False)
    goal = torch.tensor([1.0, -2.0, 0.5])

    def loss(step: int, share: Share) -> Terms:
        return {"d": (p - goal).pow(2).sum()}

    log = fit([p], loss, Optimizer(300, 0.05), label="x")
    assert (p - goal).abs().max() < 1e-2
    assert log.steps == 300
    assert log.terms["d"][-1] < 1e-3 < log.terms["d"][0]
    assert not p.requires_grad
    assert p.grad is None


def test_it_learns_where_no_gradients_are_kept() -> None:
    p = ones()
    with torch.no_grad():  # As inside generation, where a change that trains is entered.
        fit([p], lambda step, share: {"d": p.pow(2).sum()}, Optimizer(3, 0.1), label="x")
    assert p.abs().max() < 0.8


def test_schedule() -> None:
    rates = Optimizer(10, 1.0, warmup=2, decay=0.5)
    assert [round(rates.rate(i), 2) for i in range(10)] == [0.5, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2]
    cosine = Optimizer(4, 1.0, decay=1.0, fall="cosine")
    assert [round(cosine.rate(i), 3) for i in range(5)] == [1, 0.854, 0.5, 0.146, 0]


def test_sgd_steps_along_the_gradient_with_momentum_and_goes_on(tmp_path: Path) -> None:
    """Two steps at a gradient of (3, 4), cut to norm 1: the second goes 1.9 times as far."""
    sgd = Optimizer(2, 0.1, rule="sgd", clip=1.0)
    slope, state = torch.tensor([3.0, 4.0]), tmp_path / "state.safetensors"

    def loss(p: torch.nn.Parameter) -> Callable[[int, Share], dict[str, torch.Tensor]]:
        return lambda step, share: {"a": (slope * p).sum()}

    whole, again = ones(), ones()
    fit([whole], loss(whole), sgd, label="x")
    assert whole.tolist() == pytest.approx([1 - 0.29 * 0.6, 1 - 0.29 * 0.8], abs=1e-5)
    fit([again], loss(again), sgd, label="x", watch=Watch(1, None, state), stop=1)
    resumed = ones()
    fit([resumed], loss(resumed), sgd, label="x", watch=Watch(1, None, state))
    assert torch.equal(resumed, whole)
    with pytest.raises(ValueError, match="checkpoint of other weights"):
        fit([ones()], loss(again), Optimizer(2, 0.1), label="x", watch=Watch(1, None, state))


def test_shares_partition_a_step() -> None:
    items = list(range(7))
    shares = [Share(i, 3)(items) for i in range(3)]
    assert sorted(x for share in shares for x in share) == items
    with pytest.raises(ValueError, match=r"batch of 2 cannot be split over 3"):
        Share(0, 3)([1, 2])


def test_refusals() -> None:
    p, unused = ones(), ones()
    with pytest.raises(ValueError, match="no parameters"):
        fit([], lambda s, share: {}, Optimizer(1, 1.0), label="x")
    with pytest.raises(ValueError, match="1 parameter"):
        fit([p, unused], lambda s, share: {"a": p.sum()}, Optimizer(1, 1.0), label="x")
    with pytest.raises(ValueError, match=r"lower optimizer\.lr"):
        fit([p], lambda s, share: {"a": p.sum() * math.inf}, Optimizer(1, 1.0), label="x")
    with pytest.raises(ValueError, match=r"the loss is .*e\+.* at step 2.*lower optimizer\.lr"):
        fit([p], lambda s, share: {"a": p.pow(8).sum()}, Optimizer(9, 50.0), label="x")
    for wrong in ({"steps": 0, "lr": 1.0}, {"steps": 1, "lr": 0.0}):
        with pytest.raises(ValueError, match="steps >= 1"):
            Optimizer(**wrong)


class StoppedError(Exception):
    """A run that ends in the middle."""


@pytest.mark.ci
@pytest.mark.parametrize("rank", [0, 2])
def test_a_stopped_run_goes_on_bit_for_bit(
    rank: int, organism: HookedModel, few: Task, tmp_path: Path
) -> None:
    config = configured(
        NPO,
        "organism",
        ["batch=4", "optimizer.steps=6", f"lora.rank={rank}", "lora.dropout=0.1"],
    )
    before = fingerprint(organism)
    with restored(organism):
        log = npo_(organism, few, config)
        whole = fingerprint(organism)

    def stop(step: int) -> dict[str, float]:
        if step == 4:
            raise StoppedError
        return {"seen": float(step)}

    state = tmp_path / "state.safetensors"
    with restored(organism):
        with pytest.raises(StoppedError):
            npo_(organism, few, config, Watch(2, stop, state))
        # Adapters are taken out again.
        assert (fingerprint(organism) == before) == (rank > 0)
    with restored(organism):
        resumed = npo_(organism, few, config, Watch(2, lambda step: {"seen": float(step)}, state))
        assert fingerprint(organism) == whole != before
    assert resumed.terms == log.terms
    assert [m["seen"] for m in resumed.measured] == [0, 2, 4, 6]
    assert not list(tmp_path.glob("*.partial"))


def test_a_checkpoint_of_other_weights_is_refused(tmp_path: Path) -> None:
    def loss(*parameters: torch.nn.Parameter) -> Callable[[int, Share], Terms]:
        return lambda step, share: {"a": torch.stack([p.sum() for p in parameters]).sum()}

    p, q, state = ones(), ones(), tmp_path / "state.safetensors"
    fit([p], loss(p), Optimizer(2, 0.1), label="x", watch=Watch(1, None, state))
    with pytest.raises(ValueError, match="checkpoint of other weights"):
        fit([p, q], loss(p, q), Optimizer(2, 0.1), label="x", watch=Watch(1, None, state))


def test_dropout_does_not_touch_the_global_generator(tiny: Callable[[str], HookedModel]) -> None:
    model = tiny("llama")
    tokens = torch.tensor([[2, 5, 9, 30]])
    adapter = Adapter(model, LoRA(rank=2, dropout=0.5))

    def losses(seed: int) -> TrainLog:
        with restored(model):
            return fit(
                adapter.parameters,
                lambda step, share: {"a": model(tokens).pow(2).mean()},
                Optimizer(3, 1e-2),
                label="x",
                seed=seed,
            )

    torch.manual_seed(7)
    state = torch.get_rng_state()
    first, second, other = losses(0), losses(0), losses(1)
    assert torch.equal(torch.get_rng_state(), state)
    assert first.terms == second.terms != other.terms
    adapter.remove(merge=False)


@pytest.mark.ci
def test_the_guard_ends_a_run_that_destroys_the_model(organism: HookedModel, few: Task) -> None:
    config = configured(
        RMU, "organism", ["alpha=0.0", "optimizer.steps=8", "optimizer.lr=0.1", "batch=8"]
    )
    guard = Guard(organism, few, RMU, 8)
    told = r"retain accuracy collapsed from 1\.00 to .* raise alpha"
    with restored(organism), pytest.raises(ValueError, match=told):
        rmu_(organism, few, config, Watch(2, guard, check=guard.check))


@pytest.mark.ci
def test_the_guard_ends_a_resumed_run_as_it_does_an_uninterrupted_one(
    organism: HookedModel, few: Task, tmp_path: Path
) -> None:
    """The baseline is the model before training, not the one that is found on resuming."""
    changes = ["alpha=0.0", "optimizer.steps=8", "optimizer.lr=0.1", "batch=8"]
    config = configured(RMU, "organism", changes)
    state = tmp_path / "state.safetensors"

    def run(killed_at: int) -> None:
        guard = Guard(organism, few, RMU, 8)

        def measure(step: int) -> dict[str, float]:
            if step == killed_at:
                raise StoppedError
            return guard(step)

        with restored(organism):
            rmu_(organism, few, config, Watch(2, measure, state, check=guard.check))

    with pytest.raises(StoppedError):
        run(killed_at=4)
    with pytest.raises(ValueError, match=r"retain accuracy collapsed from 1\.00 to .* by step 4"):
        run(killed_at=-1)


@pytest.mark.ci
def test_the_guard_warns_when_nothing_was_forgotten(organism: HookedModel, few: Task) -> None:
    config = configured(RMU, "organism", ["coefficient=0.1", "optimizer.steps=2", "batch=4"])
    guard = Guard(organism, few, RMU, 2)
    with restored(organism):
        log = rmu_(organism, few, config, Watch(2, guard))
    (warning,) = guard.warnings(log)
    assert "nothing was forgotten" in warning
    assert "raise coefficient" in warning


def test_restored_is_bit_equal_also_after_an_error(tiny: Callable[[str], HookedModel]) -> None:
    model = tiny("gpt2")
    before = fingerprint(model)

    def break_it() -> None:
        with restored(model):
            with torch.no_grad():
                for p in model.parameters():
                    p.add_(1)
            assert fingerprint(model) != before
            raise KeyError

    with pytest.raises(KeyError):
        break_it()
    assert fingerprint(model) == before


@pytest.mark.ci
def test_autocast_is_for_devices_that_are_fast_at_it(
    organism: HookedModel, few: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    def terms(autocast: bool, fast: bool) -> dict[str, list[float]]:
        monkeypatch.setattr("mechunlearn.train.loop.fast_half", lambda device: fast)
        changes = ["batch=4", "optimizer.steps=1", f"optimizer.autocast={autocast}"]
        with restored(organism):
            return npo_(organism, few, configured(NPO, "organism", changes)).terms

    exact = terms(False, True)
    assert terms(True, False) == exact
    assert terms(True, True) != exact


@pytest.mark.ci
def test_bfloat16_training_follows_float32(
    organism: HookedModel, half: HookedModel, few: Task
) -> None:
    """At a published rate almost no weight moves in bfloat16; float32 copies move as in float32."""
    # From the same weights, those that bfloat16 can hold.
    changes = ["batch=8", "optimizer.steps=2", "optimizer.warmup=0", "optimizer.accumulate=2"]
    config = configured(NPO, "paper", [*changes, "optimizer.autocast=False"])
    starts = [p.detach().clone() for p in live_parameters(half)]
    n = sum(start.numel() for start in starts)

    def moved(model: HookedModel) -> float:
        pairs = zip(live_parameters(model), starts, strict=True)
        return sum(int((p.bfloat16() != start).sum()) for p, start in pairs) / n

    with restored(organism), restored(half):
        with torch.no_grad():
            for p, start in zip(live_parameters(organism), starts, strict=True):
                p.copy_(start)
        logs = [npo_(model, few, config) for model in (organism, half)]
        assert all(p.dtype == torch.bfloat16 for p in live_parameters(half))
        assert moved(half) == pytest.approx(moved(organism), rel=0.05)
    last = [log.terms["forget"][-1] for log in logs]
    assert last[1] == pytest.approx(last[0], rel=0.02)


def test_the_optimizer_steps_on_float32_copies() -> None:
    """250 steps of 4e-4 on a weight of 1, each too small for bfloat16, are a step of 0.1."""
    p = torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
    fit([p], lambda step, share: {"a": p.sum()}, Optimizer(250, 4e-4), label="x")
    assert p.dtype == torch.bfloat16
    assert p.tolist() == pytest.approx([0.9, 0.9], abs=0.004)


@pytest.mark.ci
@pytest.mark.parametrize("rank", [0, 2])
def test_a_stopped_bfloat16_run_goes_on_bit_for_bit(
    rank: int, half: HookedModel, few: Task, tmp_path: Path
) -> None:
    """The state file holds the float32 copies, which the rounded weights have lost."""
    config = configured(NPO, "organism", ["batch=4", "optimizer.steps=3", f"lora.rank={rank}"])
    with restored(half):
        npo_(half, few, config)
        whole = fingerprint(half)
    state = tmp_path / "state.safetensors"

    def stop(step: int) -> dict[str, float]:
        if step == 2:
            raise StoppedError
        return {}

    with restored(half), pytest.raises(StoppedError):
        npo_(half, few, config, Watch(1, stop, state))
    with safe_open(state, framework="pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float32}  # noqa: SIM118
    with restored(half):
        assert fingerprint(half) != whole
        npo_(half, few, config, Watch(1, None, state))
        assert fingerprint(half) == whole


@pytest.mark.ci
def test_adapters_are_in_float32_and_leave_the_weights_type(half: HookedModel) -> None:
    adapter = Adapter(half, LoRA(rank=2))
    assert {p.dtype for p in adapter.parameters} == {torch.float32}
    half(torch.tensor([[2, 5, 9]])).float().sum().backward()
    assert all(p.grad is not None for p in adapter.parameters)
    adapter.remove(merge=True)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}


def test_out_of_memory_halves_the_passes_and_gives_the_same_step(
    capsys: pytest.CaptureFixture[str],
) -> None:
    goals, failures = torch.arange(8.0), []

    def train(fails: int) -> torch.Tensor:
        p = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
        failures.clear()

        def loss(step: int, share: Share) -> Terms:
            own = goals[torch.tensor(share(range(8)))]
            if len(failures) < fails:
                failures.append(share.of)
                raise torch.OutOfMemoryError("CUDA out of memory")
            return {"a": (p - own).pow(2).sum() / 8}

        fit([p], loss, Optimizer(5, 0.1), label="x")
        return p.detach()

    plain, halved = train(0), train(2)
    assert failures == [1, 2]
    assert torch.allclose(plain, halved)
    assert "going on with 4 backward passes a step of x" in " ".join(
        capsys.readouterr().err.split()
    )
    with pytest.raises(ValueError, match=r"out of memory with 8 backward passes a step"):
        train(99)
