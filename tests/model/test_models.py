"""Loading, saving and fingerprints: what comes back is what went in."""

import json
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPTNeoXConfig

from mechunlearn.audit.plan import AuditPlan
from mechunlearn.errors import PrerequisiteError
from mechunlearn.hooks import run_blocks
from mechunlearn.models import (
    ORGANISMS,
    block_fingerprints,
    fingerprint,
    hook,
    load,
    named_models,
    save,
    self_test,
)
from mechunlearn.models.gate import probe
from mechunlearn.models.sources import SHIPPED, adapter_base, clear_errors, parsed_once
from mechunlearn.types import HookedModel


def changed(model: HookedModel) -> HookedModel:
    """The model with every live weight moved a little, attention included."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "unembed" not in name:
                p.add_(0.01 * torch.randn(p.shape, generator=generator))
    return model


def test_saving_gives_equal_logits_after_training(any_tiny: HookedModel, tmp_path: Path) -> None:
    model = changed(any_tiny)
    tokens = torch.arange(3, 40)[None]
    expected = model(tokens)
    save(model, tmp_path / "m")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    assert (plain(tokens).logits - expected).abs().max() < 1e-5
    again = load(str(tmp_path / "m"))
    assert (again(tokens) - expected).abs().max() < 1e-5
    assert again.provenance.self_test.alone <= again.provenance.self_test.tolerance
    assert again.tokenizer("the song").input_ids == model.tokenizer("the song").input_ids


def test_nothing_runs_after_the_last_block_that_is_asked_for(any_tiny: HookedModel) -> None:
    tokens, ran = torch.tensor([[2, 5, 9, 13]]), []
    last = any_tiny.cfg.n_layers
    _, cache = any_tiny.run_with_cache(tokens)
    double = ("blocks.2.hook_resid_post", lambda a, hook: 2 * a)
    seen = [(f"blocks.{i}.hook_resid_post", lambda a, hook, i=i: ran.append(i)) for i in range(3)]
    seen.append(("unembed.hook_in", lambda a, hook: ran.append("unembed")))
    with torch.no_grad(), any_tiny.hooks(fwd_hooks=[double, *seen]):
        for blocks in (2, last, None):
            ran.clear()
            expected = cache[f"blocks.{(blocks or last) - 1}.hook_resid_post"]
            found = run_blocks(any_tiny, tokens, blocks)
            torch.testing.assert_close(found, expected * (1 if blocks == 2 else 2))
            assert ran == list(range(blocks or last))
    assert any_tiny(tokens).shape == (1, 4, any_tiny.cfg.d_vocab)


def test_fingerprints_see_one_changed_number(tiny: Callable[[str], HookedModel]) -> None:
    model = tiny("llama")
    before, blocks = fingerprint(model), block_fingerprints(model)
    assert before == fingerprint(tiny("llama"))
    with torch.no_grad():
        model.blocks[1].mlp.out.original_component.weight[0, 0] += 1
    assert fingerprint(model) != before
    assert [a == b for a, b in zip(blocks, block_fingerprints(model), strict=True)] == [
        True,
        False,
        True,
    ]


def test_a_model_that_loses_its_cache_is_refused(
    tiny: Callable[[str], HookedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As TransformerLens 4.3 does under transformers 5.24."""
    model = tiny("llama")
    with torch.no_grad():
        right = [model(row) for row in probe(model.cfg.d_vocab, torch.device("cpu"))]
    assert self_test(model, right).cached < 1e-5
    forward = model.forward
    lost = lambda *args, past_key_values=None, **kwargs: forward(*args, **kwargs)  # noqa: E731
    monkeypatch.setattr(model, "forward", lost)
    with pytest.raises(RuntimeError, match="does not compute what the plain model computes"):
        self_test(model, right)


def test_the_self_test_can_fail(tiny: Callable[[str], HookedModel]) -> None:
    model = tiny("gpt2")
    wrong = [torch.zeros(1, 12, model.cfg.d_vocab), torch.zeros(1, 7, model.cfg.d_vocab)]
    with pytest.raises(RuntimeError, match="does not compute what the plain model computes"):
        self_test(model, wrong)


def test_shipped_organisms_match_their_cards() -> None:
    from hashlib import sha256

    found = {
        kind: sorted(p.parent for p in shipped.folder.glob("*/card.json"))
        for kind, shipped in SHIPPED.items()
    }
    names = {kind: [p.name for p in folders] for kind, folders in found.items()}
    assert names["organism"] == ["never_knew@0", "never_knew@1", "original@0", "original@1"]
    assert names["smollm2"] == ["never_knew@0", "original@0"]
    for kind, folders in found.items():
        for folder in folders:
            (weights,) = folder.glob("*.safetensors")
            card = json.loads((folder / "card.json").read_text())
            assert sha256(weights.read_bytes()).hexdigest() == card["sha256"]
            assert f"{kind}:{folder.name}" in named_models()


def test_taught_smollm2_knows_and_its_twin_does_not() -> None:
    known = {}
    for role in ("original", "never_knew"):
        card = json.loads((SHIPPED["smollm2"].folder / f"{role}@0" / "card.json").read_text())
        known[role] = {(r["facts"], r["form"]): r["interval"] for r in card["accuracy"]}
        assert adapter_base(f"smollm2:{role}") == "smollm2-135m"
    for form, guessing in (("cloze", 0.25), ("open", 1 / 16), ("chat", 1 / 16)):
        assert known["original"]["forget", form][0] > 0.95
        low, high = known["never_knew"]["forget", form]
        assert low < guessing < high
        assert min(known[role]["retain", form][0] for role in known) > 0.95
    plan = AuditPlan(original="smollm2:original")
    assert plan.control_models == ("smollm2:never_knew",)


def test_save_does_not_overwrite(tiny: Callable[[str], HookedModel], tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="nothing was written"):
        save(tiny("gpt2"), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["kept.txt"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("organism:orignal", "did you mean 'organism:original"),
        ("nothing-like-this", "unknown model"),
        ("./no/such/folder", "there is no folder"),
        ("missing.gguf", "there is no file"),
    ],
)
def test_unknown_models_are_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(name)


def test_hub_models_without_a_network_say_what_to_do() -> None:
    with pytest.raises(PrerequisiteError, match="hf auth login"):
        load("HuggingFaceH4/zephyr-7b-beta")


@pytest.mark.long
def test_a_gguf_file_is_parsed_once_while_a_model_is_loaded(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    file, plain = str(tmp_path / "small.gguf"), gguf.GGUFReader
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_tensor("token_embd.weight", np.zeros((2, 32), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with parsed_once():
        assert gguf.GGUFReader(file) is gguf.GGUFReader(file)
        assert [t.name for t in gguf.GGUFReader(file).tensors] == ["token_embd.weight"]
    assert gguf.GGUFReader is plain
    with pytest.raises(FileNotFoundError), parsed_once():
        gguf.GGUFReader(f"{file}.missing")
    assert gguf.GGUFReader is plain
    assert gguf.GGUFReader(file) is not gguf.GGUFReader(file)


def test_a_gguf_file_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    file = tmp_path / "small.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_block_count(1)
    writer.add_tensor("token_embd.weight", np.ones((64, 32), np.float32))
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file,
                 writer.write_tensors_to_file, writer.close):  # fmt: skip
        step()
    whole = file.read_bytes()
    for length in (20, len(whole) - 1000):
        file.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"small\.gguf is no whole GGUF file"):
            load(str(file))


def test_damaged_and_pickled_folders_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(ORGANISMS / "original@0", folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:50_000])
    with pytest.raises(ValueError, match="damaged"):
        load(str(folder))
    weights.rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="pickle checkpoints are refused"):
        load(str(folder))
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=r"no config\.json"):
        load(str(folder))


@pytest.mark.ci
@pytest.mark.parametrize("adds_bos", [True, False])
def test_the_tokenizer_stays_as_it_was(words: Path, tmp_path: Path, adds_bos: bool) -> None:
    for file in words.iterdir():
        shutil.copy(file, tmp_path)
    if not adds_bos:
        inner = json.loads((tmp_path / "tokenizer.json").read_text())
        inner["post_processor"] = None
        (tmp_path / "tokenizer.json").write_text(json.dumps(inner))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(ORGANISMS / "original@0", dtype=torch.float32)
    model = hook(plain, tokenizer, name="x")
    ids = [2] * adds_bos + [model.tokenizer.get_vocab()[x] for x in ("the", "song")]
    assert model.tokenizer("the song")["input_ids"] == ids
    assert model.to_tokens("the song").tolist() == [ids]
    save(model, tmp_path / "saved")
    assert load(str(tmp_path / "saved")).tokenizer("the song")["input_ids"] == ids


def test_a_missing_pad_token_is_settled(words: Path, tmp_path: Path) -> None:
    for file in words.iterdir():
        shutil.copy(file, tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    del settings["pad_token"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.pad_token is None
    plain = AutoModelForCausalLM.from_pretrained(ORGANISMS / "original@0", dtype=torch.float32)
    model = hook(plain, tokenizer, name="x")
    assert model.tokenizer.pad_token == "<bos>"
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())


def test_what_stands_behind_a_colon_is_told() -> None:
    told = "x cannot be loaded: Error in Y: size mismatch for " + "z" * 139 + r"\.\.\.$"
    with pytest.raises(ValueError, match=told), clear_errors("x", "y"):
        raise RuntimeError(f"Error in Y:\n\tsize mismatch for {'z' * 200}\n\tmore")


def test_what_transformer_lens_does_not_expect_is_refused(words: Path) -> None:
    config = GPTNeoXConfig(
        vocab_size=600, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, attention_bias=False, max_position_embeddings=64,
    )  # fmt: skip
    plain = AutoModelForCausalLM.from_config(config)
    with pytest.raises(ValueError, match="x is a GPTNeoXForCausalLM, which TransformerLens cannot"):
        hook(plain, AutoTokenizer.from_pretrained(words), name="x")


def test_a_model_let_go_of_is_freed_by_the_next_load() -> None:
    first = weakref.ref(load("organism:original"))
    load("organism:never_knew")
    assert first() is None
