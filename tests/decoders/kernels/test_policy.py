"""What ``COUNTERPOINT_KERNELS`` may say, and what holds over it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from counterpoint.decoders.kernels.policy import VARIABLE, Policy, named_policy, pinned, policy


@pytest.mark.parametrize(
    ("value", "fixed", "packed"), [("plain", {}, False), ("measured", None, False), ("packed", None, True), (None, None, False)]
)
def test_values(monkeypatch: pytest.MonkeyPatch, value: str | None, fixed: dict[str, str] | None, packed: bool) -> None:
    monkeypatch.delenv(VARIABLE) if value is None else monkeypatch.setenv(VARIABLE, value)
    assert (policy().fixed, policy().packed) == (fixed, packed)
    assert policy() is policy()


def test_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kernels = {"256x512 float32 5 rows": "transposed"}
    (tmp_path / "kernels.json").write_text(json.dumps({"kernels": kernels}), encoding="utf-8")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "kernels.json"))
    assert policy().fixed == kernels


@pytest.mark.parametrize(
    "content",
    [
        None,
        "{",
        "[]",
        "{}",
        '{"kernels": 1}',
        '{"kernels": {"256x512 float32 5 rows": "quick"}}',
        pytest.param("[" * 100_000, id="nested too deeply"),
        pytest.param('{"kernels": ' + '{"a": ' * 100_000, id="kernels nested too deeply"),
    ],
)
def test_no_file_of_kernels(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "kernels.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=f"{VARIABLE}=.*kernels.json.*plain"):
        named_policy(str(path))


def test_pinned_until_the_context_ends() -> None:
    before, outer, inner = policy(), Policy(fixed={}), Policy(packed=True)
    with pinned(outer) as first, first:
        with pytest.raises(KeyError), pinned(inner) as second, second:
            fail_under(inner)
        assert policy() is outer
    assert policy() is before


def fail_under(expected: Policy) -> None:
    """An error in the middle of a context."""
    assert policy() is expected
    raise KeyError
