"""``--trust-remote-code``: off, nothing that comes with a model runs; on, all of it is used."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mechunlearn.audit.plan import AuditPlan
from mechunlearn.cost.memory import shape_of
from mechunlearn.models import configuration, describe, load, save
from mechunlearn.studies.rerun import rerun
from mechunlearn.tasks import load_task, task_config
from mechunlearn.types import HookedModel
from mechunlearn.unlearn.run import UnlearnPlan, unlearn_to

MODEL = """
from transformers import LlamaConfig
from transformers import LlamaForCausalLM as Plain

class OwnConfig(LlamaConfig):
    model_type = "own_llama"

class LlamaForCausalLM(Plain):
    config_class = OwnConfig
"""
TOKENIZER = """
from transformers import PreTrainedTokenizerFast

class OwnTokenizer(PreTrainedTokenizerFast):
    pass
"""
TEMPLATE = "{{ messages[0]['content'] }} {% if add_generation_prompt %}is{% endif %}"


@pytest.fixture
def with_code(tiny: Callable[[str], HookedModel], tmp_path: Path) -> Path:
    """A checkpoint whose model and tokenizer are classes of its own."""
    folder = save(tiny("llama"), tmp_path / "with_code")
    (folder / "own_model.py").write_text(MODEL)
    (folder / "own_tokenizer.py").write_text(TOKENIZER)
    for file, changes in (
        (
            "config.json",
            {
                "model_type": "own_llama",
                "auto_map": {
                    "AutoConfig": "own_model.OwnConfig",
                    "AutoModelForCausalLM": "own_model.LlamaForCausalLM",
                },
            },
        ),
        (
            "tokenizer_config.json",
            {
                "tokenizer_class": "OwnTokenizer",
                "auto_map": {"AutoTokenizer": [None, "own_tokenizer.OwnTokenizer"]},
                "chat_template": TEMPLATE,
            },
        ),
    ):
        known = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps(known | changes))
    return folder


def test_off_is_refused_everywhere_and_never_asked(
    with_code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, chat = str(with_code), task_config(["task.chat=user"])

    def ask(*_: object) -> str:
        raise AssertionError("transformers asked")

    monkeypatch.setattr("builtins.input", ask)
    for attempt in (
        lambda: configuration(name),
        lambda: load(name),
        lambda: load_task("capitals", name, chat),
        lambda: unlearn_to(UnlearnPlan("rmu", name, "organism"), with_code.parent / "out"),
    ):
        with pytest.raises(ValueError, match=r"read that code, then let it run with --trust-rem"):
            attempt()
    assert not (with_code.parent / "out").exists()


@pytest.mark.ci
def test_on_is_used_everywhere_and_stands_in_the_card(with_code: Path) -> None:
    name, chat = str(with_code), task_config(["task.chat=user"])
    config = configuration(name, trust_remote_code=True)
    assert shape_of(config, trust_remote_code=True).layers == 3
    task = load_task("organism", name, chat, trust_remote_code=True)
    assert task.prompt.text(task.forget[0], task.scoring).endswith(" is")
    settings = ("optimizer.steps=1", "batch=2", "task.chat=user")
    plan = UnlearnPlan("npo", name, "organism", "organism", settings, trust_remote_code=True)
    assert plan.command("out").count("--trust-remote-code") == 1
    out = with_code.parent / "out"
    unlearn_to(plan, out)
    card = json.loads((out / "runcard.json").read_text())
    assert card["models"]["original"]["trust_remote_code"] is True
    assert card["plan"]["trust_remote_code"] is True
    with pytest.raises(ValueError, match="let code of its models run; read that code"):
        rerun(out / "runcard.json", with_code.parent / "again")
    assert not (with_code.parent / "again").exists()
    unlearned = load(str(out), trust_remote_code=True)
    assert describe(unlearned).trust_remote_code
    assert unlearned(torch.tensor([[2, 5, 9]])).isfinite().all()
    assert AuditPlan(original=name, trust_remote_code=True).loading["trust_remote_code"]
