"""What our pages have in common: one HTML file that needs nothing else, whose own script is the only one that a browser runs."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from counterpoint.eval.embedded import EXPERT

FOLDER = Path(__file__).parent
UNSAFE = re.compile("[<>&\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
"""Characters that end elements, break lines or turn the reading direction of a source, and halves of characters."""


def page(title: str, subtitle: str, body: str, data: Any, styles: Sequence[Path], scripts: Sequence[Path]) -> str:
    """The page. The title is escaped here, the data is JSON that can end no element, and ``body`` is markup already."""
    script = '"use strict";\n{\n' + "\n".join(path.read_text(encoding="utf-8") for path in scripts) + "}\n"
    return Template((FOLDER / "shell.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        subtitle=escape(subtitle),
        body=body,
        data=as_data(data),
        style="\n".join(path.read_text(encoding="utf-8") for path in styles),
        script=script,
        script_hash=policy_hash(script),
    )


def filled(template: Path, **parts: str) -> str:
    """A part of a page, with markup in its places."""
    return Template(template.read_text(encoding="utf-8")).substitute(parts)


def as_data(content: Any) -> str:
    r"""JSON that can end no element of a page.

    Example:
        >>> from counterpoint.eval.report.shell import as_data
        >>> as_data("</script>")
        '"\\u003c/script\\u003e"'
    """
    written = json.dumps(content, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", written)


def policy_hash(script: str) -> str:
    """What a page's policy names its own script by."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def called(name: str) -> str:
    """A model or file as strangers may see it: what is in this machine's folders by its last part.

    Example:
        >>> from counterpoint.eval.report.shell import called
        >>> called("org/model"), called("/home/me/prompts.jsonl")
        ('org/model', 'prompts.jsonl')
    """
    if name == str(EXPERT):
        return "the embedded expert"
    return Path(name).name if Path(name).is_absolute() else name
