// Histograms and a scatter plot of examples: a drag, or a click on a bar or a dot, sets limits.
const BINS = 24;
// The bins of a variable: edges at round numbers, whole ones for counts.
const binsOf = (split, key) => {
  const variable = variables(split).get(key);
  if (variable.bins) return variable.bins;
  const values = valuesOf(split, key);
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) [low, high] = [0, 1];
  const raw = (high - low || 1) / BINS, power = 10 ** Math.floor(Math.log10(raw));
  const width = Math.max([1, 2, 2.5, 5, 10].find((step) => step * power >= raw * 0.999) * power, variable.digits === 0 ? 1 : 0);
  const start = Math.floor(low / width + 1e-9), counts = new Uint32Array(Math.floor(high / width - start + 1e-9) + 1);
  const binOf = (value) => Math.min(counts.length - 1, Math.max(0, Math.floor(value / width - start + 1e-9)));
  for (const value of values) if (!isMissing(value)) counts[binOf(value)] += 1;
  // Of counts a bin ends with its last whole number.
  const edge = (bin) => Number(((start + bin) * width).toPrecision(12));
  const end = (bin) => (variable.digits === 0 ? edge(bin + 1) - 1 : edge(bin + 1));
  return (variable.bins = { counts, width, low: edge(0), high: edge(counts.length), edge, end, binOf });
};
// Two bins, in any order, that a pointer went down and up on, from fractions of the width.
const dragged = (target, finish, draw) => {
  let from = null;
  const fraction = (event) => {
    const { left, top, width, height } = target.getBoundingClientRect();
    return [Math.min(0.9999, Math.max(0, (event.clientX - left) / width)), Math.min(0.9999, Math.max(0, (event.clientY - top) / height))];
  };
  target.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    from = fraction(event);
    target.setPointerCapture(event.pointerId);
    draw(from, from);
  });
  target.addEventListener("pointermove", (event) => from && draw(from, fraction(event)));
  target.addEventListener("pointercancel", () => { from = null; });
  target.addEventListener("pointerup", (event) => {
    if (from) finish(from, fraction(event));
    from = null;
  });
};
const histogramOf = (split, { key, low, high }, limit) => {
  const bins = binsOf(split, key), size = bins.counts.length, most = Math.log1p(Math.max(...bins.counts));
  const svg = drawn("svg", { class: "histogram", viewBox: `0 0 ${size} 30`, preserveAspectRatio: "none", "aria-hidden": "true", focusable: "false" });
  const mark = drawn("rect", { class: "brush", y: 0, height: 30, width: 0 });
  const bars = [...bins.counts].map((number, bin) => {
    const height = number && Math.max(1, (29 * Math.log1p(number)) / most);
    const inside = bins.end(bin) >= (low ?? -Infinity) && bins.edge(bin) <= (high ?? Infinity);
    return drawn("rect", { x: bin + 0.06, width: 0.88, y: 30 - height, height, class: inside ? "bar-in" : "bar-out" });
  });
  svg.append(...bars, mark);
  const range = ([a], [b]) => [a, b].map((x) => Math.floor(x * size)).sort((x, y) => x - y);
  dragged(svg, (a, b) => {
    const [first, last] = range(a, b);
    limit(key, bins.edge(first), bins.end(last));
  }, (a, b) => {
    const [first, last] = range(a, b);
    mark.setAttribute("x", first);
    mark.setAttribute("width", last + 1 - first);
  });
  return svg;
};
// Dots of all examples by two variables, their area by the logarithm of the number of examples.
const scatterOf = (split, [keyX, keyY], limit) => {
  const x = binsOf(split, keyX), y = binsOf(split, keyY), width = x.counts.length, height = y.counts.length;
  const cells = new Uint32Array(width * height), a = valuesOf(split, keyX), b = valuesOf(split, keyY);
  for (let place = 0; place < a.length; place += 1) {
    if (!isMissing(a[place]) && !isMissing(b[place])) cells[y.binOf(b[place]) * width + x.binOf(a[place])] += 1;
  }
  const most = Math.log1p(cells.reduce((c, d) => Math.max(c, d), 1)), W = 480, H = 300, stepX = W / width, stepY = H / height;
  const svg = drawn("svg", { class: "scatter", viewBox: `0 0 ${W} ${H}`, "aria-hidden": "true", focusable: "false" });
  const mark = drawn("rect", { class: "brush", width: 0, height: 0 }), largest = Math.min(stepX, stepY) / 2;
  cells.forEach((number, cell) => {
    if (!number) return;
    const r = Math.max(1.2, largest * Math.sqrt(Math.log1p(number) / most));
    svg.append(drawn("circle", { cx: ((cell % width) + 0.5) * stepX, cy: H - (Math.floor(cell / width) + 0.5) * stepY, r }));
  });
  svg.append(mark);
  const range = (from, to) => {
    const [left, right] = [from[0], to[0]].map((part) => Math.floor(part * width)).sort((c, d) => c - d);
    const [bottom, up] = [from[1], to[1]].map((part) => Math.floor((1 - part) * height)).sort((c, d) => c - d);
    return { left, right, bottom: Math.max(0, bottom), up: Math.min(height - 1, up) };
  };
  dragged(svg, (from, to) => {
    const { left, right, bottom, up } = range(from, to);
    limit(keyX, x.edge(left), x.end(right), keyY, y.edge(bottom), y.end(up));
  }, (from, to) => {
    const { left, right, bottom, up } = range(from, to);
    const shape = { x: left * stepX, y: H - (up + 1) * stepY, width: (right + 1 - left) * stepX, height: (up + 1 - bottom) * stepY };
    for (const [key, value] of Object.entries(shape)) mark.setAttribute(key, value);
  });
  const ends = (bins) => `${bins.low} to ${bins.high}`;
  const note = `Across ${variables(split).get(keyX).text}, ${ends(x)}; up ${variables(split).get(keyY).text}, ${ends(y)}. All ${split.word} examples; the area of a dot rises with the logarithm of their number.`;
  return [svg, element("p", { class: "note" }, note)];
};
