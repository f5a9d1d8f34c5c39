"""The grammar of a choice, ``NAME:key=value,key=value``, which is the same in Python, on the command line and in results.

    choice  = name [":" pair *("," pair)]
    pair    = key "=" value
    value   = text | quoted | nested *("+" nested)
    nested  = "[" choice "]"
    quoted  = '"' characters '"' | "'" characters "'", in which a backslash takes the next character as it stands

A text runs to the next comma and may hold neither quotes nor brackets nor ``|``, which stands between the values of a sweep
(:mod:`counterpoint.decoders.choosing.sweeps`). The name of somebody's own decoder has a colon in it: ``package.module:Class`` or
``path/to/file.py:Class``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

OWN = re.compile(r"(?:[^:=,\[\]|\"']*[./\\][^:=,\[\]|\"']*):[A-Za-z_]\w*(?=:|$)")
"""``package.module:Class`` or ``file.py:Class`` at the beginning of a choice."""
SPECIAL = set(",[]|\"'")


def split_choice(text: str) -> tuple[str, list[tuple[str, str]]]:
    """The name of a choice, and its keys with their values as they are written.

    Raises:
        ValueError: For quotes or brackets that are left open, for ``|``, and for a pair without ``=``.

    Example:
        >>> split_choice("best_of:ranker=[overlap:n=2],candidates=8")
        ('best_of', [('ranker', '[overlap:n=2]'), ('candidates', '8')])
        >>> split_choice("my.decoders:Loud:volume=2")
        ('my.decoders:Loud', [('volume', '2')])
    """
    name, rest = name_and_rest(text)
    return name, [split_pair(pair, name) for pair in split_at(rest, ",") if pair]


def name_and_rest(text: str) -> tuple[str, str]:
    """The name of a choice, and what follows its colon."""
    own = OWN.match(text)
    name = own.group() if own else text.partition(":")[0]
    return name, text[len(name) :].removeprefix(":")


def split_pair(pair: str, owner: str) -> tuple[str, str]:
    """``key=value`` as key and value.

    Raises:
        ValueError: If there is no ``=``.
    """
    key, equals, value = pair.partition("=")
    if not equals:
        raise ValueError(f"{owner}: {pair!r} is not key=value")
    return key.strip(), value


def split_at(text: str, separator: str, *, bars: bool = False) -> list[str]:
    """The parts of a text between separators that stand outside quotes and brackets.

    Raises:
        ValueError: For quotes or brackets that are left open, and, unless ``bars``, for ``|`` outside quotes.

    Example:
        >>> split_at('a="1,2",b=[c:d=1,e=2]', ",")
        ['a="1,2"', 'b=[c:d=1,e=2]']
    """
    parts, depth = [""], 0
    for piece in pieces(text):
        depth += (piece == "[") - (piece == "]")
        if depth < 0:
            raise ValueError(f"{text!r} closes a bracket that it did not open")
        if piece == "|" and not bars:
            raise ValueError(
                f"{text!r} has | outside quotes, which is several values, a sweep: --decoders and --compare take it; "
                'write key="a|b" for the character itself'
            )
        if piece == separator and not depth:
            parts.append("")
        else:
            parts[-1] += piece
    if depth:
        raise ValueError(f"{text!r} leaves a bracket open")
    return parts


def pieces(text: str) -> Iterator[str]:
    """Quoted texts with their quotes, and all other characters one by one.

    A quote opens a quoted text only where a value begins, so that an apostrophe within a text stands for itself.
    """
    place = 0
    while place < len(text):
        character = text[place]
        if character in "\"'" and (place == 0 or text[place - 1] in "=[,+|"):
            match = re.compile(rf"{character}(?:[^{character}\\]|\\.)*{character}", re.DOTALL).match(text, place)
            if match is None:
                raise ValueError(f"{text!r} leaves a quote open")
            yield match.group()
            place = match.end()
        else:
            yield character
            place += 1


def unquoted(value: str) -> str:
    """A value as the text that it stands for.

    Example:
        >>> unquoted('"Lie, please."')
        'Lie, please.'
    """
    if len(value) >= 2 and value[0] in "\"'" and value[-1] == value[0]:
        return re.sub(r"\\(.)", r"\1", value[1:-1], flags=re.DOTALL)
    return value


def quoted(text: str) -> str:
    """A text as a value: in quotes where it would not be read as it stands.

    Example:
        >>> quoted("high"), quoted("Lie, please."), quoted("")
        ('high', '"Lie, please."', '')
    """
    if SPECIAL.isdisjoint(text) and text == text.strip():
        return text
    escaped = re.sub(r'(["\\])', r"\\\1", text)
    return f'"{escaped}"'


def nested_choices(value: str) -> list[str]:
    """The choices that a value holds: one by its plain name, any in brackets with "+" between them, or none.

    Raises:
        ValueError: For brackets that do not fit.

    Example:
        >>> nested_choices("[overlap:n=2]+[likelihood:form=pmi]")
        ['overlap:n=2', 'likelihood:form=pmi']
    """
    found = []
    for part in split_at(value, "+") if value else []:
        if part.startswith("["):
            if not part.endswith("]"):
                raise ValueError(f"{value!r}: a choice in brackets ends with its bracket")
            found.append(part[1:-1])
        else:
            found.append(part)
    return found


def join_choice(name: str, pairs: Sequence[tuple[str, str]]) -> str:
    """The text of a choice, whose values are written already.

    Example:
        >>> join_choice("dola", [("layers", "low")])
        'dola:layers=low'
    """
    return ":".join(filter(None, [name, ",".join(f"{key}={value}" for key, value in pairs)]))
