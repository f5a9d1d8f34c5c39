"""What only a process of its own shows: signals, closed pipes, and what is imported when."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from counterpoint.eval import AMATEUR

COMMAND = [sys.executable, "-m", "counterpoint.eval.cli"]
LONG = [*COMMAND, "generate", "The whale", "--model", str(AMATEUR), "--device", "cpu", "--max-new-tokens", "500"]


def start_generating() -> tuple[subprocess.Popen[bytes], bytes]:
    """A long generation, and its output up to the first of the text."""
    process = subprocess.Popen(LONG, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    return process, process.stdout.read(len("The whale") + 4)


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to another process on Windows")
def test_ctrl_c_keeps_the_text() -> None:
    process, first = start_generating()
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert first.startswith(b"The whale")
    assert rest.endswith(b"\n")
    assert len(first + rest) < 1000  # 500 tokens are some 2000 characters
    assert (process.returncode, errors) == (130, b"")


def test_a_closed_pipe_is_quiet() -> None:
    process, first = start_generating()
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
        "from counterpoint.eval.cli import main\n"
        "assert main(['generate', 'x', '--decoder', 'greedy', 'top_k=3']) == 2\n"
        "try:\n    main(['generate', '--help'])\n"
        "except SystemExit:\n    print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.endswith("\n[]\n")
    assert result.stderr.count("\n") == 1


def test_module_is_the_command() -> None:
    result = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.startswith("counterpoint ")
    result = subprocess.run([*COMMAND, "generate", "x", "--seed", "x"], capture_output=True, text=True, check=False, timeout=60)
    assert (result.returncode, result.stdout) == (2, "")
