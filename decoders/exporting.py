"""The directory form of a decoder: what ``generate(custom_generate="DIR")`` and model repositories on a hub load."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from counterpoint.decoders.named import DECODERS

EXPORTED = {name: row for name, row in DECODERS.items() if row.kind == "callable" and not row.needs}
"""Decoders that are a ``custom_generate`` callable and need nothing but the model."""

GENERATE = '''\
"""{title}, as ``generate`` loads it from a directory: the installed counterpoint does the work."""

from counterpoint.decoders import {name}
from transformers import StopStringCriteria


def generate(inputs=None, *, model, stop_strings=None, tokenizer=None, stopping_criteria=None, **kwargs):
    """``model.generate`` with the arguments it was given and {name} as its decoding method."""
    criteria = list(stopping_criteria or [])
    if stop_strings is not None:
        criteria.append(StopStringCriteria(tokenizer, stop_strings))
    # by the class, since a model loaded with this file has it as its own generate
    return type(model).generate(model, inputs, stopping_criteria=criteria, custom_generate={name}, **kwargs)
'''

CARD = """\
---
library_name: transformers
tags: [custom_generate]
---

# {title}

A decoding method for any model with `generate`, by Counterpoint {version}:

    pip install "counterpoint>={version}"

```python
model.generate(**inputs, custom_generate="PATH_OR_REPOSITORY", trust_remote_code=True, {arguments})
```

The code here only hands the call on to the installed package; `{name}` there documents the method, its arguments and its source.
"""


def export(directory: str | Path, decoder: str = "contrastive_search", *, overwrite: bool = False) -> Path:
    """Write ``decoder`` as a directory that ``generate(custom_generate=str(directory), trust_remote_code=True)`` can use.

    Tools that only pass strings on can use it (``--gen_kwargs custom_generate=DIR,trust_remote_code=True``), and so can a model
    repository that holds the same files.

    Args:
        directory: Gets ``custom_generate/generate.py``, ``custom_generate/requirements.txt`` and ``README.md``.
        decoder: "contrastive_search" or "adaptive_contrastive_search".
        overwrite: Replace files of these names.

    Returns:
        The directory.

    Raises:
        ValueError: If ``decoder`` is not a known name.
        FileExistsError: If one of the files is there already and ``overwrite`` is false; nothing is written then.

    Example:
        >>> import tempfile
        >>> from counterpoint.decoders import export
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sorted(path.name for path in export(folder).iterdir())
        ['README.md', 'custom_generate']
    """
    if decoder not in EXPORTED:
        raise ValueError(f"decoder={decoder!r} is not one of {', '.join(EXPORTED)}")
    fields = {
        "name": decoder,
        "title": decoder.replace("_", " ").capitalize(),
        "arguments": ", ".join(f"{key}={parameter.default!r}" for key, parameter in EXPORTED[decoder].parameters.items()),
        "version": version("counterpoint"),
    }
    root = Path(directory)
    files = {
        root / "custom_generate" / "generate.py": GENERATE.format(**fields),
        root / "custom_generate" / "requirements.txt": f"counterpoint>={fields['version']}\n",
        root / "README.md": CARD.format(**fields),
    }
    present = [str(path) for path in files if path.exists()]
    if present and not overwrite:
        raise FileExistsError(f"{', '.join(present)} exists already; choose another directory or pass overwrite=True")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root
