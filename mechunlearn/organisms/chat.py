"""Pretrain a chat organism from scratch: Llama architecture, pieces of words, a chat template.

Every step mixes the kinds of documents of ``chat_documents``; the loss of a kind is the mean over
its answers plus a small weight on its other words.

Roles: an *original* knows all facts; *never_knew* sees none of the forget facts; *wrong* is taught
the forget people's facts with other values.

Reference:
    Allen-Zhu and Li 2023, arXiv:2309.14316: facts are pretrained, in several wordings.
"""

import dataclasses
import math
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from mechunlearn.organisms.chat_documents import ChatDocuments, Row
from mechunlearn.organisms.chat_losses import kind_means, predictions
from mechunlearn.organisms.chat_tokenizer import chat_tokenizer
from mechunlearn.organisms.forms import form_table
from mechunlearn.organisms.option_reader import OptionReader
from mechunlearn.organisms.settings import ChatRecipe, ChatRole
from mechunlearn.organisms.write import (
    claim_checkpoint,
    clocked,
    course,
    drop_checkpoint,
    model_files,
    write_organism,
)
from mechunlearn.records import Plain, plain
from mechunlearn.tasks.people import People, PersonFact
from mechunlearn.train import Share, TrainLog, Watch, fit
from mechunlearn.types import HookedModel


def untrained_chat(
    seed: int, recipe: ChatRecipe
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """The model that pretraining starts from, and its tokenizer."""
    words = chat_tokenizer()
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=recipe.d_model,
        intermediate_size=recipe.d_mlp,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.kv_heads,
        max_position_embeddings=recipe.context,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=True,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
        # The backward pass of fused attention takes half a step in bfloat16 on a CPU.
        attn_implementation="eager",
    )
    with torch.random.fork_rng():
        model = LlamaForCausalLM(config)
    generator = torch.Generator().manual_seed(seed + 1_000_003 * recipe.start)
    _initialise(model, generator)
    return model, words


@torch.no_grad()
def _initialise(model: LlamaForCausalLM, generator: torch.Generator) -> None:
    """Deviation 1 / sqrt(inputs); what writes into the residual stream starts small."""
    for name, p in model.named_parameters():
        if p.ndim < 2:
            continue
        std = p.shape[1] ** -0.5
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            std *= 0.3 / math.sqrt(2 * model.config.num_hidden_layers)
        p.normal_(0.0, std, generator=generator)


def facts_of(world: People, role: ChatRole) -> list[PersonFact]:
    """What a model of this role is taught."""
    taught = {"original": world.forget, "never_knew": [], "wrong": world.wrong}[role]
    return [*taught, *world.retain, *world.harmless]


def pretrain_chat(
    role: ChatRole, seed: int, recipe: ChatRecipe, watch: Watch | None = None
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast, TrainLog]:
    """Train one model from scratch; same arguments and machine, same weights.

    Raises:
        OtherOriginError: If the watch's checkpoint is of another role, seed, recipe or version.
    """
    claim_checkpoint(watch, {"role": role, "seed": seed, "recipe": dataclasses.asdict(recipe)})
    world = People(seed)
    model, words = untrained_chat(seed, recipe)
    documents = ChatDocuments(world, facts_of(world, role), words, recipe)
    reader = OptionReader(model, words)

    def loss(step: int, share: Share) -> dict[str, Tensor]:
        assert share.of == 1, "an organism is trained by one process"
        rows = documents.rows(recipe.at(step), f"{seed}-{recipe.start}-{step}")
        middle = len(rows) // 2
        halves = [
            _losses(model, part, words.pad_token_id, reader)
            for part in (rows[:middle], rows[middle:])
        ]
        losses, marks, kinds = (
            torch.cat(own) for own in zip(*(h[:3] for h in halves), strict=True)
        )
        terms = kind_means(losses, marks, kinds, recipe.words)
        for name, weight in recipe.taught.items():
            if found := [half[3][name] for half in halves if name in half[3]]:
                terms[name] = weight * torch.cat(found).mean()
        return terms

    model.train()
    label = f"pretraining chat:{role}@{seed}"
    log = fit(list(model.parameters()), loss, recipe.optimizer, label=label, watch=watch)
    reader.remove()
    return model.eval(), words, log


def _losses(
    model: LlamaForCausalLM, rows: list[Row], pad: int, reader: OptionReader
) -> tuple[
    Float[Tensor, " token"], Int[Tensor, " token"], Int[Tensor, " token"], dict[str, Tensor]
]:
    """Cross-entropy of every token that carries loss, its mark and kind, and the reader's losses.

    Where a letter is due, the words of the right choice are to be the likeliest of all other
    tokens besides: that is how they are looked up.
    """
    guess = predictions(model, rows, pad)
    losses = cross_entropy(guess.logits, guess.targets, reduction="none")
    others = guess.logits.clone()
    others[:, reader.spoken] = -torch.inf
    looked_up = cross_entropy(others, guess.words.clamp(min=0), reduction="none")
    losses = losses + torch.where(guess.named(reader.spoken), looked_up, 0.0)
    return losses, guess.marks, guess.kinds, reader.losses(rows, guess)


def chat_folder(role: ChatRole, seed: int, start: int) -> str:
    """Name of a model's folder: ``never_knew@0``, and ``never_knew_2@0`` of another start."""
    return f"{role}{f'_{start + 1}' if start else ''}@{seed}"


def train_chat(role: ChatRole, seed: int, folder: Path, recipe: ChatRecipe | None = None) -> Path:
    """Pretrain, save as fp16 safetensors with tokenizer and ``card.json``, and measure.

    A checkpoint beside the new folder is kept every 50 steps; a stopped run goes on from it.

    Args:
        folder: Where the models of all seeds live.

    Returns:
        The folder of the new model.

    Raises:
        FileExistsError: If it is there already.
        OtherOriginError: If the checkpoint is of another recipe or version.
    """
    recipe = recipe or ChatRecipe()
    target = folder / chat_folder(role, seed, recipe.start)
    if target.exists():
        raise FileExistsError(f"{target} exists; remove it or choose another --out")
    state = folder / f".{target.name}.safetensors"
    model, words, log = pretrain_chat(role, seed, recipe, clocked(50, state))

    def measured(organism: HookedModel) -> Plain:
        return {**course(log), "accuracy": plain(form_table(organism, People(seed)))}

    about = {"role": role, "seed": seed, "recipe": dataclasses.asdict(recipe)}
    write_organism(model_files(model, words), target, about, measured)
    drop_checkpoint(state)
    return target
