"""What an outsider can see of a model, question by question, without knowing any answer.

    entropy  of the first token of the answer, in nats
    margin   log p of its likeliest token, less that of the second
    length   tokens of what the model says, where answers are generated
    shift    (h_l - h0_l) . m / |m| at the question's last token, where h0_l is the original's state
             and m the mean of h_l - h0_l over all questions that were looked at before

``shift`` needs the original, but neither answers nor which questions were to be forgotten.

Reference:
    Chen et al. 2025, Unlearning Isn't Invisible, arXiv:2506.14003 (responses and activations give
    away that a model was unlearned).
    Differs: single numbers instead of trained classifiers, so that nothing is fitted to the labels;
    whether forget questions stand out among a model's questions, not whether the model does among
    models.
    Limits: a model that never knew is uncertain about the forget questions too; any training on
    some facts moves the states of these. Read all of it beside such models.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechunlearn.bench.generation import Decoding, continuations
from mechunlearn.bench.rows import encode
from mechunlearn.bench.states import states_at
from mechunlearn.hooks import unembed
from mechunlearn.types import HookedModel, Point

MOST_TOKENS = 32
"""Of an answer whose length is measured."""


def last_states(
    model: HookedModel, prompts: Sequence[str]
) -> Float[Tensor, "layer prompt d_model"]:
    """The stream after every block at the last token of each prompt, in float32 on the host."""
    rows = [encode(model.tokenizer, prompt) for prompt in prompts]
    points = [Point(layer) for layer in range(model.cfg.n_layers)]
    found = states_at(model, rows, [[len(row) - 1] for row in rows], points)
    return torch.stack([found[point].float() for point in points])


@torch.no_grad()
def responses(
    model: HookedModel,
    prompts: Sequence[str],
    states: Float[Tensor, "layer prompt d_model"],
    *,
    generates: bool = False,
) -> Mapping[str, Float[np.ndarray, " prompt"]]:
    """How certain the model is of what it says first, and how much it says.

    Args:
        states: As ``last_states`` gives them.
        generates: Whether answers are generated, so that they have lengths.
    """
    at = next(model.parameters())
    log = unembed(model, states[-1].to(at)).log_softmax(-1)
    best = log.topk(2, dim=-1).values
    found = {
        "entropy": -(log.exp() * log).sum(-1).double().cpu().numpy(),
        "margin": (best[:, 0] - best[:, 1]).double().cpu().numpy(),
    }
    if generates:
        said = continuations(model, prompts, Decoding(max_tokens=MOST_TOKENS))
        found["length"] = np.array([float(len(tokens)) for (tokens,) in said])
    return found


def shifts(
    before: Float[Tensor, "prompt d_model"],
    after: Float[Tensor, "prompt d_model"],
    looked_at: Float[Tensor, " d_model"],
) -> Float[np.ndarray, " prompt"]:
    """How far each state moved along a mean shift.

    Args:
        looked_at: The mean of ``after - before`` over other questions.
    """
    unit = looked_at / looked_at.norm().clamp_min(torch.finfo(torch.float32).tiny)
    return ((after - before) @ unit).double().numpy()
