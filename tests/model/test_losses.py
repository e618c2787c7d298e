"""Every method's loss against an independent computation, and against what must not matter."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from mechunlearn.bench import score_task
from mechunlearn.bench.likelihood import example_rows, log_likelihoods
from mechunlearn.bench.rows import branching_rows
from mechunlearn.models import fingerprint, load
from mechunlearn.presets import configured
from mechunlearn.registry import METHODS, find
from mechunlearn.train import Draws, Share, TrainLog, restored
from mechunlearn.types import Example, HookedModel, Task
from mechunlearn.unlearn.circuit_breakers import rerouting
from mechunlearn.unlearn.dpo import check_mix, dpo_loss, kinds_of_steps, preferences
from mechunlearn.unlearn.npo import npo_loss
from mechunlearn.unlearn.sequences import Retain, recorded
from mechunlearn.unlearn.simnpo import simnpo_loss

LIKELIHOOD = torch.tensor([-3.0, -0.5, -7.0], dtype=torch.float64)
REFERENCE = torch.tensor([-2.0, -4.0, -7.0], dtype=torch.float64)
EXAMPLES = (
    Example("the glow of boralin is", " amber"),
    Example("question what is the craft", " bells flutes"),
)


@pytest.fixture(scope="module")
def few(task: Task) -> Task:
    """A task of few examples and texts: reading them all takes longer than training."""
    return dataclasses.replace(
        task,
        forget_examples=task.forget_examples[::100],
        retain_examples=task.retain_examples[::100],
        forget_text=task.forget_text[::100],
        retain_text=task.retain_text[::100],
    )


def test_npo_is_equation_3_and_tends_to_gradient_ascent() -> None:
    ratios = [-1.0, 3.5, 0.0]
    expected = (2 / 0.1) * sum(math.log(1 + math.exp(0.1 * r)) for r in ratios) / 3
    assert npo_loss(LIKELIHOOD, REFERENCE, 0.1).item() == pytest.approx(expected, rel=1e-9)
    x = LIKELIHOOD.clone().requires_grad_(True)
    npo_loss(x, REFERENCE, 1e-6).backward()
    assert torch.allclose(x.grad, torch.full_like(x, 1 / 3), atol=1e-4)


def test_simnpo_is_equation_5() -> None:
    lengths = torch.tensor([1.0, 2.0, 7.0], dtype=torch.float64)
    margins = [2.5 * 3 / 1 - 0.3, 2.5 * 0.5 / 2 - 0.3, 2.5 * 7 / 7 - 0.3]
    expected = (2 / 2.5) * sum(math.log(1 + math.exp(-m)) for m in margins) / 3
    found = simnpo_loss(LIKELIHOOD, lengths, 2.5, 0.3).item()
    assert found == pytest.approx(expected, rel=1e-9)


def test_dpo_is_equation_7_and_trls() -> None:
    now, before = LIKELIHOOD[:2][None], REFERENCE[:2][None]
    expected = math.log(1 + math.exp(-0.1 * ((-3 + 2) - (-0.5 + 4))))
    assert dpo_loss(now, before, 0.1).item() == pytest.approx(expected, rel=1e-9)
    assert dpo_loss(before, before, 0.5).item() == pytest.approx(math.log(2))


def test_rerouting_is_zero_when_turned_away() -> None:
    old = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
    new = torch.tensor([[5.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    assert rerouting(new, old).tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("span", ["answer", "prompt_and_answer"])
def test_log_likelihoods_are_those_of_a_plain_forward(any_tiny: HookedModel, span: str) -> None:
    rows = example_rows(any_tiny, EXAMPLES, span, 100)
    found = log_likelihoods(any_tiny, rows)[:, 0].tolist()
    for example, value in zip(EXAMPLES, found, strict=True):
        prompt = any_tiny.tokenizer(example.prompt)["input_ids"]
        tokens = torch.tensor([any_tiny.tokenizer(example.prompt + example.answer)["input_ids"]])
        each = any_tiny(tokens)[0, :-1].log_softmax(-1).gather(1, tokens[0, 1:, None])[:, 0]
        start = len(prompt) - 1 if span == "answer" else 0
        assert value == pytest.approx(each[start:].sum().item(), abs=2e-3)


def test_both_answers_of_a_pair_follow_the_prompt_alone(any_tiny: HookedModel) -> None:
    endings = [" bells flutes", " amber"]
    (pair,) = branching_rows(any_tiny.tokenizer, [EXAMPLES[0].prompt], [endings])
    together = log_likelihoods(any_tiny, [pair])[0]
    alone = [
        log_likelihoods(any_tiny, branching_rows(any_tiny.tokenizer, [EXAMPLES[0].prompt], [[e]]))
        for e in endings
    ]
    assert together.tolist() == pytest.approx([a.item() for a in alone], abs=2e-3)


def test_long_prompts_keep_the_answer(tiny: Callable[[str], HookedModel]) -> None:
    words = tiny("gpt2").tokenizer
    (row,) = branching_rows(words, ["the glow of boralin is"], [[" amber"]], 4)
    (full,) = branching_rows(words, ["the glow of boralin is"], [[" amber"]])
    assert row.tokens == full.tokens[:1] + full.tokens[-3:]
    with pytest.raises(ValueError, match="does not fit in max_tokens=1"):
        branching_rows(words, ["the glow"], [[" amber"]], 1)


def test_kl_is_zero_at_the_start_and_the_formula_after(any_tiny: HookedModel) -> None:
    rows = example_rows(any_tiny, EXAMPLES, "answer", 100)
    draws = Draws(2, 2, 1, torch.Generator().manual_seed(0))
    retain = Retain(any_tiny, rows, draws, "kl")
    assert retain(0, Share()).item() == pytest.approx(0.0, abs=1e-5)

    def distributions() -> torch.Tensor:
        picked = [(i, at) for i, row in enumerate(rows) for at, _, _ in row.reads]
        return torch.stack(
            [any_tiny(torch.tensor([rows[i].tokens]))[0, at].log_softmax(-1) for i, at in picked]
        )

    before = distributions()
    with torch.no_grad():
        for p in any_tiny.parameters():
            p.mul_(1.1)
    after = distributions()
    expected = (before.exp() * (before - after)).sum(-1).mean().item()
    assert expected > 1e-3
    assert retain(0, Share()).item() == pytest.approx(expected, rel=1e-2)


def test_recorded_leaves_out_what_is_not_wanted(tiny: Callable[[str], HookedModel]) -> None:
    model = tiny("gpt2")
    rows = example_rows(model, EXAMPLES, "answer", 100)
    found = recorded(model, rows, [1])
    assert found[0].isnan().all()
    assert found[1].item() == pytest.approx(log_likelihoods(model, rows)[1].item(), abs=1e-4)


def test_preferences_mix_their_kinds(task: Task) -> None:
    pairs = preferences(task, (0.5, 0.25, 0.25), batch=8, steps=3, seed=0)
    assert len(pairs) == 24
    for step in range(3):
        batch = pairs[8 * step : 8 * step + 8]
        refusals = [(e.answer in task.refusals, other in task.refusals) for e, other in batch]
        assert refusals == [(True, False)] * 4 + [(False, True)] * 2 + [(False, False)] * 2
        assert all(e.answer != other for e, other in batch)


@pytest.mark.parametrize(
    ("mix", "batch", "first"),
    [
        ((0.5, 0.5, 0.0), 4, (2, 2, 0)),
        ((1.0, 0.0, 0.0), 3, (3, 0, 0)),
        ((0.0, 0.0, 1.0), 1, (0, 0, 1)),
        ((0.5, 0.25, 0.25), 2, (1, 1, 0)),
        ((0.5, 0.25, 0.25), 1, (1, 0, 0)),
        ((0.1, 0.2, 0.7), 8, (1, 2, 5)),
        ((2.0, 1.0, 1.0), 8, (4, 2, 2)),
    ],
)
def test_shares_hold_over_the_run_where_they_do_not_divide_a_batch(
    mix: tuple[float, float, float], batch: int, first: tuple[int, int, int], few: Task
) -> None:
    steps = 40
    sizes = kinds_of_steps(mix, batch, steps)
    assert sizes[0] == first
    assert all(sum(counts) == batch for counts in sizes)
    for share, count in zip(mix, map(sum, zip(*sizes, strict=True)), strict=True):
        assert abs(count - share / sum(mix) * batch * steps) < 1
    assert len(preferences(few, mix, batch, steps, seed=0)) == batch * steps


@pytest.mark.ci
@pytest.mark.parametrize(
    "changes",
    [("mix=(0.5, 0.5, 0.0)",), ("mix=(1.0, 0.0, 0.0)",), ("batch=2",), ("batch=1",)],
)
def test_dpo_trains_with_legal_mixes_and_small_batches(
    changes: tuple[str, ...], organism: HookedModel, task: Task
) -> None:
    fewest = dataclasses.replace(
        task,
        forget_examples=task.forget_examples[:3],
        retain_examples=(*task.retain_examples[:2], *task.retain_examples[-2:]),
    )
    with restored(organism):
        log = find("method", "dpo").apply_(organism, fewest, quick("dpo", *changes))
    assert all(math.isfinite(x) for terms in log.terms.values() for x in terms)


@pytest.mark.ci
@pytest.mark.parametrize(
    "name",
    [n if n in ("rmu", "npo") else pytest.param(n, marks=pytest.mark.long) for n in METHODS],
)
def test_batches_of_one_and_batches_beyond_the_data_train(
    name: str, organism: HookedModel, task: Task
) -> None:
    fewest = dataclasses.replace(
        task,
        forget_examples=(task.forget_examples[0], task.forget_examples[-1]),
        retain_examples=(task.retain_examples[0], task.retain_examples[-1]),
        forget_text=task.forget_text[:2],
        retain_text=task.retain_text[:2],
    )
    for change in ("batch=1", "batch=7"):
        with restored(organism):
            log = find("method", name).apply_(organism, fewest, quick(name, change))
        assert all(math.isfinite(x) for terms in log.terms.values() for x in terms)


def test_confirm_questions_of_the_retain_set_are_not_trained_on(task: Task) -> None:
    """Where a task gives no examples of its own; what is to be forgotten is said whole."""
    bare = dataclasses.replace(task, forget_examples=(), retain_examples=())
    assert bare.examples("retain") == tuple(
        bare.example(q) for q in bare.questions("retain", "select")
    )
    assert len(bare.examples("forget")) == len(bare.forget)
    asked = {bare.example(q).prompt for q in bare.questions("retain", "confirm")}
    pairs = preferences(bare, (0.0, 1.0, 1.0), 8, 99, 0)
    assert not asked & {example.prompt for example, _ in pairs}


def quick(name: str, *changes: str) -> Any:
    return configured(find("method", name), "organism", ["optimizer.steps=2", "batch=4", *changes])


@pytest.mark.ci
def test_no_weight_no_change(organism: HookedModel, few: Task) -> None:
    """Control: where all terms can be weighted 0, nothing is learnt then."""
    before = fingerprint(organism)
    for name, zero in (
        ("circuit_breakers", ["weight=0.0"]),
        ("gradient_difference", ["forget_weight=0.0", "retain_weight=0.0"]),
        ("simnpo", ["forget_weight=0.0", "retain_weight=0.0"]),
    ):
        find("method", name).apply_(organism, few, quick(name, *zero))
        assert fingerprint(organism) == before


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_forget_falls_retain_stays_and_swapped_roles_swap_that(name: str, task: Task) -> None:
    """Each method as its ``organism`` preset has it; minutes each."""
    swapped = dataclasses.replace(
        task,
        forget=task.retain,
        retain=task.forget,
        forget_text=task.retain_text,
        retain_text=task.forget_text,
        forget_topics={},
        forget_examples=task.retain_examples,
        retain_examples=task.forget_examples,
        extra={},
    )
    for roles, falls, stays in ((task, "forget", "retain"), (swapped, "retain", "forget")):
        model = load("organism:original")
        method = find("method", name)
        method.apply_(model, roles, method.presets["organism"])
        found = score_task(model, task)
        assert found[falls].accuracy < 0.4
        assert found[stays].accuracy > 0.9


MARKS = {"npo": (), "circuit_breakers": pytest.mark.long}


@pytest.mark.ci
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=MARKS.get(n, pytest.mark.slow)) for n in METHODS]
)
def test_same_losses_in_parts_recomputed_and_again(
    name: str, organism: HookedModel, task: Task, few: Task
) -> None:
    used = few if name in MARKS else task  # The slow ones differ more where examples are few.

    def losses(*changes: str) -> TrainLog:
        with restored(organism):
            return find("method", name).apply_(organism, used, quick(name, *changes))

    plain = losses()
    assert plain.terms == losses().terms
    parts, recomputed = losses("optimizer.accumulate=3"), losses("optimizer.recompute=True")
    half = losses("optimizer.autocast=True")
    for term, (first, second) in plain.terms.items():
        for changed in (parts, recomputed):
            assert changed.terms[term][0] == pytest.approx(first, rel=1e-4, abs=1e-5)
            # AdamW's first step is as long for gradients that are rounding alone, whose sign is
            # chance: IdkDPO's retain term is 0 at first and 6.4 to 6.8 after it.
            near = 0.02 if name in MARKS else 0.1
            assert changed.terms[term][1] == pytest.approx(second, rel=near, abs=1e-4)
        assert half.terms[term][0] == pytest.approx(first, rel=0.1, abs=0.05)


@pytest.mark.ci
@pytest.mark.parametrize("name", ["npo", "dpo"])
def test_adapters_alone_are_trained_where_asked(
    name: str, organism: HookedModel, few: Task
) -> None:
    with restored(organism):
        log = find("method", name).apply_(organism, few, quick(name, "lora.rank=2"))
    assert log.adapter is not None
    assert len(log.adapter.layers) == 4 * 6


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="unknown span 'prompt'"):
        quick("npo", "span=prompt")
    with pytest.raises(ValueError, match="mix is three shares"):
        check_mix([0.5, 0.5])
    for mix in ("(0.0, 0.0, 0.0)", "(1.0, -1.0, 1.0)", "(1e999, 1.0, 1.0)"):
        with pytest.raises(ValueError, match="mix is three shares"):
            quick("dpo", f"mix={mix}")
    for name in ("npo", "simnpo", "dpo"):
        with pytest.raises(ValueError, match="beta must be more than 0, not 0"):
            quick(name, "beta=0.0")
    for name, setting in (
        ("npo", "retain_weight"),
        ("simnpo", "forget_weight"),
        ("gradient_difference", "forget_weight"),
        ("circuit_breakers", "weight"),
        ("rmu", "alpha"),
    ):
        with pytest.raises(ValueError, match=f"{setting} must be 0 or more, not -1"):
            quick(name, f"{setting}=-1.0")
    with pytest.raises(ValueError, match="horizon must be more than 0"):
        quick("circuit_breakers", "horizon=0")
    with pytest.raises(ValueError, match="pull the states back"):
        quick("circuit_breakers", "horizon=1").check(4)
    with pytest.raises(ValueError, match=r"needs a block after layers \(3,\), but the last is 3"):
        quick("circuit_breakers", "layers=(3,)", "counts=published").check(4)
    with pytest.raises(ValueError, match="at least 1"):
        quick("npo", "batch=0")
    with pytest.raises(ValueError, match="needs prompt and answer"):
        Example("the glow of", " ")


def test_texts_have_a_stand_in_and_adapters_have_none(
    organism: HookedModel, few: Task, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = dataclasses.replace(few, retain_text=())
    for name in ("rmu", "circuit_breakers"):
        with restored(organism):
            assert find("method", name).apply_(organism, bare, quick(name)).steps
        assert "no retain text: answered questions stand in" in capsys.readouterr().err
    with pytest.raises(ValueError, match="need adapters"):
        find("method", "circuit_breakers").apply_(
            organism, few, quick("circuit_breakers", "lora.rank=0")
        )
