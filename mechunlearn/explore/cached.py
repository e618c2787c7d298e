"""Activations of many questions, kept on disk, and how far two models are apart on them."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from mechunlearn.explore.prompt import Prompt
from mechunlearn.hooks import capture, foreign_hooks, run_blocks
from mechunlearn.models import fingerprint
from mechunlearn.plots.template import lay_out
from mechunlearn.types import HookedModel, Point

COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7")


@torch.no_grad()
def states(
    model: HookedModel,
    prompts: Sequence[Prompt],
    points: Sequence[Point] = (),
    folder: Path | None = None,
) -> dict[Point, Float[Tensor, "prompt d_model"]]:
    """What passes some points at the last token of every prompt, in float32.

    Args:
        points: Default: the output of every block.
        folder: Where they are kept, and read the next time. The file's name depends on the bytes
            of the weights, the tokens and the points, so that a changed model is computed anew; a
            model with hooks on, an attack's too, is neither read from there nor kept.

    Raises:
        ValueError: If there are no prompts.
    """
    if not prompts:
        raise ValueError("there are no prompts whose activations could be kept")
    points = tuple(points) or tuple(Point(i) for i in range(model.cfg.n_layers))
    file = None
    if folder is not None and not foreign_hooks(model, changes=True):
        file = folder / f"{_key(model, prompts, points)}.safetensors"
    if file is not None and file.exists():
        kept = load_file(file)
        return {point: kept[point.name] for point in points}
    rows: dict[Point, list[Tensor]] = {point: [] for point in points}
    for prompt in prompts:
        with capture(model, points) as passing:
            run_blocks(model, prompt.tokens(model))
        for point in points:
            rows[point].append(passing[point][0, -1].float().cpu())
    found = {point: torch.stack(own) for point, own in rows.items()}
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        made = file.with_suffix(".tmp")  # An interruption leaves no half file under the name.
        save_file({point.name: x for point, x in found.items()}, made)
        made.replace(file)
    return found


def _key(model: HookedModel, prompts: Sequence[Prompt], points: Sequence[Point]) -> str:
    about = [prompt.tokens(model).tolist() for prompt in prompts], [p.name for p in points]
    return hashlib.sha256(f"{fingerprint(model)} {about}".encode()).hexdigest()[:32]


def apart(
    original: HookedModel,
    unlearned: HookedModel,
    groups: Mapping[str, Sequence[Prompt]],
    folder: Path | None = None,
) -> go.Figure:
    """``|unlearned - original| / |original|`` at the last token, block by block: mean and spread.

    Args:
        groups: Prompts by what they are, such as lost and kept questions.
        folder: As for ``states``.

    Raises:
        ValueError: If there are more groups than colours, or no prompts in one.
    """
    if len(groups) > len(COLOURS):
        raise ValueError(f"at most {len(COLOURS)} groups can be told apart, not {len(groups)}")
    fig, means = go.Figure(), {}
    for colour, (name, prompts) in zip(COLOURS, groups.items(), strict=False):
        first, second = (states(model, prompts, (), folder) for model in (original, unlearned))
        far = np.stack(
            [
                ((second[point] - first[point]).norm(dim=1) / first[point].norm(dim=1)).numpy()
                for point in first
            ]
        )
        means[name] = far.mean(axis=1)
        fig.add_scatter(
            y=np.round(means[name], 4).tolist(),
            error_y={"array": np.round(far.std(axis=1), 4).tolist(), "color": colour},
            mode="lines+markers",
            name=f"{name} (n = {len(prompts)})",
            line={"color": colour},
            hovertemplate="block %{x}: %{y:.2f}<extra>" + name + "</extra>",
        )
    last = {name: mean[-1] for name, mean in means.items()}
    title = "At the last block the models are apart by " + " and ".join(
        f"{far:.0%} on {name} questions" for name, far in last.items()
    )
    caption = (
        "Block outputs at the last token: |difference| / |original|, mean over questions; bars are "
        "one standard deviation between questions."
    )
    lay_out(fig, title, caption, height=380)
    fig.update_xaxes(title="block", dtick=1)
    return fig.update_yaxes(title="relative distance", rangemode="tozero")
