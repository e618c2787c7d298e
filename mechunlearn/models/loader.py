"""Load any causal language model as a hooked model."""

import dataclasses
import gc
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedModel

from mechunlearn.half import fast_half
from mechunlearn.hooks import bypass_bridges, measured_scale
from mechunlearn.models.checkpoint import Checkpoint, check_adapter, read_checkpoint, untie_for
from mechunlearn.models.gate import (
    difference,
    logits_of,
    probe,
    refuse_infinite,
    refuse_infinite_weights,
    self_test,
    tolerance_of,
)
from mechunlearn.models.placement import QUANTISED, placement
from mechunlearn.models.sources import carrier, clear_errors, locate, parsed_once
from mechunlearn.models.tokenizer import check_fit, load_tokenizer, settle_padding
from mechunlearn.progress import console
from mechunlearn.registry import find, names
from mechunlearn.types import HookedModel, Provenance, Shortcuts


def load(
    name: str | PreTrainedModel,
    tokenizer: Any = None,
    *,
    original: str = "",
    device: str = "auto",
    dtype: str = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> HookedModel:
    """Load any causal language model as a hooked model, in eval mode, and test it.

    Args:
        name: ``organism:original``, ``organism:never_knew@1``, ``smollm2-135m``, a folder or
            ``.gguf`` file, or a Hub id such as ``HuggingFaceH4/zephyr-7b-beta``; also the folder
            or id of a PEFT adapter, which is merged into the model it belongs to. Also a
            transformers model that is in memory; it becomes the hooked one, and the arguments
            below are not for it.
        tokenizer: Of a model in memory, as ``AutoTokenizer.from_pretrained`` gives it.
        original: The model it was made from: gives the tokenizer where it has none, and carries it
            where it is an adapter (default: the model that the adapter names).
        device: ``cpu``, ``cuda``, ...; ``auto`` takes CUDA where there is one; ``map`` spreads the
            blocks over all GPUs.
        dtype: ``float32``, ``bfloat16``, ``float16``; ``auto`` is float32 on the CPU and
            bfloat16 elsewhere; ``8bit`` and ``4bit`` quantise with bitsandbytes, on CUDA only.
        revision: Branch, tag or commit on the Hub.
        trust_remote_code: Allow code that comes with the model to run.

    Returns:
        The hooked model with tokenizer and pad token; ``.provenance`` says where it came from.

    Raises:
        ValueError: For an unknown name, a missing or unreadable folder, a pickle checkpoint, a
            tokenizer that does not fit, files that lack a tensor of the model or have another one,
            arguments that a model in memory has no use for.
        PrerequisiteError: When a download, package or device is needed that is not there.
        RuntimeError: When the hooked forward differs from the plain one.
    """
    if not isinstance(name, str):
        return _in_hand(name, tokenizer, (device, dtype, original, revision))
    if tokenizer is not None:
        raise ValueError(f"{name} brings its own tokenizer; give one only with a model in memory")
    gc.collect()  # A model let go of before stays in memory until then: hook points refer to it.
    base = carrier(name, original)
    if base != name and dtype in QUANTISED:
        raise ValueError(f"{name} is an adapter: merging it needs whole weights, not {dtype}")
    with parsed_once() if "gguf_file" in locate(base)[1] else nullcontext():
        return _read(name, base, original, (device, dtype), revision, trust_remote_code)


def _read(
    name: str,
    base: str,
    original: str,
    placed: tuple[str, str],
    revision: str | None,
    trust_remote_code: bool,
) -> HookedModel:
    """Read a model, or an adapter that is merged into ``base``, and hook it.

    Args:
        placed: Device and dtype.
    """
    (device, dtype), (location, extra) = placed, locate(base)
    placing, place = placement(device, dtype)
    if dtype in ("bfloat16", "float16") and place == "cpu":
        _say_if_slow(dtype)
    hub = {} if os.path.exists(location) or base != name else {"revision": revision}
    tokenizer = load_tokenizer(
        name, original, revision=revision, trust_remote_code=trust_remote_code
    )
    with clear_errors(base, location):
        checkpoint = read_checkpoint(
            location, base, trust_remote_code=trust_remote_code, **placing, **extra, **hub
        )
    _tell(base, checkpoint)
    plain = checkpoint.model if place is None else checkpoint.model.to(place)
    if base != name:
        plain = _with_adapter(plain, name)
    _refuse_quantised(plain, name, dtype, "gguf_file" in extra)
    check_fit(tokenizer, plain.get_input_embeddings().num_embeddings, name)
    model = hook(plain, tokenizer, name=name, location=str(location))
    model.provenance = dataclasses.replace(
        model.provenance,
        renamed=checkpoint.renamed,
        left_out=checkpoint.left_out,
        trust_remote_code=trust_remote_code,
    )
    return model


@cache
def _say_if_slow(dtype: Literal["bfloat16", "float16"]) -> None:
    """Once in a process."""
    if not fast_half("cpu", dtype):
        console.print(
            f"[dim]this CPU has no instructions for {dtype}: products of matrices are computed in "
            "float32 and rounded, so that a float32 model is a little faster[/dim]"
        )


def _in_hand(
    plain: PreTrainedModel, tokenizer: Any, asked: tuple[str, str, str, str | None]
) -> HookedModel:
    """A model that somebody holds already.

    Args:
        asked: Device, dtype, original and revision, which are for models that are read.

    Raises:
        ValueError: If it is no transformers model, its tokenizer is missing or does not fit, or it
            is to be another one.
    """
    if asked != ("auto", "auto", "", None):
        raise ValueError(
            "a model in memory stays as and where it is: leave out original, device, dtype and "
            "revision, or move it first (model.to(...))"
        )
    if not isinstance(plain, PreTrainedModel):
        raise ValueError(
            f"load takes a name or a transformers model, not {type(plain).__name__}; merge an "
            "adapter first (merge_and_unload)"
        )
    name = plain.config.name_or_path or type(plain).__name__
    if tokenizer is None:
        raise ValueError(f"load({name}, tokenizer): a model in memory comes with its tokenizer")
    check_fit(tokenizer, plain.get_input_embeddings().num_embeddings, name)
    return hook(plain, tokenizer, name=name)


def _refuse_quantised(plain: PreTrainedModel, name: str, dtype: str, gguf: bool) -> None:
    """Make sure that weights are numbers, where nothing else was asked for.

    Raises:
        ValueError: If they are stored in fewer bits.
    """
    config = plain.config
    if gguf and hasattr(config, "quantization_config"):
        del config.quantization_config  # A GGUF file is already dequantised here.
        plain.is_quantized = False
        plain.hf_quantizer = None
    elif dtype not in QUANTISED and getattr(plain, "is_quantized", False):
        kind = getattr(config.quantization_config, "quant_method", "quantised")
        raise ValueError(
            f"{name} is stored quantised ({kind}), so that its weights can be neither read nor "
            "changed; take the weights in float32 or bfloat16, or bitsandbytes' with --dtype 4bit"
        )


def _tell(name: str, checkpoint: Checkpoint) -> None:
    if checkpoint.renamed:
        prefixes = ", ".join(checkpoint.renamed)
        console.print(f"[dim]{name}: took {prefixes} off the names of its tensors[/dim]")
    if checkpoint.left_out:
        console.print(
            f"[dim]{name}: the language model alone, without {checkpoint.left_out} tensors of its "
            "vision or audio part[/dim]"
        )


def _with_adapter(plain: PreTrainedModel, name: str) -> PreTrainedModel:
    """The model with a PEFT adapter merged into its weights.

    Raises:
        ValueError: If a tensor of the adapter is not read, or merging changes what it computes.
    """
    from peft import PeftConfig, PeftModel
    from peft.utils.save_and_load import load_peft_weights

    location, _ = locate(name)
    local = os.path.exists(location)
    with clear_errors(name, location), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Conv1D is recognised by itself.
        settings = PeftConfig.from_pretrained(location, local_files_only=local)
        if settings.is_prompt_learning:
            raise ValueError(
                f"{name} is a {settings.peft_type.value} adapter, which adds to prompts and cannot "
                "be merged into weights; give one that changes weights, such as LoRA"
            )
        weights = load_peft_weights(
            location, device="cpu", use_safetensors=True, local_files_only=local
        )
        rows = probe(plain.get_input_embeddings().num_embeddings, plain.device)
        modules = [module.partition(".lora_")[0] for module in weights]
        if untie_for(modules, plain):
            console.print(f"[dim]{name}: its head and embedding share weights no longer[/dim]")
        adapted = PeftModel.from_pretrained(
            plain, location, config=settings, use_safetensors=True, local_files_only=local
        )
        check_adapter(adapted, weights, name)
        adapted.eval()
        expected = _logits(adapted, rows, name, plain.dtype)
        merged = adapted.merge_and_unload()
    tolerance = tolerance_of(next(merged.parameters()).dtype)
    for row, right in zip(rows, expected, strict=True):
        apart = difference(logits_of(merged, row), right)
        if not apart <= tolerance:
            raise ValueError(
                f"{name} cannot be merged into its model: the logits then differ by {apart:.2%} "
                "from those of the adapter; merge it with PEFT and load the result"
            )
    return merged


def _logits(model: Any, rows: list[Tensor], name: str, dtype: torch.dtype) -> list[Tensor]:
    """Of a plain model; refused where it computes none, so that hooking is not blamed for it."""
    found = [logits_of(model, row) for row in rows]
    refuse_infinite(found, name, dtype)
    if not all(0 < float(x.norm()) < math.inf for x in found):  # A norm makes 0 of what overflows.
        raise RuntimeError(
            f"the logits of {name} are all 0 or beyond comparing: numbers in it overflow {dtype}; "
            "mend its weights, or take a wider --dtype"
        )
    return found


@contextmanager
def _known_to_transformer_lens(plain: PreTrainedModel, name: str) -> Iterator[None]:
    """Its own message lists every class that there is."""
    try:
        yield
    except (AssertionError, AttributeError, LookupError, RuntimeError, ValueError) as err:
        reason = str(err).partition(". Available")[0].splitlines()
        raise ValueError(
            f"{name} is a {type(plain).__name__}, which TransformerLens cannot hook "
            f"({reason[0] if reason else type(err).__name__}); only models that it has an adapter "
            "for can be loaded"
        ) from err


def hook(plain: PreTrainedModel, tokenizer: Any, *, name: str, location: str = "") -> HookedModel:
    """Wrap a Hugging Face model that is already in memory; it is changed in place.

    Args:
        tokenizer: From ``load_tokenizer``, or ``AutoTokenizer.from_pretrained``.

    Raises:
        ValueError: If TransformerLens does not know the architecture.
        RuntimeError: When the hooked forward differs from the plain one.
    """
    settle_padding(tokenizer)
    plain.eval()
    plain.config.architectures = [type(plain).__name__]  # Models made in memory do not say.
    rows = probe(plain.get_input_embeddings().num_embeddings, plain.device)
    expected = _logits(plain, rows, name, plain.dtype)
    refuse_infinite_weights(plain, name)
    checks = [find("check", check) for check in names("check")]
    references = [check.reference(plain, tokenizer) for check in checks]
    attention = plain.config.get_text_config()._attn_implementation
    mapped = getattr(plain, "hf_device_map", None)  # Then accelerate has placed the parts.
    with warnings.catch_warnings(), _known_to_transformer_lens(plain, name):
        warnings.simplefilter("ignore")
        model: HookedModel = TransformerBridge.boot_transformers(
            name,
            hf_model=plain,
            # Without an end it would be given a new token, which the model has no embedding for.
            tokenizer=tokenizer if tokenizer.eos_token else deepcopy(tokenizer),
            dtype=plain.dtype,
            device=None if mapped else str(plain.device),
        )
    model.eval()
    model.requires_grad_(False)
    # TransformerLens makes every tokenizer add <bos>, also through the public setter; prompts must
    # stay what they are without it.
    model._tokenizer = tokenizer
    adds_bos = tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]
    model.cfg.tokenizer_prepends_bos = model.cfg.default_prepend_bos = adds_bos
    model.shortcuts = Shortcuts()
    model.logit_scale = measured_scale(model, rows[0])
    try:
        result = self_test(model, expected)
        bypass_bridges(model, attention)
        self_test(model, expected)  # As it is computed where nobody looks.
    except (RuntimeError, LookupError, TypeError, ValueError, AttributeError) as err:
        reason = (str(err).splitlines() or [type(err).__name__])[0]
        raise RuntimeError(f"{name} ({type(plain).__name__}) is refused: {reason}") from err
    architecture = type(plain).__name__
    dtype = str(plain.dtype).removeprefix("torch.")
    model.provenance = Provenance(name, location, architecture, dtype, str(plain.device), result)
    for check, reference in zip(checks, references, strict=True):
        check.compare(model, reference)
    return model
