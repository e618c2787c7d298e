# %% [markdown]
# # Relearning: does it come back, or is it taught?
#
# A little finetuning often undoes unlearning. But finetuning also teaches: if accuracy on the
# forgotten questions rises, was the knowledge still there, or did we just put it in? Two answers
# are built in. The attack trains on *other* facts of the domain than those it is judged by. And a
# *never-knew twin*, trained like the original but without these facts, goes through the same
# unlearning and the same finetuning: what it gains is the price of teaching.

# %%
import dataclasses

import plotly.graph_objects as go

from mechunlearn import load, load_task, score
from mechunlearn.analysis.answers import sources_of
from mechunlearn.analysis.recovery import recovery
from mechunlearn.attacks import Seen
from mechunlearn.attacks.relearning import DISJOINT, Run, relearning
from mechunlearn.audit.select import Deciding, Measured
from mechunlearn.plots.static import static
from mechunlearn.plots.template import LOOKS, lay_out
from mechunlearn.presets import configured
from mechunlearn.unlearn.rmu import RMU, rmu_

static()
task = load_task("organism")
confirm = task.questions("forget", "confirm")
retain = task.questions("retain", "confirm")

# %% [markdown]
# ## Two models, one treatment

# %%
config = configured(RMU, "organism", ["optimizer.steps=100"])
models = {"unlearned": load("organism:original"), "never_knew": load("organism:never_knew")}
before = {"original": score(models["unlearned"], confirm, task)}
for name, model in models.items():
    rmu_(model, task, config)
    before[name] = score(model, confirm, task)
    print(f"{name:10} after RMU", before[name], "retain", score(model, retain, task))

# %% [markdown]
# ## One run, one curve
# The registered attack lets a run be watched: after 1, 2, 4, ... steps. It sees the select fold
# only; the watch, which an audit owns, also asks the confirm fold. Here the attack trains on facts
# of the forget domain alone, two a step; an audit adds retain facts to every step (`keep`), so that
# what comes back costs less of the rest. Afterwards the models are what they were.

# %%
settings = configured(DISJOINT, "organism", ["batch=2", "keep=0", "rates=(1e-3,)"])


def relearned(model):
    watch = Measured(Deciding.of(task, "relearning", DISJOINT.splits(settings)))
    seen = Seen.of(task, DISJOINT, config=settings, watch=watch)
    return DISJOINT.search(model, seen, None, settings), watch.stages


searches, curves = {}, {}
for name, model in models.items():
    searches[name], curves[name] = relearned(model)
    for point in curves[name]:
        low, high = point.confirm.interval
        print(f"{name:10} {point.progress.samples:4} samples: ", end="")
        print(f"forget {point.confirm.accuracy:.3f} [{low:.3f}, {high:.3f}]  ", end="")
        print(f"retain {point.retain.accuracy:.3f}")

# %%
title = "Relearning from other facts of the domain"
caption = f"Forget questions of the confirm fold, n = {len(confirm)}; bars are 95 % intervals."
figure = lay_out(go.Figure(), title, caption, height=300)
LABELS = {"unlearned": "unlearned model", "never_knew": "never-knew twin"}
for name, role in (("unlearned", "attacked"), ("never_knew", "never_knew")):
    points = curves[name][1:]
    x, y = [p.progress.samples for p in points], [p.confirm.accuracy for p in points]
    ends = [[abs(p.confirm.interval[i] - p.confirm.accuracy) for p in points] for i in (1, 0)]
    bars = {"array": ends[0], "arrayminus": ends[1], "width": 2}
    look = LOOKS[role]
    figure.add_scatter(x=x, y=y, error_y=bars, name=LABELS[name], marker_color=look.colour,
                       marker_symbol=look.marker, line_dash=look.dash)
figure.add_hline(y=task.chance, line_dash="dot", line_color="#777777")
figure.update_yaxes(range=[0, 1.03], title="accuracy")
figure.update_xaxes(type="log", title="samples trained on", tickvals=x)

# %% [markdown]
# ## Net of its control
# `recovery` counts what the attack gains beyond what it gains on the twin, question by question,
# and what share of the gap that is. The number of steps was not chosen here: it is the run's end.

# %%
end = Run(rate=1e-3, seed=0, steps=64)
after = {
    name: score(model, confirm, task, change=searches[name].change(end))
    for name, model in models.items()
}
gains = {name: after[name].values - before[name].values for name in ("unlearned", "never_knew")}
net = recovery(
    net=gains["unlearned"] - gains["never_knew"],
    gap=before["original"].values - before["unlearned"].values,
    sources=sources_of(confirm),
    seed=0,
)
dataclasses.asdict(net)

# %% [markdown]
# ## The other control: the same prompts with shuffled answers
# If it is only the format of answering that comes back, wrong answers teach it as well.

# %%
for seed in (0, 1):
    sham = searches["unlearned"].sham(end, seed)
    print(score(models["unlearned"], confirm, task, change=sham))

# %% [markdown]
# `relearning(lessons, config, run)` is a `Change` like any other: it trains on entry, restores
# the weights bit for bit on exit, and composes with `+`.

# %%
relearning(searches["unlearned"].lessons, settings, dataclasses.replace(end, steps=8))

# %% [markdown]
# ## What this does not show
# - One learning rate and one order of examples: a rate that fails says little.
# - That facts come back from *other* facts shows that they were there. That they do not come back
#   would not show that they are gone: a better recipe might do it.
# - The twin shares the original's recipe, seed and treatment. For models from the wild there is no
#   twin; then only the shuffled answers are left as a control, and they control for less.
