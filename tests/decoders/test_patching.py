"""Whatever is patched for a call is gone after it, however the call ends."""

from __future__ import annotations

from typing import Any

import pytest

from counterpoint.decoders.kernels.patching import SharedPatch


def undo(subject: dict[str, Any]) -> None:
    subject.pop("patched", None)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("when", ["within", "while the second is patched"])
def test_an_error_leaves_nothing(error: type[BaseException], when: str) -> None:
    one, two = dict[str, Any](), dict[str, Any](second=True)

    def apply(subject: dict[str, Any]) -> None:
        subject["patched"] = True
        if "second" in subject and when != "within":
            raise error

    patch = SharedPatch[dict[str, Any]](apply, undo)
    with pytest.raises(error), patch([one, two]):
        raise error
    assert (one, two) == ({}, {"second": True})
    assert not patch.users


def test_the_last_user_gives_back() -> None:
    subject: dict[str, Any] = {}
    patch = SharedPatch[dict[str, Any]](lambda each: each.update(patched=True), undo)
    first, second = patch([subject]), patch([subject])
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert "patched" in subject
    second.__exit__(None, None, None)
    assert "patched" not in subject


def test_a_patch_that_is_not_counted_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    class Uncounted(dict[int, int]):
        def __missing__(self, key: int) -> int:
            return 0

        def __getitem__(self, key: int) -> int:
            return 0

    monkeypatch.setattr("counterpoint.decoders.kernels.patching.Counter", Uncounted)
    with pytest.raises(AssertionError):
        test_the_last_user_gives_back()
