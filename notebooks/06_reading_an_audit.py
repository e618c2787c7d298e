# %% [markdown]
# # Reading an audit: what do its numbers mean, and what carries them?
#
# An audit's report is plain data. This notebook takes two that are committed with the project (RMU
# and NPO on the same small model, many attacks each), and computes their numbers again from their
# parts: intervals, the net difference, the share of the gap, tests, and the price of having tried
# many settings. Nothing is trained here.

# %%
from pathlib import Path

import numpy as np
import plotly.express as px

from mechunlearn import Report
from mechunlearn.analysis.tests import best_of_k
from mechunlearn.plots import recovery
from mechunlearn.plots.static import static
from mechunlearn.stats import wilson

static()
folder = Path("..") / "figures" / "audit-attacks"
reports = {name: Report.load(folder / f"{name}-seed0.json") for name in ("rmu", "npo")}
rmu = reports["rmu"]

# %% [markdown]
# ## The verdict, in words
# Written by fixed rules from the numbers, never by hand.

# %%
for name, report in reports.items():
    print(report.model(name).verdict.text, "\n")

# %% [markdown]
# ## The whole audit in one picture
# Each attack beside its controls: the same attack on a model that never knew, a sham attack of the
# same size, and the attack on the original.

# %%
recovery(rmu, "rmu").update_layout(height=880)

# %% [markdown]
# ## One row, taken apart
# *n* questions give an accuracy, and n alone decides how sharp it is (Wilson's interval).

# %%
row = next(r for r in rmu.rows if r.attack == "relearning_retain")
n, hits = row.n, round(row.value * row.n)
print(f"{row.attack}: {hits} of {n} right, {row.value:.3f}")
print("interval again", np.round(wilson(hits, n), 3), "in the report", row.value_ci)

# %% [markdown]
# The *difference* is a difference of differences: what the attack gains on the unlearned model,
# less what the same attack gains on its control. The *recovery* is its share of the gap that
# unlearning opened.

# %%
unlearned, control = rmu.model("rmu"), rmu.control_of("rmu")
before, never_knew = unlearned.sets["forget"].value, control.sets["forget"].value
gain, taught = row.value - before, row.control - never_knew
gap = rmu.original.sets["forget"].value - before
print(f"gain {gain:.3f} - gain of the control {taught:.3f} = {gain - taught:.3f}")
print(f"of the gap {gap:.3f}: {(gain - taught) / gap:.3f}; in the report: {row.recovery:.3f}",
      row.recovery_ci)

# %% [markdown]
# ## Many tests, some luck
# Many attacks are many chances of a false alarm. In these reports, made before the test by sign
# flips, McNemar's test compares each attacked model with its attacked control, and Holm's rule
# keeps the chance of *any* false alarm below 5 %.

# %%
for r in reports["npo"].rows:
    print(f"{r.attack:22} p {r.p:8.2g}   after Holm {r.p_adjusted:8.2g}   "
          f"difference {r.difference:+.3f} {r.difference_ci}")

# %% [markdown]
# ## The best of many settings
# An attack tries many settings on the select fold. The best of many worthless settings looks good
# there by luck alone. Coins show it: settings that guess, and the accuracy of the best of them.

# %%
rng = np.random.default_rng(0)
coins = rng.random((200, 192)) < 0.25
best = [np.maximum.accumulate(rng.permutation(coins.mean(axis=1))) for _ in range(200)]
figure = px.line(y=np.mean(best, axis=0), x=np.arange(1, 201), log_x=True, height=340,
                 labels={"x": "settings tried", "y": "accuracy of the best"},
                 title="Guessing, if the best of k settings is reported")
figure.update_xaxes(dtick=1)

# %% [markdown]
# Two things guard against it. The number that counts comes from the confirm fold, which was asked
# once, for the chosen setting. And a permutation test asks whether the best of k gained more on the
# select fold than the best of k would by luck: for these coins it must not fire.

# %%
before = rng.random(192) < 0.25
print(f"best of {len(coins)} coins {coins.mean(axis=1).max():.3f}, before {before.mean():.3f}: "
      f"p = {best_of_k(list(coins), before, np.arange(192), seed=0):.3f}")

# %%
tried = rmu.findings_of("rmu").tried
for attack in ("direction_ablation", "pruning_weights", "pruning_heads"):
    selected = max(t.forget for t in tried[attack])
    confirmed = next(r.value for r in rmu.rows if r.attack == attack)
    print(f"{attack:20} {len(tried[attack]):3} settings: best on select {selected:.3f}, "
          f"the chosen one on confirm {confirmed:.3f}")

# %% [markdown]
# ## What would have been missed?
# "Found nothing" is worth as much as the smallest gain that would have been found. It shrinks with
# the root of the number of questions.

# %%
sizes = np.array([25, 50, 100, 240, 500, 1000, 2000])
limits = 2.8 * np.sqrt(2 * 0.25 * 0.75 / sizes)  # Guesses differ in 37.5 % of pairs; 80 % power.
axes = {"x": "questions", "y": "smallest gain"}
figure = px.line(x=sizes, y=limits, log_x=True, markers=True, height=340, labels=axes,
                 title=f"Smallest gain that four of five audits find; here {row.detectable:.2f}")
figure.update_xaxes(dtick=1)
figure.add_vline(x=n, line_dash="dot")

# %% [markdown]
# ## The settings that chose best may cost something
# An attack that destroys the model is no recovery. Rows that lost more retain accuracy on the
# select fold than allowed are marked.

# %%
for name, report in reports.items():
    retain = report.model(name).sets["retain"].value
    for r in report.rows:
        if not r.within_limit:
            print(f"{name}, {r.attack}: retain {retain:.3f} -> {r.retain:.3f}")

# %% [markdown]
# ## What this does not show
# - Intervals count the luck of the *questions*. Another training run of the same method is another
#   model, and may hide in another way: compare the reports of both seeds in `figures/`.
# - The tests ask whether an attack beats its control. They do not say how much of a harmful
#   ability came back: that is for the questions to represent.
# - A few committed reports are no survey of unlearning methods, and organisms are no large models.
