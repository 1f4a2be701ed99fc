// Tables and curves of an example.
const row = (name, value, uncertainty = "", runs = "") =>
  element("tr", {}, element("th", { scope: "row" }, name), ...[value, uncertainty, runs].map((text) => element("td", {}, text)));
const table = (heads, rows) => element("table", {},
  element("thead", {}, element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, text)))),
  element("tbody", {}, ...rows));
const limits = (low, high) => `${show(low)} to ${show(high)}`;
// Wilson's interval of the mean of so many zeros and ones, as in analysis/statistics/intervals.py.
const wilson = (mean, runs) => {
  const square = data.z ** 2, centre = 2 * runs * mean + square, scale = 2 * (runs + square);
  const half = data.z * Math.sqrt(square + 4 * runs * mean * (1 - mean));
  return [Math.max(0, Math.min((centre - half) / scale, mean)), Math.min(1, Math.max((centre + half) / scale, mean))];
};

// Lines with bands: series of { name, colour, points: [[x, value, low, high], ...] }.
const chart = (title, xLabel, ticks, series, note) => {
  const from = ticks[0], to = ticks[ticks.length - 1];
  const left = 30, right = 312, bottom = 112, x = (value) => left + (right - left) * (to > from ? (value - from) / (to - from) : 0.5);
  const y = (value) => bottom - 104 * value, place = (points) => points.map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`).join(" ");
  const svg = drawn("svg", { viewBox: "0 0 320 146", "aria-hidden": "true", focusable: "false" });
  const write = (text, attributes) => svg.append(drawn("text", attributes, text));
  for (const tick of [0, 0.5, 1]) {
    svg.append(drawn("path", { d: `M${left} ${y(tick)}H${right}`, class: "grid" }));
    write(String(tick), { x: left - 6, y: y(tick) + 4, "text-anchor": "end" });
  }
  let last = -Infinity;
  for (const tick of ticks) {
    // The last one is always named, others where there is room.
    if (x(tick) - last < 28 || (tick !== to && x(to) - x(tick) < 28)) continue;
    write(String(tick), { x: x(tick), y: bottom + 15, "text-anchor": "middle" });
    last = x(tick);
  }
  write(xLabel, { x: (left + right) / 2, y: bottom + 30, "text-anchor": "middle" });
  for (const { colour, points } of series) {
    const band = [...points.map(([a, , low]) => [a, low]), ...points.map(([a, , , high]) => [a, high]).reverse()];
    svg.append(drawn("polygon", { points: place(band), fill: colour, opacity: series.length > 1 ? 0.09 : 0.16 }));
    svg.append(drawn("polyline", { points: place(points), fill: "none", stroke: colour, "stroke-width": 2 }));
    for (const [a, b] of points.length <= 30 ? points : []) svg.append(drawn("circle", { cx: x(a), cy: y(b), r: 2.4, fill: colour }));
  }
  const legend = element("ul", { class: "legend" }, ...series.map(({ name, colour }) => {
    const line = element("i");
    line.style.background = colour;
    return element("li", {}, line, name);
  }));
  const rows = series.flatMap(({ name, points }) => points.map(([a, b, low, high]) =>
    row(series.length > 1 ? `${name}, ${a}` : String(a), show(b), limits(low, high))).map((each) => { each.lastChild.remove(); return each; }));
  const values = element("details", {}, element("summary", {}, "Values"), table([xLabel, "right", "95% interval"], rows));
  return [element("h4", {}, title), svg, ...(series.length > 1 ? [legend] : []), element("p", { class: "note" }, note), values];
};
const profileOf = (split, place) => {
  const { profile, heldOut } = split.curves(), size = data.ratios.length, points = [];
  data.ratios.forEach((ratio, r) => {
    const value = at(profile, place * size + r);
    if (!Number.isNaN(value)) points.push([ratio, value, ...wilson(value, at(heldOut, place * size + r))]);
  });
  if (!points.length) return [];
  const runs = data.ratios.map((_, r) => at(heldOut, place * size + r)), [few, many] = [Math.min(...runs), Math.max(...runs)];
  const note = `Share of the runs right that held it out, ${few === many ? count(few) : `${count(few)} to ${count(many)}`} at each ratio; the band is the 95% interval.`;
  return chart("Consistency profile", "ratio", data.ratios, [{ name: "", colour: "var(--accent)", points }], note);
};
const LOOKS = {
  presentations: ["in training", "var(--accent)"], evaluations: ["trained on", "var(--s4)"], heldout: ["held out", "var(--s8)"],
};
const historyOf = (split, place) => {
  const { history } = split.curves(), series = [], runs = [];
  for (const each of history) {
    const [name, colour] = LOOKS[each.at], points = [];
    each.epochs.forEach((epoch, e) => {
      const step = each.share[place * each.epochs.length + e];
      if (step !== NONE8) points.push([epoch, step / 250, ...wilson(step / 250, each.runs[place])]);
    });
    if (points.length) series.push({ name, colour, points });
    if (points.length) runs.push(`${name} ${count(each.runs[place])}`);
  }
  if (!series.length) {
    const why = data.missing.history ?? data.missing.subsets ?? "No run looked at it in several epochs.";
    return [element("h4", {}, "Learning history"), element("p", { class: "note" }, why)];
  }
  const epochs = [...new Set(history.flatMap((each) => each.epochs))].sort((a, b) => a - b), ratio = history[0].ratio;
  const before = history.some((each) => each.at === "presentations") ? " In training: whenever it is shown, before the update." : "";
  const note = `Share of the runs right, epoch after epoch, at ratio ${ratio}; the band is the 95% interval. Runs: ${runs.join(", ")}.${before}`;
  return chart("Learning history", "epoch", epochs, series, note);
};
