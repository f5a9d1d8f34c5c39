"""A directory of results has one writer at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from counterpoint.eval.journal import mend, writing

if TYPE_CHECKING:
    from accelerate import PartialState  # type: ignore[import-untyped]

LOCK = ".lock"


SHARD_LOCK = ".lock-shard-"
"""How the names of locks of shards begin."""
PATIENCE = 120.0
"""Seconds that a shard waits for others to begin."""


@contextmanager
def written_alone(
    directory: Path, begin: Callable[[], object] = lambda: None, state: PartialState | None = None, shard: str = ""
) -> Iterator[None]:
    """The directory is this command's, for all its processes; its journals are whole.

    A shard shares it with other shards: the directory is its own while it begins, and its journals are afterwards. Whoever wants
    the whole directory waits for none of them.

    The lock is the operating system's, so that it goes with the process, however that ends. Its file is gone afterwards.

    Args:
        directory: The directory, which is made if it is not there.
        begin: What the main process does first.
        shard: The shard of whoever writes one; "" for all of it.
        state: This process among several; None for the only one.

    Raises:
        ValueError: If another command writes it, a file is in its place, it cannot be written, or ``begin`` refuses it.
    """
    problem: list[str | None] = [None]
    lock = FileLock(directory / (f"{SHARD_LOCK}{shard}" if shard else LOCK))
    if state is None or state.is_main_process:
        try:
            make(directory)
            lock.acquire(timeout=0)
            if not Path(lock.lock_file).exists():  # its last holder took it away in this very moment
                raise Timeout(lock.lock_file)
            if shard:
                with FileLock(directory / LOCK, timeout=PATIENCE):  # left where it is, since other shards may wait for it
                    make_whole(directory, f"*-{shard}.jsonl")
                    begin()
            else:
                refuse_shards(directory)
                make_whole(directory, "*.jsonl")
                begin()
        except Timeout:
            problem = [f"{directory}: another command is writing it; wait, or give another folder"]
        except (OSError, ValueError) as error:
            problem = [str(error)]
    if state is not None and state.num_processes > 1:
        from accelerate.utils import broadcast_object_list  # type: ignore[import-untyped]

        broadcast_object_list(problem)
    try:
        if problem[0] is not None:
            raise ValueError(problem[0])
        yield
    finally:
        if lock.is_locked:
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def make_whole(directory: Path, pattern: str) -> None:
    """Mend the journals of a directory whose names fit."""
    for journal in sorted(directory.rglob(pattern)):
        if journal.name.startswith(JOURNALS):
            mend(journal)


def refuse_shards(directory: Path) -> None:
    """Refuse a directory of which shards are being written.

    Raises:
        Timeout: If one is.
    """
    for path in directory.glob(f"{SHARD_LOCK}*"):
        with FileLock(path, timeout=0):
            path.unlink(missing_ok=True)  # of one that was killed


JOURNALS = ("generations", "failures", "speed", "likelihoods", "scores-", "negatives-")
"""How the names of journals begin; other files of a directory are left alone."""


def make(directory: Path) -> None:
    """Make a directory for results.

    Raises:
        ValueError: If a file is in its place.
        OSError: If it cannot be made.
    """
    in_the_way = next((path for path in (directory, *directory.parents) if path.exists() and not path.is_dir()), None)
    if in_the_way is not None:
        raise ValueError(f"{directory} cannot be a folder: {in_the_way} is a file; name a folder")
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
