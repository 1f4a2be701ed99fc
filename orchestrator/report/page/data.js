// What the page was given: columns of numbers, and sheets of images that are decoded when they are first shown.
const data = JSON.parse(document.getElementById("data").textContent);
const NONE8 = 255, NONE16 = -32768, NONE32 = -2147483648;
const bytes = (text) => {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const letters = atob(text), made = new Uint8Array(letters.length);
  for (let place = 0; place < made.length; place += 1) made[place] = letters.charCodeAt(place);
  return made;
};
const whole = (text) => new Int32Array(bytes(text).buffer);
// A column of values in steps, as orchestrator/report/explorer.py writes it. Divided by the steps in a unit 1,500 steps of
// 1/10,000 are 0.15, as a limit typed in is; times the step they are 0.15000000000000002.
const columnOf = (raw) => raw && {
  times: Math.max(1, Math.round(raw.step)), parts: Math.max(1, Math.round(1 / raw.step)), none: raw.wide ? NONE32 : NONE16, values: new (raw.wide ? Int32Array : Int16Array)(bytes(raw.values).buffer),
};
const at = (column, place) => (!column || column.values[place] === column.none ? NaN : (column.values[place] * column.times) / column.parts);
const show = (value, digits = 2) => {
  if (Number.isNaN(value)) return "–";
  const text = value.toFixed(digits);
  return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "−");
};
const count = (value) => value.toLocaleString("en");
const className = (label) => data.classes[label] ?? String(label);
const build = (made, attributes, children) => {
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};
const element = (name, attributes = {}, ...children) => build(document.createElement(name), attributes, children);
const drawn = (name, attributes = {}, ...children) => build(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

const splits = {};
for (const name of ["train", "test"]) {
  const raw = data[name];
  const split = { name, word: name === "train" ? "training" : "test", id: name === "train" ? "example_id" : "test_example_id" };
  Object.assign(split, { ids: whole(raw.ids), label: whole(raw.label), names: raw.names, features: raw.features.map(columnOf) });
  split.given = raw.given ? whole(raw.given) : split.label;
  split.predicted = raw.predicted ? whole(raw.predicted) : null;
  split.scores = new Map(raw.scores.map((score) => [score.key, {
    ...score, value: columnOf(score.value), low: columnOf(score.low), high: columnOf(score.high),
  }]));
  split.counts = new Map(raw.counts.map(({ key, text, values }) => [key, { text, values: whole(values) }]));
  // What only an opened example needs is decoded when one is opened.
  split.curves = () => (split.decoded ??= {
    profile: columnOf(raw.profile),
    heldOut: columnOf(raw.held_out),
    history: (raw.history ?? []).map((kind) => ({ ...kind, share: bytes(kind.share), runs: whole(kind.runs) })),
  });
  split.places = new Map();
  split.ids.forEach((id, place) => split.places.set(id, place));
  splits[name] = split;
}

const top = data.top && {
  test: whole(data.top.test_example_id), train: whole(data.top.example_id),
  infl: columnOf(data.top.infl), low: columnOf(data.top.low), high: columnOf(data.top.high),
  discovery: data.top.discovery && bytes(data.top.discovery),
};
const rowsOf = { test: new Map(), train: new Map() };
for (const side of top ? ["test", "train"] : []) {
  top[side].forEach((id, row) => {
    if (!rowsOf[side].has(id)) rowsOf[side].set(id, []);
    rowsOf[side].get(id).push(row);
  });
}

// Decoded sheets, the last used ones: all of 60,000 images of 28 x 28 would take 190 MB.
const SHEETS = 256;
const sheets = new Map();
const sheetOf = (name) => {
  const known = sheets.get(name);
  sheets.delete(name);
  if (known) return sheets.set(name, known) && known;
  const image = new Image();
  image.src = "data:image/png;base64," + document.getElementById("sheet-" + name).textContent;
  const decoding = image.decode().then(() => image);
  sheets.set(name, decoding);
  if (sheets.size > SHEETS) sheets.delete(sheets.keys().next().value);
  return decoding;
};
const picture = (split, place, alt) => {
  const { width, height, columns, sheet } = data.image;
  const canvas = element("canvas", { width, height, ...(alt ? { role: "img", "aria-label": alt } : { "aria-hidden": "true" }) });
  sheetOf(`${split.name}-${Math.floor(place / sheet)}`).then((image) => {
    const x = ((place % sheet) % columns) * width, y = Math.floor((place % sheet) / columns) * height;
    canvas.getContext("2d").drawImage(image, x, y, width, height, 0, 0, width, height);
  });
  return canvas;
};
const named = (split, id) => `${split.word} example ${id}`;
const capitalized = (text) => text[0].toUpperCase() + text.slice(1);
const labelled = (split, place) => {
  const given = className(split.given[place]), real = className(split.label[place]);
  return given === real ? `label ${given}` : `given ${given}, is ${real}`;
};
// Held-out models disagree with the given label.
const disagreed = (split, place) => split.predicted && split.predicted[place] >= 0 && split.predicted[place] !== split.given[place];

// A link to an example: image, a value, lines of small print.
const pick = (split, id, value, ...lines) => {
  const place = split.places.get(id);
  const link = element("a", { class: "pick", href: `#${split.name}-${id}` });
  if (place !== undefined && data.image) link.append(picture(split, place, named(split, id)));
  link.append(element("b", {}, value), ...lines.map((line) => element("span", { title: line }, line)));
  return link;
};
