// Selected examples, and how they leave the page: ids, a line for pandas, CSV.
const selected = { train: new Set(), test: new Set() };
const selectionBar = document.getElementById("selection"), selectionText = document.getElementById("selected");
const output = document.getElementById("output"), announce = document.getElementById("announced");
const idsSelected = (split) => [...selected[split.name]].sort((a, b) => a - b);
const select = (split, ids, on) => {
  for (const id of ids) selected[split.name][on ? "add" : "delete"](id);
};
const showSelected = (split, found) => {
  const ids = selected[split.name];
  selectionText.textContent = ids.size ? `${count(ids.size)} selected` : "None selected";
  document.getElementById("select-all").textContent = `Select all ${count(found.length)}`;
  document.getElementById("select-all").disabled = !found.length;
  for (const button of selectionBar.querySelectorAll("[data-export]")) button.disabled = !ids.size;
};

const pandasLine = (split) => `frame[frame["${split.id}"].isin([${idsSelected(split).join(", ")}])]`;
const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
// A spreadsheet takes a text that begins with = + - @, a tab or a line's end for a formula; an apostrophe makes it text.
const harmless = (text) => (/^[=+\-@\t\r\n]/.test(text) ? `'${text}` : text);
const csvOf = (split) => {
  const columns = [[split.id, (place) => split.ids[place]]];
  if (split.names) columns.push(["name", (place) => split.names[place]]);
  columns.push(["label", (place) => split.label[place]]);
  if (split.name === "train") columns.push(["given_label", (place) => split.given[place]]);
  if (split.predicted) columns.push(["predicted_label", (place) => (split.predicted[place] < 0 ? NaN : split.predicted[place])]);
  for (const { key, group } of variables(split).values()) {
    if (["scores", "limits", "runs", "features"].includes(group)) columns.push([key, (place) => valuesOf(split, key)[place]]);
  }
  const text = (value) => (typeof value === "number" && isMissing(value) ? "" : quoted(typeof value === "number" ? String(value) : harmless(String(value))));
  const lines = [columns.map(([name]) => name).join(",")];
  for (const id of idsSelected(split)) lines.push(columns.map(([, read]) => text(read(split.places.get(id)))).join(","));
  return `${lines.join("\n")}\n`;
};
// Where the browser refuses, the text stands on the page, selected, to be copied by hand.
const copy = async (text, what) => {
  try {
    await navigator.clipboard.writeText(text);
    output.hidden = true;
    announce.textContent = `Copied ${what}.`;
  } catch {
    output.hidden = false;
    output.value = text;
    output.focus();
    output.select();
    announce.textContent = `Copy ${what} from the field below.`;
  }
};
const download = (split) => {
  const link = element("a", { href: URL.createObjectURL(new Blob([csvOf(split)], { type: "text/csv" })), download: `longtail-${split.name}.csv` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  announce.textContent = `Downloaded ${link.download}: ${count(selected[split.name].size)} examples.`;
};
const EXPORTS = {
  ids: (split) => copy(idText(selected[split.name]), `${count(selected[split.name].size)} ids`),
  pandas: (split) => copy(pandasLine(split), "a line for pandas"),
  csv: download,
};
