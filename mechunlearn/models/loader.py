"""Load any causal language model as a hooked model."""

import gc
import os
import warnings
from typing import Any

from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM, PreTrainedModel

from mechunlearn.models.gate import logits_of, probe, self_test
from mechunlearn.models.placement import QUANTISED, placement
from mechunlearn.models.sources import adapter_base, clear_errors, locate
from mechunlearn.models.tokenizer import check_fit, load_tokenizer
from mechunlearn.types import HookedModel, Provenance


def load(
    name: str,
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
            or id of a PEFT adapter, which is merged into the model it belongs to.
        original: The model it was made from: gives the tokenizer where it has none, and carries it
            where it is an adapter (default: the model that the adapter names).
        device: ``cpu``, ``cuda``, ...; ``auto`` takes CUDA where there is one; ``map`` spreads the
            blocks over all GPUs.
        dtype: ``float32``, ``bfloat16``, ``float16``; ``auto`` is float32 on the CPU and
            bfloat16 elsewhere; ``8bit`` and ``4bit`` quantise with bitsandbytes, on CUDA only.
        revision: Branch, tag or commit on the Hub.
        trust_remote_code: Allow code from the model's repository to run.

    Returns:
        The hooked model with tokenizer and pad token; ``.provenance`` says where it came from.

    Raises:
        ValueError: For an unknown name, a missing or unreadable folder, a pickle checkpoint, a
            tokenizer that does not fit.
        PrerequisiteError: When a download, package or device is needed that is not there.
        RuntimeError: When the hooked forward differs from the plain one.
    """
    gc.collect()  # A model let go of before stays in memory until then: hook points refer to it.
    location, extra = locate(name)
    hub = {"revision": revision, "trust_remote_code": trust_remote_code}
    base = adapter_base(name)
    if base is not None:
        base = original or base
        if dtype in QUANTISED:
            raise ValueError(
                f"{name} is an adapter: merging it needs whole weights; use another --dtype "
                f"than {dtype}"
            )
        location, extra = locate(base)
    placing, place = placement(device, dtype)
    if not os.path.exists(location):
        extra |= hub if base is None else {}
    tokenizer = load_tokenizer(name, base or original, **hub)
    with clear_errors(base or name, location):
        plain = AutoModelForCausalLM.from_pretrained(location, **placing, **extra)
    if place is not None:
        plain = plain.to(place)
    if base is not None:
        plain = _with_adapter(plain, name)
    config = plain.config
    if "gguf_file" in extra and hasattr(config, "quantization_config"):
        del config.quantization_config  # A GGUF file is already dequantised here.
        plain.is_quantized = False
        plain.hf_quantizer = None
    check_fit(tokenizer, plain.get_input_embeddings().num_embeddings, name)
    return hook(plain, tokenizer, name=name, location=str(location))


def _with_adapter(plain: PreTrainedModel, name: str) -> PreTrainedModel:
    """The model with a PEFT adapter merged into its weights."""
    from peft import PeftModel

    location, _ = locate(name)
    with clear_errors(name, location), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Conv1D is recognised by itself.
        adapted = PeftModel.from_pretrained(
            plain, location, use_safetensors=True, local_files_only=os.path.exists(location)
        )
        return adapted.merge_and_unload()


def hook(plain: PreTrainedModel, tokenizer: Any, *, name: str, location: str = "") -> HookedModel:
    """Wrap a Hugging Face model that is already in memory; it is changed in place.

    Args:
        tokenizer: From ``load_tokenizer``, or ``AutoTokenizer.from_pretrained``.

    Raises:
        RuntimeError: When the hooked forward differs from the plain one.
    """
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    plain.eval()
    plain.config.architectures = [type(plain).__name__]  # Models made in memory do not say.
    rows = probe(plain.config.vocab_size, plain.device)
    expected = [logits_of(plain, row) for row in rows]
    mapped = getattr(plain, "hf_device_map", None)  # Then accelerate has placed the parts.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: HookedModel = TransformerBridge.boot_transformers(
            name,
            hf_model=plain,
            tokenizer=tokenizer,
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
    result = self_test(model, expected)
    architecture = type(plain).__name__
    dtype = str(plain.dtype).removeprefix("torch.")
    model.provenance = Provenance(name, location, architecture, dtype, str(plain.device), result)
    return model
