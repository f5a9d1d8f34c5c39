"""Modules that need an extra: they cannot be imported without it, and nothing imports them before it is used."""

NEED = {
    "counterpoint.decoders.hf.serving.app": "fastapi",
    "counterpoint.eval.engines.vllm.v1": "vllm",
    "counterpoint.eval.engines.vllm.v2": "vllm",
    "counterpoint.eval.questions.lm_eval_model": "lm_eval",
}
"""The modules, and the library that each is for."""
