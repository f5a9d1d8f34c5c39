"""Files of results: what is damaged is named and done again, what is whole is kept, and one process writes at a time."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from counterpoint.eval import journal
from counterpoint.eval.directories import written_alone
from counterpoint.eval.journal import Journal, WriteError, line_of, name_other_releases, read_records, record_of, releases

RECORDS = {f"key {number}": {"text": f"the whale é {number}", "value": 0.1 * number} for number in range(4)}
WHOLE = [0, 1, 2, 3]
Damage = Callable[[list[bytes]], bytes]


def written(path: Path) -> Journal:
    """A journal of four records."""
    found = Journal(path)
    for key, record in RECORDS.items():
        found.add(key, record)
    return found


DAMAGES: dict[str, tuple[Damage, list[int], str]] = {
    "cut end": (lambda lines: b"\n".join(lines)[:-40], [0, 1, 2], ""),
    "cut middle": (lambda lines: b"".join([lines[0][:-30], *(line + b"\n" for line in lines[1:])]), [2, 3], "line 1:"),
    "blank line": (lambda lines: b"\n".join([lines[0], b"", *lines[1:], b""]), WHOLE, "line 2:"),
    "flipped byte": (
        lambda lines: b"\n".join([lines[0][:15] + bytes([lines[0][15] ^ 128]) + lines[0][16:], *lines[1:], b""]),
        [1, 2, 3],
        "line 1:",
    ),
    "flipped digit": (lambda lines: b"\n".join([*lines[:3], lines[3].replace(b"whale", b"while"), b""]), [0, 1, 2], "line 4:"),
    "foreign list": (lambda lines: b"\n".join([b"[1, 2]", *lines, b""]), WHOLE, "line 1:"),
    "foreign object": (lambda lines: b"\n".join([*lines, b'{"key": "a"}', b""]), WHOLE, "line 5:"),
    "recursion": (lambda lines: b"\n".join([*lines, b"[" * 100_000, b""]), WHOLE, "line 5:"),
    "NUL tail": (lambda lines: b"\n".join([*lines, b"\0" * 4096]), WHOLE, ""),
    "NUL line": (lambda lines: b"\n".join([*lines, b"\0" * 50, b""]), WHOLE, "line 5:"),
    "emptied": (lambda lines: b"", [], ""),
    "CRLF": (lambda lines: b"\r\n".join([*lines, b""]), WHOLE, ""),
    "twice": (lambda lines: b"\n".join([*lines, *lines, b""]), WHOLE, ""),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named_and_done_again(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    damage, kept, told = DAMAGES[name]
    path = tmp_path / "generations.jsonl"
    reference = written(path).results
    path.write_bytes(damage(path.read_bytes().split(b"\n")[:-1]))
    with caplog.at_level(logging.WARNING):
        found = Journal(path)
    assert list(found.results) == [f"key {number}" for number in kept]
    assert (told in caplog.text and str(path) in caplog.text) if told else not caplog.text
    for key, record in RECORDS.items():
        if key not in found:
            found.add(key, record)
    assert found.results == reference
    caplog.clear()
    assert Journal(path).results == reference  # and nothing is said again
    assert not caplog.text
    assert (path.with_name("generations.jsonl.damaged").exists()) == bool(told)


def test_no_flipped_bit_is_taken_for_a_result() -> None:
    """Every bit of a line; white space may change, what is read may not."""
    record = {"key": "a", "text": "the whale é", "value": 0.25, "none": None}
    line = line_of(record)
    for place in range(len(line) - 1):
        for bit in range(8):
            flipped = bytearray(line)
            flipped[place] ^= 1 << bit
            assert record_of(bytes(flipped)) in (None, record)


def test_the_check_catches_a_reader_without_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "checksum", lambda record: None)
    assert record_of(b'{"key": "a", "text": "while"}') == {"key": "a", "text": "while"}
    with pytest.raises(AssertionError):
        test_no_flipped_bit_is_taken_for_a_result()


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process")
def test_a_full_disk_leaves_no_line_that_the_next_is_glued_to(tmp_path: Path) -> None:
    import resource

    path = tmp_path / "speed.jsonl"
    found = written(path)
    size = path.stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, before[1]))  # as a disk with room for twenty bytes
    try:
        with pytest.raises(WriteError, match=r"speed.jsonl cannot be written: .*the same command goes on"):
            found.add("new", {"text": "sea"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "new" not in found
    assert path.stat().st_size == size + 20  # part of the line is there
    found.add("other", {"text": "sea"})
    assert list(Journal(path).results) == [*RECORDS, "other"]
    assert [record["key"] for record in read_records(tmp_path, "speed.jsonl")] == [*RECORDS, "other"]


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    found = written(tmp_path / "folder" / "speed.jsonl")
    (tmp_path / "folder" / "speed.jsonl").unlink()
    with pytest.raises(WriteError, match="No such file"):
        found.add("new", {})


def test_one_writer(tmp_path: Path) -> None:
    with written_alone(tmp_path), pytest.raises(ValueError, match="another command is writing it"), written_alone(tmp_path):
        pass
    with written_alone(tmp_path):  # when the first has ended
        pass
    with FileLock(tmp_path / ".lock", timeout=0):
        pass


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ValueError, match="file is a file; name a folder"), written_alone(folder):
            pass


def test_other_releases_are_named_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).add("a", {"versions": {**releases(), "transformers": "4.0.0"}})
    Journal(path).add("b", {})
    with caplog.at_level(logging.WARNING):
        name_other_releases(Journal(path).results.values(), "the folder")
    assert f"the folder holds results made by transformers 4.0.0 (now {releases()['transformers']}); they are kept" in caplog.text
    assert json.loads(path.read_text().splitlines()[1])["versions"] == releases()
