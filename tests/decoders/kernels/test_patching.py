"""Whatever is patched for a call is gone after it, however the call ends."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import pytest

from counterpoint.decoders.kernels.patching import SharedPatch
from counterpoint.decoders.undoing import Change, together


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
    with pytest.raises(error), patch([one, two]) as change, change:
        raise error
    assert (one, two) == ({}, {"second": True})
    assert not patch.users


def test_the_last_user_gives_back() -> None:
    subject: dict[str, Any] = {}
    patch = SharedPatch[dict[str, Any]](lambda each: each.update(patched=True), undo)
    first, second = patch([subject]), patch([subject])
    for change in (first, first, second, second):
        change.__enter__()
    first.__exit__(None, None, None)
    assert "patched" in subject
    second.__exit__(None, None, None)
    assert "patched" not in subject


def test_an_interrupt_of_undoing_leaves_nothing() -> None:
    """The first of all times that something is undone does not happen."""
    subject, interrupts = dict[str, Any](), [KeyboardInterrupt()]

    def undo_late(subject: dict[str, Any]) -> None:
        if interrupts:
            raise interrupts.pop()
        undo(subject)

    patch = SharedPatch[dict[str, Any]](lambda each: each.update(patched=True), undo_late)
    with pytest.raises(KeyboardInterrupt), patch([subject]) as change, change:
        pass
    assert not subject
    assert not patch.users


def test_one_that_undoes_once_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    class Once(Change):
        seen: ClassVar[set[int]] = set()

        def __exit__(self, *error: Any) -> None:
            if id(self.undo) not in self.seen:
                self.seen.add(id(self.undo))
                self.undo()

    monkeypatch.setattr("counterpoint.decoders.kernels.patching.Change", Once)
    with pytest.raises(AssertionError):
        test_an_interrupt_of_undoing_leaves_nothing()


def test_a_change_that_is_entered_once_is_an_error() -> None:
    subject: dict[str, Any] = {}
    with pytest.raises(RuntimeError, match="enter a change twice"), Change(lambda: subject.update(patched=True), subject.clear):
        assert not subject


def test_changes_together_are_made_in_order_and_taken_back_from_the_last() -> None:
    done: list[str] = []
    one, two = (Change(partial(done.append, f"make {n}"), partial(done.append, f"undo {n}")) for n in (1, 2))
    failing = Change(lambda: None, lambda: None, partial(raised, ValueError("of the change")))
    with pytest.raises(ValueError, match="of the change"), together(one, two, failing) as change, change:
        assert done == ["make 1", "make 2"]
    assert done[2:] == ["undo 2", "undo 1"] * 2


def raised(error: Exception) -> None:
    raise error


def test_a_patch_that_forgets_its_users_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful(set[object]):
        def add(self, user: object) -> None:
            pass

    monkeypatch.setattr("counterpoint.decoders.kernels.patching.set", Forgetful, raising=False)
    with pytest.raises(AssertionError):
        test_the_last_user_gives_back()
