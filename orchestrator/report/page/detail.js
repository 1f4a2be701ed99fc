// The opened example: its scores, its curves and its neighbours.
const scoresOf = (split, place) => {
  const rows = [], { scores, counts } = split;
  for (const { text, digits, value, low, high, runs } of scores.values()) {
    const number = at(value, place), limited = low && !isMissing(number);
    if (isMissing(number) && !low) continue;
    const shown = digits === 0 ? count(number) : show(number, digits);
    const behind = runs.map((key) => count(counts.get(key).values[place])).join(" | ");
    rows.push(row(text, shown, limited ? limits(at(low, place), at(high, place)) : "", behind));
  }
  if (!rows.length) return [];
  const ratios = data.ratio === null ? [] : [scores.has("mem") ? `Memorization at ratio ${data.ratio}: runs with | without it.` : `At ratio ${data.ratio}.`];
  if (scores.has("forgetting")) ratios.push(`Forgetting and learning at ratio ${data.trained_at}: means over runs.`);
  const note = `Intervals are of 95%. ${ratios.join(" ")}`;
  return [table(["score", "value", "uncertainty", "runs"], rows), element("p", { class: "note" }, note)];
};
const predictedOf = (split, place) => {
  if (!split.predicted || split.predicted[place] < 0) return [];
  const share = at(split.scores.get("predicted_share").value, place), runs = split.counts.get("predicted_runs").values[place];
  return [element("p", disagreed(split, place) ? { class: "against" } : {},
    `Held-out models predict ${className(split.predicted[place])} in ${Math.round(100 * share)}% of ${count(runs)} runs`)];
};
const featuresOf = (split, place) => {
  if (!split.features.length) return [];
  const rows = split.features.map((column, number) => element("tr", {}, element("th", { scope: "row" }, `feature ${number}`), element("td", {}, show(at(column, place), 3))));
  return [element("details", {}, element("summary", {}, "Features"), table(["feature", "value"], rows))];
};

// Of a neighbour: whether the pair is a discovery, of those that were tested.
const neighboursOf = (split, id) => {
  const known = rowsOf[split.name].get(id) ?? [];
  // Of an example that all runs agree on, the largest influence is 0, and anybody's.
  const rows = known.filter((pair) => at(top.infl, pair) > 0).sort((a, b) => at(top.infl, b) - at(top.infl, a)).slice(0, 12);
  const [title, none, other] = split.name === "test"
    ? ["Training examples that influence it most", known.length ? "None raises the share of runs that are right." : "No influence on it was estimated.", splits.train]
    : ["Test examples that it influences most", `It is not among the ${data.closest} most influential training examples of any test example.`, splits.test];
  const parts = [element("h4", {}, title)], note = (text) => element("p", { class: "note" }, text);
  if (!rows.length) return [...parts, note(none)];
  const link = (pair) => {
    const id2 = top[other.name][pair], place = other.places.get(id2), label = place === undefined ? [] : [labelled(other, place)];
    const marks = top.discovery && !top.discovery[pair] ? ["not significant"] : [];
    return element("li", {}, pick(other, id2, show(at(top.infl, pair)), limits(at(top.low, pair), at(top.high, pair)), `${other.name === "train" ? "no." : "test"} ${id2}`, ...label, ...marks));
  };
  const list = (pairs) => element("ul", { class: "picks" }, ...pairs.map(link));
  const basis = `Influence and its 95% interval, at ratio ${data.ratio}; of any class.`;
  if (!top.discovery) return [...parts, list(rows), note(`${basis} The pairs were not tested.`)];
  const discoveries = rows.filter((pair) => top.discovery[pair]), others = rows.filter((pair) => !top.discovery[pair]);
  const rate = `a false discovery rate of ${Math.round(100 * data.top.fdr)}%`;
  if (discoveries.length) parts.push(list(discoveries), note(`${basis} Discoveries at ${rate}.`));
  else parts.push(note(`None is a discovery at ${rate}.`));
  if (others.length) parts.push(element("details", { class: "others" }, element("summary", {}, `${others.length} not significant`), list(others), note(`${basis} These may be chance.`)));
  return parts;
};
const detailOf = (split, id) => {
  const place = split.places.get(id), neighbours = top ? neighboursOf(split, id) : [];
  if (place === undefined) return [element("p", {}, "This example is not among those in this file."), ...neighbours];
  const words = element("div", {}, element("p", {}, capitalized(labelled(split, place))), ...predictedOf(split, place));
  if (split.names) words.append(element("p", { class: "name" }, split.names[place]));
  const face = element("div", { class: data.image ? "face" : "" }, words);
  if (data.image) face.prepend(picture(split, place, named(split, id)));
  const parts = [face, ...scoresOf(split, place), ...featuresOf(split, place)];
  if (split.name === "test") return [...parts, ...neighbours];
  const profile = data.ratios.length > 1 ? profileOf(split, place) : [];
  return [...parts, ...profile, ...historyOf(split, place), ...neighbours];
};
