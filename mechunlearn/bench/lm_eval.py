"""Any lm-eval task on any model here, attacked or not.

    with change.on(model):
        results = lm_eval.simple_evaluate(evaluator(model), tasks=["wmdp_bio", "mmlu"])

lm-eval (``pip install lm-eval``) runs the Hugging Face model whose modules the hooks sit in, so
activation hooks, weight edits and adapters all act. Prompt attacks do not: lm-eval writes its own
prompts.
"""

from typing import Any

from mechunlearn.errors import PrerequisiteError
from mechunlearn.types import HookedModel


def evaluator(model: HookedModel, batch_size: int = 8) -> Any:
    """A hooked model as lm-eval's ``HFLM``; hooks act while their ``with`` block is open.

    Raises:
        PrerequisiteError: If lm-eval is not installed.
    """
    try:
        from lm_eval.models.huggingface import HFLM
    except ImportError as err:
        raise PrerequisiteError("this needs lm-eval: pip install 'lm-eval[hf]'") from err
    return HFLM(
        pretrained=model.original_model,
        tokenizer=model.tokenizer,
        batch_size=batch_size,
        device=str(model.cfg.device),
    )
