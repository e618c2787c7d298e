"""Costs that are told beforehand, and settings that are refused before anything is computed."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from mechunlearn.audit.cells import set_up
from mechunlearn.audit.checks import refuse
from mechunlearn.audit.estimate import affordable, by_worth, estimates, forwards
from mechunlearn.audit.outlook import Outlook, outlook
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.audit.work import SHAMS
from mechunlearn.cost.job import Cost, Job
from mechunlearn.cost.memory import Sizes, shape_of
from mechunlearn.cost.speed import Speed
from mechunlearn.models import configuration
from mechunlearn.registry import ATTACKS
from mechunlearn.report.costs import show_outlook

SPEED = Speed(flops=2.0, per_question=1.0, device="cpu", number=4)


def costs(out: Path, *changes: str) -> dict[tuple[str, str], float]:
    setup = set_up(AuditPlan(attacks=("all",), changes=changes), out, 1)
    rows = estimates(setup, setup.cells, SPEED)
    assert all(e.seconds == e.flops / SPEED.flops > 0 for e in rows)
    memory = {e.cell.attack: e.memory for e in rows}
    assert memory["relearning_text"] > memory["logit_lens"] > 1.7e6  # The weights alone.
    assert memory["pruning_weights"] > memory["jailbreak"] == memory["logit_lens"]
    return {(e.cell.kind, e.cell.attack): e.flops for e in rows if e.cell.attack}


def test_every_attack_has_a_cost_that_grows_with_its_settings(tmp_path: Path) -> None:
    plain = costs(tmp_path)
    tried = {attack for _, attack in plain}
    assert tried == set(ATTACKS) - {"patchscope"}  # Which reads no letters.
    for attack in tried:
        assert plain["attack", attack] > plain["ceiling", attack]
    more = costs(tmp_path, "relearning_text.steps=512", "pruning_heads.examples=999")
    for attack in ("relearning_text", "pruning_heads"):
        assert more["attack", attack] > plain["attack", attack]
    assert more["attack", "logit_lens"] == plain["attack", "logit_lens"]


def test_a_cell_costs_what_it_asks(tmp_path: Path) -> None:
    setup = set_up(AuditPlan(), tmp_path, 1)
    memory = estimates(setup, setup.cells[:1], SPEED)
    assert memory[0].summary["kind"] == "baseline"
    shape = shape_of(configuration("organism:original"))
    job = Job(shape, Sizes(10, 20, 30), 10, 20, 30, 40)
    cost = Cost(search=1000.0, variants=5.0, apply=7.0)
    assert forwards("baseline", cost, job, extra=3) == 103 + 20  # The hidden questions.
    assert forwards("ceiling", cost, job, extra=3) == 27
    assert forwards("control", cost, job, extra=3) == 1027
    assert forwards("attack", cost, job, 3) == 1000 + 5 * 10 + 3 * 30 + (2 + SHAMS) * 27 + 40


def test_the_strongest_evidence_comes_first_on_every_model(tmp_path: Path) -> None:
    plan = AuditPlan(
        methods=("rmu", "npo"), attacks=("relearning_tested", "relearning_retain", "logit_lens")
    )
    assert list(by_worth(set_up(plan, tmp_path, 1))) == [
        (model, attack)
        for attack in ("logit_lens", "relearning_retain", "relearning_tested")
        for model in ("rmu", "npo")
    ]


def test_a_budget_takes_whole_attacks(tmp_path: Path) -> None:
    setup = set_up(AuditPlan(attacks=("relearning_tested", "logit_lens")), tmp_path, 1)
    rows = estimates(setup, setup.cells, SPEED)
    dearest = sum(e.seconds for e in rows if e.cell.attack == "relearning_tested")
    total = sum(e.seconds for e in rows)
    cells = affordable(setup, rows, total - dearest / 2)
    assert {c.attack for c in cells} == {"", "logit_lens"}
    assert {c.kind for c in cells if c.attack} == {"attack", "control", "ceiling"}
    assert len(affordable(setup, rows, total)) == len(rows)
    with pytest.raises(ValueError, match="holds no attack"):
        affordable(setup, rows, 1.0)


def test_models_that_are_not_here_have_an_outlook() -> None:
    plan = AuditPlan(
        original="HuggingFaceH4/zephyr-7b-beta",
        unlearned=("mine=cais/Zephyr_RMU",),
        task="wmdp-bio",
        attacks=("logit_lens", "relearning_disjoint"),
    )
    ahead = outlook(plan)
    assert [d.model for d in ahead.downloads] == [plan.original, "cais/Zephyr_RMU"]
    assert ahead.typical
    assert any("wmdp" in name for name in ahead.data)
    baseline, lens, relearning = ahead.steps
    assert baseline.memory.total == lens.memory.total < relearning.memory.total
    assert 7.2e9 < ahead.parameters < 7.3e9


@pytest.mark.parametrize("task", ["wmdp-bio", "organism"])
def test_attacks_that_can_show_nothing_are_not_foreseen(
    task: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """As cells leave them out; whether or not the task is here."""

    def ahead(original: str, **given: Any) -> Outlook:
        plan = AuditPlan(original=original, unlearned=("organism:never_knew",), **given)
        found = outlook(plan)
        if given["task"] == "organism":
            cells = set_up(plan, tmp_path, 1).attacks
            assert [s.attack for s in found.steps] == ["baseline", *cells]
        return found

    original = "HuggingFaceH4/zephyr-7b-beta" if task == "wmdp-bio" else "organism:original"
    without = {"task": task, "control": "none", "changes": ("task.twins=none",)}
    found = ahead(original, **without)
    steps = {step.attack for step in found.steps}
    taught = {"pruning_weights", "relearning_disjoint", "aliases"}
    assert set(found.left_out) == taught
    assert not steps & taught
    assert "relearning_retain" in steps
    show_outlook(found)
    assert "left out, since they can show nothing here:" in capsys.readouterr().err
    named = ahead(original, **without, attacks=("pruning_weights",))
    assert ([s.attack for s in named.steps], named.left_out) == (
        ["baseline", "pruning_weights"],
        (),
    )


def test_an_adapter_whose_base_is_elsewhere_has_an_outlook(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "some/where"}')
    (folder / "adapter_model.safetensors").write_bytes(b"")
    ahead = outlook(AuditPlan(original=str(folder), attacks=("logit_lens",)))
    assert {d.model: d.there for d in ahead.downloads} == {str(folder): True, "some/where": False}
    assert ahead.parameters == 0
    show_outlook(ahead)
    assert "to fetch: 1 models, how much is not known" in capsys.readouterr().err
    config = '{"base_model_name_or_path": "HuggingFaceH4/zephyr-7b-beta"}'
    (folder / "adapter_config.json").write_text(config)
    assert outlook(AuditPlan(original=str(folder), task="wmdp-bio")).parameters > 7.2e9


def test_made_models_have_a_lineage_that_their_settings_decide(tmp_path: Path) -> None:
    one = set_up(AuditPlan(), tmp_path, 1)
    other = set_up(AuditPlan(changes=("rmu.alpha=3.0",)), tmp_path, 1)
    assert one.entry("rmu").identity != one.entry("rmu control").identity
    assert one.entry("rmu").identity != other.entry("rmu").identity
    assert one.original.identity == other.original.identity
    keys = [{c.key for c in setup.cells} for setup in (one, other)]
    assert len(keys[0] & keys[1]) == 2  # The baselines of the original and of the twin.
    assert set_up(AuditPlan(control="none"), tmp_path, 1).control("rmu") is None


@pytest.mark.parametrize(
    ("method", "attack", "change", "message"),
    [
        ("rmu", "logit_lens", "rmu.layer=9", r"rmu: layers \[9\] do not exist"),
        ("rmu", "logit_lens", "rmu.blocks=(0, 2)", "reach past layer 1"),
        ("circuit_breakers", "logit_lens", "circuit_breakers.layers=(1, 9)", "do not exist"),
        ("rmu", "relearning_retain", "relearning_retain.rates=(-1.0,)", "lr > 0"),
        ("rmu", "relearning_disjoint", "relearning_disjoint.samples=9999", "there are only 96"),
        ("rmu", "gcg", "gcg.preset=paper", r"gcg: layers \[5, 6, 7\] do not exist"),
    ],
)
def test_what_a_run_refuses_is_refused_before_it(
    tmp_path: Path, method: str, attack: str, change: str, message: str
) -> None:
    plan = AuditPlan(methods=(method,), attacks=(attack,), changes=(change,))
    setup = set_up(plan, tmp_path, 1)
    with pytest.raises(ValueError, match=message):
        refuse(setup)


def test_questions_that_cannot_be_halved_are_refused(tmp_path: Path) -> None:
    setup = set_up(AuditPlan(attacks=("ablation_search",)), tmp_path, 1)
    refuse(setup)
    forget = setup.task.forget
    one = (dataclasses.replace(q, source="one") if q.fold == "select" else q for q in forget)
    task = dataclasses.replace(setup.task, forget=tuple(one))
    with pytest.raises(ValueError, match=r"^ablation_search: .*needs two sources; they have 1"):
        refuse(dataclasses.replace(setup, task=task))


def test_further_measures_cost_what_they_take(tmp_path: Path) -> None:
    plan = AuditPlan(attacks=("logit_lens",), changes=("task.also=cloze",))
    setup = set_up(plan, tmp_path, 1)
    n = len(setup.task.questions("forget", "confirm"))
    without, beside = (
        {e.cell.kind: e.flops for e in estimates(setup, setup.cells, speed)}
        for speed in (SPEED, dataclasses.replace(SPEED, further=2.0))
    )
    added = {kind: beside[kind] - without[kind] for kind in without}
    select = len(setup.task.questions("forget", "select"))
    assert added["baseline"] == 2 * (2 * n + select)
    assert added["attack"] == 2 * n * (2 + SHAMS)
    assert added["control"] == added["ceiling"] == 2 * n


def test_all_attacks_are_those_that_the_task_has_something_for(tmp_path: Path) -> None:
    said = AuditPlan(attacks=("all",), changes=("task.scoring=containment",), task="facts")
    tried = set(set_up(said, tmp_path, 1).attacks)
    assert "patchscope" in tried
    assert not tried & {"logit_lens", "probes"}  # They read inside, where no text is made.
    named = AuditPlan(attacks=("logit_lens",), changes=said.changes, task="facts")
    with pytest.raises(ValueError, match="logit_lens reads inside the model"):
        refuse(set_up(named, tmp_path, 1))
