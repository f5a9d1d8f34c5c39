const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const tokens = data.tokens;
const SVG = "http://www.w3.org/2000/svg";

const element = (name, text = "", kind = "") => {
  const made = document.createElement(name);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
};
const drawn = (name, attributes) => {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};
// White space is shown as a sign where a token stands alone.
const visible = (text) => text.replaceAll(" ", "␣").replaceAll("\n", "⏎").replaceAll("\t", "⇥") || "(nothing)";
const share = (value) => (value >= 0.0995 ? value.toFixed(2) : value.toPrecision(2));
const shown = (value) => (value === null || value === undefined ? "cut" : Math.abs(value) < 1e-4 && value !== 0 ? value.toExponential(1) : value.toFixed(4));
const ordinal = (rank) => `${rank}${{ 1: "st", 2: "nd", 3: "rd" }[rank % 100 > 10 && rank % 100 < 14 ? 0 : rank % 10] ?? "th"}`;
const changed = (token) => token.greedy && token.greedy.id !== token.id;

// What the colour of a token can show: a name, the number, and its share of the strongest colour.
const SERIES = {
  rank: ["how far the token is from the model's first choice", (token) => token.greedy_rank, (rank) => Math.min(1, Math.log2(rank) / 6)],
  probability: ["how improbable the model finds the token", (token) => token.model_probability, (p) => Math.min(1, -Math.log(p) / 8)],
  cut: ["how many tokens were excluded", (token) => token.cut, (cut, all) => cut / Math.max(1, ...all)],
  negative: ["how far the token is from the first choice of what is stayed away from", (token) => token.negative_rank, (rank) => Math.min(1, Math.log2(rank) / 6)],
  layer: ["which layer was contrasted with", (token) => token.choice?.layer, (layer, all) => (layer + 1) / (Math.max(...all) + 1)],
  similarity: ["how like an earlier token's state its own is", (token) => token.similarity, (cosine) => Math.max(0, cosine)],
  alpha: ["how much the penalty weighs", (token) => token.alpha, (alpha) => alpha],
};
const NOTES = {
  model: "p, model",
  positive: "p, followed",
  negative: "p, stayed away from",
  contrast: "contrast",
  decoder: "p, decoder",
  penalty: "penalty",
  score: "score",
};

const buttons = tokens.map((token, place) => {
  const made = element("span", token.text, "token"); // whose line breaks break lines, as those of a button would not
  made.setAttribute("role", "button");
  made.tabIndex = place ? -1 : 0;
  made.addEventListener("click", () => select(place));
  return made;
});
const before = data.prompt_tokens.map((token) => element("span", token.text, "prompt"));
const arcs = drawn("svg", { "aria-hidden": "true" });
at("text").append(...before, ...buttons, arcs);

const colour = () => {
  const [, value, strength] = SERIES[at("series").value];
  const all = tokens.map(value).filter((each) => each !== undefined);
  buttons.forEach((button, place) => {
    const number = value(tokens[place]);
    button.style.setProperty("--share", number === undefined ? "0%" : `${Math.round(65 * strength(number, all))}%`);
  });
  const differs = tokens.filter(changed).length;
  at("legend").textContent = `${differs} of ${tokens.length} tokens are not the model's first choice`;
};

const sentences = (token) => {
  const told = [];
  if (token.greedy) {
    told.push(
      changed(token)
        ? `“${visible(token.text)}” is the model's ${ordinal(token.greedy_rank)} choice (p = ${share(token.model_probability)}); greedy search would have written “${visible(token.greedy.text)}”.`
        : `“${visible(token.text)}” is the model's first choice (p = ${share(token.model_probability)}).`,
    );
  }
  if (token.cut) told.push(`${token.cut} tokens were excluded.`);
  if (token.negative_rank) told.push(`It is the ${ordinal(token.negative_rank)} choice of the distribution that is stayed away from.`);
  if (token.choice?.layer !== undefined) told.push(`Layer ${token.choice.layer} was contrasted with.`);
  if (token.nearest !== undefined) {
    const prompt = data.prompt_tokens.length;
    const nearest = token.nearest < prompt ? data.prompt_tokens[token.nearest] : tokens[token.nearest - prompt];
    told.push(`Of ${token.k} candidates it was penalised for its likeness to “${visible(nearest.text)}” (cosine ${share(token.similarity)}), with weight ${share(token.alpha)}.`);
  }
  return told.join(" ");
};

const table = (token) => {
  const names = Object.keys(NOTES).filter((name) => token.candidates.some((each) => each[name] !== undefined));
  const made = element("table");
  const head = element("tr");
  head.append(element("th", "token", "token-text"), ...names.map((name) => element("th", NOTES[name])));
  for (const cell of head.children) cell.scope = "col";
  const body = element("tbody");
  for (const each of token.candidates) {
    const excluded = [each.contrast, each.score].includes(null) || (each.contrast === undefined && each.decoder === 0);
    const row = element("tr", "", each.chosen ? "chosen" : excluded ? "cut" : "");
    const first = element("th", visible(each.text), "token-text");
    first.scope = "row";
    row.append(first);
    for (const name of names) {
      const cell = element("td", shown(each[name]));
      if (NOTES[name].startsWith("p,")) {
        const bar = element("span", "", "bar");
        bar.style.width = `${(each[name] ?? 0) * 6}rem`;
        cell.append(bar);
      }
      row.append(cell);
    }
    body.append(row);
  }
  const top = element("thead");
  top.append(head);
  made.append(top, body);
  const scrolled = element("div", "", "wide");
  scrolled.append(made);
  return scrolled;
};

const arc = (token, place) => {
  arcs.replaceChildren();
  for (const each of [...before, ...buttons]) each.classList.remove("nearest");
  if (token.nearest === undefined) return;
  const to = [...before, ...buttons][token.nearest];
  to.classList.add("nearest");
  const frame = at("text").getBoundingClientRect();
  const middle = (one) => {
    const box = one.getClientRects()[0] ?? one.getBoundingClientRect();
    return [box.left + box.width / 2 - frame.left, box.top - frame.top];
  };
  const [x1, y1] = middle(buttons[place]);
  const [x2, y2] = middle(to);
  const high = Math.min(y1, y2) - Math.min(30, 8 + Math.abs(x1 - x2) / 12);
  arcs.append(drawn("path", { d: `M ${x1} ${y1} C ${x1} ${high}, ${x2} ${high}, ${x2} ${y2}` }));
};

const select = (place) => {
  buttons.forEach((button, each) => {
    button.setAttribute("aria-current", String(each === place));
    button.tabIndex = each === place ? 0 : -1;
  });
  const token = tokens[place];
  at("details").replaceChildren(element("p", sentences(token)), ...(token.candidates.length ? [table(token)] : []));
  arc(token, place);
  for (const cell of at("heat").querySelectorAll("button")) cell.setAttribute("aria-pressed", String(Number(cell.dataset.place) === place));
  history.replaceState(null, "", `#token-${place + 1}`);
};
const chosenPlace = () => buttons.findIndex((button) => button.tabIndex === 0);
at("text").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const place = Math.max(0, Math.min(tokens.length - 1, chosenPlace() + step));
  select(place);
  buttons[place].focus();
});

const figures = tokens.map((token) => token.choice?.divergence ?? token.choice?.fusion_weights ?? token.choice?.layer_alignment);
if (data.layers.length && figures.some(Boolean)) {
  const kind = tokens[0].choice.divergence ? "divergence from the last layer" : tokens[0].choice.fusion_weights ? "weight in the fusion" : "alignment with the evolution";
  at("map").hidden = false;
  at("about-layers").textContent = `Each column is a token, each row a layer: the stronger the colour, the larger its ${kind}. A frame marks the layer that was chosen.`;
  const heat = at("heat");
  heat.style.gridTemplateColumns = `max-content repeat(${tokens.length}, 1rem)`;
  const largest = Math.max(1e-12, ...figures.flat().filter((each) => each !== null && each !== undefined));
  for (let row = data.layers.length - 1; row >= 0; row--) {
    heat.append(element("span", String(data.layers[row]), "layer"));
    tokens.forEach((token, place) => {
      const value = figures[place]?.[row];
      const cell = element("button", "", token.choice?.layer === data.layers[row] ? "chosen" : "");
      cell.type = "button";
      cell.dataset.place = place;
      cell.tabIndex = -1;
      cell.title = `layer ${data.layers[row]}, “${visible(token.text)}”: ${shown(value)}`;
      cell.setAttribute("aria-label", cell.title);
      cell.style.setProperty("--share", `${Math.round((100 * (value ?? 0)) / largest)}%`);
      cell.addEventListener("click", () => select(place));
      heat.append(cell);
    });
  }
}

const COURSES = { model_probability: "the model's probability of the token", alpha: "weight of the penalty", k: "candidates", similarity: "degeneration penalty" };
for (const [name, words] of Object.entries(COURSES)) {
  const values = tokens.map((token) => token[name]).filter((value) => value !== undefined);
  if (values.length < 2 || new Set(values).size < 2) continue;
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const figure = element("figure");
  const chart = drawn("svg", { viewBox: `0 0 ${values.length - 1} 1`, preserveAspectRatio: "none", role: "img", "aria-label": `${words}, from ${shown(low)} to ${shown(high)}` });
  chart.append(drawn("polyline", { points: values.map((value, place) => `${place},${1 - (value - low) / (high - low)}`).join(" ") }));
  figure.append(element("figcaption", `${words}: ${shown(low)} to ${shown(high)}`), chart);
  at("charts").append(figure);
  at("course").hidden = false;
}

for (const [place, candidates] of (data.rounds ?? []).entries()) {
  at("tree").hidden = false;
  const list = element("ol");
  for (const each of candidates) {
    const line = element("li");
    line.append(element("span", `${each.score === null ? "no score" : each.score.toFixed(4)}${each.parent === null ? "" : ` (from ${each.parent + 1})`}  `, "score"), each.text);
    list.append(line);
  }
  at("rounds").append(element("h3", data.rounds.length > 1 ? `Round ${place + 1}` : "The best first"), list);
}

for (const [name, [words, value]] of Object.entries(SERIES)) {
  if (tokens.some((token) => value(token) !== undefined)) at("series").append(new Option(words, name));
}
if (at("series").options.length) {
  at("series").addEventListener("change", colour);
  colour();
} else at("colours").hidden = true;
if (tokens.length) select(Math.max(0, Math.min(tokens.length, Number(location.hash.match(/^#token-(\d+)$/)?.[1] ?? 1 + Math.max(0, tokens.findIndex(changed)))) - 1));
addEventListener("resize", () => { const place = chosenPlace(); if (place >= 0) arc(tokens[place], place); });
