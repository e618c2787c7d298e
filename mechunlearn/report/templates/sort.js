// Tables that are sorted by the column whose title is chosen; what has no value stays last.
(() => {
  const value = (row, column) => row.cells[column].dataset.value;
  const number = (text) => (text === "" ? NaN : Number(text));
  for (const table of document.querySelectorAll("table.board")) {
    const heads = [...table.tHead.rows[0].cells];
    const body = table.tBodies[0];
    const sort = (column) => {
      const rows = [...body.rows];
      const numeric = rows.every((row) => value(row, column) === "" || !isNaN(number(value(row, column))));
      const before = heads[column].getAttribute("aria-sort");
      const falling = before ? before === "ascending" : numeric; // Numbers begin with the largest.
      const sign = falling ? -1 : 1;
      rows.sort((a, b) => {
        const [x, y] = [value(a, column), value(b, column)];
        if (x === "" || y === "") return (x === "") - (y === "");
        return sign * (numeric ? number(x) - number(y) : x.localeCompare(y, "en", { numeric: true }));
      });
      body.append(...rows);
      heads.forEach((head) => head.removeAttribute("aria-sort"));
      heads[column].setAttribute("aria-sort", falling ? "descending" : "ascending");
    };
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => sort(column)));
  }
})();
