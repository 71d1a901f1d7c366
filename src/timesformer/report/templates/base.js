"use strict";
// Tables of class "sortable": a header with data-sort="text" or "number" becomes a button that sorts by its column; a
// cell's data-value counts in place of its text. Empty values come last, whichever the direction.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  table.querySelectorAll("thead th[data-sort]").forEach((head) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const number = head.dataset.sort === "number", column = head.cellIndex;
      const before = head.getAttribute("aria-sort");
      const down = before ? before === "ascending" : number; // numbers: the highest first
      table.querySelectorAll("thead th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => { const cell = row.cells[column]; return cell.dataset.value ?? cell.textContent.trim(); };
      const rows = [...body.rows].map((row) => [value(row), row]);
      rows.sort(([a], [b]) => {
        if (a === "" || b === "") return (a === "") - (b === "");
        const order = number ? a - b : a.localeCompare(b, "en", { numeric: true });
        return down ? -order : order;
      });
      body.append(...rows.map(([, row]) => row));
    });
  });
}
// <input type="search" data-filters="ID">: of the rows of the table ID, or else of its children, those with the text stay.
// <output data-count-of="ID"> says how many.
for (const input of document.querySelectorAll("input[data-filters]")) {
  const target = document.getElementById(input.dataset.filters);
  const count = document.querySelector(`output[data-count-of="${input.dataset.filters}"]`);
  const rows = target.tBodies ? target.tBodies[0].rows : target.children;
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = (row.dataset.text ?? row.textContent).toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    if (count) count.textContent = words.length ? `${shown} of ${rows.length}` : "";
  });
}
