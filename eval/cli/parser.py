"""The parser of every command and option: argparse, but for its errors."""

from __future__ import annotations

import argparse
from typing import NoReturn

from counterpoint.eval.errors import UsageError


class Parser(argparse.ArgumentParser):
    """Argparse whose errors are raised, so that they are reported like every other one."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and exiting."""
        raise UsageError(f"{message} ({self.prog} --help lists the options)")
