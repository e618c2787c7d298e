"""The tuned lens: maps that bring layers closer to the output, and find what the output hides."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from mechunlearn.attacks import Confirm, Seen
from mechunlearn.attacks.tuned_lens import (
    Translator,
    TunedLens,
    TunedLensConfig,
    _least_squares,
    _rows,
    fit_lens,
    inner_points,
    translated,
)
from mechunlearn.audit.outlook import job_of
from mechunlearn.audit.planting import planted
from mechunlearn.bench import score
from mechunlearn.bench.states import states_at
from mechunlearn.cost.memory import shape_of, sizes_of
from mechunlearn.hooks import metered, unembed
from mechunlearn.models import load
from mechunlearn.types import HookedModel, Point, Task

FAST = TunedLensConfig(tokens=2048, steps=20, batch=128)
ATTACK = TunedLens()


def texts(task: Task) -> list[str]:
    return [task.prompt.text(q, "letter") for q in task.retain]


def divergence(model: HookedModel, task: Task, maps: dict[Point, Translator] | None) -> list[float]:
    """Mean divergence of each inner layer from the output, on prompts that no map saw."""
    rows = model.tokenizer([task.prompt.text(q, "letter") for q in task.forget[:20]])["input_ids"]
    final = Point(model.cfg.n_layers - 1)
    points = inner_points(model)
    kept = states_at(model, rows, [range(len(r)) for r in rows], [*points, final])
    wanted = unembed(model, kept[final]).log_softmax(-1)
    nothing = Translator(torch.zeros(32, 32), torch.zeros(32))
    read = [
        translated(model, (maps or {}).get(p, nothing), kept[p]).log_softmax(-1) for p in points
    ]
    return [float((wanted.exp() * (wanted - r)).sum(-1).mean()) for r in read]


@torch.no_grad()
def test_a_map_brings_every_layer_closer_to_the_output(any_tiny: HookedModel, task: Task) -> None:
    fits = [fit_lens(any_tiny, texts(task), replace(FAST, steps=steps)) for steps in (0, 20)]
    plain, squares, tuned = (
        divergence(any_tiny, task, maps) for maps in (None, *(f.translators for f in fits))
    )
    assert all(b < a for a, b in zip(plain, squares, strict=True))
    assert sum(tuned) < sum(squares)
    assert not any(t.weight.requires_grad for t in fits[1].translators.values())


def test_a_planted_map_is_found() -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(500, 8, generator=generator) + 3
    weight, bias = torch.randn(8, 8, generator=generator), torch.randn(8, generator=generator)
    found = _least_squares(states, states + states @ weight.T + bias, 1e-9)
    assert (found.weight - weight).abs().max() < 1e-4
    assert (found.bias - bias).abs().max() < 1e-3
    lone = _least_squares(states[:4], states[:4] + 1.0, 1e-2)  # Fewer tokens than dimensions.
    assert torch.isfinite(lone.weight).all()


def test_states_come_in_the_order_of_prompts_and_places(
    tiny: Callable[[str], HookedModel], task: Task
) -> None:
    model = tiny("llama")
    rows = model.tokenizer([task.prompt.text(q, "letter") for q in task.forget[:3]])["input_ids"]
    rows[1] = rows[1][:9]
    point = Point(1)
    kept = states_at(model, rows, [[2], [0, 8], [5]], [point])[point]
    for slot, (i, place) in enumerate([(0, 2), (1, 0), (1, 8), (2, 5)]):
        _, cache = model.run_with_cache(torch.tensor([rows[i]]))
        assert (kept[slot] - cache[point.name][0, place]).abs().max() < 1e-4


@pytest.mark.ci
def test_it_finds_what_the_output_hides_and_nothing_where_nothing_is(task: Task) -> None:
    seen = Seen.of(task, ATTACK)
    config = TunedLensConfig(tokens=4096, steps=0)
    asked = task.questions("forget", "confirm")[:120]
    knowing, gone = load("organism:original"), load("organism:never_knew")
    hiding = planted(knowing, "filter", task)
    for model, hooks in ((knowing, hiding.hooks), (gone, ())):
        for hook in hooks:
            model.add_hook(hook.place, hook.bound(model), is_permanent=True)
    search = ATTACK.search(knowing, seen, None, config)
    point = Point(2)
    assert score(knowing, asked, task).accuracy < 0.45
    assert score(knowing, asked, task, change=search.change(point)).accuracy > 0.9
    shams = [score(knowing, asked, task, change=search.sham(point, i)).accuracy for i in range(3)]
    assert float(np.median(shams)) < 0.8
    # The same change reads the never-knew model by a map of that model's own.
    none = score(gone, asked, task, change=search.change(point))
    assert none.interval[0] < 0.25 + 0.05
    own = ATTACK.search(gone, seen, None, config)
    assert (none.logits == score(gone, asked, task, change=own.change(point)).logits).all()
    trace = search.view(point)(gone, Confirm(asked, (), task.prompt, task.scoring))
    tuned, plain = trace.curves
    assert tuned.values[2] == round(none.accuracy, 4)
    assert tuned.values[-1] == plain.values[-1] == round(score(gone, asked, task).accuracy, 4)


def test_its_sham_moves_states_as_far(tiny: Callable[[str], HookedModel], task: Task) -> None:
    model = tiny("llama")
    before = [p.clone() for p in model.parameters()]
    lens = fit_lens(model, texts(task), replace(FAST, steps=0))
    for point, states in lens.sample.items():
        sizes = [lens.translators[point].size(states), lens.random(point, 1).size(states)]
        assert sizes[1] == pytest.approx(sizes[0], rel=1e-4)
        assert (lens.random(point, 1).weight != lens.random(point, 2).weight).any()
    assert all((a == b).all() for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.ci
def test_its_cost_is_what_it_counts(organism: HookedModel, task: Task) -> None:
    config = replace(ATTACK.presets["organism"], tokens=2048, steps=10)
    shape = shape_of(organism.original_model.config)
    job = job_of(task, shape, sizes_of(task, organism.tokenizer, ("cpu", 4)))
    asked = task.questions("forget", "select")
    with metered() as one:
        score(organism, asked, task)
    with metered() as all_of_it:
        ATTACK.search(organism, Seen.of(task, ATTACK), None, config)
    forwards = all_of_it.flops / (one.flops / len(asked))
    assert forwards == pytest.approx(ATTACK.cost(config, job).search, rel=0.1)


def test_of_a_question_its_end_is_kept_and_of_a_text_its_beginning(
    organism: HookedModel, task: Task
) -> None:
    asked = [f"{q.stem} " + "well so " * 70 + q.stem for q in task.retain[:32:4]]
    whole = [organism.tokenizer(text)["input_ids"] for text in asked]
    assert min(map(len, whole)) > 150
    rows = _rows(organism, asked[:4], FAST, asked[4:])
    assert [len(row) for row in rows] == [FAST.length] * 8
    for row in rows:
        (own,) = [i for i, full in enumerate(whole) if row in (full[:128], full[:1] + full[-127:])]
        assert (row == whole[own][:128]) == (own < 4)
    few = _rows(organism, asked[:4], replace(FAST, tokens=300), asked[4:])
    assert [len(row) for row in few] == [128, 128, 44]
    short = [task.prompt.text(q, "letter") for q in task.retain[:8]]
    assert _rows(organism, short[:4], FAST, short[4:]) == _rows(organism, short, FAST)


def test_the_answers_place_is_fitted_behind_long_prompts(
    organism: HookedModel, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = replace(task.prompt, letter="well so " * 70 + task.prompt.letter)
    seen = Seen.of(replace(task, prompt=form), ATTACK)
    ends = {tuple(organism.tokenizer(e.prompt + e.answer)["input_ids"][-20:])
            for e in map(seen.example, seen.retain)}  # fmt: skip
    rows: list[list[int]] = []

    def noted(model: HookedModel, given: list[list[int]], *rest: object) -> object:
        rows.extend(given)
        return states_at(model, given, *rest)

    monkeypatch.setattr("mechunlearn.attacks.tuned_lens.states_at", noted)
    ATTACK.search(organism, seen, None, replace(FAST, tokens=20_000, steps=0))
    long = [tuple(row[-20:]) in ends for row in rows[:-1] if len(row) == FAST.length]
    assert len(long) > 30
    assert all(long)


def test_settings_and_texts_that_make_no_sense(organism: HookedModel) -> None:
    with pytest.raises(ValueError, match="tokens, length, batch >= 1"):
        TunedLensConfig(tokens=0)
    with pytest.raises(ValueError, match="fitted on benign text, and there is none"):
        fit_lens(organism, [], FAST)
