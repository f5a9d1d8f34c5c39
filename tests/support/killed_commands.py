"""Commands in processes that are killed or run out of disk, forked by a process that has imported and done nothing."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from counterpoint.eval import journal
from counterpoint.eval.cli.main import main
from counterpoint.eval.training import induction

SERVER = multiprocessing.get_context("forkserver")  # torch's pools of threads do not live through a fork of who used them
SERVER.set_forkserver_preload(["killed_commands", "transformers", "torch"])


def sabotage(kind: str, count: int) -> None:
    """Make this process fail: kill it after so many writes, in the middle of a line or not, or let no file grow beyond a size."""
    if kind == "disk":
        resource.setrlimit(resource.RLIMIT_FSIZE, (count, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    module: Any = journal
    target, name = (induction, "save") if kind == "checkpoint" else (module.os, "fsync")
    induction.CHECKPOINT_SECONDS = 0.0
    real, calls = getattr(target, name), []

    def counted(*arguments: Any) -> None:
        real(*arguments)
        calls.append(1)
        if len(calls) == count:
            place = Path(f"/proc/self/fd/{arguments[0]}").readlink() if name == "fsync" else arguments[0]
            if kind == "half line":
                os.truncate(place, place.stat().st_size - 30)
            if kind == "deleted":
                shutil.rmtree(place.parent)
            else:
                os.kill(os.getpid(), signal.SIGKILL)

    if kind not in ("none", "disk"):
        setattr(target, name, counted)


def command(kind: str, count: int, words: list[str], told: str) -> None:
    """What the process does: the command, and what it prints in the file ``told``."""
    file = os.open(told, os.O_WRONLY | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    try:
        sabotage(kind, count)
        code = main(words)
    except BaseException as error:
        sys.stderr.write(f"escaped: {error!r}")
        code = 99
    sys.stderr.flush()
    os._exit(code)


def run(kind: str, count: int, words: list[str]) -> tuple[int, str]:
    """A command's exit code and what it printed."""
    with TemporaryDirectory() as folder:
        told = f"{folder}/told"
        process = SERVER.Process(target=command, args=(kind, count, words, told))
        process.start()
        process.join()
        assert process.exitcode is not None
        return process.exitcode, Path(told).read_text(encoding="utf-8", errors="replace")
