"""A choice: a row of a table with the values that its parameters take, read from text and written as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from counterpoint.decoders.choosing.grammar import OWN, join_choice, nested_choices, quoted, split_choice, split_pair, unquoted
from counterpoint.decoders.choosing.rows import DecoderRow, Parameter, Row, Scalar, scalar_text, suggestion

AnyRow = TypeVar("AnyRow", bound=Row)


@dataclass(frozen=True)
class Table(Generic[AnyRow]):
    """Rows by name.

    Args:
        rows: The rows.
        shared: Parameters that every row takes too, and that have no value unless they are given.
        own: Makes a row for somebody's own ``module:Class`` or ``file.py:Class``.
        nested: The tables in which nested choices are looked up, by what they are: "decoder", "scorer" (a decoder that scores
            given texts), "ranker".
    """

    rows: Mapping[str, AnyRow]
    shared: Mapping[str, Parameter]
    own: Callable[[str], AnyRow]
    nested: Mapping[str, Table[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Spec(Generic[AnyRow]):
    """A row with the values of its parameters; ``str`` gives the text that is read as it again.

    Args:
        row: The row.
        values: A value for each parameter of the row, and for each shared one that was given.
    """

    row: AnyRow
    values: Mapping[str, Value]

    def __str__(self) -> str:
        return join_choice(self.row.name, [(key, text) for key, text in self.written().items() if text])

    @property
    def name(self) -> str:
        """The row's name."""
        return self.row.name

    @property
    def sampling(self) -> bool:
        """Whether a decoder draws tokens at random."""
        row: Any = self.row
        return bool(self.values.get("do_sample", row.sampling))

    def written(self) -> dict[str, str]:
        """The values as a choice has them."""
        return {key: written(value) for key, value in self.values.items()}

    def plain(self) -> dict[str, Scalar]:
        """The values as JSON can hold them: nested choices as their text."""
        return {key: written(value) if isinstance(value, tuple) else value for key, value in self.values.items()}

    def origins(self) -> dict[str, str]:
        """Versions or hashes of somebody's own code, by the names that stand for it here and in the choices among its values."""
        origin = self.row.origin
        own = {self.row.name: origin} if origin else {}
        return own | {name: origin for each in self.nested() for name, origin in each.origins().items()}

    def short(self) -> str:
        """Its text without the values that are defaults."""
        changed = {
            key: value
            for key, value in self.values.items()
            if key not in self.row.parameters or written(value) != self.row.parameters[key].written_default()
        }
        return join_choice(self.row.name, [(key, written(value)) for key, value in changed.items()])

    def nested(self) -> list[Spec[Row]]:
        """The choices among its values."""
        return [spec for value in self.values.values() if isinstance(value, tuple) for spec in value]


Value = Scalar | tuple[Spec[Row], ...]


def written(value: Value) -> str:
    """A value as text: choices in brackets unless a name says all, texts in quotes where they need them."""
    if isinstance(value, tuple):
        texts = [spec.short() for spec in value]
        return texts[0] if len(texts) == 1 and texts[0] == value[0].name else "+".join(f"[{text}]" for text in texts)
    return scalar_text(value)


def parse(
    choice: str | Sequence[str],
    table: Table[AnyRow],
    given: Mapping[str, object] | None = None,
    *,
    scoring: bool = False,
    own: bool = True,
    hint: str = "",
) -> Spec[AnyRow]:
    """The row that ``NAME:key=value,...`` chooses, with its values.

    Args:
        choice: The text, or the words ``NAME key=value ...`` of a command line, whose values need no quotes.
        table: Where names are looked up.
        given: Further values, from Python; they win.
        scoring: Whether given texts are scored: defaults are then those of released scoring code.
        own: Whether the words are the user's own: ``module:Class`` may then name code, which runs, and values name files, which
            are read.
        hint: What to add where a word is not ``key=value``.

    Raises:
        ValueError: For a name, a key, a type or a range that is wrong; the message says what is right.
    """
    words = [choice] if isinstance(choice, str) else list(choice)
    name, pairs = split_choice(words[0])
    row = find(name, table, own)
    owner = f"{row.kind_of_name} {row.name}"
    pairs += [raw_pair(word, owner, hint) for word in words[1:]]
    known = {**row.parameters, **table.shared}
    values: dict[str, Value] = {}
    for key, parameter in row.parameters.items():
        default = parameter.default if not scoring or parameter.scoring is None else parameter.scoring
        values[key] = read(key, str(default), parameter, table, own) if parameter.choice else default
    for key, value in [*pairs, *(given or {}).items()]:
        if key not in known:
            takes = ", ".join(known)
            raise ValueError(f"{owner} has no {key!r}{suggestion(key, known)}; it takes: {takes}")
        values[key] = read(key, value, known[key], table, own)
    missing = [key for key, parameter in row.parameters.items() if parameter.required and values[key] is parameter.default]
    if missing:
        raise ValueError(f"{owner} needs {missing[0]}: {row.name}:{missing[0]}=...")
    if own and row.check is not None:
        try:
            row.check(values)
        except OSError as error:  # of a file that a value names
            raise ValueError(str(error)) from error
    return Spec(row, values)


def find(name: str, table: Table[AnyRow], own: bool) -> AnyRow:
    """The row of a name.

    Raises:
        ValueError: If there is none; the message lists those that are. Also for somebody's own code where it may not be named.
    """
    if name in table.rows:
        return table.rows[name]
    if OWN.fullmatch(name):
        if not own:
            raise ValueError(f"{name} is code of somebody's own, which runs only where a command line or Python names it")
        return table.own(name)
    kind = next(iter(table.rows.values())).kind_of_name
    way_out = "; your own is package.module:Class or file.py:Class"
    raise ValueError(f"unknown {kind} {name!r}{suggestion(name, table.rows)}; known: {', '.join(table.rows)}{way_out}")


def raw_pair(word: str, owner: str, hint: str) -> tuple[str, str]:
    """``key=value`` as a word of its own: the shell has taken its quotes, so that commas are of the text."""
    try:
        key, value = split_pair(word, owner)
    except ValueError as error:
        raise ValueError(f"{error}{hint}") from None
    if "|" not in value and not value.startswith(("[", '"', "'")):
        value = quoted(value)
    return key, value


def read(key: str, value: object, parameter: Parameter, table: Table[AnyRow], own: bool) -> Value:
    """A parameter's value from its text, or from Python."""
    if not isinstance(value, str):
        if parameter.choice:
            specs = value if isinstance(value, tuple) else (value,)
            if not all(isinstance(spec, Spec) for spec in specs):
                raise ValueError(f"{key}={value!r} does not name a {parameter.choice}")
            return specs
        return parameter.read(key, value)
    if parameter.choice:
        inner = table.nested[parameter.choice]
        scoring = parameter.choice == "scorer"
        return tuple(parse(text, inner, scoring=scoring, own=own) for text in nested_choices(value))
    return parameter.read(key, unquoted(value))


def check_distribution(spec: Spec[DecoderRow], rows: Mapping[str, DecoderRow]) -> None:
    """A decoder that is to score given texts defines their probability.

    Raises:
        ValueError: If it does not; the message lists those of ``rows`` that do.
    """
    if not spec.row.distribution:
        raise ValueError(
            f"decoder {spec.name}: the probability of a text is undefined under it, since it changes how tokens are chosen, not "
            f"how likely they are; decoders that score texts: {', '.join(name for name, row in rows.items() if row.distribution)}"
        )
