"""Plans: what is run by default, and what is refused before anything is computed."""

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from mechunlearn.attacks import Attack, NoSettings
from mechunlearn.audit.cells import set_up
from mechunlearn.audit.entries import Making, _twins, entries_of
from mechunlearn.audit.plan import AuditPlan, options
from mechunlearn.audit.plan_file import plan_from_data, plan_from_toml, plan_toml, read_plan
from mechunlearn.cli import app
from mechunlearn.cli.options import AUDIT_ONLY, plan_of
from mechunlearn.presets import preset_of_size, size_of
from mechunlearn.registry import ATTACKS, DEFAULT_ATTACKS, find
from mechunlearn.tasks import load_task

OTHER = {
    "original": "organism:original@1",
    "unlearned": ("mine=models/a b", "models/npo", "other/npo"),
    "methods": ("rmu", "npo"),
    "control": ("models/twin", "models/other twin"),
    "task": 'a "quoted" ü.jsonl',
    "attacks": ("logit_lens", "pruning_heads"),
    "changes": ("rmu.alpha=3.0", "pruning_heads.levels=(0.1, 0.2)", "task.shots=2"),
    "seed": 3,
    "seeds": 4,
    "planted": "always",
    "retain_limit": 0.1,
    "budget": "30m",
    "dtype": "bfloat16",
    "device": "cuda:1",
    "threads": 2,
    "trust_remote_code": True,
}
"""A value for every field of a plan that is not its default."""


def test_default_is_one_of_each_family_and_all_is_all() -> None:
    assert AuditPlan().attacks == DEFAULT_ATTACKS
    assert AuditPlan(attacks=("all",)).attacks == tuple(ATTACKS)
    assert AuditPlan().name == "organism-original-rmu-seed0"
    assert AuditPlan(attacks=("all",)).name == "organism-original-rmu-all-seed0"
    assert "jailbreak" in AuditPlan(attacks=("jailbreak",)).name


def test_standard_attacks_are_those_that_can_show_something() -> None:
    """By tier; none of them makes a run another one when a control is added to it."""
    taught, alone = "relearning_disjoint", "relearning_retain"
    for about, tried, left_out in (
        ({}, {taught}, {alone}),
        ({"control": "none"}, {taught, alone}, set()),
        (
            {"control": "none", "changes": ("task.twins=none",)},
            {alone},
            {taught, "pruning_weights"},
        ),
    ):
        plan = AuditPlan(**about)  # type: ignore[arg-type]
        found = set(set_up(plan, Path("unused"), 1).attacks)
        assert tried <= found
        assert not left_out & found
        assert "--attacks" not in plan.command("x")
    named = AuditPlan(control="none", changes=("task.twins=none",), attacks=(taught,))
    assert set_up(named, Path("unused"), 1).attacks == (taught,)


def test_every_attack_keeps_the_protocol() -> None:
    for name in ATTACKS:
        attack = find("attack", name)
        assert isinstance(attack, Attack)
        assert attack.access
        for size in ("organism", "small", "large"):
            assert attack.preset(size) in attack.presets


def test_settings_reach_methods_and_attacks() -> None:
    plan = AuditPlan(changes=("rmu.alpha=3.0", "pruning_weights.examples=64", "task.chat=user"))
    resolved = plan.resolved("organism")
    assert resolved.methods["rmu"].alpha == 3.0
    assert resolved.attacks["pruning_weights"].examples == 64
    assert resolved.attacks["relearning_disjoint"].steps > 1
    assert resolved.attacks["logit_lens"] == NoSettings()
    assert resolved.task.chat == "user"
    assert plan.resolved("large").attacks["relearning_disjoint"].lora.rank == 128


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("jailbreak.rounds=2", "not among"),
        ("logit_lens.layer=1", "has no settings"),
        ("relearning_disjoint.rates=()", "needs rates"),
        ("relearning_disjoint.lora.rank=-1", "rank >= 0"),
        ("perturbation_naive.rates=(2.0,)", "chances"),
    ],
)
def test_mistakes_in_settings_are_told_at_once(change: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AuditPlan(changes=(change,))


def test_a_setting_that_is_given_twice_is_refused() -> None:
    """One of the values would count, and nobody would say which; plan files are read alike."""
    for changes in (["rmu.alpha=3", "rmu.alpha=5"], ["rmu.alpha=3", "rmu.alpha =5"]):
        with pytest.raises(ValueError, match=r"'rmu.alpha' twice"):
            AuditPlan(methods=("rmu",), changes=tuple(changes))
        text = f'methods = ["rmu"]\nchanges = {json.dumps(changes)}\n'
        with pytest.raises(ValueError, match=r"'rmu.alpha' twice"):
            plan_from_toml(text)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("seed", -1, "from 0 to"),
        ("retain_limit", 5.0, "share of accuracy"),
        ("threads", -1, "from 0"),
        ("dtype", "flaot32", "did you mean 'float32'"),
        ("device", "cdua", "did you mean 'cuda'"),
        ("dtype", "4bit", "must read or change weights"),
    ],
)
def test_impossible_values_are_told_at_once(field: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AuditPlan(**{field: value})


def test_a_plan_survives_its_file(tmp_path: Path) -> None:
    plan = AuditPlan(**OTHER)
    (tmp_path / "plan.toml").write_text(plan_toml(plan), encoding="utf-8")
    assert read_plan(tmp_path / "plan.toml") == plan
    assert plan_from_data(plan.to_dict()) == plan
    assert plan_from_toml("retain_limit = 1\nseed = 2").retain_limit == 1.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("atacks = []", "unknown plan key 'atacks'; did you mean 'attacks'"),
        ('attacks = "all"', "mine: Expected a list of texts, got a text"),
        ("seed = 1.5", "mine: Expected a whole number"),
        ("seed = ", "mine is not valid TOML"),
        ("seed = -1", "from 0 to"),
    ],
)
def test_mistakes_in_a_file_name_the_place(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_from_toml(text, "mine")


def parsed(command: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> AuditPlan:
    """The plan that a command makes of a command line."""
    plans: list[AuditPlan] = []
    monkeypatch.setattr("mechunlearn.cli.audit.run", lambda plan, *_: plans.append(plan))
    group = typer.main.get_command(app)
    with pytest.raises(SystemExit):
        group([command, *words], prog_name="mechunlearn")
    return plans[0]


def test_a_plan_is_its_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(OTHER) == set(options())
    plan = AuditPlan(**OTHER)
    assert all(getattr(plan, f.name) != f.default for f in dataclasses.fields(plan))
    program, command, *words = shlex.split(plan.command("runs/my run"))
    assert (program, words[-2:]) == ("mechunlearn", ["--out", "runs/my run"])
    again = parsed(command, words, monkeypatch)
    assert dataclasses.replace(again, budget=plan.budget) == plan
    assert parsed(command, [*words, "--budget", "30m"], monkeypatch) == plan
    assert parsed("audit", [], monkeypatch) == AuditPlan()


def test_every_field_is_an_option() -> None:
    group: Any = typer.main.get_command(app)
    flags = {
        name: {flag for p in command.params for flag in p.opts}
        for name, command in group.commands.items()
    }
    for name, about in options().items():
        assert about.flag in flags["audit"]
        assert about.flag in flags["plan"] or name in AUDIT_ONLY
    shared = {o.flag for n, o in options().items() if n not in AUDIT_ONLY}
    assert shared - flags["attack"] == {"--method", "--attacks"}


def test_one_attack_is_an_audit_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["pruning_heads", "--unlearned", "mine=models/a", "--preset", "paper"]
    words += ["--set", "examples=8", "--set", "task.chat=user"]
    words += ["--retain-limit", "0.2", "--dtype", "float16", "--threads", "3"]
    changes = ("pruning_heads.preset=paper", "pruning_heads.examples=8", "task.chat=user")
    assert parsed("attack", words, monkeypatch) == AuditPlan(
        unlearned=("mine=models/a",),
        attacks=("pruning_heads",),
        changes=changes,
        retain_limit=0.2,
        dtype="float16",
        threads=3,
    )


def test_a_file_says_everything_but_the_budget(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(plan_toml(AuditPlan(seed=4)))
    fields = {f.name: f.default for f in dataclasses.fields(AuditPlan)}
    assert plan_of(fields | {"budget": "2h"}, file) == AuditPlan(seed=4, budget="2h")
    with pytest.raises(ValueError, match="leave out --seed"):
        plan_of(fields | {"seed": 1}, file)
    with pytest.raises(ValueError, match="--models says which models"):
        plan_of(fields, file, models="zephyr")


def test_a_budget_is_no_part_of_what_results_depend_on() -> None:
    assert AuditPlan(budget="1h").identity == AuditPlan().identity
    assert AuditPlan(seed=1).identity != AuditPlan().identity


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"attacks": "quantization"}, "attacks is a list of texts, not 'quantization'"),
        ({"unlearned": (1,)}, "unlearned is a list of texts, and 1 is none"),
        ({"seeds": "2"}, "seeds is a whole number, not '2'"),
        ({"seed": True}, "seed is a whole number, not True"),
        ({"retain_limit": None}, "retain_limit is a number, not None"),
        ({"trust_remote_code": 1}, "trust_remote_code is True or False, not 1"),
        ({"original": None}, "original is a text, not None"),
    ],
)
def test_values_of_other_types_are_told(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        AuditPlan(**given)


def test_lists_and_whole_numbers_are_taken() -> None:
    assert AuditPlan(attacks=["gcg"], retain_limit=0) == AuditPlan(  # type: ignore[arg-type]
        attacks=("gcg",), retain_limit=0.0
    )


def test_attacks_and_their_settings_may_change_in_a_folder_and_methods_may_not() -> None:
    plan = AuditPlan(attacks=("gcg",), changes=("gcg.search.steps=3",))
    assert plan.identity == AuditPlan().identity
    assert AuditPlan(changes=("rmu.alpha=3",)).identity != AuditPlan().identity
    assert AuditPlan(changes=("task.per_topic=20",)).identity != AuditPlan().identity


@pytest.mark.parametrize("budget", ["-3m", "0s", "30", "m", "1 h", "1d"])
def test_budgets_are_positive_times(budget: str) -> None:
    with pytest.raises(ValueError, match="positive time"):
        AuditPlan(budget=budget)


def test_two_copies_of_one_control_are_refused(tmp_path: Path) -> None:
    """They would stand for a spread of nothing; nor is what is under test its own control."""
    for name in ("twin", "copy", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        weights = b"2" if name == "other" else b"1"
        (tmp_path / name / "model.safetensors").write_bytes(weights)
    twin, copy, other = (str(tmp_path / name) for name in ("twin", "copy", "other"))
    assert len(list(_twins(AuditPlan(control=(twin, other)), []))) == 2
    with pytest.raises(ValueError, match=r"copy holds the same weights as .*twin"):
        list(_twins(AuditPlan(control=(twin, copy)), []))
    plan = AuditPlan(original=other, unlearned=(copy,), control=(twin,)).resolved("small")
    making = Making(load_task("organism"), tmp_path, threads=1, suffix="")
    with pytest.raises(ValueError, match=r"twin holds the same weights as --unlearned .*copy"):
        list(entries_of(plan, making))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("rmu.blocks=1,2", (1, 2)),
        ("rmu.blocks=[1, 2]", (1, 2)),
        ("rmu.blocks=3", (3,)),
        ("relearning_retain.rates=1e-4", (1e-4,)),
        ("relearning_retain.rates=1,2e-4", (1.0, 2e-4)),
        ("relearning_retain.lora.targets=q,v", ("q", "v")),
        ("relearning_retain.lora.alpha=8", 8.0),
    ],
)
def test_a_setting_is_written_as_one_would(text: str, value: object) -> None:
    name, _, key = text.partition("=")[0].partition(".")
    changes = (text, "relearning_retain.lora.rank=2")
    plan = AuditPlan(methods=("rmu",), attacks=("relearning_retain",), changes=changes)
    found: object = {**plan.resolved("small").methods, **plan.resolved("small").attacks}[name]
    for part in key.split("."):
        found = getattr(found, part)
    assert found == value


@pytest.mark.parametrize(
    "text", ["rmu.blocks=a,b", "rmu.blocks=1.5", "rmu.alpha=x", "rmu.blocks=", "rmu.blocks=(1,'a')"]
)
def test_a_setting_of_another_type_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not of the same type"):
        AuditPlan(methods=("rmu",), changes=(text,))


def test_chat_organisms_have_presets_of_their_own_where_others_do_not_fit() -> None:
    sizes = [size_of(width) for width in (128, 129, 256, 576, 4096)]
    assert sizes == ["organism", "chat", "chat", "small", "large"]
    rmu, undial = find("method", "rmu"), find("method", "undial")
    assert preset_of_size(rmu, "chat") == "chat"
    assert preset_of_size(undial, "chat") == "organism"
    assert [preset_of_size(rmu, size) for size in ("organism", "small", "large")] == [
        "organism", "small", "paper",
    ]  # fmt: skip
    # Attacks have the same settings for both.
    of = AuditPlan(attacks=("all",))
    assert of.resolved("chat").attacks == of.resolved("organism").attacks


def test_models_with_labels_may_be_the_same() -> None:
    plan = AuditPlan(unlearned=("a=models/x", "b=./models/x", "models/y"))
    assert list(plan.labels) == ["a", "b", "y"]
    with pytest.raises(ValueError, match="are one folder"):
        AuditPlan(unlearned=("models/x", "models/y", "./models/x/"))


def test_the_last_of_several_seeds_is_possible_too() -> None:
    last = 2**32 - 1
    assert AuditPlan(seed=last - 2, seeds=3).repeats[-1].seed == last
    with pytest.raises(ValueError, match="a whole number from 0 to"):
        AuditPlan(seed=last - 1, seeds=3)
