"""Nothing that comes with a model or a file of weights runs unless the user said so: read from the sources of the packages."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OF_THIS_LIBRARY = {"RankGenRanker", "RewardModelRanker", "ProcessRewardRanker", "cls"}
"""Classes whose ``from_pretrained`` is ours, where this is tested too."""
WEIGHTS_ALONE = {"PeftModel"}
"""PEFT reads a configuration in JSON and weights by ``weights_only=True``; it has no ``trust_remote_code``."""
SENTENCE = {"SentenceTransformer", "CrossEncoder"}
UNPICKLERS = {"rankers/rankgen/array_pickles.py"}
"""Where an unpickler that refuses all but arrays is."""


def sources() -> Iterator[tuple[str, ast.Module]]:
    """The files of the packages."""
    for package in ("decoders", "rankers", "eval"):
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def name_of(node: ast.expr) -> str:
    """The last name of a dotted one."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def given(call: ast.Call, name: str, tree: ast.Module) -> str | None:
    """An argument of a call as it is written, also from a dictionary that the file makes and the call unpacks; None without it."""
    dictionaries = {name_of(each.value): each.value for each in call.keywords if each.arg is None}
    for keyword in call.keywords:
        if keyword.arg == name:
            return ast.unparse(keyword.value)
    for unpacked, value in dictionaries.items():
        made = [value] if isinstance(value, ast.Dict) else [each for each in assigned(tree, unpacked) if isinstance(each, ast.Dict)]
        for each in made:
            for key, item in zip(each.keys, each.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == name:
                    return ast.unparse(item)
    return None


def assigned(tree: ast.Module, name: str) -> Iterator[ast.expr]:
    """What a file assigns to a name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and name_of(node.target) == name and node.value is not None:
            yield node.value
        if isinstance(node, ast.Assign) and any(name_of(target) == name for target in node.targets):
            yield node.value


def calls(tree: ast.Module) -> Iterator[tuple[ast.Call, ast.expr]]:
    """The calls of a file with what they call, which a ``partial`` names first."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            partial = name_of(node.func) == "partial" and node.args
            yield node, node.args[0] if partial else node.func


def unasked(path: str, tree: ast.Module) -> Iterator[str]:
    """Calls that load a model or a file without saying that its code may not run."""
    for call, function in calls(tree):
        where, name = f"{path}:{call.lineno}", name_of(function)
        owner = name_of(function.value) if isinstance(function, ast.Attribute) else ""
        loads = name == "from_pretrained" and owner not in OF_THIS_LIBRARY | WEIGHTS_ALONE
        constructs = name in SENTENCE and any(each.arg == "local_files_only" for each in call.keywords)
        if (loads or constructs) and given(call, "trust_remote_code", tree) in (None, "None", "True"):
            yield f"{where} has no trust_remote_code"
        of_weights = owner == "torch" and given(call, "weights_only", tree) == "True"
        if name == "load" and owner in ("torch", "pickle", "joblib", "np", "numpy") and not of_weights:
            yield f"{where} reads a pickle"
        if name in ("Unpickler", "loads") and owner in ("pickle", "dill"):
            yield f"{where} reads a pickle"
        if (
            name in ("input", "eval", "exec", "unsafe_load", "full_load")
            and (owner in ("", "yaml"))
            and isinstance(function, ast.Name)
        ):
            yield f"{where} calls {name}"
        if owner == "yaml" and name not in ("safe_load", "parse") and name[0].islower():  # which makes events alone
            yield f"{where} calls yaml.{name}"
    if path not in UNPICKLERS:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and any(name_of(base) == "Unpickler" for base in node.bases):
                yield f"{path}:{node.lineno} unpickles"


def test_no_code_runs_unasked() -> None:
    assert [found for path, tree in sources() for found in unasked(path, tree)] == []


def test_the_sources_load_models() -> None:
    loading = [path for path, tree in sources() for _, function in calls(tree) if name_of(function) == "from_pretrained"]
    assert len(loading) > 12
    assert {"eval/loading.py", "rankers/rankgen/checkpoints.py", "rankers/training/trainable_encoders.py"} <= set(loading)


@pytest.mark.parametrize(
    "line",
    [
        "AutoModel.from_pretrained(name)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=None)",
        "options = {'device_map': 'auto'}\nAutoModel.from_pretrained(name, **options)",
        "partial(RankGenEncoder.from_pretrained, dtype=dtype)",
        "SentenceTransformer(name, local_files_only=True)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "pickle.load(file)",
        "pickle.loads(content)",
        "class Mine(pickle.Unpickler):\n    pass",
        "answer = input('Run it? ')",
        "yaml.load(text, Loader=Loader)",
        "exec(code)",
    ],
)
def test_what_would_run_code_is_found(line: str) -> None:
    assert len(list(unasked("eval/a.py", ast.parse(line)))) == 1


@pytest.mark.parametrize(
    "line",
    [
        "AutoModel.from_pretrained(name, trust_remote_code=False)",
        "options: dict = {'trust_remote_code': trust_remote_code}\nAutoModel.from_pretrained(name, **options)",
        "torch.load(path, weights_only=True)",
        "yaml.safe_load(text)",
    ],
)
def test_what_runs_none_passes(line: str) -> None:
    assert list(unasked("eval/a.py", ast.parse(line))) == []
