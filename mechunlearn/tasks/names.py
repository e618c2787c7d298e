"""Names of the tasks; importing this is free."""

BENCHMARKS = {
    "wmdp-bio": "WMDP biology: forget it and keep MMLU (from the Hub)",
    "wmdp-cyber": "WMDP cybersecurity, likewise",
    "wmdp-chem": "WMDP chemistry, likewise",
    "mmlu": "MMLU, all subjects (only with bench, and with --set task.retain=mmlu)",
    "arc-easy": "ARC, the easy questions (likewise; cloze scoring)",
    "arc-challenge": "ARC, the hard questions (likewise; cloze scoring)",
    "openbookqa": "OpenBookQA (likewise; cloze scoring)",
}
"""Published sets; none is shipped."""
OPEN_SETS = {
    "tofu": "TOFU: forget a tenth of 200 fictional authors, keep the others (open answers)",
    "tofu-forget05": "TOFU: a twentieth of them, likewise",
    "tofu-forget01": "TOFU: a hundredth of them, likewise",
    "muse-news": "MUSE: questions about news (open answers)",
    "muse-books": "MUSE: questions about books, likewise",
    "rwku": "RWKU: questions about famous people, likewise",
}
"""Published sets of open questions, each with its retain set; none is shipped."""
TASKS = {
    "organism": "the shipped organisms' fictional world (organism@1 for seed 1)",
    "facts": "the same world's facts as statements to complete, for organisms without letters",
    "chat": "fictional people in plain English, for the chat organisms (chat@1 for seed 1)",
    "chat-open": "the same people, asked in words and answered in words (--set task.chat=user too)",
    "capitals": "world capitals: forget Europe and Asia, keep the rest (cloze scoring)",
    "countries": "capitals, currencies, languages, neighbours, cities: likewise, 328 and 302 facts",
    **BENCHMARKS,
    **OPEN_SETS,
    "FILE": "your own .jsonl, .json, .csv, .tsv or .parquet, see mechunlearn/tasks/files.py",
}
