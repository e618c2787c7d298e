"""What making models takes, said beforehand: steps, arithmetic, memory."""

import dataclasses
from pathlib import Path

import pytest

from mechunlearn.audit.cells import Setup, set_up
from mechunlearn.audit.entries import Recipe
from mechunlearn.audit.making import Making, makings
from mechunlearn.audit.outlook import Step, outlook
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.audit.records import CheckpointFile
from mechunlearn.cost.downloads import known_configuration
from mechunlearn.cost.job import Cost, Job, peak_memory
from mechunlearn.cost.memory import Shape, Sizes, shape_of
from mechunlearn.cost.speed import Speed
from mechunlearn.cost.training import Lengths
from mechunlearn.environment import write_bytes
from mechunlearn.models.tokenizer import load_tokenizer
from mechunlearn.presets import configured
from mechunlearn.records import encoded
from mechunlearn.registry import METHODS, find
from mechunlearn.report.costs import show_estimates, show_makings, show_outlook
from mechunlearn.types import Task
from mechunlearn.unlearn import Settings
from mechunlearn.unlearn.costs import corpora_of, method_cost

ZEPHYR = "HuggingFaceH4/zephyr-7b-beta"
SPEED = Speed(flops=2.0, per_question=1.0, device="cpu", number=4)


@pytest.fixture(scope="module")
def shape() -> Shape:
    return shape_of(known_configuration(ZEPHYR))


def ahead(*changes: str) -> dict[str, Step]:
    plan = AuditPlan(
        original=ZEPHYR, methods=("npo",), control="none", task="wmdp-bio",
        attacks=("logit_lens",), changes=changes,
    )  # fmt: skip
    return {step.attack: step for step in outlook(plan).steps}


def test_all_weights_of_a_7b_model_fit_no_card_and_adapters_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole, adapters = ahead()["npo"], ahead("npo.lora.rank=16")["npo"]
    assert whole.steps == 400
    assert 125e9 < whole.memory.total < 165e9
    assert not whole.fits(24)
    assert not whole.fits(80)
    assert 15.5e9 < adapters.memory.total < 21.6e9
    assert adapters.fits(24)
    show_outlook(outlook(AuditPlan(original=ZEPHYR, control="none", task="wmdp-bio")))
    assert "making by rmu, 150 steps" in " ".join(capsys.readouterr().out.split())


def test_measured_peaks_of_a_7b_model_are_not_above_the_estimate(shape: Shape) -> None:
    job = Job(shape, Sizes(110, 500, 250, "cuda", 2), 256, 256, 256, 256)
    few = ("max_tokens=256", "optimizer.steps=6", "batch=4")
    for name, changes, peak in (
        ("rmu", ("per_topic=False",), 18.1e9),
        ("npo", ("optimizer.accumulate=1", "lora.rank=16"), 15.5e9),
    ):
        config = configured(find("method", name), "paper", (*few, *changes))
        total = peak_memory(method_cost(config, job, {}), shape, job.sizes).total
        assert peak <= total < 1.3 * peak, name


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_what_it_takes(name: str, task: Task, shape: Shape) -> None:
    method = find("method", name)
    corpora = corpora_of(task, load_tokenizer("organism:original"))
    job = Job(shape, Sizes(64, 500, 250, "cuda", 2), 100, 100, 100, 100)

    def cost(*changes: str) -> Cost:
        config = configured(method, "paper", changes)
        assert isinstance(config, Settings)
        return method_cost(config, job, corpora)

    assert cost("optimizer.steps=100").search < cost("optimizer.steps=140").search
    many = cost("batch=512", "optimizer.accumulate=1", "optimizer.recompute=False")
    kept = cost("batch=512", "optimizer.accumulate=1", "optimizer.recompute=True")
    parts = cost("batch=512", "optimizer.accumulate=64", "optimizer.recompute=False")
    assert many.memory["gradients"] > kept.memory["gradients"]
    assert many.memory["gradients"] > parts.memory["gradients"]
    assert kept.search > many.search  # Blocks are computed twice.
    assert ("adapters" in many.memory) != ("copies" in many.memory)


def test_what_is_compared_with_the_original_needs_its_unembedding(shape: Shape) -> None:
    job = Job(shape, Sizes(64, 500, 250, "cuda", 2), 100, 100, 100, 100)
    npo = find("method", "npo")
    held = {k: method_cost(configured(npo, "paper", (f"retain={k}",)), job, {}).memory for k in (
        "kl", "cross_entropy",
    )}  # fmt: skip
    assert held["kl"]["reference"] == 2 * shape.vocabulary * shape.d_model
    assert "reference" not in held["cross_entropy"]


def test_batches_that_are_drawn_are_no_longer_than_their_longest_rows() -> None:
    lengths = Lengths(mean=10.0, deviation=4.0, longest=16, read=1.0, count=100)
    assert lengths.most(1, 1000) == 16
    assert 10 * 64 < lengths.most(64, 1000) < 16 * 64
    alike = dataclasses.replace(lengths, deviation=0.0)
    assert alike.most(64, 1000) == 640


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return set_up(AuditPlan(methods=("rmu", "npo")), tmp_path, 1)


def finish(recipe: Recipe) -> None:
    """As if it had been made."""
    recipe.folder.mkdir(parents=True)
    note = CheckpointFile(lineage=dict(recipe.lineage), seconds=1.0)
    write_bytes(recipe.folder.with_name(f"{recipe.folder.name}.json"), encoded(note) + b"\n")


def test_every_model_that_is_made_has_a_row_and_a_finished_one_has_none(setup: Setup) -> None:
    rows = {m.label: m for m in makings(setup, SPEED, free=1e9)}
    assert list(rows) == ["rmu", "npo", "rmu control", "npo control"]
    assert (rows["npo"].method, rows["npo"].steps) == ("npo", 200)
    assert rows["npo"].seconds == rows["npo"].flops / SPEED.flops > 0
    assert rows["npo"].memory == rows["npo control"].memory > 1.7e6
    assert rows["npo"].fits
    finish(setup.recipes[0])
    left = [m.label for m in makings(setup, SPEED, free=1e9)]
    assert len(left) == 3
    for recipe in setup.recipes[1:]:
        finish(recipe)
    assert makings(setup, SPEED, free=1e9) == []


def test_what_does_not_fit_is_said_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    row = Making("npo", "npo", 200, 1e9, 12.0, memory=3e9, free=1e9)
    assert row.summary["kind"] == "making"
    assert dataclasses.replace(row, free=float("inf")).summary["free"] is None
    show_makings([row])
    told = capsys.readouterr()
    assert "does not fit" in told.out
    assert "npo: not enough memory is free; --set METHOD.lora.rank=16" in told.err
    show_estimates([], [])
    assert "everything is there already" in capsys.readouterr().out
