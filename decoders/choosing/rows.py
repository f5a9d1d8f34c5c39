"""What a row of the table of decoders says, and the values that its parameters take."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any, Literal

from counterpoint.decoders.choosing.grammar import quoted
from counterpoint.decoders.choosing.words import Check

Scalar = bool | int | float | str | None


@dataclass(frozen=True)
class Parameter:
    """A parameter: its default, from which it has its type, and the range of a number.

    Args:
        default: The default when generating.
        low: The smallest number.
        high: The largest number.
        scoring: The default when given texts are scored, where released code has another one there.
        choice: What a nested choice names: "decoder", "scorer" (a decoder that scores given texts) or "ranker". The default is
            then the text of one.
        required: Whether it has to be given.
        check: Refuses a text that it may not be.
        exclusive: Whether a number has to be larger than ``low``.
    """

    default: Scalar
    low: int | float = 0
    high: int | float = math.inf
    scoring: Scalar = None
    choice: Literal["", "decoder", "scorer", "ranker"] = ""
    required: bool = False
    check: Check | None = None
    exclusive: bool = False

    def written_default(self) -> str:
        """The default as a choice has it."""
        if self.choice and ":" in str(self.default):
            return f"[{self.default}]"
        return scalar_text(self.default)

    def read(self, key: str, value: object) -> Scalar:
        """A value of the parameter's type and range, from text or from Python.

        Raises:
            ValueError: If it is of another type, out of range, or a text that it may not be.

        Example:
            >>> Parameter(0.1, 0, 1).read("alpha", "1")
            1.0
        """
        if self.default is None:
            return literal(value) if isinstance(value, str) else value  # type: ignore[return-value]
        if isinstance(self.default, str):
            if isinstance(value, list | tuple | range):
                value = "+".join(map(str, value))
            if isinstance(value, str | int) and not isinstance(value, bool):
                if self.check is not None:
                    self.check(key, str(value))
                return str(value)
            raise ValueError(f"{key}={value!r} is not text; the default is {key}={self.default}")
        found = plain(literal(value) if isinstance(value, str) else value)
        if isinstance(self.default, float) and type(found) is int:
            found = float(found) if abs(found) < 2**1023 else math.inf
        kind = {bool: "true or false", int: "a whole number", float: "a number"}[type(self.default)]
        if not isinstance(found, bool | int | float) or type(found) is not type(self.default):
            raise ValueError(f"{key}={value} is not {kind}; the default is {key}={self.default}")
        inside = self.low <= found <= self.high and math.isfinite(found) and not (self.exclusive and found == self.low)
        if not isinstance(found, bool) and not inside:
            limits = f"between {self.low:g} and {self.high:g}" if self.high < math.inf else f"of {self.low:g} or more"
            limits = f"above {self.low:g}{f', up to {self.high:g}' * (self.high < math.inf)}" if self.exclusive else limits
            raise ValueError(f"{key}={value} is not {kind} {limits}; the default is {key}={self.default}")
        return found


AMATEUR = {"amateur": Parameter(""), "amateur_adapter": Parameter(""), "amateur_prompt": Parameter("")}
"""Where an amateur comes from: a model, an adapter (of that model or of the expert), the expert after another text."""


@dataclass(frozen=True)
class Row:
    """A row of a table: what a name stands for.

    Args:
        name: The name.
        summary: What it is, in a line.
        target: ``module:callable``, resolved when it is used. Its arguments called ``model``, ``tokenizer``, ``amateur``,
            ``prompts``, ``processor`` and ``ranker`` are filled in; parameters that it does not take are settings of ``generate``.
        parameters: The parameters by name.
        origin: The version of the package, or the hash of the file, that somebody's own code is from.
        check: Refuses values that are wrong together, or name a file that is not there.
    """

    name: str
    summary: str
    target: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    origin: str = field(default="", kw_only=True)
    check: Callable[[Mapping[str, Any]], object] | None = field(default=None, kw_only=True)

    kind_of_name = "name"


@dataclass(frozen=True)
class DecoderRow(Row):
    """A row of the table of decoders.

    Args:
        kind: Whether ``target`` makes a logits processor, is a ``custom_generate`` callable, or is missing because the parameters
            are settings of ``generate`` itself.
        sampling: Whether tokens are drawn at random.
        streams: Whether a streamer gets every token as it is chosen.
        distribution: Whether it defines the probability of a given text.
        batched: Whether several prompts can be continued together.
        needs: What has to be there beside the model: "amateur", "prompts", "processor", "ranker".
        rows: The parameter that says how many tokens of a text are in a forward together, or their number.
    """

    kind: Literal["settings", "processor", "callable"] = "settings"
    sampling: bool = False
    streams: bool = True
    distribution: bool = False
    batched: bool = True
    needs: tuple[str, ...] = ()
    rows: str | int = 1

    kind_of_name = "decoder"


@dataclass(frozen=True)
class RankerRow(Row):
    """A row of the table of rankers.

    Args:
        needs: What has to be there beside the candidates: "model" (a language model).
        whole_texts: Whether it judges whole texts alone, and no beginnings.
    """

    needs: tuple[str, ...] = ()
    whole_texts: bool = False

    kind_of_name = "ranker"


def scalar_text(value: Scalar) -> str:
    """A value as a choice has it.

    Example:
        >>> scalar_text(True), scalar_text(0.5), scalar_text("a,b"), scalar_text(None)
        ('true', '0.5', '"a,b"', '')
    """
    if isinstance(value, bool):
        return str(value).lower()
    return quoted("" if value is None else str(value))


def plain(value: object) -> object:
    """A number of another library, NumPy's for one, as Python's.

    Example:
        >>> import numpy as np
        >>> plain(np.float64(0.5)), plain(np.int64(4)), plain(True)
        (0.5, 4, True)
    """
    if isinstance(value, bool):
        return value
    return int(value) if isinstance(value, Integral) else float(value) if isinstance(value, Real) else value


def literal(text: str) -> object:
    """A Python number or constant, ``true`` and ``false`` also in lower case, or else the text itself.

    Example:
        >>> literal("true"), literal("1e-2"), literal("high")
        (True, 0.01, 'high')
    """
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def suggestion(word: str, known: Mapping[str, object]) -> str:
    """A question to append to an error, if ``word`` looks like one that is known.

    Example:
        >>> suggestion("nuclues", {"nucleus": 1})
        ' (did you mean nucleus?)'
    """
    close = get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
