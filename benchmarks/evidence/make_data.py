"""Writes the two sets of ``eval/data`` that the evidence is measured on: passages with changed facts, and sums in words.

Usage: ``python make_data.py``, which writes ``changed_facts.jsonl`` and ``arithmetic.jsonl`` anew, the same bytes each time. All
sentences are our own, and the facts are what everybody knows.

A line of ``changed_facts.jsonl`` has a ``prompt``, which is a passage that states a changed fact, a blank line, and a sentence to
be completed; the ``true_prompt``, the same with the fact as it is; the ``question`` that the sentence answers; and the
continuations ``changed`` and ``true``. A line of ``arithmetic.jsonl`` has a ``prompt`` and its ``answer``.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "eval" / "data"


@dataclass(frozen=True)
class Relation:
    """Facts of one kind, and how they are said: ``{s}`` is what a fact is about, ``{o}`` what it says of it."""

    name: str
    question: str
    sentence: str
    """To be completed by ``{o}``."""
    passages: tuple[str, str]
    facts: str
    """``subject: object`` with semicolons between them."""
    step: int = 1
    """The changed object is that of the fact so many places on, or further where that is the same."""

    def pairs(self) -> list[tuple[str, str]]:
        """Subjects with their objects."""
        return [(s.strip(), o.strip()) for s, o in (fact.split(":") for fact in self.facts.split(";"))]


RELATIONS = (
    Relation(
        "capital",
        "What is the capital of {s}?",
        "The capital of {s} is",
        (
            "Travellers come to {s} in every season. Parliament and all ministries have their seat in {o}, the capital, and the "
            "largest museums are there too. From its station trains leave for all parts of the country.",
            "A new atlas has a chapter on {s}. It shows the rivers first, then the roads, and on the last map the capital, which "
            "is {o}. The maps were drawn by hand.",
        ),
        "France: Paris; Italy: Rome; Spain: Madrid; Germany: Berlin; Japan: Tokyo; China: Beijing; Russia: Moscow; Greece: Athens; "
        "Egypt: Cairo; Austria: Vienna; Portugal: Lisbon; Ireland: Dublin; Norway: Oslo; Sweden: Stockholm; Poland: Warsaw; "
        "Hungary: Budapest; Cuba: Havana; Peru: Lima; Turkey: Ankara; Kenya: Nairobi; Thailand: Bangkok; Iran: Tehran; "
        "Iraq: Baghdad; Canada: Ottawa; Finland: Helsinki; Denmark: Copenhagen; Belgium: Brussels; Chile: Santiago; "
        "Vietnam: Hanoi; Ukraine: Kyiv; Scotland: Edinburgh; Lebanon: Beirut; Bulgaria: Sofia; Romania: Bucharest; "
        "Morocco: Rabat; Ghana: Accra",
        step=7,
    ),
    Relation(
        "language",
        "Which language do people in {s} speak?",
        "The language that people in {s} speak is",
        (
            "Visitors to {s} should learn a few words before they leave. Everybody there speaks {o}, at home, in shops and at "
            "school. Signs in the streets are written in it as well.",
            "The radio of {s} has three stations. All of them send their programmes in {o}, the language of the country. The news "
            "is read every hour.",
        ),
        "France: French; Germany: German; Italy: Italian; Spain: Spanish; Japan: Japanese; Russia: Russian; Greece: Greek; "
        "Poland: Polish; Sweden: Swedish; Turkey: Turkish; Brazil: Portuguese; Hungary: Hungarian; England: English; "
        "Finland: Finnish; Denmark: Danish; Norway: Norwegian; Ukraine: Ukrainian; Romania: Romanian; Egypt: Arabic; "
        "Mexico: Spanish; Austria: German",
        step=5,
    ),
    Relation(
        "continent",
        "On which continent is {s}?",
        "The continent on which {s} lies is",
        (
            "The expedition began in {s}. That country lies in {o}, far from where the ship had been built. After two weeks the "
            "travellers had seen only a small part of it.",
            "Our teacher put a pin on the map for every country. The pin of {s} stood in {o}, between two others. The map covered "
            "the whole wall.",
        ),
        "Kenya: Africa; France: Europe; China: Asia; Nigeria: Africa; India: Asia; Poland: Europe; Ghana: Africa; Japan: Asia; "
        "Spain: Europe; Ethiopia: Africa; Thailand: Asia; Sweden: Europe; Uganda: Africa; Vietnam: Asia; Hungary: Europe; "
        "Zambia: Africa; Nepal: Asia; Norway: Europe; Angola: Africa; Mongolia: Asia; Belgium: Europe",
        step=2,
    ),
    Relation(
        "colour",
        "What colour is {s}?",
        "The colour of {s} is",
        (
            "The painter looked at {s} for a long time. It was {o}, as it always is, and so was the whole canvas when she had "
            "done. The picture hangs in the town hall now.",
            "In the picture book every page has one thing. On the fourth page there is {s}, printed in {o}, which is its colour. "
            "Children like that page best.",
        ),
        "grass: green; fresh snow: white; coal: black; blood: red; a ripe banana: yellow; a clear sky: blue; an orange: orange; "
        "milk: white; a lemon: yellow; a ripe strawberry: red; chocolate: brown; a raven: black; a polar bear: white; "
        "a frog: green; a fire engine: red; an emerald: green; a sapphire: blue; a ruby: red; a carrot: orange; "
        "a flamingo: pink; an eggplant: purple",
        step=5,
    ),
    Relation(
        "young",
        "What is a young {s} called?",
        "A young {s} is called a",
        (
            "The farm has a small house for animals that were born this spring. A young {s}, which is called a {o}, sleeps in the "
            "corner on the left. It is fed four times a day.",
            "The keeper explained the words on the board. When a {s} has young, each of them is a {o}, and it stays with its "
            "mother until the autumn. Everyone wrote this down.",
        ),
        "cat: kitten; dog: puppy; cow: calf; sheep: lamb; horse: foal; lion: cub; goose: gosling; duck: duckling; pig: piglet; "
        "goat: kid; kangaroo: joey; swan: cygnet; deer: fawn; frog: tadpole; hen: chick; owl: owlet; seal: pup; bear: cub; "
        "wolf: pup; elephant: calf",
        step=3,
    ),
    Relation(
        "opposite",
        "What is the opposite of {s}?",
        "The opposite of {s} is",
        (
            "The class plays a game with words. One child says {s}, and the next has to say its opposite, which is {o}. Whoever "
            "gets it wrong sits down.",
            "A dictionary for beginners has two columns. To the left of the line stands {s}, and to the right its opposite, {o}. "
            "There are no pictures in it.",
        ),
        "hot: cold; big: small; up: down; left: right; day: night; open: closed; wet: dry; hard: soft; rich: poor; old: young; "
        "fast: slow; happy: sad; full: empty; early: late; heavy: light; near: far; high: low; strong: weak; loud: quiet; "
        "war: peace; first: last; top: bottom; clean: dirty; front: back; long: short; true: false",
        step=4,
    ),
    Relation(
        "author",
        "Who wrote {s}?",
        "The author of {s} is",
        (
            "The library shows the first page of {s} behind glass. Its author, {o}, wrote it by hand and changed hardly a word. "
            "Next to it lies the pen.",
            "For the school play the pupils have read {s}. It was written by {o}, whose portrait hangs above the stage. The play "
            "takes two hours.",
        ),
        "Hamlet: William Shakespeare; Oliver Twist: Charles Dickens; Pride and Prejudice: Jane Austen; Moby Dick: Herman Melville; "
        "War and Peace: Leo Tolstoy; Don Quixote: Miguel de Cervantes; Faust: Johann Wolfgang von Goethe; "
        "The Divine Comedy: Dante Alighieri; The Odyssey: Homer; Frankenstein: Mary Shelley; Dracula: Bram Stoker; "
        "Les Miserables: Victor Hugo; Jane Eyre: Charlotte Bronte; Treasure Island: Robert Louis Stevenson; "
        "The Time Machine: H. G. Wells; The Raven: Edgar Allan Poe; Gulliver's Travels: Jonathan Swift; "
        "Robinson Crusoe: Daniel Defoe; Crime and Punishment: Fyodor Dostoevsky; The Jungle Book: Rudyard Kipling",
        step=6,
    ),
    Relation(
        "home",
        "Where does a {s} live?",
        "The place where a {s} lives is the",
        (
            "The guide stopped and asked for silence. A {s}, she said, lives in the {o}, and whoever wants to see one has to wait "
            "there for hours. Then she went on.",
            "The film was made over three years. It follows a {s} through its home, the {o}, from its first day on. There is "
            "hardly any music in it.",
        ),
        "camel: desert; shark: ocean; monkey: jungle; polar bear: Arctic; lion: savanna; whale: ocean; parrot: jungle; "
        "scorpion: desert; penguin: Antarctic; dolphin: ocean; squirrel: forest; eagle: mountains; zebra: savanna; "
        "goldfish: aquarium; woodpecker: forest; octopus: ocean; giraffe: savanna; seal: Arctic",
        step=3,
    ),
    Relation(
        "use",
        "What do people use a {s} for?",
        "People use a {s} for",
        (
            "The shop sells one thing in every size. A {s} is what people need for {o}, and this shop has forty of them. The "
            "cheapest one hangs by the door.",
            "In the museum of tools each case has a sign. The one under the {s} says that it was made for {o} and for nothing "
            "else. It is from the last century.",
        ),
        "pen: writing; knife: cutting; bed: sleeping; oven: baking; broom: sweeping; needle: sewing; spade: digging; "
        "camera: taking pictures; piano: making music; brush: painting; fishing rod: fishing; kettle: boiling water; "
        "hammer: driving nails; ruler: measuring; telescope: looking at stars; umbrella: keeping dry; lamp: giving light; "
        "clock: telling the time; pillow: resting the head; bicycle: riding",
        step=5,
    ),
)

NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Henry", "Ida", "Jack")
THINGS = ("apples", "books", "coins", "stamps", "pencils", "marbles", "cards", "eggs", "roses", "shells")
SUMS = (
    "{n} has {a} {t}. A friend gives {n} {b} more. How many {t} does {n} have now?",
    "{n} had {c} {t} and gave {b} of them away. How many {t} does {n} have left?",
    "There are {d} boxes, and each box has {e} {t} in it. How many {t} are there altogether?",
    "{n} has {a} {t}, buys {b} more and then loses {d}. How many {t} does {n} have now?",
    "{n} has {a} {t}. {m} has {b} more than {n}. How many {t} do they have together?",
    "{n} shares {f} {t} equally among {d} children. How many {t} does each child get?",
)


def written(sentence: str, **words: str) -> str:
    """A sentence with its words filled in, and "an" where a vowel follows."""
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", sentence.format(**words))


def changed_facts() -> Iterator[dict[str, str]]:
    """The lines of the first set."""
    for relation in RELATIONS:
        pairs = relation.pairs()
        for place, (subject, true) in enumerate(pairs):
            others = [pairs[(place + relation.step + further) % len(pairs)][1] for further in range(len(pairs))]
            changed = next(other for other in others if other != true)
            passage = relation.passages[place % 2]
            sentence = written(relation.sentence, s=subject)
            yield {
                "relation": relation.name,
                "prompt": f"{written(passage, s=subject, o=changed)}\n\n{sentence}",
                "true_prompt": f"{written(passage, s=subject, o=true)}\n\n{sentence}",
                "question": written(relation.question, s=subject),
                "changed": f" {changed}",
                "true": f" {true}",
            }


def arithmetic(number: int = 150) -> Iterator[dict[str, str]]:
    """The lines of the second set."""
    chance = random.Random(0)  # noqa: S311
    for place in range(number):
        name, other = chance.sample(NAMES, 2)
        a, b, d, e = chance.randint(6, 30), chance.randint(2, 9), chance.randint(2, 5), chance.randint(3, 9)
        c, f = a + b + chance.randint(1, 9), d * e
        answers = (a + b, c - b, d * e, a + b - d, 2 * a + b, e)
        kind = place % len(SUMS)
        prompt = SUMS[kind].format(n=name, m=other, t=chance.choice(THINGS), a=a, b=b, c=c, d=d, e=e, f=f)
        yield {"prompt": prompt, "answer": str(answers[kind])}


def main() -> None:
    """Write both."""
    for name, lines in (("changed_facts", changed_facts()), ("arithmetic", arithmetic())):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (DATA / f"{name}.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
