# %% [markdown]
# # Your own model, task and attack
#
# Everything the audit takes can be yours: a checkpoint in a folder, questions in a file, and an
# attack of about twenty lines. We write all three, register the attack, and let the audit judge it
# beside one of the package's own, with the same controls.

# %%
import json
import random
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

import torch

from mechunlearn import load, load_task, save
from mechunlearn.attacks import Attack, Candidate, Variants
from mechunlearn.attacks.direction_ablation import activation_statistics, question_texts
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.audit.run import audit
from mechunlearn.plots import recovery
from mechunlearn.plots.static import static
from mechunlearn.presets import configured
from mechunlearn.registry import register
from mechunlearn.types import Change, Point
from mechunlearn.unlearn.rmu import RMU, rmu_

static()
folder = Path(mkdtemp())

# %% [markdown]
# ## A model
# Any folder that `AutoModelForCausalLM` loads will do. Ours comes from RMU and is saved as a plain
# Hugging Face checkpoint; imagine that somebody sent it.

# %%
world = load_task("organism")
model = load("organism:original")
rmu_(model, world, configured(RMU, "organism", ["optimizer.steps=100"]))
mine = save(model, folder / "mine")
sorted(file.name for file in mine.iterdir())

# %% [markdown]
# ## A task
# A question a line, with its source (facts of one source share a fold), and one line that says how
# to ask. We ask a random half of the world's questions (every second one would have its right
# answers under two letters only, and a model that always says one letter would score none or half).

# %%
lines = [{"set": "prompt", "letter": world.prompt.letter, "choice": world.prompt.choice}]
for role in ("forget", "retain"):
    pool = getattr(world, role)
    for q in random.Random(0).sample(pool, len(pool) // 2):
        line = {"set": role, "stem": q.stem, "choices": q.choices, "answer": q.answer}
        lines.append(line | {"source": q.source})
file = folder / "minerals.jsonl"
file.write_text("\n".join(map(json.dumps, lines)))
print(*file.read_text().splitlines()[:2], sep="\n")

# %%
task = load_task(str(file))
print(task.prompt.letter_prompt(task.forget[0]))
for fold in ("select", "confirm"):
    print(fold, {role: len(task.questions(role, fold)) for role in ("forget", "retain")})


# %% [markdown]
# ## An attack
# *Steering*: at one block, add to every token the vector that leads from the mean activation of
# forget questions to that of retain questions, times a strength. Unlike an ablation it moves
# everything by the same amount. (Steering against unlearning: Seyitoğlu et al. 2024,
# arXiv:2411.02631, with other vectors.)
#
# `find` gets the model and the select fold, and returns what it found: settings to try, how to
# build the variant of a setting, and a sham of the same size. The audit does everything else.

# %%
def shift(activation, hook, by):
    return activation + by.to(activation)


def steer(vectors, settings):
    layer, by = settings["layer"], settings["strength"] * vectors[settings["layer"]]
    name = f"steering by {settings['strength']} at layer {layer}"
    return Candidate(settings, Change(name, ((Point(layer).name, partial(shift, by=by)),)))


def noise(vectors, settings, seed):
    drawn = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(seed))
    lengths = vectors.norm(dim=1, keepdim=True)
    return steer(drawn * lengths / drawn.norm(dim=1, keepdim=True), settings)


class Steering(Attack):
    access = ("activations",)
    needs = ("forget questions", "benign text")

    @staticmethod
    def find(model, task, asked, reference, config):
        sets = asked, task.questions("retain", "select")
        forget, benign = (activation_statistics(model, question_texts(task, s)).mean for s in sets)
        vectors = (benign - forget).float()
        grid = [{"layer": i, "strength": s} for i in range(len(vectors)) for s in (0.5, 1.0, 1.5)]
        return Variants(grid, partial(steer, vectors), partial(noise, vectors))


register("attack", "steering", Steering)

# %% [markdown]
# ## The audit
# The registered name is used like any other. The twin that never knew is the control.

# %%
plan = AuditPlan(unlearned=(str(mine),), task=str(file), attacks=("steering", "direction_ablation"))
report = audit(plan, folder / "audit")
print(report.details["mine"]["verdict"])

# %%
recovery(report, "mine")

# %%
for row in report.rows:
    print(f"{row['attack']}, {row['settings']}; evidence: {row['evidence']}")
    arms = ("accuracy", "sham_accuracy", "control_accuracy", "original_accuracy", "retain_accuracy")
    print("  ", {arm: round(row[arm], 3) for arm in arms}, f"p after Holm {row['p_holm']:.2g}")

# %% [markdown]
# What every strength did on the select fold, before one was chosen:

# %%
for tried in report.details["mine"]["tried"]["steering"]:
    print(tried)

# %% [markdown]
# To keep it, put it into a file of its own with a docstring that names the paper, and add a line
# to `registry.py` and a test with its sham. `mechunlearn.attacks.Attack` says what else an attack
# may have: presets of settings, a `reference` computed on the original, a search that can be
# stopped. An unlearning method is registered in the same way, with `register("method", ...)`.
#
# ## What this does not show
# - Whether steering is a good attack. It was written to be short; its grid is coarse.
# - The checkpoint's never-knew control did not go through RMU. Where the audit does the unlearning
#   itself, both are treated alike, which is the better control.
# - A registered attack lives as long as this process. `mechunlearn rerun` elsewhere does not know
#   it; the report says so by refusing its name.
