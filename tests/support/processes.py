"""Processes of Python that tests start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run(*arguments: str, cwd: Path | None = None, **environment: str) -> str:
    """Standard output of a Python process, which must succeed."""
    command = [sys.executable, *arguments]
    env = os.environ | environment
    result = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
