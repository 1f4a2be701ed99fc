// What examples are sorted, filtered and plotted by: scores, their limits and interval widths, and numbers of runs.
const variables = (split) => (split.variables ??= listed(split));
const listed = (split) => {
  const list = new Map(), add = (key, variable) => list.set(key, { key, order: 1, digits: 2, ...variable });
  for (const [key, score] of split.scores) {
    const { text, order, digits, low, high } = score;
    add(key, { group: "scores", text, order, digits, read: (place) => at(score.value, place) });
    if (!low) continue;
    add(`${key}_low`, { group: "limits", text: `${text}, lower limit`, digits, read: (place) => at(low, place) });
    add(`${key}_high`, { group: "limits", text: `${text}, upper limit`, order: -1, digits, read: (place) => at(high, place) });
    add(`${key}_width`, { group: "interval widths", text: `${text}, interval width`, digits, read: (place) => at(high, place) - at(low, place) });
  }
  for (const [key, { text, values }] of split.counts) add(key, { group: "runs", text, digits: 0, read: (place) => values[place] });
  split.features.forEach((column, number) => add(`x${number}`, { group: "features", text: `feature ${number}`, digits: 3, read: (place) => at(column, place) }));
  add("id", { group: "examples", text: "id", order: -1, digits: 0, read: (place) => split.ids[place] });
  return list;
};
const valuesOf = (split, key) => {
  const variable = variables(split).get(key);
  if (variable.values) return variable.values;
  const values = new Float64Array(split.ids.length);
  for (let place = 0; place < values.length; place += 1) values[place] = variable.read(place);
  return (variable.values = values);
};
const isMissing = (value) => value !== value;
// Places in the order of a variable: those without a value last, of equal ones the lower place first.
const orderOf = (split, key, order) => {
  const variable = variables(split).get(key), orders = (variable.orders ??= {});
  if (orders[order]) return orders[order];
  const values = valuesOf(split, key), ranks = new Float64Array(values.length), sorted = new Int32Array(values.length);
  for (let place = 0; place < values.length; place += 1) {
    ranks[place] = isMissing(values[place]) ? Infinity : -order * values[place];
    sorted[place] = place;
  }
  // Infinity less Infinity is NaN, which is false.
  return (orders[order] = sorted.sort((a, b) => ranks[a] - ranks[b] || a - b));
};
const shownAs = (variable, value) => {
  if (variable.key === "id") return `no. ${value}`;
  const text = variable.digits === 0 && !isMissing(value) ? count(value) : show(value, variable.digits);
  return variable.key === "suspect" ? `rank ${text}` : text;
};
// The options of a select, in groups where there are several.
const variableOptions = (split, but = []) => {
  const groups = new Map();
  for (const { key, text, group } of variables(split).values()) {
    if (but.includes(key)) continue;
    if (!groups.has(group)) groups.set(group, element("optgroup", { label: group }));
    groups.get(group).append(element("option", { value: key }, text));
  }
  return [...groups.values()];
};
