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

from mechunlearn import AuditPlan, Change, Hook, load, load_task, save
from mechunlearn.analysis.analyse import audit
from mechunlearn.attacks import Attack, Grid, NoSettings
from mechunlearn.attacks.activations import activation_statistics
from mechunlearn.plots import recovery
from mechunlearn.plots.static import static
from mechunlearn.presets import configured
from mechunlearn.registry import register
from mechunlearn.types import Point
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
checkpoint = save(model, folder / "somebodys-rmu")
sorted(file.name for file in checkpoint.iterdir())

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
# *Conditional steering*: where an activation lies on the side of the forget questions, add the
# vector that leads from their mean to that of retain questions; leave the others alone. (Steering
# on a condition: Lee et al. 2024, arXiv:2409.05907; steering against unlearning: Seyitoğlu et al.
# 2024, arXiv:2411.02631, with other vectors.)
#
# An attack is a class that says what it is: its family (what kind of evidence it gives, which is
# what the verdict reads), what the attacker has access to, and what else it needs. `search` gets
# the model and `seen`, in which there is what it declared and no question of the confirm fold. It
# returns variants to try, here one for each block, how each changes the model, and a sham: the same
# vector with its coordinates moved on. The audit does everything else.

# %%
def steer(push, middle, point):
    by, at = push[point.layer], middle[point.layer]
    hook = Hook(point.name, lambda x, hook: x + by * ((x - at) @ by < 0)[..., None])
    return Change(f"steering after block {point.layer}", (hook,))


class Steering(Attack[NoSettings, None, Point]):
    family, access = "direction", frozenset({"activations"})
    needs = frozenset({"forget questions", "retain facts"})
    variant, presets = Point, {"organism": NoSettings()}

    def search(self, model, seen, reference, config):
        texts = ([seen.text(q) for q in asked] for asked in (seen.asked, seen.retain))
        forget, retain = (activation_statistics(model, t).mean.to(model.W_E) for t in texts)
        push, middle = retain - forget, (retain + forget) / 2
        return Grid([Point(i) for i in range(len(push))], partial(steer, push, middle),
                    lambda point, seed: steer(push.roll(1 + seed, 1), middle, point))


register("attack", "steering", Steering)

# %% [markdown]
# ## The audit
# The registered name is used like any other. The twin that never knew is the control.

# %%
plan = AuditPlan(
    unlearned=(str(checkpoint),), task=str(file), attacks=("steering", "direction_ablation")
)
report = audit(plan, folder / "audit")
print(report.unlearned[0].verdict.text)

# %%
recovery(report, "somebodys-rmu")

# %%
for row in report.rows:
    print(f"{row.attack} ({row.family}), {row.variant}; evidence: {row.evidence}")
    arms = ("value", "sham", "control", "original", "retain")
    print("  ", {arm: round(getattr(row, arm), 3) for arm in arms}, f"p {row.p_adjusted:.2g}")

# %% [markdown]
# What each block's steering did on the select fold, before one was chosen:

# %%
for tried in report.findings_of("somebodys-rmu").tried["steering"]:
    print(tried.variant, "forget", tried.forget, "retain", tried.retain)

# %% [markdown]
# To keep it, put it into a file of its own with a docstring that names the paper, and add a line
# to `registry.py` and a test with its sham. `mechunlearn.attacks.Attack` says what else an attack
# may declare: presets of settings, what is learned from the original, its cost, figures. An
# unlearning method is registered in the same way, with `register("method", ...)`.
#
# ## What this does not show
# - Whether steering is a good attack. It was written to be short: one strength, one block.
# - The checkpoint's never-knew control did not go through RMU. Where the audit does the unlearning
#   itself, both are treated alike, which is the better control.
# - A registered attack lives as long as this process. `mechunlearn rerun` elsewhere does not know
#   it; the report says so by refusing its name.
