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
import plotly.express as px

from mechunlearn import load, load_task, score
from mechunlearn.attacks import Seen
from mechunlearn.attacks.gcg.attack import GCG
from mechunlearn.plots.static import static
from mechunlearn.presets import configured
from mechunlearn.unlearn.rmu import RMU, rmu_

static()
task = load_task("organism")
confirm = task.questions("forget", "confirm")
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
gcg, config = GCG(), configured(GCG, "organism", ["search.restarts=1", "search.steps=20"])
seen = Seen.of(task, gcg, config=config)  # All that the attack may look at.
targets = gcg.learn(original, seen, config)
search = gcg.search(unlearned, seen, targets, config)
(best,) = next(search.variants())  # One text, as there was one start.
(trace,) = search.traces(best)
print(f"{len(trace.tokens)} tokens, {trace.candidates} texts scored,",
      f"loss {trace.curve[0]:.3f} -> {trace.curve[-1]:.3f}")

# %%
px.line(y=trace.curve, labels={"x": "step", "y": "loss of the best text (nats)"}, height=320,
        title="The search")

# %% [markdown]
# ## Does it open other questions?
# The change is a rewrite of the prompt. The sham is a random text of the same length.

# %%
optimised = search.change(best)
changes = {"optimised": optimised}
changes |= {f"random {seed}": search.sham(best, seed) for seed in range(3)}
for name, change in changes.items():
    print(f"{name:10} forget", score(unlearned, confirm, task, change=change))
print("optimised  retain", score(unlearned, retain, task, change=optimised))

# %% [markdown]
# On the original, the text should at least do no harm: this is the ceiling of the attack.

# %%
score(original, confirm, task, change=optimised)

# %% [markdown]
# ## The never-knew twin
# A text found for a model that never knew, after the same unlearning, shows whether a few tokens
# can *teach* the answers. The twin gets a search of its own.

# %%
twin = load("organism:never_knew")
rmu_(twin, task, configured(RMU, "organism", ["optimizer.steps=100"]))
for_twin = gcg.search(twin, seen, targets, config)
score(twin, confirm, task, change=for_twin.change(best))

# %% [markdown]
# ## What do the tokens do inside?
# How far the state at the end of the prompt moves, at every block, when one token is left out.

# %%
figure = px.imshow(trace.effects, color_continuous_scale="Blues", text_auto=".2f", height=360,
                   y=[f"token {i}" for i in range(len(trace.effects))], aspect="auto",
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
