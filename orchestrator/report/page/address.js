// The address after #: what the explorer shows. docs/report.md has its grammar.
//   train-61, test-327                     an opened example, and nothing else
//   label=4&predicted=9&mem=0.5..&sort=mem&open=train-61    KEY=VALUE pairs; what is left out is as at the start
const VIEWS = ["images", "table"], SIZES = ["small", "medium", "large"];
const START_VIEW = data.image ? "images" : "table";
const firstOf = (split) => variables(splits[split]).values().next().value;
const start = (split = "train") => ({
  split, sort: firstOf(split).key, order: firstOf(split).order, label: null, predicted: null, ids: "", filters: [], view: START_VIEW, size: "small", open: "",
});
const isExample = (text) => /^(train|test)-\d{1,10}$/.test(text);
const isAddress = (hash) => isExample(hash.slice(1)) || hash.includes("=");
const numberOf = (text) => (/^-?\d+(\.\d+)?(e-?\d+)?$/i.test(text) ? Number(text) : null);
const parsed = (hash) => {
  if (isExample(hash.slice(1))) return { ...start(), open: hash.slice(1) };
  const given = new URLSearchParams(hash.slice(1)), split = given.get("split") === "test" ? "test" : "train";
  const state = start(split), known = variables(splits[split]), labels = data.classes.length;
  const choice = (key, allowed) => allowed.includes(given.get(key)) && (state[key] = given.get(key));
  const label = numberOf(given.get("label") ?? ""), predicted = given.get("predicted") ?? "";
  if (known.has(given.get("sort"))) Object.assign(state, { sort: given.get("sort"), order: known.get(given.get("sort")).order });
  if (["high", "low"].includes(given.get("order"))) state.order = given.get("order") === "high" ? 1 : -1;
  if (label !== null && label < labels) state.label = label;
  if (splits[split].predicted && (predicted === "other" || numberOf(predicted) !== null)) state.predicted = predicted === "other" ? "other" : Number(predicted);
  state.ids = (given.get("ids") ?? "").slice(0, 100000);
  choice("view", VIEWS);
  choice("size", SIZES);
  if (isExample(given.get("open") ?? "")) state.open = given.get("open");
  for (const [key, text] of given) {
    const range = known.has(key) && /^(.*)\.\.(.*)$/.exec(text);
    if (range) state.filters.push({ key, low: numberOf(range[1]), high: numberOf(range[2]) });
  }
  return state;
};
const formatted = (state) => {
  const first = start(state.split), written = new URLSearchParams(), sorted = variables(splits[state.split]).get(state.sort);
  if (state.split !== "train") written.set("split", state.split);
  if (state.label !== null) written.set("label", state.label);
  if (state.predicted !== null) written.set("predicted", state.predicted);
  for (const { key, low, high } of state.filters) if (low !== null || high !== null) written.append(key, `${low ?? ""}..${high ?? ""}`);
  if (state.ids.trim()) written.set("ids", state.ids.trim());
  if (state.sort !== first.sort) written.set("sort", state.sort);
  if (state.order !== sorted.order) written.set("order", state.order === 1 ? "high" : "low");
  for (const key of ["view", "size"]) if (state[key] !== first[key]) written.set(key, state[key]);
  const list = String(written).replaceAll("%2C", ",");
  if (!state.open) return list && `#${list}`;
  return list ? `#${list}&open=${state.open}` : `#${state.open}`;
};
