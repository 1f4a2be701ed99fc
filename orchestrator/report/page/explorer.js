// One state: what the address says, the controls show and the list holds. Every action makes the next state.
const form = document.getElementById("controls"), field = form.elements;
const filterList = document.getElementById("filters"), told = document.getElementById("told"), plot = document.getElementById("plot");
let state = start(), found = new Int32Array(0), ready = false, listShown = "";

const splitOf = () => splits[state.split];
const listOf = ({ split, sort, order, label, predicted, ids, filters }) => JSON.stringify([split, sort, order, label, predicted, ids, filters]);
const write = (next, replace, depth) => history[replace ? "replaceState" : "pushState"]({ depth }, "", formatted(next) || "#explorer");
// The next state, with changes; `replace`: in place of this one in the browser's history.
const commit = (changes, replace = false) => {
  const next = { ...state, ...changes };
  write(next, replace, 0);
  apply(next);
};
const apply = (next) => {
  const before = state;
  state = next;
  if (before.split !== next.split || !field.sort.options.length) fillSelects();
  showControls();
  if (ready) refresh();
  if (next.open !== before.open || (next.open && !detail.open)) follow();
};
const refresh = () => {
  const wanted = listOf(state);
  if (wanted !== listShown) {
    found = places(state);
    listShown = wanted;
    told.textContent = summary(state, found);
    showList(state, found);
  } else if (list.state.view !== state.view || list.state.size !== state.size) showList(state, found);
  else {
    list.state = state;
    dressAll();
  }
  showSelected(splitOf(), found);
};

// Controls.
const setValue = (input, value) => {
  if (input.value !== value) input.value = value;
};
const fillSelects = () => {
  const split = splitOf();
  field.sort.replaceChildren(...variableOptions(split));
  for (const [name, place] of [["x", 0], ["y", 1]]) {
    const select = plot.querySelector(`[name=${name}]`), keys = [...variables(split).keys()];
    select.replaceChildren(...variableOptions(split));
    select.value = split.scores.size > 1 ? [...split.scores.keys()][place] : keys[Math.min(place, keys.length - 1)];
  }
  document.getElementById("predicted").hidden = !split.predicted;
  drawPlot();
};
const showControls = () => {
  for (const name of ["split", "sort", "view", "size"]) setValue(field[name], state[name]);
  setValue(field.order, String(state.order));
  setValue(field.label, String(state.label ?? ""));
  setValue(field.predicted, String(state.predicted ?? ""));
  if (document.activeElement !== field.id) setValue(field.id, state.ids);
  document.getElementById("tool").style.setProperty("--tile", `${TILES[state.size]}px`);
  showFilters();
};
// At least one row: of the score that is sorted by, where nothing is filtered.
const filterRows = () => (state.filters.length ? state.filters : [{ key: state.sort, low: null, high: null }]);
const filterRow = (filter, number) => {
  const choice = element("select", { name: "score" }, ...variableOptions(splitOf()));
  choice.value = filter.key;
  const limit = (key) => element("input", { name: key, type: "number", step: "any" });
  const parts = [element("label", { class: "long" }, "Score ", choice), element("label", {}, "At least ", limit("low")), element("label", {}, "At most ", limit("high"))];
  const remove = element("button", { type: "button", "data-remove": number, "aria-label": `Remove filter ${number + 1}` }, "Remove");
  return element("fieldset", { class: "filter" }, element("legend", {}, `Filter ${number + 1}`), ...parts, element("div"), remove);
};
// Rows stay while their scores do: one of their fields may have the focus.
let keysShown = "";
const showFilters = () => {
  const filters = filterRows(), keys = [state.split, ...filters.map(({ key }) => key)].join();
  if (keys !== keysShown) filterList.replaceChildren(...filters.map(filterRow));
  keysShown = keys;
  filters.forEach((filter, number) => {
    const row = filterList.children[number];
    for (const name of ["low", "high"]) setValue(row.querySelector(`[name=${name}]`), String(filter[name] ?? ""));
    const drawing = row.querySelector("div, svg"), shown = JSON.stringify(filter);
    if (drawing.dataset.filter === shown) return;
    const histogram = histogramOf(splitOf(), filter, limitBy);
    histogram.dataset.filter = shown;
    drawing.replaceWith(histogram);
  });
};
const filtersTyped = () => [...filterList.children].map((row) => {
  const value = (name) => row.querySelector(`[name=${name}]`).value;
  const number = (name) => (value(name).trim() === "" ? null : Number(value(name)));
  return { key: value("score"), low: number("low"), high: number("high") };
});
// Sets limits, given as key, lowest and highest value, of one variable or several.
const limitBy = (...limits) => {
  const filters = filtersTyped().filter(({ low, high }) => low !== null || high !== null);
  for (let first = 0; first < limits.length; first += 3) {
    const [key, low, high] = limits.slice(first, first + 3), place = filters.findIndex((filter) => filter.key === key);
    filters.splice(place < 0 ? filters.length : place, place < 0 ? 0 : 1, { key, low, high });
  }
  commit({ filters });
};
const drawPlot = () => {
  if (!plot.open) return;
  const keys = ["x", "y"].map((name) => plot.querySelector(`[name=${name}]`).value);
  document.getElementById("scatter").replaceChildren(...scatterOf(splitOf(), keys, limitBy));
};
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("change", ({ target }) => {
  const value = target.value;
  if (target.name === "split") commit({ ...start(value), view: state.view, size: state.size });
  else if (target.name === "sort") commit({ sort: value, order: variables(splitOf()).get(value).order });
  else if (target.name === "order") commit({ order: Number(value) });
  else if (target.name === "label") commit({ label: value === "" ? null : Number(value) });
  else if (target.name === "predicted") commit({ predicted: value === "" || value === "other" ? value || null : Number(value) });
  else if (["view", "size"].includes(target.name)) commit({ [target.name]: value }, true);
  else if (target.closest(".filter")) {
    const number = [...filterList.children].indexOf(target.closest(".filter"));
    commit({ filters: filtersTyped() });
    if (target.name === "score") filterList.children[number].querySelector("select").focus();
  }
});
field.id.addEventListener("input", () => commit({ ids: field.id.value }, true));
field.id.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && found.length === 1) openExample(`${state.split}-${splitOf().ids[found[0]]}`, field.id);
});
document.getElementById("add-filter").addEventListener("click", () => {
  const used = filtersTyped(), next = [...variables(splitOf()).keys()].find((key) => !used.some((filter) => filter.key === key));
  commit({ filters: [...used, { key: next ?? state.sort, low: null, high: null }] }, true);
  filterList.lastChild.querySelector("select").focus();
});
filterList.addEventListener("click", (event) => {
  const number = event.target.dataset.remove;
  if (number === undefined) return;
  commit({ filters: filtersTyped().filter((_, place) => place !== Number(number)) });
  document.getElementById("add-filter").focus();
});
plot.addEventListener("toggle", drawPlot);
plot.addEventListener("change", drawPlot);
rowsHead.addEventListener("click", ({ target }) => {
  const sort = target.dataset.sort;
  if (!sort) return;
  commit(sort === state.sort ? { order: -state.order } : { sort, order: variables(splitOf()).get(sort).order });
  rowsHead.querySelector(`[data-sort="${sort}"]`)?.focus();
});

// Selection.
const changed = () => {
  dressAll();
  showSelected(splitOf(), found);
  announce.textContent = selectionText.textContent;
};
let lastSelected = 0;
const selectAt = (index, on, range) => {
  const [first, last] = range ? [Math.min(index, lastSelected), Math.max(index, lastSelected)] : [index, index];
  select(splitOf(), [...found.subarray(first, last + 1)].map((place) => splitOf().ids[place]), on);
  lastSelected = index;
  changed();
};
const isSelected = (index) => selected[state.split].has(splitOf().ids[found[index]]);
scroller.addEventListener("click", (event) => {
  const index = indexOfNode(event.target), check = event.target.closest(".select");
  if (index < 0) return;
  if (check) selectAt(index, check.checked, event.shiftKey);
  else if (event.target.closest("a") && (event.ctrlKey || event.metaKey || event.shiftKey)) {
    event.preventDefault();
    selectAt(index, event.shiftKey || !isSelected(index), event.shiftKey);
  }
});
scroller.addEventListener("keydown", (event) => {
  const { key } = event, page = Math.max(1, Math.floor(scroller.clientHeight / list.height)) * list.columns, row = isTable() ? 1 : list.columns;
  if (event.target.closest("thead")) return;
  if (key === " ") {
    event.preventDefault();
    selectAt(list.cursor, !isSelected(list.cursor), event.shiftKey);
  } else if (key.toLowerCase() === "a" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    selectFound();
  }
  const move = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -row, ArrowDown: row, PageUp: -page, PageDown: page, Home: -found.length, End: found.length }[key];
  if (move === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  const beyond = list.cursor + move < 0 || list.cursor + move >= found.length;
  if (!beyond || ["Home", "End", "PageUp", "PageDown"].includes(key)) moveTo(list.cursor + move);
});
scroller.addEventListener("focusin", (event) => {
  const index = indexOfNode(event.target);
  if (index >= 0 && index !== list.cursor) {
    list.cursor = index;
    dressAll();
  }
});
const selectFound = () => {
  select(splitOf(), [...found].map((place) => splitOf().ids[place]), true);
  changed();
};
document.getElementById("select-all").addEventListener("click", selectFound);
selectionBar.addEventListener("click", ({ target }) => {
  const what = target.dataset.export;
  if (what === "clear") {
    selected[state.split].clear();
    changed();
  } else if (what === "show") commit({ ids: idText(selected[state.split]) });
  else if (what) EXPORTS[what](splitOf());
});

// The opened example: beside the list where there is room, over the page elsewhere.
const detail = document.getElementById("detail"), title = document.getElementById("detail-title"), shownIn = document.getElementById("chosen");
const previous = document.getElementById("previous"), next = document.getElementById("next");
const narrow = matchMedia("(max-width: 48rem)");
let opener = null;
const indexOfOpen = () => {
  const [split, id] = state.open.split("-");
  return split === state.split ? found.indexOf(splits[split].places.get(Number(id))) : -1;
};
const mark = () => {
  for (const link of document.querySelectorAll("a.pick")) {
    if (state.open && link.hash === `#${state.open}`) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
};
const follow = () => {
  if (!state.open) return shut();
  const [splitName, text] = state.open.split("-"), split = splits[splitName], id = Number(text), index = indexOfOpen();
  title.textContent = capitalized(named(split, id));
  shownIn.replaceChildren(...detailOf(split, id));
  previous.hidden = next.hidden = index < 0;
  previous.disabled = index <= 0;
  next.disabled = index >= found.length - 1;
  const over = narrow.matches || Boolean(opener && !opener.closest("#explorer"));
  if (detail.open && detail.matches(":modal") !== over) detail.close();
  if (!detail.open) (over ? detail.showModal() : detail.show());
  shownIn.scrollTop = 0;
  title.focus({ preventScroll: true });
  if (!over) detail.scrollIntoView({ block: "nearest" });
  mark();
};
const shut = () => {
  if (!detail.open) return;
  const index = list.cursor;
  detail.close();
  mark();
  // What it was opened from may be gone by now: the list was sorted or searched.
  if (opener?.isConnected) opener.focus({ preventScroll: true });
  else if (found.length && ready) moveTo(index);
  else field.id.focus({ preventScroll: true });
  opener = null;
};
const openExample = (open, from) => {
  if (from && !detail.contains(from)) opener = from;
  if (open === state.open) return follow();
  write({ ...state, open }, false, (history.state?.depth ?? 0) + 1);
  return apply({ ...state, open });
};
// Back to the entry from which examples were opened; of an address that was opened with one, in place of it.
let closedAt = null;
const close = () => {
  const depth = history.state?.depth ?? 0;
  if (depth) {
    closedAt = scrollY;
    history.go(-depth);
  } else commit({ open: "" }, true);
};
const step = (by) => {
  const index = indexOfOpen() + by, place = found[index];
  if (index - by < 0 || place === undefined) return;
  const open = `${state.split}-${splitOf().ids[place]}`;
  write({ ...state, open }, true, history.state?.depth ?? 0);
  moveTo(index, false);
  opener = list.nodes.get(index)?.querySelector("a") ?? opener;
  apply({ ...state, open });
};
previous.addEventListener("click", () => step(-1));
next.addEventListener("click", () => step(1));
document.getElementById("close").addEventListener("click", close);
detail.addEventListener("cancel", (event) => { event.preventDefault(); close(); });
detail.addEventListener("click", (event) => { if (event.target === detail && detail.matches(":modal")) close(); });
detail.addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (by && !event.ctrlKey && !event.altKey && !event.metaKey) step(by);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && detail.open && !detail.matches(":modal")) close();
});

// Links with an address of the explorer, on the whole page.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (event.defaultPrevented || !link || !isAddress(link.hash) || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  if (isExample(link.hash.slice(1))) openExample(link.hash.slice(1), link);
  else {
    commit({ ...parsed(link.hash), view: state.view, size: state.size });
    if (!link.closest("#explorer")) document.getElementById("explorer").scrollIntoView();
  }
});
addEventListener("popstate", () => {
  const { hash } = location, ours = history.state !== null;
  if (isAddress(hash)) apply(parsed(hash));
  else apply(ours || !hash ? start() : { ...state, open: "" });
  // The browser goes to where the page was when the example was opened, though the reader may have scrolled since, and
  // takes the focus away.
  const where = closedAt, focused = document.activeElement;
  closedAt = null;
  if (where !== null) scrollTo(0, where);
  requestAnimationFrame(() => {
    if (where !== null) scrollTo(0, where);
    focused.focus({ preventScroll: true });
  });
});

// The galleries' images open their examples too.
for (const tile of document.querySelectorAll("figure[data-example]")) {
  const image = tile.querySelector("img");
  if (!image) continue;
  const link = element("a", { href: `#${tile.dataset.example}` });
  image.replaceWith(link);
  link.append(image);
}

const classes = (labels) => [...new Set(labels)].filter((label) => label >= 0).sort((a, b) => a - b).map((value) => element("option", { value }, className(value)));
field.label.append(...classes(splits.train.given));
if (splits.train.predicted) field.predicted.append(...classes(splits.train.predicted));
document.getElementById("presets").append(...presetLinks());
if (!data.image) field.size.closest("label").hidden = true;
if (!data.image) field.view.querySelector("[value=images]").textContent = "tiles";
document.getElementById("tool").hidden = false;
apply(isAddress(location.hash) ? { ...parsed(location.hash), open: "" } : start());
// Only when it comes into view: the page is read from its top.
const watcher = new IntersectionObserver((entries) => {
  if (entries.some((entry) => entry.isIntersecting)) {
    watcher.disconnect();
    begin();
    (window.requestIdleCallback ?? setTimeout)(splits.train.curves);
  }
}, { rootMargin: "800px" });
const begin = () => {
  if (ready) return;
  ready = true;
  refresh();
};
watcher.observe(document.getElementById("explorer"));
if (isAddress(location.hash)) {
  document.getElementById("explorer").scrollIntoView();
  begin();
  apply(parsed(location.hash));
}
