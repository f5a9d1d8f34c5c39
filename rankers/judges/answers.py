"""The answer that a text ends with, in a form in which equal answers are equal."""

from __future__ import annotations

import re
from collections.abc import Callable

Extract = Callable[[str], str | None]
"""Gives the answer of a text, or None if it has none."""

NUMBER = re.compile(r"(?:(?<![\w)])[-+])?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<!\d)\.\d+)")
ANSWER_IS = re.compile(r"answer is:?\s*(.+?)(?:\.(?=\s)|\.?$)", re.IGNORECASE | re.MULTILINE)
SAID = re.compile(
    r"(?i:\banswer)(?:"
    r"(?i:\s+is)?\s*:?[\s*]*(?:[(\[]\s*([A-Ja-j])\s*[)\]]|([A-Ja-j])(?=[\s*]*(?:[.,;:)\]]|$)))"  # in brackets, or at a clause's end
    r"|(?:(?i:\s+is)\s*:?|\s*:)[\s*]*([A-J])\b(?!'))",
    re.MULTILINE,
)
IN_BRACKETS = re.compile(r"[(\[]([A-J])[)\]]")
AT_THE_BEGINNING = re.compile(r"\s*[*(\[]*([A-J])(?:[*).\]:]|\s*$)")


def boxed(text: str) -> str | None:
    r"""What stands in the last ``\boxed{...}``, braces balanced; None if that is left open.

    Example:
        >>> boxed(r"so \boxed{3}, or \boxed{\frac{1}{2}}."), boxed(r"$\boxed 7$"), boxed(r"\boxed{1, \boxed{2"), boxed("5")
        ('\\frac{1}{2}', '7', None, None)
    """
    _, command, rest = text.rpartition(r"\boxed")
    if not command:
        return None
    if not rest.startswith("{"):
        return rest.split("$")[0].strip() or None
    depth = 0
    for place, character in enumerate(rest):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return rest[1:place]
    return None


def last_number(text: str) -> str | None:
    """The last number, with its sign and its decimals.

    Example:
        >>> last_number("3 boats of 1,200 tons"), last_number("from 5-3 it is -2.50."), last_number("p = .5"), last_number("none")
        ('1,200', '-2.50', '.5', None)
    """
    found = NUMBER.findall(text)
    return found[-1] if found else None


def choice_letter(text: str) -> str | None:
    """The letter of a multiple choice, A to J: the last that is called the answer, else the last in brackets, else the first word.

    Example:
        >>> [choice_letter(text) for text in ("(A) is wrong. The answer is (B).", "A or (C)", " D. Paris", "I am")]
        ['B', 'C', 'D', None]
        >>> [choice_letter(text) for text in ("To answer a question, look: (C)", "The answer I give is (B).", "answer: **d**")]
        ['C', 'B', 'D']
    """
    if said := SAID.findall(text):
        return "".join(said[-1]).upper()
    if bracketed := IN_BRACKETS.findall(text):
        return str(bracketed[-1])
    first = AT_THE_BEGINNING.match(text)
    return first and first[1]


def automatic(text: str) -> str | None:
    r"""What is boxed; where nothing is, what follows the last "answer is", to the sentence's end; else the last number.

    A box that is left open is no answer, as in a text that was cut off.

    Example:
        >>> automatic("3 or 4? The answer is 4. I am sure of 99."), automatic("it is 12"), automatic(r"12, so \boxed{")
        ('4', '12', None)
    """
    if r"\boxed" in text:
        return boxed(text)
    said = ANSWER_IS.findall(text)
    return str(said[-1]) if said else last_number(text)


NAMED: dict[str, Extract] = {"auto": automatic, "boxed": boxed, "number": last_number, "choice": choice_letter}


def extractor(answer: str | Extract) -> Extract:
    r"""What extracts answers: a name, a regular expression (its last match, or that match's first group), or a function.

    Raises:
        ValueError: For a regular expression that is none.

    Example:
        >>> extractor(r"Final: (\w+)")("Final: one. Final: two.")
        'two'
    """
    if not isinstance(answer, str):
        return answer
    if answer in NAMED:
        return NAMED[answer]
    try:
        pattern = re.compile(answer)
    except re.error as error:
        raise ValueError(
            f"answer={answer!r} is neither {', '.join(NAMED)} nor a regular expression: {error}; a function of yours is one too"
        ) from None

    def last_match(text: str) -> str | None:
        found = list(pattern.finditer(text))
        return found[-1][1 if pattern.groups else 0] if found else None

    return last_match


def normalised(answer: str) -> str:
    r"""An answer without what does not tell answers apart: spaces, ``$``, commas of thousands, a last full stop, ``\text{}``.

    ``\left`` and ``\right`` go too, ``\dfrac`` and ``\tfrac`` are ``\frac``, and ``.5`` is ``0.5``.

    Example:
        >>> normalised(r" $\dfrac{1}{2}$. "), normalised("1,234,567"), normalised("-.5"), normalised(r"\left(1, 2\right)")
        ('\\frac{1}{2}', '1234567', '-0.5', '(1,2)')
        >>> normalised(r"12 \text{ men}"), normalised("Five.")
        ('12men', 'Five')
    """
    text = re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", answer)
    text = re.sub(r"\\(?:left|right)(?![a-zA-Z])", "", text)
    text = re.sub(r"\\[dt]frac(?![a-zA-Z])", r"\\frac", text)
    text = re.sub(r"\s|\\?\$|\\[,;!]", "", text).removesuffix(".")
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text) if re.fullmatch(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?\D*", text) else text
    return re.sub(r"^([-+]?)\.(?=\d)", r"\g<1>0.", text)
