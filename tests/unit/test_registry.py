"""Attacks that a process registers itself."""

import dataclasses
from pathlib import Path

import pytest

from mechunlearn.attacks import Attack, Candidate, Found, Variants
from mechunlearn.audit.cells import set_up
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.registry import ATTACKS, find, register
from mechunlearn.unlearn.rmu import RMU


class Nothing(Attack):
    """An attack that tries one thing, which does nothing."""

    access = ("prompts",)
    needs = ()

    @staticmethod
    def find(*args: object) -> Variants:
        return Variants([{"kind": "nothing"}], Candidate)


def test_own_attacks_are_found_by_name(added: None) -> None:
    register("attack", "nothing", Nothing)
    assert find("attack", "nothing") is Nothing
    assert isinstance(Nothing, Attack)
    assert isinstance(Nothing.find(), Found)
    assert AuditPlan(attacks=("all",)).attacks == (*ATTACKS, "nothing")


def test_own_attacks_are_part_of_what_cells_depend_on(
    added: None, tiny_plan: AuditPlan, tmp_path: Path
) -> None:
    def keys(version: int) -> set[str]:
        register("attack", "nothing", Nothing, version=version)
        plan = dataclasses.replace(tiny_plan, attacks=("nothing",), changes=())
        return {cell.key for cell in set_up(plan, tmp_path).cells if cell.attack}

    assert keys(1) == keys(1)
    assert not keys(1) & keys(2)


def test_own_methods_are_part_of_what_models_are_made_of(
    added: None, tiny_plan: AuditPlan, tmp_path: Path
) -> None:
    def made(version: int) -> str:
        register("method", "mine", RMU, version=version)
        plan = dataclasses.replace(tiny_plan, unlearned=(), methods=("mine",), changes=())
        return set_up(plan, tmp_path).identities["mine"]

    assert made(1) == made(1) != made(2)


@pytest.mark.parametrize(
    ("name", "entry", "error"),
    [
        ("logit_lens", Nothing, "the package has its own"),
        ("two words", Nothing, "letters, digits"),
        ("empty", object(), "lacks presets, access, needs, reference, find"),
    ],
)
def test_what_cannot_be_registered(added: None, name: str, entry: object, error: str) -> None:
    with pytest.raises((ValueError, TypeError), match=error):
        register("attack", name, entry)


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mechunlearn.registry._ADDED", {"method": {}, "attack": {}})
