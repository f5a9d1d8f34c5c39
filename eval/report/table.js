// The table: sorted by a column, best first as the header's arrow says, and with or without the details.
const table = at("table");
const rows = [...table.tBodies[0].rows];
const columns = [...table.tHead.rows[1].cells];
const groups = [...table.tHead.rows[0].cells].slice(1);
const sizes = groups.map((group) => group.colSpan);

const sorted = () => {
  const name = state.sort.replace(/^-/, "");
  const falling = state.sort.startsWith("-");
  const place = columns.findIndex((column) => column.dataset.column === name);
  columns.forEach((column, each) => column.setAttribute("aria-sort", each === place ? (falling ? "descending" : "ascending") : "none"));
  const value = (row) => Number(row.cells[place + 1].dataset.value ?? (falling ? -Infinity : Infinity)); // what has no figure comes last
  const order = place < 0 ? rows : [...rows].sort((one, other) => (falling ? value(other) - value(one) : value(one) - value(other)) || 0);
  table.tBodies[0].append(...order);
};

// A group is as wide as those of its columns that are shown.
const detailed = () => {
  table.classList.toggle("main", !state.all);
  let first = 0;
  groups.forEach((group, place) => {
    const own = columns.slice(first, (first += sizes[place])).filter((column) => state.all || !column.classList.contains("detail"));
    group.colSpan = Math.max(1, own.length);
    group.hidden = own.length === 0;
  });
  at("all").querySelector("input").checked = state.all;
};

const showTable = () => {
  sorted();
  detailed();
};

for (const column of columns) {
  column.querySelector(".sort").addEventListener("click", () => {
    const name = column.dataset.column;
    state.sort = { [`-${name}`]: name, [name]: "" }[state.sort] ?? `-${name}`;
    sorted();
    remember();
  });
}
at("all").hidden = !columns.some((column) => column.classList.contains("detail"));
at("all").querySelector("input").addEventListener("change", (event) => {
  state.all = event.target.checked;
  detailed();
  remember();
});
