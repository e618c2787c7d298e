"""Costs that are told beforehand: every attack has one, and more work costs more."""

from pathlib import Path

import pytest

from mechunlearn.audit.cells import set_up
from mechunlearn.audit.estimate import Speed, by_worth, estimates
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.registry import ATTACKS

SPEED = Speed(flops=2.0, per_question=1.0, device="cpu", number=4)


def costs(out: Path, *changes: str) -> dict[tuple[str, str], float]:
    setup = set_up(AuditPlan(attacks=("all",), changes=changes), out)
    found = estimates(setup, setup.cells, SPEED)
    assert all(e.seconds == e.flops / SPEED.flops > 0 for e in found)
    memory = {e.cell.attack: e.memory for e in found}
    assert memory["relearning_text"] > memory["logit_lens"] > 1.7e6  # The weights alone.
    assert memory["pruning_weights"] > memory["jailbreak"] == memory["logit_lens"]
    return {(e.cell.kind, e.cell.attack): e.flops for e in found if e.cell.attack}


def test_every_attack_has_a_cost_that_grows_with_its_settings(tmp_path: Path) -> None:
    plain = costs(tmp_path)
    assert {attack for _, attack in plain} == set(ATTACKS)
    for attack in ATTACKS:
        assert plain["attack", attack] > plain["ceiling", attack]
    more = costs(tmp_path, "relearning_text.steps=512", "pruning_heads.examples=999")
    for attack in ("relearning_text", "pruning_heads"):
        assert more["attack", attack] > plain["attack", attack]
    assert more["attack", "logit_lens"] == plain["attack", "logit_lens"]


def test_the_strongest_evidence_comes_first_on_every_model(tmp_path: Path) -> None:
    plan = AuditPlan(
        methods=("rmu", "npo"), attacks=("relearning_tested", "relearning_retain", "logit_lens")
    )
    assert list(by_worth(set_up(plan, tmp_path))) == [
        (model, attack)
        for attack in ("logit_lens", "relearning_retain", "relearning_tested")
        for model in ("rmu", "npo")
    ]


def test_made_models_have_a_lineage_that_their_settings_decide(tmp_path: Path) -> None:
    one = set_up(AuditPlan(), tmp_path)
    other = set_up(AuditPlan(changes=("rmu.alpha=3.0",)), tmp_path)
    assert one.identities["rmu"] != one.identities["rmu control"]
    assert one.identities["rmu"] != other.identities["rmu"]
    assert one.identities["original"] == other.identities["original"]
    keys = [{c.key for c in setup.cells} for setup in (one, other)]
    assert len(keys[0] & keys[1]) == 2  # The baselines of the original and of the twin.
    with pytest.raises(KeyError):
        set_up(AuditPlan(control="none"), tmp_path).identities["rmu control"]
