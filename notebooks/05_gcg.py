# %% [markdown]
# # GCG: is there a text that unlocks the answers?
#
# Greedy coordinate gradient search looks for a few tokens that, in front of *any* prompt, make the
# model answer again. It takes gradients through the model, but what comes out is plain text. It is
# optimised on some questions and judged on others, so it cannot carry their answers.
#
# We print what the text does and not the text itself: this project commits no optimised prompts,
# not even harmless ones about invented minerals.

# %%
import dataclasses

import plotly.express as px

from mechunlearn import load, load_task, score
from mechunlearn.attacks.gcg.attack import GCG
from mechunlearn.plots.static import static
from mechunlearn.presets import configured
from mechunlearn.unlearn.rmu import RMU, rmu_

static()
task = load_task("organism")
asked, confirm = (task.questions("forget", fold) for fold in ("select", "confirm"))
retain = task.questions("retain", "confirm")

# %%
original, unlearned = load("organism:original"), load("organism:original")
rmu_(unlearned, task, configured(RMU, "organism", ["optimizer.steps=100"]))
score(unlearned, confirm, task)

# %% [markdown]
# ## Search
# The preset is shortened: one start instead of two, and fewer steps. Each step proposes edits of
# the best text so far by the gradient, and races them: children that do badly on a few questions
# are not tried on the rest.

# %%
config = configured(GCG, "organism", ["search.restarts=1", "search.steps=20"])
known = GCG.reference(original, task, asked, config)
found = GCG.find(unlearned, task, asked, known, config)
settings = found.grid()[0]
details = found.details(settings)
print(f"{len(details['tokens'])} tokens, {details['candidates']} texts scored,",
      f"loss {details['curve'][0]:.3f} -> {details['curve'][-1]:.3f}")

# %%
px.line(y=details["curve"], labels={"x": "step", "y": "loss of the best text (nats)"}, height=320,
        title="The search")


# %% [markdown]
# ## Does it open other questions?
# The change is a rewrite of the prompt. The sham is a random text of the same length.

# %%
def behind(model, candidate, questions):
    prompt = dataclasses.replace(task.prompt, rewrite=candidate.rewrite)
    return score(model, questions, prompt)


texts = {"optimised": found.build(settings)}
texts |= {f"random {seed}": found.sham(settings, seed) for seed in range(3)}
for name, text in texts.items():
    print(f"{name:10} forget", behind(unlearned, text, confirm))
print("optimised  retain", behind(unlearned, texts["optimised"], retain))

# %% [markdown]
# On the original, the text should at least do no harm: this is the ceiling of the attack.

# %%
behind(original, texts["optimised"], confirm)

# %% [markdown]
# ## The never-knew twin
# A text found for a model that never knew, after the same unlearning, shows whether a few tokens
# can *teach* the answers. The twin gets a search of its own.

# %%
twin = load("organism:never_knew")
rmu_(twin, task, configured(RMU, "organism", ["optimizer.steps=100"]))
for_twin = GCG.find(twin, task, asked, known, config)
behind(twin, for_twin.build(for_twin.grid()[0]), confirm)

# %% [markdown]
# ## What do the tokens do inside?
# How far the state at the end of the prompt moves, at every block, when one token is left out.

# %%
figure = px.imshow(details["effects"], color_continuous_scale="Blues", text_auto=".2f", height=360,
                   y=[f"token {i}" for i in range(len(details["effects"]))], aspect="auto",
                   labels={"x": "layer", "color": "effect"}, title="Effect of each token")
figure.update_xaxes(dtick=1)

# %% [markdown]
# ## What this does not show
# - One short search from one random start. GCG is a lottery with good odds: on the other shipped
#   model (seed 1) longer searches found little, and more restarts may still find more.
# - That the search for the twin fails shows that *this* search does not teach. Long prompts with
#   facts in them of course would.
# - The vocabulary of this model is small. On real tokenizers the search is larger, and its texts
#   look like noise.
