"use strict";
// Columns sort, rows are searched, and bars of a network tell their layers. Without this, all is there to be read.

const number = (cell) => {
  const by = cell.dataset.by ?? cell.textContent.trim();
  const value = Number(by);
  return by === "" || Number.isNaN(value) ? null : value;
};

function sort(table, column, head) {
  const before = head.getAttribute("aria-sort");
  const descending = before ? before === "ascending" : head.matches(".n");
  for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const turn = descending ? -1 : 1;
  const body = table.tBodies[0];
  const keyed = [...body.rows].map((row) => [row, number(row.cells[column]), row.cells[column].textContent.trim()]);
  keyed.sort(([, a, words], [, b, others]) => {
    if (a !== null && b !== null) return turn * (a - b);
    if (a !== null || b !== null) return a === null ? 1 : -1; // what has no number is last
    return turn * words.localeCompare(others, "en", { numeric: true });
  });
  body.append(...keyed.map(([row]) => row));
}

for (const table of document.querySelectorAll("table.grid")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    if (!("sorts" in head.dataset)) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(table, column, head));
    head.append(button);
  });
}

for (const input of document.querySelectorAll("input[data-table]")) {
  const rows = [...document.getElementById(input.dataset.table).tBodies[0].rows];
  const words = rows.map((row) =>
    [row.textContent, ...[...row.querySelectorAll("[title]")].map((each) => each.title)].join(" ").toLowerCase(),
  );
  const box = input.closest(".search");
  const count = box.querySelector(".count");
  box.hidden = false;
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, at) => {
      row.hidden = !wanted.every((word) => words[at].includes(word));
      shown += row.hidden ? 0 : 1;
    });
    const what = count.dataset.what;
    count.textContent = wanted.length ? `${shown} of ${rows.length} ${what}` : `${rows.length} ${what}`;
  });
}

for (const bar of document.querySelectorAll(".network")) {
  const parts = [...bar.querySelectorAll("rect")];
  const readout = bar.closest("section")?.querySelector(".readout");
  if (!parts.length || !readout) continue;
  const hint = "Point at a layer, or focus the bar and use the arrow keys.";
  readout.textContent = hint;
  let at = -1;
  const tell = (next) => {
    parts[at]?.classList.remove("at");
    at = next;
    parts[at]?.classList.add("at");
    readout.textContent = parts[at]?.textContent ?? hint;
  };
  bar.tabIndex = 0;
  bar.setAttribute("role", "group");
  bar.setAttribute("aria-label", `${bar.dataset.label}: arrow keys go from layer to layer`);
  bar.addEventListener("pointerover", (event) => {
    const next = parts.indexOf(event.target.closest("rect"));
    if (next >= 0) tell(next);
  });
  bar.addEventListener("keydown", (event) => {
    const last = parts.length - 1;
    const places = { ArrowRight: Math.min(at + 1, last), ArrowLeft: Math.max(at - 1, 0), Home: 0, End: last };
    if (!(event.key in places)) return;
    event.preventDefault();
    tell(places[event.key]);
  });
  bar.addEventListener("blur", () => tell(-1));
}
