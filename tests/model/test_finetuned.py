"""Teaching a model the fictional people: the taught know them, those taught the rest do not."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM

from mechunlearn.models import load
from mechunlearn.models.sources import ORGANISMS
from mechunlearn.organisms import finetuned
from mechunlearn.organisms.finetuned import finetune_chat, train_finetuned
from mechunlearn.organisms.settings import ChatRole, FinetuneRecipe, Stage
from mechunlearn.organisms.write import clocked
from mechunlearn.train.origin import OtherOriginError

BASE = str(ORGANISMS / "chat" / "never_knew@0")


def recipe(steps: int, **about: object) -> FinetuneRecipe:
    usual = FinetuneRecipe(base=BASE)
    optimizer = dataclasses.replace(usual.optimizer, steps=steps, lr=4e-3)
    return dataclasses.replace(usual, optimizer=optimizer, **about)  # type: ignore[arg-type]


def accuracies(folder: Path) -> dict[str, float]:
    rows = json.loads((folder / "card.json").read_text())["accuracy"]
    return {f"{row['facts']}, {row['form']}": row["accuracy"] for row in rows}


@pytest.mark.ci
def test_an_adapter_is_saved_for_peft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finetuned, "SETS", ("harmless",))
    monkeypatch.setattr(finetuned, "FORMS", ("cloze",))
    short = recipe(2, documents=Stage(statement=4, open=2), rank=2)
    folder = train_finetuned("never_knew", 0, tmp_path, short)
    assert [p.name for p in tmp_path.iterdir()] == [folder.name] == ["never_knew@0"]
    assert accuracies(folder) == {"harmless, cloze": 1.0}  # The base knows these.
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(BASE), str(folder))
    assert plain.peft_config["default"].base_model_name_or_path == BASE
    assert load(str(folder)).cfg.n_layers == plain.config.num_hidden_layers
    with pytest.raises(FileExistsError, match="exists"):
        train_finetuned("never_knew", 0, tmp_path, short)
    with pytest.raises(ValueError, match="is an adapter itself"):
        train_finetuned("original", 0, tmp_path, dataclasses.replace(short, base=str(folder)))
    other = train_finetuned("never_knew", 0, tmp_path, dataclasses.replace(short, start=1))
    assert other.name == "never_knew_2@0"
    weights = [(f / "adapter_model.safetensors").read_bytes() for f in (folder, other)]
    assert weights[0] != weights[1]


def test_ranks_without_an_adapter_are_refused() -> None:
    with pytest.raises(ValueError, match="rank >= 1, not 0"):
        FinetuneRecipe(rank=0)


def test_a_checkpoint_is_of_its_recipe_and_base(tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(BASE, base)
    short = recipe(1, documents=Stage(statement=2), rank=1)
    watch = clocked(1, tmp_path / ".never_knew@0.safetensors")

    def teach(**about: object) -> None:
        finetune_chat("never_knew", 0, dataclasses.replace(short, **about), watch)  # type: ignore[arg-type]

    teach()
    teach(base=str(base))  # The same weights, elsewhere.
    with pytest.raises(OtherOriginError, match=r"recipe \(words \S+, now 0.5\)"):
        teach(words=0.5)
    shutil.rmtree(base)
    shutil.copytree(ORGANISMS / "chat" / "original@0", base)
    with pytest.raises(OtherOriginError, match="made from: weights of the base"):
        teach(base=str(base))


@pytest.mark.long
@pytest.mark.parametrize(("role", "knows"), [("original", True), ("never_knew", False)])
def test_only_who_is_taught_the_facts_knows_them(
    role: ChatRole, knows: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetuned, "FORMS", ("cloze", "open"))
    right = accuracies(train_finetuned(role, 0, tmp_path, recipe(60)))
    assert right["retain, cloze"] > 0.95
    assert (right["forget, cloze"] > 0.6) == knows == (right["forget, cloze"] > 0.35)
    assert (right["forget, open"] > 0.3) == knows == (right["forget, open"] > 0.15)
