// What is looked at, which the address keeps: #prompt-17&find=whale&hide=beam&pin=greedy,dola&order=different&sort=-diversity&all
const names = data.decoders.map((decoder) => decoder.name);
const state = { prompt: 0, find: "", hidden: new Set(), pinned: [], order: "", seed: "", sort: "", all: false, repeats: true };

const decoded = (text) => {
  try { return decodeURIComponent(text ?? ""); } catch { return ""; } // of somebody's own typing
};
const places = (text) => (text ?? "").split(",").map((name) => names.indexOf(decoded(name))).filter((place) => place >= 0);
const listed = (found) => [...found].map((place) => encodeURIComponent(names[place])).join(",");

const read = () => {
  const parts = new Map(location.hash.slice(1).split("&").filter(Boolean).map((part) => part.split(/=(.*)/s)));
  const text = (name) => decoded(parts.get(name));
  const own = [...parts.keys()].map((part) => part.match(/^prompt-(\d+)$/)).find(Boolean);
  Object.assign(state, {
    prompt: own ? Number(own[1]) : 0,
    find: text("find"),
    hidden: new Set(places(parts.get("hide"))),
    pinned: places(parts.get("pin")).slice(0, 2),
    order: text("order"),
    seed: text("seed"),
    sort: text("sort"),
    all: parts.has("all"),
    repeats: !parts.has("plain"),
  });
};

// The address of what is looked at, but for what is changed.
const address = (changed = {}) => {
  const now = { ...state, ...changed };
  const parts = [
    now.prompt ? `prompt-${now.prompt}` : "",
    now.find && `find=${encodeURIComponent(now.find)}`,
    now.hidden.size ? `hide=${listed(now.hidden)}` : "",
    now.pinned.length ? `pin=${listed(now.pinned)}` : "",
    now.order && `order=${encodeURIComponent(now.order)}`,
    now.seed && `seed=${encodeURIComponent(now.seed)}`,
    now.sort && `sort=${encodeURIComponent(now.sort)}`,
    now.all ? "all" : "",
    now.repeats ? "" : "plain",
  ];
  return `#${parts.filter(Boolean).join("&")}`;
};

const remember = () => history.replaceState(null, "", address());
