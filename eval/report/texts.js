// The texts: a window of prompts, each with a column for every decoder that is shown.
const AT_A_TIME = 20;
let found = data.prompts;
let begin = 0;
let end = AT_A_TIME;

const number = (value, { digits }) => (value === null || value === undefined ? "n/a" : value.toFixed(digits).replace(/\.0$/, ""));

const card = (prompt, place, other) => {
  const decoder = data.decoders[place];
  const text = textOf(prompt, place);
  const made = element("div", "", decoder.human ? "text human" : "text");
  const head = element("h4", decoder.name);
  const pin = element("button", state.pinned.includes(place) ? "unpin" : "pin", "pin");
  pin.type = "button";
  pin.setAttribute("aria-label", `${state.pinned.includes(place) ? "Unpin" : "Pin"} ${decoder.name}`);
  pin.addEventListener("click", () => {
    state.pinned = state.pinned.includes(place) ? state.pinned.filter((each) => each !== place) : [...state.pinned.slice(-1), place];
    stay(prompt);
  });
  head.append(pin);
  const clean = text.trim();
  const layers = {};
  if (other !== undefined) layers.common = sharedWith(clean, other);
  if (state.repeats) layers.again = repeatedIn(clean);
  layers.found = foundIn(clean, state.find.toLowerCase());
  const own = figuresOf(prompt, place);
  const figures = data.figures.map((figure, column) => `${figure.title} ${number(own[column], figure)}`).filter((_, column) => column in own);
  made.append(head);
  if (figures.length) made.append(element("p", figures.join(" · "), "measures"));
  made.append(marked(element("p", "", "words"), clean, layers));
  return made;
};

const article = (prompt) => {
  const made = element("article");
  made.id = `prompt-${prompt.index + 1}`;
  made.tabIndex = -1;
  const heading = element("h3");
  const link = element("a", `${prompt.index + 1}.`, "number");
  link.href = address({ prompt: prompt.index + 1 });
  heading.append(link, " ");
  made.append(marked(heading, prompt.prompt, { found: foundIn(prompt.prompt, state.find.toLowerCase()) }));
  const side = element("div", "", state.pinned.length === 2 ? "columns pair" : "columns");
  const own = shown().filter((place) => textOf(prompt, place) !== undefined);
  for (const place of own) {
    const other = state.pinned.length === 2 ? own.find((each) => each !== place) : undefined;
    side.append(card(prompt, place, other === undefined ? undefined : textOf(prompt, other)));
  }
  made.append(side);
  return made;
};

const filter = () => {
  const needle = state.find.toLowerCase();
  const own = shown();
  const has = (text) => text !== undefined && text.toLowerCase().includes(needle);
  found = needle ? ordered().filter((prompt) => has(prompt.prompt) || own.some((place) => has(textOf(prompt, place)))) : ordered();
};

const tell = () => {
  const left = data.left_out ? `; ${data.left_out} more are not in this page` : "";
  const from = found.length ? (begin ? `${begin + 1} to ${end}` : end) : 0;
  at("count").textContent = `${from} of ${found.length} prompts${found.length < data.prompts.length ? " found" : ""}${left}`;
  at("more").hidden = end >= found.length;
  at("earlier").hidden = begin === 0;
  at("unpin").hidden = !state.pinned.length;
  at("pinned").hidden = state.pinned.length !== 2;
};

// The window anew: where it was, or from the first prompt on, or around the one that is looked at.
const render = (stays = false) => {
  filter();
  if (!stays || begin >= found.length) {
    const place = Math.max(0, found.findIndex((prompt) => prompt.index + 1 === state.prompt));
    begin = Math.floor(place / AT_A_TIME) * AT_A_TIME;
    end = begin + AT_A_TIME;
  }
  end = Math.min(Math.max(end, begin + AT_A_TIME), found.length);
  at("prompts").replaceChildren(...found.slice(begin, end).map(article));
  tell();
};

const extend = (later) => {
  if (later) {
    at("prompts").append(...found.slice(end, end + AT_A_TIME).map(article));
    end = Math.min(end + AT_A_TIME, found.length);
  } else {
    at("prompts").prepend(...found.slice(begin - AT_A_TIME, begin).map(article));
    begin -= AT_A_TIME;
  }
  tell();
};

const look = (prompt, focus = true) => {
  state.prompt = prompt.index + 1;
  remember();
  let made = at(`prompt-${state.prompt}`);
  if (!made) {
    render();
    made = at(`prompt-${state.prompt}`);
  }
  made?.scrollIntoView({ block: "start" });
  if (focus) for (const each of at("prompts").children) each.toggleAttribute("aria-current", each === made);
};

// From the prompt that is looked at, or else the first that is to be seen, to its neighbour.
const step = (by) => {
  if (!found.length) return;
  const now = found.findIndex((prompt) => prompt.index + 1 === state.prompt);
  look(found[Math.min(found.length - 1, Math.max(0, now + by))]);
};

// What is shown changes, but not which prompt is read.
const stay = (prompt) => {
  state.prompt = prompt.index + 1;
  controls();
  render();
  look(prompt);
};

// What is found is another, or only what is shown of it.
const changed = () => {
  state.prompt = 0;
  remember();
  render();
};
const redrawn = () => {
  remember();
  render(true);
};

const controls = () => {
  at("search").value = state.find;
  at("order").value = orders.some(([name]) => name === state.order) ? state.order : "";
  at("seed").value = state.seed || data.seeds[0];
  at("repeats").checked = state.repeats;
  at("shown").querySelectorAll("input").forEach((box, place) => { box.checked = !state.hidden.has(place); });
};

const show = (hidden) => {
  state.hidden = new Set(hidden);
  controls();
  redrawn();
};

data.decoders.forEach((decoder, place) => {
  const label = element("label");
  const box = element("input");
  box.type = "checkbox";
  box.addEventListener("change", () => {
    if (box.checked) state.hidden.delete(place);
    else state.hidden.add(place);
    redrawn();
  });
  label.append(box, decoder.name);
  at("shown").append(label);
});
for (const [name, words] of orders) at("order").append(new Option(words, name));
for (const seed of data.seeds) at("seed").append(new Option(seed, seed));
at("seed").hidden = document.querySelector('label[for="seed"]').hidden = data.seeds.length < 2;
at("search").addEventListener("input", () => { state.find = at("search").value; changed(); });
at("order").addEventListener("change", () => { state.order = at("order").value; changed(); });
at("seed").addEventListener("change", () => { state.seed = at("seed").value === String(data.seeds[0]) ? "" : at("seed").value; changed(); });
at("repeats").addEventListener("change", () => { state.repeats = at("repeats").checked; redrawn(); });
at("every").addEventListener("click", () => show([]));
at("none").addEventListener("click", () => show(names.keys()));
at("unpin").addEventListener("click", () => { state.pinned = []; redrawn(); });
at("previous").addEventListener("click", () => step(-1));
at("next").addEventListener("click", () => step(1));
at("more").addEventListener("click", () => extend(true));
at("earlier").addEventListener("click", () => extend(false));
at("filter").addEventListener("submit", (event) => event.preventDefault());

const open = () => {
  read();
  showTable();
  controls();
  render();
  at(`prompt-${state.prompt}`)?.scrollIntoView({ block: "start" });
};
addEventListener("hashchange", open);
open();
