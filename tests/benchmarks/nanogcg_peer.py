"""Runs nanoGCG on a problem; used by ``test_gcg_speed.py`` with another Python that has nanoGCG.

Reads one JSON line from standard input: ``model`` (folder), ``message`` (with ``{optim_str}``),
``target``, ``start``, ``steps``, ``width``, ``top_k``, ``children`` (texts to score). Prints one
JSON line: token ids, losses of the children and per step, seconds.
"""

import json
import sys
import time

import nanogcg
import torch
from nanogcg.gcg import GCG
from transformers import AutoModelForCausalLM, AutoTokenizer

job = json.loads(sys.stdin.readline())
torch.set_num_threads(job["threads"])
tokenizer = AutoTokenizer.from_pretrained(job["model"])
tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
model = AutoModelForCausalLM.from_pretrained(job["model"], torch_dtype=torch.float32)
config = nanogcg.GCGConfig(
    num_steps=job["steps"],
    optim_str_init=job["start"],
    search_width=job["width"],
    topk=job["top_k"],
    seed=0,
    verbosity="ERROR",
)
attack = GCG(model, tokenizer, config)
begin = time.perf_counter()
result = attack.run(job["message"], job["target"])
seconds = time.perf_counter() - begin
before, _, after = job["message"].partition("{optim_str}")
texts = [[int(t) for t in ids] for ids in job["children"]]
embed = model.get_input_embeddings()
rows = [
    torch.cat([embed(torch.tensor([ids])), attack.after_embeds, attack.target_embeds], dim=1)
    for ids in texts
]
if not attack.prefix_cache:
    rows = [torch.cat([attack.before_embeds, row], dim=1) for row in rows]
with torch.no_grad():
    losses = [float(attack._compute_candidates_loss_original(1, row)) for row in rows]
json.dump(
    {
        "before": tokenizer([before])["input_ids"][0],
        "after": tokenizer([after], add_special_tokens=False)["input_ids"][0],
        "target": tokenizer([job["target"]], add_special_tokens=False)["input_ids"][0],
        "start": tokenizer([job["start"]], add_special_tokens=False)["input_ids"][0],
        "children": losses,
        "losses": result.losses,
        "seconds": seconds,
    },
    sys.stdout,
)
