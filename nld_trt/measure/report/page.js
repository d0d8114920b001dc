// SPDX-FileCopyrightText: 2026 The nld-trt authors
// SPDX-License-Identifier: Apache-2.0
// A press on the head of a column sorts its table: numbers by value, texts by letters, what is missing last.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement, place = head.cellIndex, table = head.closest("table");
    const falling = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const key = (row) => {
      const cell = row.cells[place];
      return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent;
    };
    const numbers = head.classList.contains("number");
    const missing = (value) => numbers && typeof value !== "number";
    const order = (a, b) => numbers ? a - b : a.localeCompare(b, "en", { numeric: true });
    const rows = [...table.tBodies[0].rows].sort((left, right) => {
      const a = key(left), b = key(right);
      if (missing(a) || missing(b)) return missing(a) - missing(b);
      return falling ? order(b, a) : order(a, b);
    });
    table.tBodies[0].append(...rows);
  });
}
