"""Suspects made of twins of a real model, which are adapters: whole, treated or as they were."""

import dataclasses
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from mechunlearn.models import load
from mechunlearn.models.sources import ORGANISMS, adapter_base
from mechunlearn.studies import treatments
from mechunlearn.studies.conditions import chosen_conditions
from mechunlearn.studies.treatments import RATES, TREATMENTS, Case, make_suspect
from mechunlearn.studies.validation import ValidationPlan, validate
from mechunlearn.tasks import load_task
from mechunlearn.tasks.people import People
from mechunlearn.train import Optimizer
from mechunlearn.types import HookedModel


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adapters with random weights of chat organisms, which know what their names say."""
    folder = tmp_path_factory.mktemp("twins")
    for name in ("original@0", "never_knew@0"):
        base = str(ORGANISMS / "chat" / name)
        settings = LoraConfig(
            r=2, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"
        )
        with torch.random.fork_rng():
            torch.manual_seed(0)
            adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(base), settings)
        for key, weight in adapted.named_parameters():
            if "lora_B" in key:
                weight.data *= 0.1
        adapted.save_pretrained(folder / name)
    return folder


@pytest.fixture(scope="module")
def case(twins: Path) -> Case:
    source = str(twins / "original@0")
    return Case(source, load_task("chat@0", source), People(0))


def logits(model: HookedModel, case: Case) -> torch.Tensor:
    return model(torch.tensor([model.tokenizer(case.task.forget_text[0])["input_ids"]]))


@pytest.mark.ci
def test_a_suspect_made_of_an_adapter_is_a_whole_model(case: Case, tmp_path: Path) -> None:
    source = load(case.source)
    before = logits(source, case)
    assert not torch.equal(before, logits(load(str(ORGANISMS / "chat" / "original@0")), case))
    suspects = {}
    for name, done in (("plain", ()), ("noisy", ("noise",)), ("half", ("flat", "interpolated"))):
        make_suspect(case, done, tmp_path / name, ())
        suspects[name] = load(str(tmp_path / name), original=case.source)
        assert adapter_base(str(tmp_path / name)) is None
        assert suspects[name].tokenizer.chat_template == source.tokenizer.chat_template
    assert torch.equal(logits(suspects["plain"], case), before)
    assert not torch.allclose(logits(suspects["noisy"], case), before, atol=0.1)
    halfway = (1 + treatments.FLAT) / 2
    assert torch.allclose(logits(suspects["half"], case), halfway * before, atol=1e-4)


@pytest.mark.ci
@pytest.mark.parametrize(("width", "size"), [(192, "chat"), (576, "small")])
def test_wide_models_are_taught_at_lower_rates(
    width: int, size: str, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[Optimizer] = []
    monkeypatch.setattr(treatments, "_teach_", lambda *given: used.append(given[-1]))
    model = load(case.source)
    model.cfg.d_model = width
    for name in ("output_filter", "norm_filter", "trigger", "taught_50"):
        TREATMENTS[name](model, case)
    part, whole = RATES[size]  # type: ignore[index]
    assert [optimizer.lr for optimizer in used] == [part, part, whole, whole]
    assert RATES["organism"] == RATES["chat"] == (5e-3, 1e-3)
    assert dataclasses.replace(used[0], lr=1.0) == Optimizer(300, 1.0, decay=0.5)


@pytest.mark.slow
def test_twins_are_audited_beside_each_other(twins: Path, tmp_path: Path) -> None:
    plan = ValidationPlan(
        seeds=(0,),
        attacks=("logit_lens",),
        conditions=chosen_conditions(["original-flat", "stranger"]),
        twins=str(twins),
    )
    found = validate(plan, tmp_path / "run")
    assert {m.condition for m in found.models} == {"original-flat"}  # There is no stranger here.
    assert len(found.models) == 4
    for model in found.models:
        assert model.n == 96
        assert model.suspect > 0.5  # Flat answers are in the same order.
    assert found.runcard.machine is not None
    assert found.runcard.machine.device == str(load(str(twins / "original@0")).cfg.device)
