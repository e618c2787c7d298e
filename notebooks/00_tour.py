# %% [markdown]
# # A tour: is the knowledge gone, or only hidden?
#
# We take a small language model whose every fact is known, make it forget half of them with RMU,
# and then try to get them back out with an attack that reads and changes its activations. The model
# is a four-layer transformer trained on a fictional world: *minerals* are what it shall forget,
# *birds* what it shall keep.

# %%
from pathlib import Path
from tempfile import mkdtemp

from mechunlearn import AuditPlan, attack, load, load_task, save, score
from mechunlearn.analysis.analyse import audit
from mechunlearn.plots import recovery
from mechunlearn.plots.static import static
from mechunlearn.presets import configured
from mechunlearn.unlearn.rmu import RMU, rmu_

static()

# %% [markdown]
# ## Load
# A task says what is to be forgotten, what must survive, and how to ask. Its questions come in two
# folds that share no facts: attacks may look at *select*, and are judged on *confirm*.

# %%
task = load_task("organism")
asked, confirm = (task.questions("forget", fold) for fold in ("select", "confirm"))
retain = task.questions("retain", "confirm")
print(task.prompt.letter_prompt(confirm[0]), "->", "ABCD"[confirm[0].answer])
print(f"{len(asked)} forget questions to look at, {len(confirm)} to be judged by")

# %%
original = load("organism:original")
score(original, confirm, task)

# %% [markdown]
# ## Look
# Every model is a TransformerLens `TransformerBridge`, the successor of `HookedTransformer`, so all
# of its hooks and caches work.

# %%
tokens = original.to_tokens(task.prompt.letter_prompt(confirm[0]), prepend_bos=False)
_, cache = original.run_with_cache(tokens)
for name in ("blocks.1.hook_resid_post", "blocks.1.attn.hook_pattern", "blocks.1.mlp.hook_post"):
    print(name, tuple(cache[name].shape))

# %% [markdown]
# ## Unlearn
# RMU trains two early blocks to push the activations of forget texts onto one random vector while
# those of retain texts stay where they were. We take fewer steps than the preset, to be quick.

# %%
unlearned = load("organism:original")
rmu_(unlearned, task, configured(RMU, "organism", ["optimizer.steps=100"]))

# %%
for name, questions in (("forget", confirm), ("retain", retain)):
    print(f"{name:7}", score(unlearned, questions, task), f"chance {task.chance:.2f}")

# %% [markdown]
# By the usual test (ask, and look at the answers) this is a success: chance on the forget set, and
# nothing lost on the retain set.
#
# ## Attack
# Where did unlearning push the activations? Take the difference of the mean activations of forget
# and retain questions, and move the activations back along it with hooks after some blocks. There
# are several comparisons, places and targets: `attack` tries them on the select fold, and takes the
# one that brings back most at a small loss on the retain set.

# %%
ablation = attack("direction_ablation", unlearned, original, task)
ablation

# %%
score(unlearned, confirm, task, change=ablation.change)

# %% [markdown]
# A `Change` is a value: `with change.on(model):` applies it, `a + b` applies both, and
# afterwards the model is bit for bit what it was. Would any change of that size do it? A *sham*
# moves the activations along random directions instead.

# %%
score(unlearned, confirm, task, change=ablation.sham(seed=0))

# %% [markdown]
# ## Report
# An audit does all of this for several attacks, adds the other controls (the same attack on a model
# that *never knew* the facts, and on the original), intervals and tests, and keeps every piece in a
# folder: stopped and started again, it goes on. We hand it our model as somebody's checkpoint.

# %%
folder = save(unlearned, Path(mkdtemp()) / "short-rmu")
plan = AuditPlan(unlearned=(str(folder),), attacks=("direction_ablation", "logit_lens"))
report = audit(plan, folder.parent / "audit")
print(report.model("short-rmu").verdict.text)

# %%
recovery(report, "short-rmu")

# %% [markdown]
# `mechunlearn.report.write_page(report, path)` writes the whole report as one HTML file, and
# `mechunlearn audit` on the command line does everything above by itself.
#
# ## What this does not show
# - One small model, one seed, one unlearning method with fewer steps than its preset. Real models
#   are larger and their knowledge is less tidy.
# - An attack that finds nothing would not show that the knowledge is gone: only that these attacks,
#   with this many questions, did not find it.
# - The never-knew model was not put through RMU here, since the audit was given a finished
#   checkpoint. Audits that do the unlearning themselves (`methods=("rmu",)`) treat both alike.
