// What all parts of the page use.
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);

// Text is only ever text: nothing that was generated is taken for markup.
const element = (name, text = "", kind = "") => {
  const made = document.createElement(name);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
};
