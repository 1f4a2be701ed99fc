// The list: tiles or table rows of which those in view, and few more, are in the page.
const GAP = 8, OVERSCAN = 1, TILES = { small: 82, medium: 130, large: 210 };
const scroller = document.getElementById("list"), sizer = document.getElementById("sizer");
const picks = document.getElementById("picks"), rows = document.getElementById("rows"), rowsHead = rows.tHead, rowsBody = rows.tBodies[0];
const list = { state: null, found: new Int32Array(0), cursor: 0, columns: 1, height: 0, nodes: new Map() };
const isTable = () => list.state.view === "table";
const splitShown = () => splits[list.state.split];

const box = (split, id) => element("input", { type: "checkbox", class: "select", tabindex: "-1", "aria-label": `select ${named(split, id)}` });
const tileOf = (index) => {
  const split = splitShown(), { sort } = list.state, place = list.found[index], id = split.ids[place];
  const value = shownAs(variables(split).get(sort), valuesOf(split, sort)[place]);
  const lines = [...(sort === "id" ? [] : [`no. ${id}`]), labelled(split, place)];
  if (split.predicted) lines.push(disagreed(split, place) ? `models: ${className(split.predicted[place])}` : "\u00a0");
  return element("li", { "aria-setsize": list.found.length, "aria-posinset": index + 1 }, pick(split, id, value, ...lines), box(split, id));
};
const tableColumns = () => {
  const split = splitShown(), columns = [["id", "example"]];
  if (split.names) columns.push([null, "name"]);
  columns.push([null, "label"]);
  if (split.predicted) columns.push([null, "held-out models say"]);
  if (!split.scores.has(list.state.sort) && list.state.sort !== "id" && !/^x\d+$/.test(list.state.sort)) columns.push([list.state.sort, variables(split).get(list.state.sort).text]);
  for (const [key, { text }] of split.scores) columns.push([key, text]);
  split.features.forEach((_, number) => columns.push([`x${number}`, `feature ${number}`]));
  return columns;
};
const cellOf = (split, place, key, text) => {
  if (key === "id") return text;
  const variable = variables(split).get(key), score = split.scores.get(key), value = valuesOf(split, key)[place];
  const parts = [shownAs(variable, value)];
  if (score?.low && !isMissing(value)) parts.push(element("small", {}, limits(at(score.low, place), at(score.high, place))));
  return parts;
};
const rowOf = (index) => {
  const split = splitShown(), place = list.found[index], id = split.ids[place];
  const link = element("a", { class: "pick", href: `#${split.name}-${id}` }, `${split.name === "train" ? "no." : "test"} ${id}`);
  if (data.image) link.prepend(picture(split, place, ""));
  const texts = { name: split.names?.[place], label: labelled(split, place).replace(/^label /, "") };
  if (split.predicted) texts["held-out models say"] = split.predicted[place] < 0 ? "–" : className(split.predicted[place]);
  const cells = tableColumns().map(([key, text]) => {
    if (key === "id") return element("th", { scope: "row" }, link);
    return element("td", key ? {} : { class: "text", title: texts[text] }, ...(key ? cellOf(split, place, key) : [texts[text]]));
  });
  return element("tr", { "aria-rowindex": index + 2 }, element("td", {}, box(split, id)), ...cells);
};
const headOf = () => {
  const { sort, order } = list.state;
  const heads = tableColumns().map(([key, text]) => {
    if (!key) return element("th", { scope: "col", class: "text" }, text);
    const sorted = key === sort ? { "aria-sort": order === 1 ? "descending" : "ascending" } : {};
    return element("th", { scope: "col", ...sorted }, element("button", { type: "button", "data-sort": key }, text));
  });
  rowsHead.replaceChildren(element("tr", { "aria-rowindex": 1 }, element("td", {}), ...heads));
  rows.setAttribute("aria-rowcount", list.found.length + 1);
};

const body = () => (isTable() ? rowsBody : picks);
const rowCount = () => Math.ceil(list.found.length / list.columns);
const dress = (index, node) => {
  const split = splitShown(), id = split.ids[list.found[index]], link = node.querySelector("a"), check = node.querySelector(".select");
  link.tabIndex = index === list.cursor ? 0 : -1;
  check.checked = selected[split.name].has(id);
  if (list.state.open === `${split.name}-${id}`) link.setAttribute("aria-current", "true");
  else link.removeAttribute("aria-current");
};
const dressAll = () => list.nodes.forEach((node, index) => dress(index, node));
// Puts rows `from` to `to`, not included, into the page, and room for the others around them.
const fill = (from, to) => {
  const first = from * list.columns, end = Math.min(list.found.length, to * list.columns);
  // Removing the row with the focus lays the page out: a list that is too short for a moment would lose its place.
  sizer.style.minHeight = `${rowCount() * list.height}px`;
  sizer.style.paddingTop = `${from * list.height}px`;
  sizer.style.paddingBottom = `${Math.max(0, rowCount() - to) * list.height}px`;
  let lost = false;
  for (const [index, node] of list.nodes) {
    if (index >= first && index < end) continue;
    lost ||= node.contains(document.activeElement);
    node.remove();
    list.nodes.delete(index);
  }
  let next = body().firstChild;
  for (let index = first; index < end; index += 1) {
    const known = list.nodes.get(index);
    if (known) next = known.nextSibling;
    else {
      const made = isTable() ? rowOf(index) : tileOf(index);
      list.nodes.set(index, made);
      dress(index, made);
      body().insertBefore(made, next);
    }
  }
  if (lost) scroller.focus({ preventScroll: true });
};
const render = () => {
  if (!list.state || !scroller.clientHeight) return;
  if (!list.height) measure();
  const from = Math.max(0, Math.floor(scroller.scrollTop / list.height) - OVERSCAN);
  fill(from, Math.min(rowCount(), Math.ceil((scroller.scrollTop + scroller.clientHeight) / list.height) + OVERSCAN));
};
const clear = () => {
  list.nodes.clear();
  picks.replaceChildren();
  rowsBody.replaceChildren();
  sizer.style.paddingTop = sizer.style.paddingBottom = sizer.style.minHeight = "0";
};
// Columns by the room there is, the height of a row by a first one.
let measured = "";
const measure = () => {
  const { split, view, size, sort } = list.state, shape = [split, view, size, sort === "id", scroller.clientWidth].join();
  if (shape === measured && list.height > 1) return;
  measured = shape;
  const width = sizer.clientWidth;
  list.columns = isTable() ? 1 : Math.max(2, Math.floor((width + GAP) / (TILES[list.state.size] + GAP)));
  picks.style.gridTemplateColumns = `repeat(${list.columns}, minmax(0, 1fr))`;
  list.height = 1;
  clear();
  fill(0, Math.min(1, rowCount()));
  const node = body().firstChild;
  list.height = node ? node.getBoundingClientRect().height + (isTable() ? 0 : GAP) : 1;
};
const layOut = (keep = 0) => {
  clear();
  picks.hidden = isTable();
  rows.hidden = !isTable();
  if (isTable()) headOf();
  if (!scroller.clientHeight) return;
  measure();
  scroller.scrollTop = Math.floor(keep / list.columns) * list.height;
  render();
};
// Shows places in their order, from the first, or with the one in view that was.
const showList = (state, found) => {
  const sameRows = list.state && found === list.found, keep = sameRows ? firstInView() : 0;
  Object.assign(list, { state, found, cursor: sameRows ? list.cursor : 0 });
  layOut(keep);
};
const firstInView = () => (list.height ? Math.floor(scroller.scrollTop / list.height) * list.columns : 0);
const bringIntoView = (index) => {
  const head = isTable() ? rowsHead.offsetHeight : 0, top = Math.floor(index / list.columns) * list.height, bottom = top + list.height + head;
  if (top < scroller.scrollTop) scroller.scrollTop = top;
  else if (bottom > scroller.scrollTop + scroller.clientHeight) scroller.scrollTop = bottom - scroller.clientHeight;
  render();
};
const moveTo = (index, focus = true) => {
  list.cursor = Math.max(0, Math.min(list.found.length - 1, index));
  bringIntoView(list.cursor);
  dressAll();
  if (focus) list.nodes.get(list.cursor)?.querySelector("a").focus({ preventScroll: true });
};
const indexOfNode = (target) => {
  const node = target.closest("li, tbody tr");
  for (const [index, shown] of list.nodes) if (shown === node) return index;
  return -1;
};
scroller.addEventListener("scroll", render, { passive: true });
let widthBefore = 0;
new ResizeObserver(() => {
  if (!list.state || (scroller.clientWidth === widthBefore && list.height)) return render();
  widthBefore = scroller.clientWidth;
  layOut(firstInView());
}).observe(scroller);
