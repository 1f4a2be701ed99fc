"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const NONE16 = -32768, NONE32 = -2147483648, PAGE = 60, CM = 0.01;
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const whole = (text) => new Int32Array(bytes(text).buffer);
  const steps = (text) => new Int16Array(bytes(text).buffer);
  const at = (column, place, scale = 1e-4) => (!column || column[place] === NONE16 ? NaN : column[place] * scale);
  const show = (value, digits = 2) => {
    if (Number.isNaN(value)) return "–";
    const text = value.toFixed(digits);
    return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "−");
  };
  const className = (label) => data.classes[label] ?? String(label);
  const element = (name, attributes = {}, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };

  const splits = {};
  for (const name of ["train", "test"]) {
    const raw = data[name];
    const split = { name, ids: whole(raw.ids), label: whole(raw.label), scores: {}, whole: {} };
    split.given = raw.given ? whole(raw.given) : split.label;
    for (const [key, text] of Object.entries(raw.scores)) split.scores[key] = steps(text);
    for (const [key, text] of Object.entries(raw.whole ?? {})) split.whole[key] = whole(text);
    split.profile = raw.profile ? steps(raw.profile) : null;
    split.places = new Map();
    split.ids.forEach((id, place) => split.places.set(id, place));
    splits[name] = split;
  }

  const top = data.top && {
    test: whole(data.top.test_example_id), train: whole(data.top.example_id),
    infl: steps(data.top.infl), low: steps(data.top.low), high: steps(data.top.high),
  };
  const rowsOf = { test: new Map(), train: new Map() };
  if (top) {
    for (const side of ["test", "train"]) {
      top[side].forEach((id, row) => {
        if (!rowsOf[side].has(id)) rowsOf[side].set(id, []);
        rowsOf[side].get(id).push(row);
      });
    }
  }

  // Images: sheets are decoded when they are first shown.
  const sheets = new Map();
  const sheetOf = (name) => {
    if (!sheets.has(name)) {
      const image = new Image();
      image.src = "data:image/png;base64," + document.getElementById("sheet-" + name).textContent;
      sheets.set(name, image.decode().then(() => image));
    }
    return sheets.get(name);
  };
  const picture = (split, place, alt) => {
    const { width, height, columns, sheet } = data.image;
    const canvas = element("canvas", { width, height, role: "img", "aria-label": alt });
    sheetOf(`${split.name}-${Math.floor(place / sheet)}`).then((image) => {
      const x = ((place % sheet) % columns) * width, y = Math.floor((place % sheet) / columns) * height;
      canvas.getContext("2d").drawImage(image, x, y, width, height, 0, 0, width, height);
    });
    return canvas;
  };
  const named = (split, id) => `${split.name === "train" ? "training" : "test"} example ${id}`;
  const labelled = (split, place) => {
    const given = className(split.given[place]), real = className(split.label[place]);
    return given === real ? `label ${given}` : `given ${given}, is ${real}`;
  };

  // A button for an example: image, a value, lines of small print.
  const pick = (split, id, value, ...lines) => {
    const place = split.places.get(id);
    const button = element("button", { type: "button", class: "pick", "data-example": `${split.name}-${id}` });
    if (place !== undefined && data.image) button.append(picture(split, place, named(split, id)));
    button.append(element("b", {}, value), ...lines.map((line) => element("span", {}, line)));
    button.addEventListener("click", () => choose(split, id, true));
    return element("li", {}, button);
  };

  // Sorting: what there is, by split.
  const KINDS = {
    train: [
      ["mem", "memorization", 1], ["cscore", "C-score", -1], ["suspect", "suspicion (rank)", -1],
      ["forgetting", "forgetting events", 1], ["first_learned", "first learned (epoch)", 1],
      ["accuracy", "right while trained on", -1], ["id", "id", -1],
    ],
    test: [["infl", "strongest influence", 1], ["right", "share of runs right", -1], ["id", "id", -1]],
  };
  const SCALES = { forgetting: CM, first_learned: CM };
  const valueOf = (split, kind, place) => {
    if (kind === "id") return split.ids[place];
    const count = split.whole[kind];
    if (count) return count[place] === NONE32 ? NaN : count[place];
    return at(split.scores[kind], place, SCALES[kind] ?? 1e-4);
  };
  const shown = (kind, value) => (kind === "id" || kind === "suspect" ? String(value) : show(value));

  const form = document.getElementById("controls"), field = form.elements;
  const picks = document.getElementById("picks"), more = document.getElementById("more");
  const told = document.getElementById("told"), detail = document.getElementById("detail");
  let found = [], visible = 0;

  const kindsOf = (split) => KINDS[split.name].filter(([kind]) => kind === "id" || split.scores[kind] || split.whole[kind]);
  const fillSorts = () => {
    const split = splits[field.split.value];
    field.sort.replaceChildren(...kindsOf(split).map(([value, text]) => element("option", { value }, text)));
    suggestOrder();
  };
  const suggestOrder = () => {
    const kind = KINDS[field.split.value].find(([name]) => name === field.sort.value);
    field.order.value = String(kind[2]);
  };

  const select = () => {
    const split = splits[field.split.value], kind = field.sort.value, order = Number(field.order.value);
    const label = field.label.value === "" ? null : Number(field.label.value);
    const id = field.id.value.trim() === "" ? null : Number(field.id.value);
    const low = field.low.value === "" ? -Infinity : Number(field.low.value);
    const high = field.high.value === "" ? Infinity : Number(field.high.value);
    const values = new Float64Array(split.ids.length);
    found = [];
    for (let place = 0; place < split.ids.length; place += 1) {
      const value = (values[place] = valueOf(split, kind, place));
      if (id !== null && split.ids[place] !== id) continue;
      if (label !== null && split.given[place] !== label) continue;
      if (id === null && (Number.isNaN(value) || value < low || value > high)) continue;
      found.push(place);
    }
    found.sort((a, b) => order * (values[b] - values[a]) || a - b);
    told.textContent = id !== null && !found.length
      ? `There is no ${named(split, field.id.value)} here.`
      : `${found.length.toLocaleString("en")} ${split.name === "train" ? "training" : "test"} examples`;
    picks.replaceChildren();
    visible = 0;
    showMore();
    if (id !== null && found.length === 1) choose(split, id, false);
  };
  const showMore = () => {
    const split = splits[field.split.value], kind = field.sort.value;
    for (const place of found.slice(visible, visible + PAGE)) {
      const id = split.ids[place];
      picks.append(pick(split, id, shown(kind, valueOf(split, kind, place)), `no. ${id}`, labelled(split, place)));
    }
    visible = Math.min(visible + PAGE, found.length);
    more.hidden = visible >= found.length;
  };

  // The chosen example.
  const row = (name, value, interval, runs) =>
    element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, value), element("td", {}, interval), element("td", {}, runs));
  const scored = (split, place, name, word, runs) => {
    const value = at(split.scores[name], place);
    const limits = ["low", "high"].map((limit) => show(at(split.scores[`${name}_${limit}`], place)));
    return row(word, show(value), Number.isNaN(value) ? "" : limits.join(" to "), runs);
  };
  const scoresOf = (split, place) => {
    const rows = [], counts = split.whole;
    if (split.scores.mem) rows.push(scored(split, place, "mem", "memorization", `${counts.n_in[place]} | ${counts.n_out[place]}`));
    if (split.scores.cscore) rows.push(scored(split, place, "cscore", "C-score", String(counts.cscore_runs[place])));
    if (split.scores.right) {
      const limits = ["low", "high"].map((limit) => show(at(split.scores[limit], place)));
      rows.push(row(`right at ${data.ratio}`, show(at(split.scores.right, place)), limits.join(" to "), ""));
    }
    if (counts.suspect) rows.push(row("rank of suspicion", shown("suspect", valueOf(split, "suspect", place)), "", ""));
    for (const [kind, word] of [["forgetting", "forgetting events a run"], ["first_learned", "first learned, epoch"], ["accuracy", "right while trained on"]]) {
      if (split.scores[kind]) rows.push(row(word, show(valueOf(split, kind, place)), "", ""));
    }
    const heads = ["", "value", "95 % interval", "runs"].map((text) => element("th", { scope: "col" }, text));
    return element("table", {}, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows));
  };
  const profileOf = (split, place) => {
    const count = data.ratios.length;
    const points = data.ratios.map((ratio, r) => [ratio, at(split.profile, place * count + r)]).filter(([, value]) => !Number.isNaN(value));
    const words = points.map(([ratio, value]) => `${show(value)} at ${ratio}`).join(", ");
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 300 80");
    svg.setAttribute("aria-hidden", "true");
    const line = points.map(([ratio, value]) => `${10 + 280 * ratio},${72 - 64 * value}`);
    svg.innerHTML = `<path d="M10 8V72H290" fill="none" stroke="var(--rule)"/><polyline points="${line.join(" ")}" fill="none" stroke="var(--accent)" stroke-width="2"/>`;
    return [element("h4", {}, "Right when held out, by ratio"), svg, element("p", {}, words || "never held out")];
  };
  const neighboursOf = (split, id) => {
    const rows = [...(rowsOf[split.name].get(id) ?? [])].sort((a, b) => top.infl[b] - top.infl[a]).slice(0, 12);
    const other = split.name === "test" ? splits.train : splits.test;
    const title = split.name === "test" ? "Training examples with the largest influence" : "Test examples that count it among their most influential";
    const list = element("ul", { class: "picks" });
    for (const each of rows) {
      const id2 = top[other.name][each];
      list.append(pick(other, id2, show(at(top.infl, each)), `${show(at(top.low, each))} to ${show(at(top.high, each))}`, `no. ${id2}`));
    }
    return [element("h4", {}, title), rows.length ? list : element("p", {}, "none")];
  };
  const choose = (split, id, move) => {
    const place = split.places.get(id);
    const title = named(split, id);
    const parts = [element("h3", {}, title[0].toUpperCase() + title.slice(1))];
    if (place === undefined) {
      parts.push(element("p", {}, "This example is not among those in this file."));
    } else {
      if (data.image) parts.push(picture(split, place, title));
      parts.push(element("p", {}, labelled(split, place)), scoresOf(split, place));
      if (split.profile && data.ratios.length > 1) parts.push(...profileOf(split, place));
    }
    if (top) parts.push(...neighboursOf(split, id));
    detail.replaceChildren(...parts);
    for (const each of document.querySelectorAll(".pick")) {
      if (each.dataset.example === `${split.name}-${id}`) each.setAttribute("aria-current", "true");
      else each.removeAttribute("aria-current");
    }
    detail.scrollTop = 0;
    if (move) {
      detail.focus({ preventScroll: true });
      detail.scrollIntoView({ block: "nearest" });
    }
  };

  const labels = [...new Set(splits.train.given)].sort((a, b) => a - b);
  field.label.append(...labels.map((value) => element("option", { value }, className(value))));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", (event) => {
    if (event.target === field.split) fillSorts();
    if (event.target === field.sort) suggestOrder();
    if (event.target !== field.id) select();
  });
  field.id.addEventListener("input", select);
  more.addEventListener("click", () => {
    const first = visible;
    showMore();
    picks.children[first]?.querySelector("button").focus();
  });
  fillSorts();
  document.getElementById("tool").hidden = false;
  // Only when it comes into view: the page is read from its top.
  const watcher = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) {
      watcher.disconnect();
      select();
    }
  }, { rootMargin: "800px" });
  watcher.observe(document.getElementById("explorer"));
})();
