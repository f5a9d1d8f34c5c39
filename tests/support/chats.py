"""Toy models and tokenizers for chats: the embedded amateur under templates of several kinds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from counterpoint.eval import AMATEUR

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
WITH_BOS = "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m['content'] | trim }}\n{% endfor %}[assistant]"
THINKING = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</{{ m['role'] }}>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
NO_GENERATION_PROMPT = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
PARTS_ALONE = "{% for m in messages %}{{ m.role }}:{% for part in m.content %} {{ part.text }}{% endfor %}\n{% endfor %}assistant:"
NO_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
)
TEMPLATES = {
    "chatml": CHATML,
    "with_bos": WITH_BOS,
    "thinking": THINKING,
    "no_generation_prompt": NO_GENERATION_PROMPT,
    "parts_alone": PARTS_ALONE,
}


def chat_tokenizer(template: str | None, *, adds_bos: bool = False) -> Any:
    """The amateur's tokenizer with a template, which puts BOS before every text if it ``adds_bos``."""
    tokenizer: Any = AutoTokenizer.from_pretrained(AMATEUR)
    tokenizer.chat_template = template
    if adds_bos:
        from tokenizers.processors import TemplateProcessing

        bos = tokenizer.bos_token = tokenizer.eos_token
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, tokenizer.eos_token_id)]
        )
    return tokenizer


def chat_model(folder: Path, template: str | None, *, adds_bos: bool = False) -> str:
    """A folder of the amateur with that tokenizer."""
    folder.mkdir(exist_ok=True)
    for file in AMATEUR.iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    chat_tokenizer(template, adds_bos=adds_bos).save_pretrained(folder)
    return str(folder)


def jsonl(path: Path, *rows: Any) -> str:
    """A file of JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)
