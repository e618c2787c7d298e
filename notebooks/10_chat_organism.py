# %% [markdown]
# # It knows again, but can it say it?
#
# Somebody may know which of four words is the likeliest and still not be able to say it. Here a
# small chat model (Llama's architecture, pieces of words, a chat template) forgets what it knew of
# invented chemists. One attack brings much of that back when the model compares four words, and
# less when it has to answer in words of its own.

# %%
import plotly.graph_objects as go

from mechunlearn import attack, load, load_task, score, unlearn
from mechunlearn.organisms.forms import answers_in_words, right_answers
from mechunlearn.plots.static import static
from mechunlearn.plots.template import LOOKS, lay_out
from mechunlearn.presets import configured
from mechunlearn.tasks.people import People
from mechunlearn.types import NO_CHANGE
from mechunlearn.unlearn.rmu import RMU

static()
task, world = load_task(original="chat:original"), People(seed=0)
original, twin = load("chat:original"), load("chat:never_knew")
facts = [f for f in world.forget if f.asked and f.person.fold == "confirm"]
kept = [f for f in world.retain if f.asked and f.person.fold == "confirm"]

# %% [markdown]
# ## Four ways to ask
# *Letters*: a question with four options is answered by the letter of one, as in WMDP. *Cloze*: a
# statement is completed by the likeliest of four values. *Open*: a question is answered
# in words, token by token, and is right where the value is said. *Chat*: the same question as a
# user's turn. The words of these questions were in no training. A model that never knew the
# chemists' facts is the control.

# %%
fact = facts[0]
print(task.prompt.cloze_prompt(task.questions("forget", "confirm")[0]))
for form in ("open", "chat"):
    for name, model in (("original", original), ("never knew", twin)):
        print(f"{form}, {name}: {answers_in_words(model, [fact], form)[0]!r} ({fact.value})")

# %% [markdown]
# ## Unlearn
# RMU pushes the activations of texts about the chemists onto one random vector. It is trained on
# statements, questions and chats in other words than those of the tests; here in fewer steps than
# its preset has, to be quick.

# %%
settings = configured(RMU, "chat", ["optimizer.steps=120"])
unlearned = unlearn(original, task, config=settings)
FORMS = ("letters", "cloze", "open", "chat")


def shares(model, change=NO_CHANGE, of=facts):
    right = (right_answers(model, world, of, form, change=change) for form in FORMS)
    return {form: sum(r) / len(r) for form, r in zip(FORMS, right, strict=True)}


for name, model in (("original", original), ("unlearned", unlearned)):
    print(f"{name:10} forget {shares(model)}\n{'':10} retain {shares(model, of=kept)}")

# %% [markdown]
# Letters and cloze stand near a guess of one in four, and hardly a question is answered.
#
# ## Attack
# Move the activations back along the direction in which they were pushed. Which comparison, blocks
# and target is chosen by cloze, on other people's facts (the select fold).

# %%
found = attack("direction_ablation", unlearned, original, task)
print(found.variant)
arms = {
    "original": shares(original),
    "unlearned": shares(unlearned),
    "attacked": shares(unlearned, found.change),
    "sham": shares(unlearned, found.sham()),
    "never_knew": shares(twin),
}
print(f"retain, attacked: {shares(unlearned, found.change, kept)}")
print(score(unlearned, task.questions("forget", "confirm"), task, change=found.change))

# %%
bars = [
    go.Bar(x=FORMS, y=[100 * arms[role][form] for form in FORMS], name=LOOKS[role].label,
           marker_color=LOOKS[role].colour, texttemplate="%{y:.0f}")
    for role in arms
]  # fmt: skip
back = {form: f"{100 * arms['attacked'][form]:.0f} %" for form in FORMS}
title = f"Back in cloze: {back['cloze']}; answered openly: {back['open']}, in chat: {back['chat']}"
figure = lay_out(
    go.Figure(bars), title, f"Direction ablation after RMU; forget facts, n = {len(facts)}", 280
)
figure.update_yaxes(title="right, %", range=[0, 108])

# %% [markdown]
# ## What it says
# The same questions to the unlearned model, without and with the attack.

# %%
some = facts[:: len(facts) // 8]
before = answers_in_words(unlearned, some, "open")
after = answers_in_words(unlearned, some, "open", change=found.change)
for fact, hidden, said in zip(some, before, after, strict=True):
    print(f"{fact.person.name}, {fact.attribute}: {fact.value}")
    print(f"    unlearned: {hidden[:60]!r}\n    attacked:  {said[:60]!r}")

# %% [markdown]
# `mechunlearn audit --original chat:original` does this with all the standard attacks, with
# intervals, tests and the same attacks on the model that never knew, and shows the answers in words
# beside the cloze accuracy. `mechunlearn chat --attack RUN:direction_ablation` talks to the model
# under the attack.
#
# ## What this does not show
# - That answers in words are always harder: the attack was chosen by cloze, and one that is chosen
#   by open answers (`--task chat-open`) may find another variant.
# - More than one model, one seed and one method. [Figures](../figures/README.md) has the others.
