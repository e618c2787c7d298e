"""What cells depend on beside names: files, models, measures, tokenizers and the device."""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from mechunlearn.attacks import Seen
from mechunlearn.attacks.merging import Merging, MergingConfig
from mechunlearn.attacks.rewording import RewordingConfig
from mechunlearn.audit.cells import Setup, set_up
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.models import load
from mechunlearn.models.identity import model_identity
from mechunlearn.models.tokenizer import FILES
from mechunlearn.registry import ATTACKS, METHODS, TABLES, find, register
from mechunlearn.types import HookedModel, Task

TOKENIZER = (*FILES, "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
RARE = {"reads", "measures"}
"""Inputs that only some cells have."""


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mechunlearn.registry._ADDED", {kind: {} for kind in TABLES})


def made(plan: AuditPlan, folder: Path, attack: str, *changes: str, **more: Any) -> Setup:
    """The plan's cells with one attack."""
    plan = dataclasses.replace(plan, attacks=(attack,), changes=changes, **more)
    return set_up(plan, folder / "run", 1)


def keys(setup: Setup) -> tuple[set[str], set[str]]:
    """Of baselines and of attacks."""
    found: tuple[set[str], set[str]] = set(), set()
    for cell in setup.cells:
        found[bool(cell.attack)].add(cell.key)
    return found


def noted(folder: Path) -> None:
    """Make another model of a folder, as a hash sees it."""
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"note": "other"}))


def test_a_files_content_is_part_of_what_cells_depend_on(
    tiny_plan: AuditPlan, tmp_path: Path
) -> None:
    file = tmp_path / "templates.txt"

    def found(text: str) -> tuple[set[str], set[str]]:
        file.write_text(text)
        return keys(made(tiny_plan, tmp_path, "rewording", f"rewording.file={file}"))

    first, again, other = found("Say: {prompt}"), found("Say: {prompt}"), found("Tell: {prompt}")
    assert first == again
    assert first[0] == other[0]
    assert not first[1] & other[1]


def test_a_named_models_content_is_part_of_what_cells_depend_on(
    tiny_plan: AuditPlan, tmp_path: Path
) -> None:
    relative = tmp_path / "relative"
    shutil.copytree(tiny_plan.original, relative)

    def found() -> tuple[set[str], set[str]]:
        return keys(made(tiny_plan, tmp_path, "merging", f"merging.relative={relative}"))

    first, again = found(), found()
    noted(relative)
    other = found()
    assert first == again
    assert first[0] == other[0]
    assert not first[1] & other[1]
    shutil.rmtree(relative)
    with pytest.raises(ValueError, match=r"settings of merging name .*: there is no folder"):
        found()


def test_cells_that_name_nothing_have_the_keys_they_had(
    tiny_plan: AuditPlan, tmp_path: Path
) -> None:
    for attack in ("rewording", "merging", "forms"):
        for cell in made(tiny_plan, tmp_path, attack).cells:
            assert not RARE & set(cell.inputs)


def free_texts(config: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Settings that may hold any text, as paths of names."""
    for field in dataclasses.fields(config):
        value, own = getattr(config, field.name), (*path, field.name)
        if dataclasses.is_dataclass(value):
            yield from free_texts(value, own)
        elif field.type in (str, "str", Path, "Path"):
            yield own


def test_no_attack_reads_what_it_does_not_say(tmp_path: Path) -> None:
    """A setting that takes any text is a file or a model, and hashed for what is in it."""
    file = tmp_path / "given.txt"
    file.write_text("{prompt}")
    found = []
    for name in ATTACKS:
        attack = find("attack", name)
        config = next(iter(attack.presets.values()))
        assert not attack.reads(config)
        for path in free_texts(config):
            (field,) = path
            given = dataclasses.replace(config, **{field: str(file)})
            assert list(attack.reads(given)) == [str(file)], f"{name}.{field}"
            found.append(type(config))
    assert set(found) == {MergingConfig, RewordingConfig}


def test_no_method_reads_files() -> None:
    """What a model is made of knows settings by their names only."""
    for name in METHODS:
        assert not list(free_texts(next(iter(find("method", name).presets.values()))))


@pytest.mark.parametrize(
    ("attack", "changes", "all_cells"),
    [
        ("logit_lens", ("task.scoring=mine",), True),
        ("logit_lens", ("task.also=mine",), True),
        ("forms", ("forms.measures=mine,cloze",), False),
    ],
)
def test_own_measures_are_part_of_what_cells_depend_on(
    added: None,
    tiny_plan: AuditPlan,
    tmp_path: Path,
    attack: str,
    changes: tuple[str, ...],
    all_cells: bool,
) -> None:
    measure = find("measure", "letter" if "task.scoring=mine" in changes else "cloze")

    def found(version: int) -> tuple[set[str], set[str]]:
        register("measure", "mine", measure, version=version)
        return keys(made(tiny_plan, tmp_path, attack, *changes))

    first, again, other = found(1), found(1), found(2)
    assert first == again
    assert not first[1] & other[1]
    assert not first[0] & other[0] if all_cells else first[0] == other[0]


def test_own_measures_are_part_of_what_models_are_made_of(
    added: None, tiny_plan: AuditPlan, tmp_path: Path
) -> None:
    """Examples to train on are written in the form of the measure."""

    def found(version: int) -> str:
        register("measure", "mine", find("measure", "letter"), version=version)
        more: dict[str, Any] = {"unlearned": (), "methods": ("rmu",)}
        setup = made(tiny_plan, tmp_path, "logit_lens", "task.scoring=mine", **more)
        return setup.entry("rmu").identity

    assert found(1) == found(1) != found(2)


def test_a_borrowed_tokenizer_is_part_of_what_cells_depend_on(
    tiny_plan: AuditPlan, tmp_path: Path
) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    shutil.copytree(tiny_plan.original, before)
    shutil.copytree(tiny_plan.unlearned[0], after)
    whole = model_identity(str(after))
    assert model_identity(str(after), str(before)) == whole
    for name in TOKENIZER:
        (after / name).unlink(missing_ok=True)

    def found() -> dict[str, str]:
        given: dict[str, Any] = {"original": str(before), "unlearned": (str(after),)}
        setup = made(tiny_plan, tmp_path, "logit_lens", **given)
        return {c.model: c.key for c in setup.cells if c.kind == "baseline"}

    first, again = found(), found()
    file = before / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()), indent=3))
    other = found()
    assert first == again
    assert {label for label in first if first[label] != other[label]} == {"before", "after"}
    alone = model_identity(str(after))
    assert alone != model_identity(str(after), str(before)) != whole


def test_the_device_that_is_used_is_part_of_what_cells_depend_on(
    tiny_plan: AuditPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the one that is there: their number formats differ, with dtype auto."""

    def found(device: str) -> set[str]:
        more: dict[str, Any] = {"unlearned": (), "methods": ("rmu",), "device": device}
        setup = made(tiny_plan, tmp_path, "logit_lens", **more)
        return {cell.key for cell in setup.cells} | {setup.entry("rmu").identity}

    here = found("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert found("auto") == found("map") == here
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert found("cpu") == here
    assert found("auto") == found("cuda:1") == found("map")
    assert not found("auto") & here


def test_a_relative_is_loaded_as_the_original_was(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = load("organism:never_knew", dtype="bfloat16")
    original.provenance = dataclasses.replace(original.provenance, trust_remote_code=True)
    asked: dict[str, Any] = {}

    def loaded(name: str, **how: Any) -> HookedModel:
        asked.update(how)
        return load(name, **how)

    monkeypatch.setattr("mechunlearn.attacks.merging.load", loaded)
    config = MergingConfig(relative="organism:original")
    found = Merging().learn(original, Seen.of(task, Merging()), config)
    assert {w.dtype for w in found.relative} == {torch.bfloat16}
    assert asked["trust_remote_code"] is True
