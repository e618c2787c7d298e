"""Folders as people publish them: adapters, without a tokenizer, incomplete; other formats."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mechunlearn.audit.identity import model_identity
from mechunlearn.audit.outlook import outlook
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.cli import main
from mechunlearn.errors import PrerequisiteError
from mechunlearn.hooks import capture
from mechunlearn.models import check, load, save
from mechunlearn.models.lora import Adapter, LoRA
from mechunlearn.models.placement import _bits, placement
from mechunlearn.models.sources import SETS
from mechunlearn.types import HookedModel, Point

TOKENS = torch.arange(3, 30)[None]


@pytest.fixture
def folder(tiny: Callable[[str], HookedModel], tmp_path: Path) -> Path:
    return save(tiny("mistral"), tmp_path / "original")


def without_tokenizer(folder: Path, target: Path) -> Path:
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("tokenizer*", "special*"))
    return target


def test_a_missing_tokenizer_is_the_originals_and_that_is_said(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = str(without_tokenizer(folder, tmp_path / "bare"))
    with pytest.raises(ValueError, match="has no tokenizer files"):
        load(bare)
    with pytest.raises(ValueError, match="has no tokenizer files"):
        check(bare)
    capsys.readouterr()
    model = load(bare, original=str(folder))
    said = " ".join(capsys.readouterr().err.split())
    assert "has no tokenizer of its own: taking" in said
    assert (
        model.tokenizer("the song").input_ids == load(str(folder)).tokenizer("the song").input_ids
    )
    assert check(bare, str(folder)) == check(str(folder))


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(folder: Path) -> None:
    inner = json.loads((folder / "tokenizer.json").read_text())
    inner["model"]["vocab"]["zebra"] = 5000
    (folder / "tokenizer.json").write_text(json.dumps(inner))
    for refused in (load, check):
        with pytest.raises(ValueError, match=r"up to number 5000 \('zebra'\)"):
            refused(str(folder))


def test_a_tokenizer_that_reads_nothing_is_refused(folder: Path) -> None:
    inner = json.loads((folder / "tokenizer.json").read_text())
    inner["normalizer"] = {"type": "Replace", "pattern": {"Regex": "."}, "content": ""}
    (folder / "tokenizer.json").write_text(json.dumps(inner))
    with pytest.raises(ValueError, match="loses all text"):
        load(str(folder))


def test_missing_shards_are_one_line_and_exit_code_2(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    plain.save_pretrained(folder, max_shard_size="40KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 2
    assert load(str(folder)).cfg.n_layers == 3
    shards[1].unlink()
    monkeypatch.setattr("sys.argv", ["mechunlearn", "bench", "--model", str(folder)])
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main()
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert error.count("\n") == 1
    assert f"lacks 1 of its {len(shards)} weight files, such as {shards[1].name}" in error


def test_an_adapter_is_merged_into_the_original(
    folder: Path, tmp_path: Path, tiny: Callable[[str], HookedModel]
) -> None:
    model = load(str(folder))
    adapter = Adapter(model, LoRA(rank=2))
    with torch.no_grad():
        for p in adapter.parameters:
            p.add_(0.1 * torch.ones_like(p))
    expected = model(TOKENS)
    adapter.save(tmp_path / "adapter")
    found = load(str(tmp_path / "adapter"), original=str(folder))
    assert (found(TOKENS) - expected).abs().max() < 1e-4
    assert (found(TOKENS) - load(str(folder))(TOKENS)).abs().max() > 1e-2
    assert check(str(tmp_path / "adapter"), str(folder)) == check(str(folder))
    one, other = (
        model_identity(str(tmp_path / "adapter"), o) for o in (str(folder), "smollm2-135m")
    )
    assert one != other  # The same adapter on something else is another model.
    with pytest.raises(ValueError, match="is an adapter: merging it needs whole weights"):
        load(str(tmp_path / "adapter"), original=str(folder), dtype="4bit")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_passes_the_self_test(folder: Path, dtype: str) -> None:
    model = load(str(folder), dtype=dtype)
    assert next(model.parameters()).dtype == getattr(torch, dtype)
    assert model.provenance.dtype == dtype
    exact = load(str(folder))(TOKENS)
    assert 0 < (model(TOKENS).float() - exact).norm() / exact.norm() < 0.1


def test_blocks_can_be_spread(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two places that need no GPU: accelerate's hooks fetch the second block from the disk."""
    expected = load(str(folder), device="map")(TOKENS)
    assert placement("map")[0]["device_map"] == "auto"
    parts = ("embed_tokens", "layers.0", "layers.1", "layers.2", "norm", "rotary_emb")
    places = {f"model.{part}": "cpu" for part in parts} | {"lm_head": "cpu"}
    places["model.layers.1"] = "disk"
    arguments = {"device_map": places, "offload_folder": str(tmp_path / "off")}
    monkeypatch.setattr("mechunlearn.models.loader.placement", lambda *_: (arguments, None))
    model = load(str(folder))
    assert model.original_model.hf_device_map["model.layers.1"] == "disk"
    assert (model(TOKENS) - expected).abs().max() < 1e-5
    with capture(model, [Point(1)]) as kept:
        model(TOKENS)
    assert kept[Point(1)].shape == (1, TOKENS.shape[1], 32)


def test_formats_and_devices_that_are_not_there(folder: Path) -> None:
    for dtype in ("8bit", "4bit"):
        with pytest.raises(PrerequisiteError, match="needs a CUDA GPU"):
            load(str(folder), dtype=dtype)
    with pytest.raises(PrerequisiteError, match="needs a CUDA GPU, and there is none"):
        load(str(folder), device="cuda:1")
    with pytest.raises(ValueError, match="unknown device 'gpu'"):
        load(str(folder), device="gpu")
    with pytest.raises(ValueError, match="unknown dtype 'int8'"):
        load(str(folder), dtype="int8")


def test_what_bitsandbytes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(PrerequisiteError, match=r"pip install 'mechunlearn\[quantised\]'"):
        placement("cuda", "8bit")
    monkeypatch.setattr("mechunlearn.models.placement.find_spec", lambda name: object())
    monkeypatch.setattr("mechunlearn.models.placement._bits", lambda dtype: dtype)
    arguments, device = placement("auto", "4bit")
    assert device is None  # The arguments place the model.
    assert arguments["quantization_config"] == "4bit"
    assert arguments["device_map"] == {"": "cuda:0"}
    assert placement("auto", "auto")[0]["dtype"] is torch.bfloat16
    monkeypatch.undo()
    assert placement("auto", "auto") == ({"dtype": torch.float32}, "cpu")
    four, eight = _bits("4bit"), _bits("8bit")
    assert four.load_in_4bit
    assert four.bnb_4bit_quant_type == "nf4"
    assert eight.load_in_8bit
    assert eight.llm_int8_skip_modules == ["lm_head"]


def test_quantised_weights_are_kept_from_attacks_that_need_them() -> None:
    given = {"original": "a/b", "unlearned": ("a/c",), "dtype": "8bit"}
    AuditPlan(**given, attacks=("direction_ablation", "logit_lens", "jailbreak"))
    for attack in ("relearning_text", "pruning_heads", "gcg", "soft_prompt"):
        with pytest.raises(ValueError, match=f"8bit: {attack} must read or change weights"):
            AuditPlan(**given, attacks=("logit_lens", attack))
    with pytest.raises(ValueError, match="rmu must read or change weights"):
        AuditPlan(original="a/b", methods=("rmu",), attacks=("logit_lens",), dtype="4bit")


def test_the_zephyr_set_is_foreseen_without_a_network() -> None:
    chosen = SETS["zephyr"]
    assert chosen.about("wmdp-cyber")[1:] == ("J4Q8/zephyr-npo-cyber", "J4Q8/zephyr-dpo-cyber")
    assert chosen.about("mmlu") == chosen.unlearned
    plan = AuditPlan(
        original=chosen.original, unlearned=chosen.about("wmdp-bio"), task="organism",
        attacks=("logit_lens", "relearning_disjoint", "pruning_weights"),
    )  # fmt: skip
    found = outlook(plan)
    assert found.parameters == 7_241_732_096  # Of Mistral-7B, by its published weights.
    assert [d.there for d in found.downloads] == [False] * 4
    assert found.downloads[0].bytes == pytest.approx(14.48e9, rel=0.001)
    steps = {s.attack: s for s in found.steps}
    assert steps["logit_lens"].fits(24)
    assert not steps["pruning_weights"].fits(24)
    assert all(s.fits(80) for s in found.steps)
    half = outlook(AuditPlan(**{**plan.to_dict(), "unlearned": plan.unlearned, "attacks":
        ("logit_lens",), "changes": (), "methods": (), "dtype": "8bit"}))  # fmt: skip
    assert half.steps[0].memory.total < steps["baseline"].memory.total / 1.4


def test_the_set_by_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = ["mechunlearn", "audit", "--models", "zephyr", "--task", "organism", "--dry-run"]
    command += ["--attacks", "logit_lens", "--out", str(tmp_path / "run")]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as stopped:
        main()
    said = " ".join(capsys.readouterr().err.split())
    assert stopped.value.code == 2
    assert 'unlearned = ["cais/Zephyr_RMU", "J4Q8/zephyr-npo-bio"' in said
    assert "to fetch: 6 models, about 87 GB" in said
    assert "24 GB" in said
    assert "HuggingFaceH4/zephyr-7b-beta could not be fetched from the Hugging Face Hub" in said
    monkeypatch.setattr("sys.argv", ["mechunlearn", "audit", "--set", "zephyr"])
    with pytest.raises(SystemExit):
        main()
    assert "--models zephyr" in capsys.readouterr().err
