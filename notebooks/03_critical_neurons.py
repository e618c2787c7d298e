# %% [markdown]
# # Critical neurons: which parts keep the answer down?
#
# Attribution asks of every weight, neuron and attention head how much the loss on some text depends
# on it. Parts that the unlearned model needs on *forget* text and nowhere else are suspects: they
# may do nothing but suppress. Taking out "important for forgetting, minus important for anything
# else" is called set-difference pruning.

# %%
import plotly.express as px
import torch

from mechunlearn import attack, load, load_task, score
from mechunlearn.attacks import Seen
from mechunlearn.attacks.attribution import unit_means, unit_scores, weight_scores
from mechunlearn.attacks.set_difference_pruning import (
    HEADS,
    forget_rows,
    prune_units,
    utility_rows,
)
from mechunlearn.plots.static import static
from mechunlearn.presets import configured
from mechunlearn.unlearn.rmu import RMU, rmu_

static()
task = load_task("organism@1")
asked, confirm = (task.questions("forget", fold) for fold in ("select", "confirm"))

# %% [markdown]
# The second shipped world and model (seed 1), where these attacks find more than in the first.

# %%
original, unlearned = load("organism:original@1"), load("organism:original@1")
rmu_(unlearned, task, configured(RMU, "organism", ["optimizer.steps=150"]))
score(unlearned, confirm, task)

# %% [markdown]
# ## What does the model use, and for what?
# Gradient times activation of every attention head and MLP neuron, on forget text and on what has
# to survive (retain questions and plain text).

# %%
seen = Seen.of(task, HEADS)  # The select fold and texts: all that this attack may look at.
forget = forget_rows(unlearned, seen, examples=128, limit=64)["forget corpus"]
utility = utility_rows(unlearned, seen, examples=128, limit=64)
heads = [unit_scores(unlearned, rows, "head") for rows in (forget, utility)]
shares = torch.stack([scores / scores.sum() for scores in heads]).numpy()
figure = px.imshow(shares, facet_col=0, text_auto=".2f", color_continuous_scale="Cividis",
                   labels={"x": "head", "y": "layer", "color": "share"}, height=340)
for panel, name in enumerate(("forget text", "what must survive")):
    figure.layout.annotations[panel].text = f"attribution on {name}"
figure

# %%
neurons = [unit_scores(unlearned, rows, "neuron") for rows in (forget, utility)]
ranked = [scores.flatten().argsort().argsort().float() / scores.numel() for scores in neurons]
columns = {"forget": ranked[0].numpy(), "utility": ranked[1].numpy(),
           "layer": [str(i) for i in range(4) for _ in range(neurons[0].shape[1])]}
figure = px.density_heatmap(columns, x="utility", y="forget", facet_col="layer", nbinsx=12,
                            nbinsy=12, color_continuous_scale="Cividis", height=330)
figure.update_layout(title="Neurons by rank of attribution (1: most important)")

# %% [markdown]
# Neurons of the upper left corners are the suspects: important on forget text, unimportant
# elsewhere. Single weights can be scored as well (SNIP: weight times gradient).

# %%
MATRICES = ("q", "k", "v", "o", "in", "out")
scores = weight_scores(unlearned, forget[:64])
sums = torch.tensor([[scores[layer, m].sum() for m in MATRICES] for layer in range(4)])
px.imshow(sums.numpy().round(1), x=list(MATRICES), text_auto=True, height=340, aspect="auto",
          color_continuous_scale="Cividis", labels={"x": "matrix", "y": "layer", "color": "sum"},
          title="SNIP scores on forget text, summed over each matrix")

# %% [markdown]
# ## Take one head out
# Every head in turn is held at its mean activation on benign text: is there one that is enough?

# %%
means = unit_means(unlearned, utility, "head")
accuracy = torch.zeros(4, 4)
for layer, head in torch.cartesian_prod(torch.arange(4), torch.arange(4)).tolist():
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[layer, head] = True
    change = prune_units(mask, "head", means)
    accuracy[layer, head] = score(unlearned, asked, task, change=change).accuracy
px.imshow(accuracy.numpy().round(2), text_auto=True, zmin=0, zmax=1, height=340,
          color_continuous_scale="Cividis", labels={"x": "head", "y": "layer", "color": "accuracy"},
          title="Forget accuracy (select fold) with one head held at its mean")

# %% [markdown]
# ## As an attack
# The registered attacks try shares p and q of both rankings, to zero and to the mean, keep what
# costs little retain accuracy, and are judged on the confirm fold. The sham takes out as many
# random units of each layer.

# %%
for name in ("pruning_heads", "pruning_neurons"):
    pruning = attack(name, unlearned, original, task)
    print(name, pruning.variant, "within the retain limit:", pruning.within_limit)
    for arm, change in (("attack", pruning.change), ("sham", pruning.sham(seed=0))):
        print("  ", arm, score(unlearned, confirm, task, change=change))

# %% [markdown]
# ## What this does not show
# - Attribution is first order: it says how the loss changes if a unit fades a little, not what
#   happens when several are gone. The intervention is the test, attribution only proposes.
# - A head whose removal brings answers back need not "contain" the suppression. It may carry the
#   signal that something later reacts to.
# - On the other shipped model RMU ended elsewhere, and holding one head does not suffice there (the
#   README's table): how a method hides differs from run to run.
