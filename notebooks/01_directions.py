# %% [markdown]
# # Directions: where did unlearning push the activations?
#
# RMU is trained to push the activations of forget texts onto a random vector. If that push is what
# hides the answers, then it should show as *one direction* in the residual stream, and taking it
# away should bring the answers back. We look for it, look at it, and take it away.

# %%
import plotly.express as px
import torch

from mechunlearn import load, load_task, score
from mechunlearn.attacks import Seen
from mechunlearn.attacks.direction_ablation import (
    Ablation,
    DirectionAblation,
    DirectionConfig,
    ablate_direction,
    ablate_everywhere,
    orthogonalize_,
)
from mechunlearn.attacks.projection import project
from mechunlearn.plots.static import static
from mechunlearn.presets import configured
from mechunlearn.train import restored
from mechunlearn.unlearn.rmu import RMU, rmu_

static()
task = load_task("organism")
asked, confirm = (task.questions("forget", fold) for fold in ("select", "confirm"))
retain = task.questions("retain", "confirm")

# %%
original, unlearned = load("organism:original"), load("organism:original")
rmu_(unlearned, task, configured(RMU, "organism", ["optimizer.steps=100"]))

# %% [markdown]
# ## Four ways to look for it
# The direction of a layer is a difference of mean activations. The forget questions in the
# unlearned model can be compared with the same questions in the *original* model, with *benign*
# questions or plain *text* in the unlearned model itself (then no original is needed), or by the
# first principal component (*pca*).

# %%
entry, settings = DirectionAblation(), DirectionConfig()
seen = Seen.of(task, entry)  # All that an attack may look at: there is no confirm question in it.
search = entry.search(unlearned, seen, entry.learn(original, seen, settings), settings)
search.directions["original"]

# %% [markdown]
# The lengths say how far the mean moved after each block. Do the four agree on where it points?

# %%
names = list(search.directions)
units = torch.stack([search.directions[name].unit()[1] for name in names])
cosines = (units @ units.T).round(decimals=3)
figure = px.imshow(cosines, x=names, y=names, text_auto=True, zmin=-1, zmax=1,
                   color_continuous_scale="RdBu")
figure.update_layout(title="Cosine of the directions after block 1", height=420)

# %% [markdown]
# ## The picture behind the attack
# Every question's last activation, projected on the direction: if unlearning works by a push along
# it, the forget questions lie apart from the retain questions in the unlearned model, and not in
# the original.

# %%
spots = [
    {"model": name, "set": role, "coordinate": x}
    for name, model in (("original", original), ("unlearned", unlearned))
    for role, questions in (("forget", confirm), ("retain", retain))
    for x in project(model, search.directions["original"], 1, list(map(seen.text, questions)))
]
columns = {key: [spot[key] for spot in spots] for key in ("model", "set", "coordinate")}
px.histogram(columns, x="coordinate", color="set", facet_row="model", nbins=60,
             barmode="overlay", height=460, title="Activations after block 1 along the direction",
             color_discrete_sequence=["#D55E00", "#0072B2"])

# %% [markdown]
# ## Take it away
# `ablate_direction` projects the direction out after chosen blocks, each with its own vector
# (`zero`), or moves the coordinate to the mean it had in what the direction was taken against
# (`reference`), which spares what every activation had along it before. We try every direction at
# several sets of blocks on the select fold.

# %%
spans = ((0,), (1,), (0, 1), (1, 2, 3), (0, 1, 2, 3))
tried = {
    (name, to, layers): score(unlearned, asked, task, change=ablate_direction(
        unlearned, direction, layers=layers, to=to))
    for name, direction in search.directions.items()
    for to in ("zero", "reference")
    for layers in spans
}

# %%
lines = list(dict.fromkeys(f"{name}, to {to}" for name, to, _ in tried))
grid = torch.tensor([answers.accuracy for answers in tried.values()]).view(len(lines), len(spans))
px.imshow(grid.numpy().round(2), x=[", ".join(map(str, span)) for span in spans], y=lines,
          text_auto=True, zmin=0, zmax=1, aspect="auto", color_continuous_scale="Cividis",
          height=420, labels={"x": "after blocks", "color": "accuracy"},
          title="Forget accuracy on the select fold, by direction and blocks")

# %% [markdown]
# The one that brings back most is judged once, on questions about other facts, and beside a sham:
# random vectors of the same lengths at the same blocks. If those did as much, the finding would say
# nothing about the direction.

# %%
name, to, layers = max(tried, key=lambda key: tried[key].accuracy)
best = ablate_direction(unlearned, search.directions[name], layers=layers, to=to)
for role, questions in (("forget", confirm), ("retain", retain)):
    print(f"{role:7}", score(unlearned, questions, task, change=best))

# %%
sham = search.sham(Ablation(name, layers, "each layer", to), seed=0)
score(unlearned, confirm, task, change=sham)

# %% [markdown]
# ## As weights
# One vector projected out of *everything* that writes to the stream can be baked into the weights:
# a model that leaks without any hook. Both forms answer alike.

# %%
direction = search.directions[name]
hooked = ablate_everywhere(unlearned, direction, layer=1)
before = score(unlearned, confirm, task, change=hooked)
with restored(unlearned):
    orthogonalize_(unlearned, direction, layer=1)
    after = score(unlearned, confirm, task)
print("hooks  ", before)
print("weights", after, "largest difference of logits", abs(before.logits - after.logits).max())

# %% [markdown]
# ## What this does not show
# - The best of many variants looks better on the select fold than it is. That is why it was judged
#   again on the confirm fold, and why an audit tests the best of all against luck.
# - That a direction brings answers back says that RMU *hides* in a few dimensions here. It does not
#   say that other methods do: NPO, for one, resists this attack on the same model (notebook 06).
# - Mean differences find one direction per layer. A push that depends on the question would average
#   out, and this attack would miss it.
