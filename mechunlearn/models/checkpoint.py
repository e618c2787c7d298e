"""Read a checkpoint and make sure that every tensor of it is in the model, and no other one.

transformers fills what a file lacks with random numbers and passes over what it does not know. Here
both are refusals: the names of the files and of the model have to be the same, up to the prefixes
that compiled and wrapped models leave behind.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

WRAPPERS = (
    r"(^|(?<=\.))(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\.",
    r"^(module|base_model\.model|base_model|model\.base_model\.model)\.",
    r"^(model|transformer|gpt_neox)\.(?=(model|transformer|gpt_neox|lm_head|embed_out)\.)",
)
"""What torch.compile, FSDP, activation checkpointing, DeepSpeed, DataParallel, PEFT and modules of
modules put in front of names."""
LANGUAGE = {
    r"^model\.language_model\.model\.": "model.",
    r"^model\.language_model\.": "model.",
    r"^language_model\.": "",
}
"""Where vision-language checkpoints keep their language model."""
OTHER_SENSES = re.compile(r"(^|[._])(vision|visual|image|audio|speech|multi_modal|mm|projector)")
"""Parts that turn pictures and sounds into token embeddings."""
SOME = 3
"""Names that an error shows of each kind."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model as its files have it."""

    model: PreTrainedModel
    renamed: tuple[str, ...] = ()
    """Prefixes that were taken off the names of the tensors."""
    left_out: int = 0
    """Tensors of a vision or audio part, which are not loaded."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Names by which files and model differ."""

    missing: Collection[str]
    """In the model only: these would be random."""
    unexpected: Collection[str]
    """In the files only: these would not be read."""
    reshaped: Collection[str] = ()
    """In both, with other shapes, which are named too."""

    def refuse(self, name: str) -> None:
        """Say what differs, if anything does.

        Raises:
            ValueError: Naming some tensors of each kind, and how many there are.
        """
        kinds = {
            "missing from its files": self.missing,
            "of its files unknown to the model": self.unexpected,
            "of another shape": self.reshaped,
        }
        parts = [f"{len(x)} {what} ({_some(x)})" for what, x in kinds.items() if x]
        if parts:
            raise ValueError(
                f"{name} is not the model that its config.json describes; tensors: "
                f"{'; '.join(parts)}; save it again with save_pretrained, unwrapped and "
                "with its own config"
            )


def _some(names: Collection[str]) -> str:
    shown = sorted(names)[:SOME]
    return ", ".join(shown) + (", ..." if len(names) > SOME else "")


def read_checkpoint(
    location: str, name: str, *, trust_remote_code: bool, **arguments: Any
) -> Checkpoint:
    """Load the language model of a folder, file or Hub id, all of it.

    Args:
        name: What errors call it.
        arguments: Further ones of ``from_pretrained``.

    Raises:
        ValueError: If a tensor of the model or of the files has no counterpart.
    """
    arguments["trust_remote_code"] = trust_remote_code
    named = ("revision", "trust_remote_code", "gguf_file", "local_files_only")
    chosen = {k: arguments[k] for k in named if k in arguments}
    config, changed = read_configuration(location, **chosen)
    text = config.get_text_config()
    spoken = text is not config and type(text) in MODEL_FOR_CAUSAL_LM_MAPPING
    renames: dict[str, str] = dict(LANGUAGE) if spoken else {}
    if spoken or changed:
        arguments["config"] = text if spoken else config
    model, mismatch = _read(location, renames, arguments)
    wrapped = [w for w in WRAPPERS if any(re.search(w, n) for n in mismatch.unexpected)]
    stripped: set[str] = set()
    if mismatch.missing and wrapped:
        unmatched = mismatch.unexpected
        stripped = {m[0] for w in wrapped for n in unmatched if (m := re.search(w, n))}
        # Twice, since wrappers nest: a compiled model in a distributed one.
        model, mismatch = _read(location, {rf"({w})+": "" for w in wrapped} | renames, arguments)
    unexpected = set(mismatch.unexpected)
    left_out = {n for n in unexpected if spoken and OTHER_SENSES.search(n)}
    Mismatch(mismatch.missing, unexpected - left_out, mismatch.reshaped).refuse(name)
    if "gguf_file" in arguments:
        Mismatch((), unread_gguf(model, Path(location) / arguments["gguf_file"])).refuse(name)
    return Checkpoint(model, tuple(sorted(stripped)), len(left_out))


def read_configuration(location: str, **arguments: Any) -> tuple[Any, bool]:
    """A configuration without the kernels that it asks for: how to compute is for us to say.

    A ``config.json`` can name flash attention, which knows no branching prompts and may not be
    here, or a kernel on the Hub, which is code.

    Returns:
        The configuration, and whether it asked for any.
    """
    config = AutoConfig.from_pretrained(location, **arguments)
    asked = bool(config._attn_implementation or config._experts_implementation)
    config._attn_implementation = config._experts_implementation = None
    return config, asked


def _read(
    location: str, renames: Mapping[str, str], arguments: Mapping[str, Any]
) -> tuple[PreTrainedModel, Mismatch]:
    model, about = AutoModelForCausalLM.from_pretrained(
        location,
        key_mapping=dict(renames) or None,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # They are refused here, by name.
        **arguments,
    )
    reshaped = [f"{n}: {tuple(a)}, not {tuple(b)}" for n, a, b in about["mismatched_keys"]]
    return model, Mismatch(about["missing_keys"], about["unexpected_keys"], reshaped)


def unread_gguf(model: PreTrainedModel, file: Path) -> list[str]:
    """Tensors of a GGUF file that transformers has no name for, and so passes over."""
    from gguf import GGUFReader
    from transformers.modeling_gguf_pytorch_utils import (
        TENSOR_PROCESSORS,
        TensorProcessor,
        get_gguf_hf_weights_map,
    )

    reader = GGUFReader(str(file))  # Spelt as transformers spells it: ``parsed_once``.
    field = reader.fields["general.architecture"]
    architecture = bytes(field.parts[field.data[0]]).decode()
    processor = TENSOR_PROCESSORS.get(architecture, TensorProcessor)(config=model.config.to_dict())
    names = get_gguf_hf_weights_map(model, processor)
    # Experts are put together by the processor, under names of its own.
    return [t.name for t in reader.tensors if t.name not in names and "_exps" not in t.name]


def check_adapter(adapted: Any, weights: Mapping[str, Tensor], name: str) -> None:
    """Make sure that every tensor of an adapter is in the model, and nothing else was added.

    Args:
        adapted: A ``PeftModel`` with one adapter, called ``default``.
        weights: The adapter's file.

    Raises:
        ValueError: Naming tensors without a counterpart.
    """
    from peft import get_peft_model_state_dict

    # PEFT's own names for what it reads, and the base weights that some files hold too.
    own = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    inside = adapted.state_dict() | own
    unread = {n for n, w in weights.items() if n not in inside or not _equal(inside[n], w)}
    missing = set(own) - set(weights)
    if unread or missing:
        raise ValueError(
            f"{name} is an adapter that does not fit its model: {len(unread)} of its "
            f"{len(weights)} "
            f"tensors were not read ({_some(unread) or 'none'}), {len(missing)} were not there "
            f"({_some(missing) or 'none'}); save it again with PEFT's save_pretrained"
        )


def _equal(inside: Tensor, given: Tensor) -> bool:
    return inside.shape == given.shape and torch.equal(inside.cpu(), given.to(inside.dtype).cpu())


def untie_for(adapted_modules: Sequence[str], plain: PreTrainedModel) -> bool:
    """Give the head weights of its own where an adapter changes head or embedding alone.

    Returns:
        Whether that was done.
    """
    head, table = plain.get_output_embeddings(), plain.get_input_embeddings()
    if head is None or head.weight is not table.weight:
        return False
    names = {id(m): n for n, m in plain.named_modules()}
    both = {names[id(head)].rpartition(".")[2], names[id(table)].rpartition(".")[2]}
    if not both & {m.rpartition(".")[2] for m in adapted_modules}:
        return False
    head.weight = torch.nn.Parameter(head.weight.detach().clone(), requires_grad=False)
    plain.config.tie_word_embeddings = False
    plain.config.get_text_config().tie_word_embeddings = False
    return True
