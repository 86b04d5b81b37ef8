// Sorts tables by the column whose head is chosen. Without it they are plain tables.
"use strict";

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  if (body.rows.length < 2) continue;
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const isRising = head.getAttribute("aria-sort") ? head.getAttribute("aria-sort") === "descending" : !head.classList.contains("falling");
      const rows = [...body.rows].map((row) => [read(row.cells[column]), row]);
      // The same values stay in their order; what has no value stays last.
      rows.sort(([a], [b]) => (a === null) - (b === null) || (a === null ? 0 : (isRising ? 1 : -1) * compare(a, b)));
      body.append(...rows.map(([, row]) => row));
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", isRising ? "ascending" : "descending");
    });
  });
}

function read(cell) {
  if (cell.dataset.text !== undefined) return cell.dataset.text || null;
  const value = cell.dataset.value;
  if (value === undefined) return cell.textContent.trim();
  return value === "" ? null : Number(value);
}

function compare(a, b) {
  return typeof a === "number" ? a - b : a.localeCompare(b, document.documentElement.lang, { numeric: true });
}
