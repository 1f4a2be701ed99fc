// Which examples of a split the list shows, and in which order.
// Ids as typed: "3, 17 90-95"; null where the text is none.
const idsIn = (text) => {
  const words = text.split(/[\s,;]+/).filter(Boolean), ranges = [];
  for (const word of words) {
    const match = /^(\d{1,10})(?:-(\d{1,10}))?$/.exec(word);
    if (!match) return null;
    ranges.push([Number(match[1]), Number(match[2] ?? match[1])]);
  }
  return ranges;
};
// The shortest such text of some ids.
const idText = (ids) => {
  const sorted = [...ids].sort((a, b) => a - b), parts = [];
  for (let start = 0, end = 0; start < sorted.length; start = end) {
    while (end < sorted.length && sorted[end] - sorted[start] === end - start) end += 1;
    if (end - start < 3) parts.push(...sorted.slice(start, end));
    else parts.push(`${sorted[start]}-${sorted[end - 1]}`);
  }
  return parts.join(", ");
};
// Whether an example is searched for: by its id, or by a part of its name where it has one; null: nothing is searched for.
const searched = (split, text) => {
  if (!text.trim()) return null;
  const ranges = idsIn(text), part = text.trim().toLowerCase();
  if (ranges) {
    const wanted = new Uint8Array(1 + (split.largest ??= split.ids.reduce((most, id) => Math.max(most, id), 0)));
    for (const [low, high] of ranges) wanted.fill(1, low, high + 1);
    return (place) => wanted[split.ids[place]] === 1;
  }
  if (split.names) return (place) => split.names[place].toLowerCase().includes(part);
  return () => false;
};
const places = (state) => {
  const split = splits[state.split], order = orderOf(split, state.sort, state.order), search = searched(split, state.ids);
  // Examples that are searched for are shown, whatever the filters say.
  if (search) return order.filter(search);
  const ranges = state.filters.filter(({ low, high }) => low !== null || high !== null)
    .map(({ key, low, high }) => [valuesOf(split, key), low ?? -Infinity, high ?? Infinity]);
  const { given, predicted } = split, { label } = state;
  if (!ranges.length && label === null && state.predicted === null) return order;
  return order.filter((place) => {
    if (label !== null && given[place] !== label) return false;
    if (state.predicted !== null && !(state.predicted === "other" ? disagreed(split, place) : predicted[place] === state.predicted)) return false;
    return ranges.every(([values, low, high]) => values[place] >= low && values[place] <= high);
  });
};
const summary = (state, found) => {
  const split = splits[state.split];
  if (state.ids.trim() && !idsIn(state.ids) && !split.names) return `Ids are numbers and ranges, such as 3, 17 90-95: ${state.ids.trim()} is none.`;
  if (state.ids.trim() && !found.length) return `There is no ${named(split, state.ids.trim())} in this file.`;
  return `${count(found.length)} of ${count(split.ids.length)} ${split.word} examples`;
};

// Which lists a store's scores allow, as addresses.
const PRESETS = [
  ["Long tail", "Most memorized, by the lower limit", ["mem_low"], "sort=mem_low"],
  ["Label errors", "Most suspicious labels", ["suspect"], "sort=suspect"],
  ["Disagreements", "Held-out models predict another class than the label", ["predicted_share"], "predicted=other&sort=predicted_share"],
  ["Never learned", "Right in no run that showed them", ["n_learned"], "n_learned=..0&sort=accuracy"],
  ["Forgotten most", "Most forgetting events, by the lower limit", ["forgetting_low"], "sort=forgetting_low"],
  ["Least regular", "Lowest C-score, by the upper limit", ["cscore_high"], "sort=cscore_high"],
  ["More in A", "Memorization higher in A, by the lower limit of the difference", ["mem_difference_low"], "sort=mem_difference_low"],
  ["More in B", "Memorization higher in B, by the upper limit of the difference", ["mem_difference_high"], "sort=mem_difference_high"],
  ["Least certain", "Widest interval of memorization", ["mem_width"], "sort=mem_width"],
];
const presetLinks = () => PRESETS.filter(([, , needed]) => needed.every((key) => variables(splits.train).has(key)))
  .map(([text, title, , address]) => element("li", {}, element("a", { href: `#${address}`, title }, text)));
