// The list: search, filters, sorting, the keyboard; and which example is open, which the address after # tells.
const PAGE = 60;
const KINDS = {
  train: [
    ["mem", "memorization", 1], ["cscore", "C-score", -1], ["suspect", "rank of suspicion", -1],
    ["forgetting", "forgetting events/run", 1], ["first_learned", "first learned in epoch", 1],
    ["accuracy", "right while trained on", -1], ["id", "id", -1],
  ],
  test: [["infl", "strongest influence on it", 1], ["right", "share of runs right", -1], ["id", "id", -1]],
};
const valueOf = (split, kind, place) => {
  if (kind === "id") return split.ids[place];
  const counts = split.whole[kind];
  if (counts) return counts[place] === NONE32 ? NaN : counts[place];
  return at(split.scores[kind], place);
};
const shown = (kind, value) => (kind === "id" ? `no. ${value}` : kind === "suspect" ? `rank ${count(value)}` : show(value));

const form = document.getElementById("controls"), field = form.elements;
const picks = document.getElementById("picks"), more = document.getElementById("more");
const told = document.getElementById("told");
let found = [], visible = 0;

const suggestOrder = () => {
  field.order.value = String(KINDS[field.split.value].find(([name]) => name === field.sort.value)[2]);
};
const fillSorts = () => {
  const split = splits[field.split.value];
  const kinds = KINDS[split.name].filter(([kind]) => kind === "id" || split.scores[kind] || split.whole[kind]);
  field.sort.replaceChildren(...kinds.map(([value, text]) => element("option", { value }, text)));
  suggestOrder();
};
const numberIn = (input, empty) => (input.value.trim() === "" ? empty : Number(input.value));
const select = () => {
  const split = splits[field.split.value], kind = field.sort.value, order = Number(field.order.value);
  const id = numberIn(field.id, null), label = numberIn(field.label, null);
  const low = numberIn(field.low, -Infinity), high = numberIn(field.high, Infinity);
  const values = new Float64Array(split.ids.length);
  found = [];
  for (let place = 0; place < values.length; place += 1) {
    const value = (values[place] = valueOf(split, kind, place));
    // An example that is requested by its id is shown, whatever the filters say.
    if (id !== null ? split.ids[place] !== id : !(value >= low && value <= high && (label === null || split.given[place] === label))) continue;
    found.push(place);
  }
  found.sort((a, b) => order * (values[b] - values[a]) || a - b);
  told.textContent = id !== null && !found.length
    ? `There is no ${named(split, field.id.value)} in this file.`
    : `${count(found.length)} of ${count(values.length)} ${split.word} examples`;
  picks.replaceChildren();
  visible = 0;
  showMore();
};
const showMore = () => {
  const split = splits[field.split.value], kind = field.sort.value;
  for (const place of found.slice(visible, visible + PAGE)) {
    const id = split.ids[place], number = kind === "id" ? [] : [`no. ${id}`];
    picks.append(pick(split, id, shown(kind, valueOf(split, kind, place)), ...number, labelled(split, place)));
  }
  visible = Math.min(visible + PAGE, found.length);
  more.hidden = visible >= found.length;
  mark();
};

// The example that is open: beside the list where there is room, over the page elsewhere.
const detail = document.getElementById("detail"), title = document.getElementById("detail-title");
const shownIn = document.getElementById("chosen");
const narrow = matchMedia("(max-width: 48rem)");
let opener = null, open = "";
const chosen = (hash) => /^#(train|test)-(\d+)$/.exec(hash);
const mark = () => {
  for (const each of document.querySelectorAll("a.pick")) {
    if (each.hash === open) each.setAttribute("aria-current", "true");
    else each.removeAttribute("aria-current");
  }
};
const follow = () => {
  const match = chosen(location.hash);
  if (!match) return close(false);
  open = location.hash;
  const split = splits[match[1]], id = Number(match[2]), name = named(split, id);
  title.textContent = name[0].toUpperCase() + name.slice(1);
  shownIn.replaceChildren(...detailOf(split, id));
  const over = narrow.matches || Boolean(opener && !opener.closest("#explorer"));
  if (detail.open && detail.matches(":modal") !== over) detail.close();
  if (!detail.open) (over ? detail.showModal() : detail.show());
  shownIn.scrollTop = 0;
  title.focus({ preventScroll: true });
  if (!over) detail.scrollIntoView({ block: "nearest" });
  mark();
};
const close = (back) => {
  if (!detail.open) return;
  detail.close();
  open = "";
  mark();
  if (!back) return;
  history.replaceState(null, "", "#explorer");
  // What it was opened from may be gone by now: the list was sorted or searched.
  (opener?.isConnected ? opener : field.id).focus();
};
const go = (hash, from) => {
  if (from && !detail.contains(from)) opener = from;
  if (location.hash === hash) follow();
  else location.hash = hash;
};
document.addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link || !chosen(link.hash) || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go(link.hash, link);
});
addEventListener("hashchange", follow);
document.getElementById("close").addEventListener("click", () => close(true));
detail.addEventListener("cancel", (event) => { event.preventDefault(); close(true); });
detail.addEventListener("click", (event) => { if (event.target === detail && detail.matches(":modal")) close(true); });
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && detail.open && !detail.matches(":modal")) close(true);
});
picks.addEventListener("keydown", (event) => {
  const links = [...picks.querySelectorAll("a")], place = links.indexOf(document.activeElement);
  const second = links.findIndex((link) => link.offsetTop > links[0].offsetTop), columns = second < 0 ? links.length : second;
  const move = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -place, End: links.length - 1 - place }[event.key];
  if (place < 0 || move === undefined || !links[place + move]) return;
  event.preventDefault();
  links[place + move].focus();
});

// The galleries' images open their examples too.
for (const tile of document.querySelectorAll("figure[data-example]")) {
  const image = tile.querySelector("img");
  if (!image) continue;
  const link = element("a", { href: `#${tile.dataset.example}` });
  image.replaceWith(link);
  link.append(image);
}

const classes = [...new Set(splits.train.given)].sort((a, b) => a - b);
field.label.append(...classes.map((value) => element("option", { value }, className(value))));
form.addEventListener("submit", (event) => event.preventDefault());
field.id.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && found.length === 1) go(picks.querySelector("a").hash, field.id);
});
form.addEventListener("change", (event) => {
  if (event.target === field.split) fillSorts();
  if (event.target === field.sort) suggestOrder();
  // Limits on one score say nothing about another.
  if (event.target === field.split || event.target === field.sort) field.low.value = field.high.value = "";
  if (event.target !== field.id) select();
});
field.id.addEventListener("input", select);
more.addEventListener("click", () => {
  const first = visible;
  showMore();
  picks.children[first]?.querySelector("a").focus();
});
fillSorts();
document.getElementById("tool").hidden = false;
// Only when it comes into view: the page is read from its top.
const watcher = new IntersectionObserver((entries) => {
  if (entries.some((entry) => entry.isIntersecting)) {
    watcher.disconnect();
    select();
    (window.requestIdleCallback ?? setTimeout)(splits.train.curves);
  }
}, { rootMargin: "800px" });
watcher.observe(document.getElementById("explorer"));
if (chosen(location.hash)) {
  document.getElementById("explorer").scrollIntoView();
  follow();
}
