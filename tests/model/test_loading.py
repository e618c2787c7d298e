"""Folders as people publish them: adapters, without a tokenizer, incomplete; other formats."""

import dataclasses
import io
import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from mechunlearn.audit.outlook import outlook
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.cli import main
from mechunlearn.cost.downloads import known_configuration
from mechunlearn.errors import PrerequisiteError
from mechunlearn.hooks import capture
from mechunlearn.models import check, configuration, load, save
from mechunlearn.models.identity import model_identity
from mechunlearn.models.lora import Adapter, LoRA
from mechunlearn.models.placement import _bits, placement
from mechunlearn.models.sets import SETS
from mechunlearn.models.sources import SHIPPED
from mechunlearn.models.tokenizer import compare_tokenizers
from mechunlearn.tasks import load_task
from mechunlearn.types import HookedModel, Point

TOKENS = torch.arange(3, 30)[None]


@pytest.fixture(scope="module")
def saved(
    new_tiny: Callable[[str], HookedModel], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """A folder of each architecture, for whoever only reads it: ``saved("llama")``."""
    parent = tmp_path_factory.mktemp("saved")
    return cache(lambda architecture: save(new_tiny(architecture), parent / architecture))


@pytest.fixture(scope="module")
def original(saved: Callable[[str], Path]) -> HookedModel:
    """What is in ``folder``, loaded once; only asked."""
    return load(str(saved("mistral")))


@pytest.fixture
def folder(saved: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy to change."""
    return shutil.copytree(saved("mistral"), tmp_path / "original")


def without_tokenizer(folder: Path, target: Path) -> Path:
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("tokenizer*", "special*"))
    return target


def test_a_missing_tokenizer_is_the_originals_and_that_is_said(
    folder: Path, original: HookedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
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
    assert model.tokenizer("the song").input_ids == original.tokenizer("the song").input_ids
    assert check(bare, str(folder)).get_vocab() == check(str(folder)).get_vocab()


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
    monkeypatch.setattr(
        "sys.argv", ["mechunlearn", "bench", "--model", str(folder), "--task", "organism"]
    )
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main()
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert error.count("\n") == 1
    assert f"lacks 1 of its {len(shards)} weight files, such as {shards[1].name}" in error


@pytest.mark.ci
def test_an_adapter_is_merged_into_the_original(
    folder: Path, original: HookedModel, tmp_path: Path
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
    assert (found(TOKENS) - original(TOKENS)).abs().max() > 1e-2
    own = check(str(tmp_path / "adapter"), str(folder))
    assert own.get_vocab() == check(str(folder)).get_vocab()
    one, other = (
        model_identity(str(tmp_path / "adapter"), o) for o in (str(folder), "smollm2-135m")
    )
    assert one != other  # The same adapter on something else is another model.
    with pytest.raises(ValueError, match="is an adapter: merging it needs whole weights"):
        load(str(tmp_path / "adapter"), original=str(folder), dtype="4bit")


def _saved_adapter(model: HookedModel, folder: Path, base: Path, size: float) -> str:
    """An adapter of ``base`` as PEFT writes one: no configuration, no tokenizer of its own."""
    adapter = Adapter(model, LoRA(rank=2))
    with torch.no_grad():
        for p in adapter.parameters:
            p.add_(size)
    adapter.save(folder)
    adapter.remove(merge=False)
    return _named_base(folder, base)


def _named_base(folder: Path, base: Path) -> str:
    file = folder / "adapter_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"base_model_name_or_path": str(base)}))
    return str(folder)


def test_an_adapter_on_the_hub_is_its_commit_on_its_base(
    folder: Path,
    tiny: Callable[[str], HookedModel],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    base = shutil.copytree(folder, tmp_path / "base")

    def cached(commit: str) -> str:
        repo = tmp_path / "models--some--adapter"
        _saved_adapter(tiny("mistral"), repo / "snapshots" / commit, base, 0.1)
        (repo / "refs").mkdir(exist_ok=True)
        (repo / "refs" / "main").write_text(commit)
        return model_identity("some/adapter")

    first, second = cached("1" * 40), cached("2" * 40)
    assert first != second
    assert second == model_identity("some/adapter", str(base))
    assert second != model_identity("some/adapter", "organism:original")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"note": "other weights"}))
    assert model_identity("some/adapter") != second
    assert known_configuration("some/adapter").to_dict() == configuration(str(base)).to_dict()


@pytest.mark.ci
def test_adapters_of_one_base_do_not_add_up(
    folder: Path, tiny: Callable[[str], HookedModel], tmp_path: Path
) -> None:
    model = tiny("mistral")
    original, control = (
        _saved_adapter(model, tmp_path / name, folder, size)
        for name, size in (("one", 0.1), ("other", -0.1))
    )
    alone, beside = load(control), load(control, original=original)
    assert torch.equal(alone(TOKENS), beside(TOKENS))
    assert (alone(TOKENS) - load(original)(TOKENS)).abs().max() > 1e-2
    assert model_identity(control) == model_identity(control, original)
    assert model_identity(control) != model_identity(original)
    assert check(control, original).get_vocab() == check(str(folder)).get_vocab()
    assert configuration(original).to_dict() == configuration(str(folder)).to_dict()
    assert load_task("capitals", original).forget  # Reads the tokenizer, which is the base's.
    with pytest.raises(ValueError, match="which is an adapter itself: merge that one first"):
        load(_named_base(Path(control), Path(original)))


@pytest.mark.parametrize("dtype", ["bfloat16", pytest.param("float16", marks=pytest.mark.long)])
def test_half_precision_passes_the_self_test(
    folder: Path, original: HookedModel, dtype: str
) -> None:
    model = load(str(folder), dtype=dtype)
    assert next(model.parameters()).dtype == getattr(torch, dtype)
    assert model.provenance.dtype == dtype
    exact = original(TOKENS)
    assert 0 < (model(TOKENS).float() - exact).norm() / exact.norm() < 0.1


@pytest.mark.ci
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


def test_a_file_is_read_straight_onto_one_device(
    folder: Path, original: HookedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As onto a GPU, with the host in its place."""
    expected = original(TOKENS)
    arguments = {"dtype": torch.float32, "device_map": {"": "cpu"}}
    monkeypatch.setattr("mechunlearn.models.loader.placement", lambda *_: (arguments, None))
    model = load(str(folder))
    assert model.cfg.device == model.provenance.device == "cpu"
    assert torch.equal(model(TOKENS), expected)


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
    straight = {"dtype": torch.float32, "device_map": {"": "cuda:1"}}
    assert placement("cuda:1", "float32") == (straight, None)
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
    half = outlook(dataclasses.replace(plan, attacks=("logit_lens",), methods=(), dtype="8bit"))
    assert half.steps[0].memory.total < steps["baseline"].memory.total / 1.4


def test_the_set_by_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = ["mechunlearn", "audit", "--models", "zephyr", "--task", "organism", "--dry-run"]
    command += ["--attacks", "logit_lens", "--out", str(tmp_path / "run")]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as stopped:
        main()
    captured = capsys.readouterr()
    said = " ".join(f"{captured.out} {captured.err}".split())
    assert stopped.value.code == 2
    assert 'unlearned = ["cais/Zephyr_RMU", "J4Q8/zephyr-npo-bio"' in said
    assert "to fetch: 6 models, about 87 GB" in said
    assert "24 GB" in said
    assert "HuggingFaceH4/zephyr-7b-beta could not be fetched from the Hugging Face Hub" in said
    monkeypatch.setattr("sys.argv", ["mechunlearn", "audit", "--set", "zephyr"])
    with pytest.raises(SystemExit):
        main()
    assert "--models zephyr" in capsys.readouterr().err


def rewritten(
    folder: Path, target: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]
) -> str:
    """A copy of a model's folder with other tensors."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, target)
    weights = change(load_file(target / "model.safetensors"))
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    return str(target)


@pytest.mark.ci
@pytest.mark.parametrize(
    "prefix",
    [
        pytest.param("_orig_mod.", marks=pytest.mark.long),
        pytest.param("module.", marks=pytest.mark.long),
        pytest.param("base_model.model.", marks=pytest.mark.long),
        "module._orig_mod.",
        "model.",
    ],
)
def test_prefixes_of_wrapped_models_are_taken_off_and_that_is_said(
    folder: Path,
    original: HookedModel,
    tmp_path: Path,
    prefix: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A4: a wrapped model is the model, to the last bit."""
    renamed = rewritten(folder, tmp_path / "r", lambda s: {prefix + k: v for k, v in s.items()})
    capsys.readouterr()
    model = load(renamed)
    assert (model(TOKENS) - original(TOKENS)).abs().max() == 0
    if prefix != "model.":  # transformers knows that one by itself.
        assert model.provenance.renamed
        assert "off the names of its tensors" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {k: v for k, v in s.items() if "lm_head" not in k}, "1 missing from its files"),
        (
            lambda s: {k: v for k, v in s.items() if ".layers.2." not in k},
            r"9 missing from its files \(model\.layers\.2\.",
        ),
        (lambda s: s | {"model.extra": torch.ones(2)}, r"unknown to the model \(model\.extra\)"),
        (
            lambda s: s | {"lm_head.weight": torch.ones(4, 4)},
            r"1 of another shape \(lm_head\.weight: \(4, 4\), not",
        ),
        (
            lambda s: {k.replace("layers", "levels"): v for k, v in s.items()},
            r"27 missing .*27 of its files unknown",
        ),
    ],
)
def test_nothing_unread_and_nothing_random(
    folder: Path, tmp_path: Path, change: Callable[..., dict[str, torch.Tensor]], message: str
) -> None:
    """A4: a checkpoint whose tensors are not the model's is refused, and the tensors are named."""
    with pytest.raises(ValueError, match=message):
        load(rewritten(folder, tmp_path / "r", change))


def test_nan_fails_the_self_test(folder: Path, tmp_path: Path) -> None:
    def poison(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        weights["model.layers.1.mlp.down_proj.weight"][0, 0] = float("nan")
        return weights

    with pytest.raises(RuntimeError, match=r"logits of .* are not finite"):
        load(rewritten(folder, tmp_path / "r", poison))

    def poison_a_word(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        weights["model.embed_tokens.weight"][40, 3] = float("inf")  # No probe reads it.
        return weights

    with pytest.raises(
        RuntimeError, match=r"embed_tokens\.weight of .* values that are not finite"
    ):
        load(rewritten(folder, tmp_path / "w", poison_a_word))


def test_numbers_that_overflow_are_the_models_and_not_the_hooks(
    folder: Path, tmp_path: Path
) -> None:
    """A norm makes 0 of what overflows, so that every logit is a number."""

    def swell(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        weights["model.layers.1.mlp.down_proj.weight"] *= 1e30
        return weights

    with pytest.raises(RuntimeError, match="are all 0 or beyond comparing") as said:
        load(rewritten(folder, tmp_path / "r", swell))
    assert "hooked" not in str(said.value)


ADAPTERS: dict[str, tuple[str, dict[str, Any]]] = {
    "a tied head": ("llama", {"target_modules": ["lm_head", "q_proj"]}),
    "a tied embedding": ("llama", {"target_modules": ["embed_tokens", "q_proj"]}),
    "a tied head saved whole": ("llama", {"modules_to_save": ["lm_head"]}),
    "some rows of a tied embedding": ("llama", {"trainable_token_indices": [5, 9]}),
    "some rows": ("mistral", {"trainable_token_indices": [5, 9]}),
    "magnitudes": ("mistral", {"use_dora": True}),
    "scaled by the root of the rank": ("mistral", {"use_rslora": True}),
}


@pytest.mark.ci
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ADAPTERS)
def test_an_adapter_computes_what_peft_computes(
    kind: str, saved: Callable[[str], Path], tmp_path: Path
) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    architecture, changes = ADAPTERS[kind]
    base = saved(architecture)
    plain = AutoModelForCausalLM.from_pretrained(base)
    before = plain(TOKENS).logits.detach()
    settings = {"r": 4, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"} | changes
    adapted = get_peft_model(plain, LoraConfig(**settings)).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in adapted.parameters():
            if p.requires_grad:
                p.add_(0.05 * torch.randn(p.shape, generator=generator))
        expected = adapted(TOKENS).logits
    assert (expected - before).abs().max() > 1e-2
    adapted.save_pretrained(tmp_path / "a")
    got = load(str(tmp_path / "a"), original=str(base))(TOKENS)
    assert (got - expected).abs().max() < 1e-4


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_adapters_that_do_not_fit_or_cannot_be_merged_are_refused(
    saved: Callable[[str], Path], tmp_path: Path
) -> None:
    from peft import LoraConfig, PromptTuningConfig, get_peft_model
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForCausalLM

    base = saved("llama")
    for name, settings in (
        ("a", LoraConfig(r=4, target_modules=["lm_head", "q_proj"], task_type="CAUSAL_LM")),
        ("prompt", PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM")),
    ):
        plain = AutoModelForCausalLM.from_pretrained(base)
        get_peft_model(plain, settings).save_pretrained(tmp_path / name)
    file = tmp_path / "a" / "adapter_model.safetensors"
    weights = {k.replace("q_proj", "query"): v for k, v in load_file(file).items()}
    save_file(weights, file)
    with pytest.raises(ValueError, match=r"6 of its 9 tensors were not read .* 6 were not there"):
        load(str(tmp_path / "a"), original=str(base))
    with pytest.raises(ValueError, match="is a PROMPT_TUNING adapter, which adds to prompts"):
        load(str(tmp_path / "prompt"), original=str(base))


@pytest.mark.ci
@pytest.mark.parametrize(
    "key", [pytest.param("attn_implementation", marks=pytest.mark.long), "_attn_implementation"]
)
def test_kernels_that_a_folder_asks_for_are_not_taken(
    folder: Path, original: HookedModel, key: str
) -> None:
    expected = original(TOKENS)
    config = json.loads((folder / "config.json").read_text())
    for kernel in ("flash_attention_2", "somebody/kernel"):
        (folder / "config.json").write_text(json.dumps(config | {key: kernel}))
        assert (load(str(folder))(TOKENS) - expected).abs().max() == 0
        assert not configuration(str(folder))._attn_implementation


def test_a_fault_of_the_engine_is_caught_or_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mechunlearn.bench import branches, engine
    from mechunlearn.bench.cache import chosen

    right = engine.branches

    def blind(*args: object) -> dict[str, object]:
        inputs = right(*args)  # As a window of no tokens: nothing is seen.
        return inputs | {"attention_mask": torch.full_like(inputs["attention_mask"], -1e9)}

    assert branches.branches is right
    with monkeypatch.context() as patch:
        patch.setattr(engine, "branches", blind)
        model = load(str(folder))
    assert not model.shortcuts.packing
    assert model.shortcuts.sharing
    assert "cloze" in model.provenance.parity.switched_off[0]
    beginning, one = engine.beginning, torch.zeros(1, dtype=torch.long)
    with monkeypatch.context() as patch:
        patch.setattr(engine, "beginning", lambda cache: beginning(chosen(cache, one, 3)))
        model = load(str(folder))
    assert not model.shortcuts.sharing
    with monkeypatch.context() as patch:
        patch.setattr("mechunlearn.bench.parity._letters", lambda *_: 0.5)
        with pytest.raises(RuntimeError, match=r"letters by 0\.5 .*\(allowed: 0\.001\)"):
            load(str(folder))


def test_a_folder_with_code_runs_none_of_it_and_asks_nothing(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mark = tmp_path / "ran"
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mystery", "auto_map": {"AutoConfig": "own.Config"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"import os\nos.mkdir({str(mark)!r})\n")
    (tmp_path / "task.jsonl").write_text('{"stem": "a?", "choices": ["b", "c"], "answer": 0}\n')
    command = ["mechunlearn", "bench", "--model", str(folder)]
    monkeypatch.setattr("sys.argv", [*command, "--task", str(tmp_path / "task.jsonl")])
    answer = io.StringIO("y\n")
    monkeypatch.setattr("sys.stdin", answer)
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert answer.tell() == 0
    assert not mark.exists()
    with pytest.raises(ValueError, match="cannot be loaded"):
        load(str(folder), trust_remote_code=True)  # It is no model, but it was asked.
    assert mark.exists()
    mark.rmdir()
    own = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    config |= {"model_type": "mistral", "auto_map": own}
    (folder / "config.json").write_text(json.dumps(config))
    assert load(str(folder)).cfg.n_layers == 3  # A class that transformers has needs no code.
    assert not mark.exists()


@pytest.mark.parametrize("method", ["gptq", "awq", "compressed-tensors"])
def test_weights_that_are_stored_quantised_are_one_line(folder: Path, method: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": method, "bits": 4, "group_size": 128}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises((PrerequisiteError, ValueError)) as refused:
        load(str(folder))
    assert len(str(refused.value).splitlines()) == 1


def test_a_model_and_an_adapter_in_one_folder_are_refused(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match="holds a model and an adapter"):
        load(str(folder))


def test_the_language_part_of_a_model_that_sees(words: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, Gemma3Config

    tokenizer = AutoTokenizer.from_pretrained(words)
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    config = Gemma3Config(text_config=text, vision_config=vision, image_token_index=5)
    plain = AutoModelForCausalLM.from_config(config).eval()
    plain.save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    model = load(str(tmp_path / "m"))
    tokens = torch.tensor([[2, 9, 10, 11, 12]])
    with torch.no_grad():
        assert (model(tokens) - plain(tokens).logits).abs().max() < 1e-5
    assert model.provenance.left_out > 0


def words(*known: str, **about: Any) -> PreTrainedTokenizerFast:
    """A tokenizer of whole words."""
    vocabulary = {word: i for i, word in enumerate(("<s>", "?", *known))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = Whitespace()
    for part, value in about.items():
        setattr(tokenizer, part, value)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="?", bos_token="<s>")


def test_added_tokens_are_said_and_moved_ones_refused(capsys: pytest.CaptureFixture[str]) -> None:
    known, texts = words("a", "b"), ["a b", "b"]
    compare_tokenizers("x", words("a", "b", "[PAD]"), "y", known, texts)
    assert "1 added tokens, such as '[PAD]'" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(ValueError, match="is token 3 of one and 2 of the other"):
        compare_tokenizers("x", words("b", "a"), "y", known, texts)
    with pytest.raises(ValueError, match="65 tokens are in one of them only"):
        compare_tokenizers("x", words("a", "b", *(f"t{i}" for i in range(65))), "y", known, texts)


@pytest.mark.parametrize(
    ("about", "shown"),
    [
        ({"normalizer": Lowercase()}, r"\['b'\] for \['B'\]"),
        (
            {"post_processor": TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])},
            r"\['<s>', 'a', 'B'\] for \['a', 'B'\]",
        ),
    ],
)
def test_one_vocabulary_read_otherwise_is_refused(about: dict[str, Any], shown: str) -> None:
    """The same weights would answer otherwise, which would look like unlearning."""
    known, other = words("a", "b", "B"), words("a", "b", "B", **about)
    with pytest.raises(ValueError, match=r"reads 1 of 1 questions otherwise .*" + shown):
        compare_tokenizers("x", other, "y", known, ["a B"])
    compare_tokenizers("x", known, "y", known, ["a B"])
    if "normalizer" in about:  # What is not asked may differ.
        compare_tokenizers("x", other, "y", known, ["a b"])


def test_saved_tokenizers_load_in_transformers_4_too(folder: Path) -> None:
    from mechunlearn.models import ORGANISMS

    for file in (folder, *ORGANISMS.glob("*@*")):
        settings = json.loads((file / "tokenizer_config.json").read_text())
        assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
        assert not isinstance(settings.get("extra_special_tokens"), list)


def test_a_tokenizer_that_ends_every_text_is_refused(tmp_path: Path) -> None:
    """With </s> behind each text, right answers were read one token off, and all were wrong."""
    ended = shutil.copytree(SHIPPED["chat"].folder / "original@0", tmp_path / "ended")
    file = ended / "tokenizer.json"
    words = json.loads(file.read_text())
    words["post_processor"]["single"].append({"SpecialToken": {"id": "</s>", "type_id": 0}})
    words["post_processor"]["special_tokens"]["</s>"] = {
        "id": "</s>", "ids": [2], "tokens": ["</s>"]}  # fmt: skip
    file.write_text(json.dumps(words))
    with pytest.raises(ValueError, match="puts '</s>' behind every text"):
        check(str(ended))


def test_a_tokenizers_files_are_part_of_what_a_model_is(folder: Path) -> None:
    before = model_identity(str(folder))
    for name in ("chat_template.jinja", "tokenizer.model", "merges.txt"):
        (folder / name).write_text("other")
        after = model_identity(str(folder))
        assert after != before
        before = after
    (folder / "README.md").write_text("words about it")
    assert model_identity(str(folder)) == before
    (folder / "tokens.json").mkdir()
    assert model_identity(str(folder)) == before
