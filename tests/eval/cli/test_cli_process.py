"""What only a process of its own shows: signals, closed pipes, and what is imported when."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from counterpoint.eval import AMATEUR

COMMAND = [sys.executable, "-m", "counterpoint.eval.cli"]
FOREGROUND = (  # a job in the background of a shell, as these tests may be, has SIGINT ignored, and so do its children
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from counterpoint.eval.cli.main import main; sys.exit(main())"
)
GENERATE = [sys.executable, "-c", FOREGROUND, "generate", "--model", str(AMATEUR), "--device", "cpu", "--max-new-tokens", "500"]


def start_generating(folder: Path) -> tuple[subprocess.Popen[bytes], bytes]:
    """A generation of minutes, and its output up to the first of the first text."""
    prompts = folder / "prompts.txt"
    prompts.write_text("The whale\n" * 99 + "The end\n", encoding="utf-8")
    process = subprocess.Popen([*GENERATE, "--file", str(prompts)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    return process, process.stdout.read(len("The whale") + 4)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to another process on Windows")
def test_ctrl_c_keeps_the_text(tmp_path: Path) -> None:
    process, first = start_generating(tmp_path)
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=600)
    assert first.startswith(b"The whale")
    assert rest.endswith(b"\n")
    assert b"The end" not in rest
    assert (process.returncode, errors) == (130, b"")


@pytest.mark.slow
def test_a_closed_pipe_is_quiet(tmp_path: Path) -> None:
    process, first = start_generating(tmp_path)
    with process:  # closes what communicate() would
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
    assert first.startswith(b"The whale")


def test_help_and_wrong_arguments_do_not_wait_for_torch() -> None:
    program = (
        "import sys\n"
        "from counterpoint.eval.cli.main import main\n"
        "assert main(['generate', 'x', '--decoder', 'greedy', 'top_k=3']) == 2\n"
        "try:\n    main(['generate', '--help'])\n"
        "except SystemExit:\n    print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=600)
    assert result.stdout.endswith("\n[]\n")
    assert result.stderr.count("\n") == 1


def test_module_is_the_command() -> None:
    result = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, check=True, timeout=600)
    assert result.stdout.startswith("counterpoint ")
    result = subprocess.run([*COMMAND, "generate", "x", "--seed", "x"], capture_output=True, text=True, check=False, timeout=600)
    assert (result.returncode, result.stdout) == (2, "")
