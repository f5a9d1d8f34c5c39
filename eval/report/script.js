"use strict";
{
  const AT_A_TIME = 20;
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const shown = new Set(data.decoders.map((_, place) => place));
  let limit = AT_A_TIME;

  const element = (name, text = "", kind = "") => {
    const made = document.createElement(name);
    made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };

  // The text, with what was searched for marked; nothing is ever taken for markup.
  const marked = (parent, text, needle) => {
    const lower = text.toLowerCase();
    let begin = 0;
    // Where lower case has another length, places in it are none in the text.
    for (let found = needle && lower.length === text.length ? lower.indexOf(needle) : -1; found >= 0; found = lower.indexOf(needle, begin)) {
      parent.append(text.slice(begin, found), element("mark", text.slice(found, found + needle.length)));
      begin = found + needle.length;
    }
    parent.append(text.slice(begin));
    return parent;
  };

  // A decoder that ran under one seed has the same text under every one.
  const textOf = (prompt, place, seed) => {
    const texts = prompt.texts[place];
    return texts[seed] ?? (Object.keys(texts).length === 1 ? Object.values(texts)[0] : undefined);
  };

  const render = () => {
    const needle = at("search").value.toLowerCase();
    const seed = at("seed").value;
    const places = data.decoders.map((_, place) => place).filter((place) => shown.has(place));
    const has = (text) => text !== undefined && text.toLowerCase().includes(needle);
    const found = data.prompts.filter((prompt) => has(prompt.prompt) || places.some((place) => has(textOf(prompt, place, seed))));
    const articles = found.slice(0, limit).map((prompt) => {
      const article = element("article");
      const heading = element("h3");
      heading.append(element("span", `${prompt.index + 1}. `, "number"));
      article.append(marked(heading, prompt.prompt, needle));
      const columns = element("div", "", "columns");
      for (const place of places) {
        const text = textOf(prompt, place, seed);
        if (text === undefined) continue;
        const column = element("div", "", data.decoders[place].human ? "text human" : "text");
        column.append(element("h4", data.decoders[place].name), marked(element("p"), text.trim(), needle));
        columns.append(column);
      }
      article.append(columns);
      return article;
    });
    at("prompts").replaceChildren(...articles);
    at("count").textContent = `${articles.length} of ${found.length} prompts${found.length < data.prompts.length ? " found" : ""}${data.left_out ? `; ${data.left_out} more are not in this page` : ""}`;
    at("more").hidden = articles.length === found.length;
  };

  data.decoders.forEach((decoder, place) => {
    const label = element("label");
    const box = element("input");
    box.type = "checkbox";
    box.checked = true;
    box.addEventListener("change", () => {
      if (box.checked) shown.add(place);
      else shown.delete(place);
      render();
    });
    label.append(box, decoder.name);
    label.title = decoder.label;
    at("shown").append(label);
  });
  for (const seed of data.seeds) at("seed").append(new Option(seed, seed));
  at("seed").addEventListener("change", render);
  at("search").addEventListener("input", () => {
    limit = AT_A_TIME;
    render();
  });
  at("filter").addEventListener("submit", (event) => event.preventDefault());
  at("more").addEventListener("click", () => {
    limit += AT_A_TIME;
    render();
  });
  render();
}
