// The order of the prompts: as they came, by how different the texts are, or by the worst of a figure.
const DIFFERENT = "different";

// A decoder that ran under one seed has the same text, with the same figures, under every one.
const ofSeed = (found) => found[state.seed || data.seeds[0]] ?? (Object.keys(found).length === 1 ? Object.values(found)[0] : undefined);
const textOf = (prompt, place) => ofSeed(prompt.texts[place]);
const figuresOf = (prompt, place) => ofSeed(prompt.figures[place]) ?? [];

const shown = () => (state.pinned.length === 2 ? state.pinned : names.map((_, place) => place).filter((place) => !state.hidden.has(place)));
const written = () => {
  const own = shown().filter((place) => !data.decoders[place].human);
  return own.length > 1 || state.pinned.length < 2 ? own : shown();
};

// The share of two-word phrases that only one of the texts has: all of them where nothing is shared.
const difference = (prompt) => {
  const all = new Set();
  let count = 0;
  for (const text of written().map((place) => textOf(prompt, place))) {
    if (text === undefined) continue;
    const own = new Set(phrases(wordsOf(text), 2));
    count += own.size;
    for (const each of own) all.add(each);
  }
  return count ? all.size / count : 0;
};

// How bad a figure is: far from human texts' mean where near is good, else too low or too high.
const badness = (figure, value) => {
  if (figure.better === "lower") return value;
  return figure.better === "human" && figure.human !== null ? Math.abs(value - figure.human) : -value;
};
const worst = (prompt, column) =>
  Math.max(...written().map((place) => figuresOf(prompt, place)[column] ?? null).filter((value) => value !== null).map((value) => badness(data.figures[column], value)), -Infinity);

const orders = [["", "as given"], [DIFFERENT, "most different first"], ...data.figures.map((figure, column) => [`worst-${figure.title}`, `worst ${figure.title} first`, column])];

let last = { key: null, prompts: data.prompts };
const ordered = () => {
  const chosen = orders.find(([name]) => name === state.order);
  if (!state.order || !chosen) return data.prompts;
  const key = [state.order, state.seed, written()].join(" ");
  if (last.key !== key) {
    const weigh = state.order === DIFFERENT ? difference : (prompt) => worst(prompt, chosen[2]);
    const weights = new Map(data.prompts.map((prompt) => [prompt, weigh(prompt)]));
    last = { key, prompts: [...data.prompts].sort((one, other) => weights.get(other) - weights.get(one) || 0) };
  }
  return last.prompts;
};
