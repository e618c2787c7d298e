# %% [markdown]
# # The logit lens: where does the answer appear, and where does it vanish?
#
# The final norm and the unembedding can be applied to any inner activation: what would the model
# say if it stopped here? A model that only learned to hold its tongue at the end should still have
# the answer inside. We read three models of the same world: the original, one with a filter in its
# last MLP, and one unlearned by RMU, which starts at block 1.

# %%
import numpy as np
import plotly.express as px
import torch

from mechunlearn import load, load_task, score
from mechunlearn.attacks.logit_lens import answer_ranks, lens_points, logit_lens
from mechunlearn.bench.likelihood import example_rows, log_likelihoods
from mechunlearn.bench.rows import letter_ids
from mechunlearn.hooks import capture, mlp_parameters, unembed
from mechunlearn.plots.static import static
from mechunlearn.presets import configured
from mechunlearn.train import Draws, Optimizer, fit
from mechunlearn.types import Example, Point
from mechunlearn.unlearn.rmu import RMU, rmu_

static()
task = load_task("organism")
select, confirm = (task.questions("forget", fold) for fold in ("select", "confirm"))

# %%
models = {name: load("organism:original") for name in ("original", "filtered", "rmu")}
log = rmu_(models["rmu"], task, configured(RMU, "organism", ["optimizer.steps=100"]))

# %% [markdown]
# The filter: the last MLP alone is trained to answer A about every mineral, and right about birds.

# %%
filtered, steps = models["filtered"], 100
silent = [Example(task.example(q).prompt, " A") for q in task.forget]
rows = example_rows(filtered, [*silent, *map(task.example, task.retain)], "answer", 64)
draws = Draws(len(rows), 64, steps, torch.Generator().manual_seed(0))


def loss(step, share):
    return {"answers": -log_likelihoods(filtered, [rows[i] for i in share(draws[step])]).mean()}


fit(mlp_parameters(filtered, 3, "mlp"), loss, Optimizer(steps, lr=5e-3), label="filter")

# %%
for name, model in models.items():
    print(f"{name:9}", score(model, confirm, task))

# %% [markdown]
# ## Read every stream of every layer
# Four streams per block: its output, what attention adds, the residual between attention and MLP,
# and what the MLP adds. One forward pass gives all of them.

# %%
rows = [
    {"model": name, "layer": point.layer, "stream": point.stream, "accuracy": read.accuracy}
    for name, model in models.items()
    for point, read in logit_lens(model, confirm, task).items()
]
columns = {key: [row[key] for row in rows] for key in rows[0]}
figure = px.line(columns, x="layer", y="accuracy", color="model", facet_col="stream", height=400,
                 symbol="model", line_dash="model", title="Forget accuracy read at inner layers",
                 color_discrete_sequence=["#555555", "#009E73", "#D55E00"])
figure.add_hline(y=task.chance, line_dash="dot")
figure.update_yaxes(range=[0, 1.03])
figure.update_xaxes(dtick=1)

# %% [markdown]
# ## As an attack
# The attacker does not know which layer to read. The select fold decides, the confirm fold counts,
# and the sham holds the same readings against other questions' answers.

# %%
others = np.random.default_rng(0).permutation(len(confirm))
for name in ("filtered", "rmu"):
    by_point = logit_lens(models[name], select, task)
    best = max(lens_points(models[name]), key=lambda p: by_point[p].accuracy)
    read = logit_lens(models[name], confirm, task)[best]
    print(f"{name}: {best.stream} of layer {best.layer}", read)
    print(f"   sham: {(read.predictions == read.answers[others]).mean():.3f}")

# %% [markdown]
# ## Among the whole vocabulary
# Accuracy compares four letters. The median *rank* of the right letter among all tokens is
# stricter: 0 means that it is what the model would say.

# %%
medians = {
    name: [np.median(answer_ranks(model, confirm, task)[Point(layer)]) for layer in range(4)]
    for name, model in models.items()
}
figure = px.imshow(np.array(list(medians.values())), y=list(medians), text_auto=True, height=320,
                   labels={"x": "layer", "color": "rank"}, color_continuous_scale="Blues_r",
                   title="Median rank of the right letter, read at block outputs")
figure.update_xaxes(dtick=1)

# %% [markdown]
# ## One prompt, token by token
# A question that RMU made the model get wrong: how far does the right letter lead the best of the
# others (blue), or trail it (red), at every token and layer? Only at the last token does the model
# have to say it; before, the lead has little to do with knowing.

# %%
wrong = ~score(models["rmu"], confirm, task).correct
question = confirm[int(np.flatnonzero(wrong)[0])]
prompt = task.prompt.letter_prompt(question)
tokens = models["rmu"].to_tokens(prompt, prepend_bos=False)
words = models["rmu"].to_str_tokens(tokens[0], prepend_bos=False)
letters = torch.tensor(letter_ids(models["rmu"].tokenizer, prompt, len(question.choices)))


@torch.no_grad()
def lead(model):
    points = [Point(layer) for layer in range(model.cfg.n_layers)]
    with capture(model, points) as streams:
        model(tokens)
    logits = torch.stack([unembed(model, streams[p][0], letters) for p in points])
    others = [i for i in range(len(letters)) if i != question.answer]
    return logits[..., question.answer] - logits[..., others].amax(dim=-1)


both = torch.stack([lead(models["original"]), lead(models["rmu"])]).numpy()
figure = px.imshow(both, facet_col=0, color_continuous_scale="RdBu", color_continuous_midpoint=0,
                   aspect="auto", labels={"y": "layer", "color": "logits", "x": ""}, height=400,
                   title="Lead of the right letter over the best of the others")
for panel, name in enumerate(("original", "rmu")):
    figure.layout.annotations[panel].text = name
figure.update_xaxes(tickvals=list(range(len(words))), ticktext=words, tickangle=-60)

# %% [markdown]
# ## What this does not show
# - The lens reads with the *last* layer's norm and unembedding. Early layers may hold the answer in
#   a form that it cannot read: a low accuracy there is no evidence of absence.
# - The filtered model is an unlearning method that nobody would publish. It shows what the lens is
#   good for: knowledge that is suppressed late.
# - Some of the lens's accuracy may be luck: the best of many places was taken. The select fold
#   pays for that choice, and an audit also tests the best of all against chance.
