"""Failures that the command line reports in one line."""


class CommandError(Exception):
    """Something the user asked for cannot be done; the message says what and the way out."""

    exit_code = 1


class UsageError(CommandError):
    """The command line itself is wrong."""

    exit_code = 2
