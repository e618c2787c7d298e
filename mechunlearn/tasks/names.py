"""Names of the tasks; importing this is free."""

TASKS = {
    "organism": "the shipped organisms' fictional world (organism@1 for seed 1)",
    "facts": "the same world's facts as statements to complete, for organisms without letters",
    "capitals": "world capitals: forget Europe and Asia, keep the rest (cloze scoring)",
    "FILE.jsonl": "your own questions, see mechunlearn/tasks/files.py",
}
