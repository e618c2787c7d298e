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
TASKS = {
    "organism": "the shipped organisms' fictional world (organism@1 for seed 1)",
    "facts": "the same world's facts as statements to complete, for organisms without letters",
    "chat": "fictional people in plain English, for the chat organisms (chat@1 for seed 1)",
    "capitals": "world capitals: forget Europe and Asia, keep the rest (cloze scoring)",
    **BENCHMARKS,
    "FILE": "your own .jsonl, .csv or .parquet, see mechunlearn/tasks/files.py",
}
