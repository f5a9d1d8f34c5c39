// What is marked in a text: what was searched for, phrases that the text says again, and those that two texts share.
const LETTERS = String.raw`\p{sc=Han}\p{sc=Hira}\p{sc=Kana}\p{sc=Thai}\p{sc=Laoo}\p{sc=Khmr}\p{sc=Mymr}\p{sc=Tibt}`; // of scripts without spaces
const WORD = new RegExp(`[${LETTERS}]|[^\\s${LETTERS}]+`, "gu");
const REPEATED = 4; // words of a phrase that counts as repeated, as rep-4 has it
const SHARED = 3; // words of a phrase that counts as common to two texts

const wordsOf = (text) => [...text.matchAll(WORD)].map((found) => ({ word: found[0], begin: found.index, end: found.index + found[0].length }));
const phrase = (words, place, length) => words.slice(place, place + length).map((each) => each.word).join(" ");
const phrases = (words, length) => Array.from({ length: Math.max(0, words.length - length + 1) }, (_, place) => phrase(words, place, length));

// The words that lie in any phrase for which this holds, as ranges of characters, neighbours joined.
const covered = (words, length, holds) => {
  const inside = new Set();
  phrases(words, length).forEach((each, place) => {
    if (holds(each)) for (let next = place; next < place + length; next++) inside.add(next);
  });
  const ranges = [];
  for (const place of [...inside].sort((one, other) => one - other)) {
    const { begin, end } = words[place];
    if (ranges.length && inside.has(place - 1)) ranges.at(-1)[1] = end;
    else ranges.push([begin, end]);
  }
  return ranges;
};

const repeatedIn = (text) => {
  const seen = new Set();
  return covered(wordsOf(text), REPEATED, (each) => seen.size === seen.add(each).size);
};

const sharedWith = (text, other) => {
  const known = new Set(phrases(wordsOf(other), SHARED));
  return covered(wordsOf(text), SHARED, (each) => known.has(each));
};

const foundIn = (text, needle) => {
  const ranges = [];
  const lower = text.toLowerCase();
  // Where lower case has another length, places in it are none in the text.
  for (let found = needle && lower.length === text.length ? lower.indexOf(needle) : -1; found >= 0; found = lower.indexOf(needle, found + needle.length)) {
    ranges.push([found, found + needle.length]);
  }
  return ranges;
};

// The text in pieces, each within all marks that reach over it.
const marked = (parent, text, layers) => {
  const cuts = [...new Set([0, text.length, ...Object.values(layers).flat(2)])].sort((one, other) => one - other);
  for (let place = 0; place + 1 < cuts.length; place++) {
    const [begin, end] = [cuts[place], cuts[place + 1]];
    let piece = document.createTextNode(text.slice(begin, end));
    for (const [kind, ranges] of Object.entries(layers)) {
      if (!ranges.some(([from, to]) => from <= begin && end <= to)) continue;
      const around = element(kind === "found" ? "mark" : "span", "", kind);
      around.append(piece);
      piece = around;
    }
    parent.append(piece);
  }
  return parent;
};
