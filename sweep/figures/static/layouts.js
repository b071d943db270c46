/* Layouts side by side: for each ISL/OSL a grid of layouts and concurrencies. */

function showLayouts() {
  const metric = metricOf("layouts", table.metrics),
    tables = [];
  for (const [shape, of] of metric ? byShape(shownPoints()) : []) {
    const columns = [...new Set(of.map((point) => table.word("concurrency", point.row)))].sort(compareWords);
    const lines = [
      ...groupBy(of, (point) => `${table.series(point.row)}${table.value("source", point.row)}`).values(),
    ];
    const cells = new Map(),
      best = new Map();
    for (const [index, line] of lines.entries()) {
      for (const point of line) {
        const found = table.bounded(point, metric.column),
          key = `${index}|${table.word("concurrency", point.row)}`;
        if (found === null) continue;
        const { value, bound } = found;
        cells.set(key, { value, bound, point });
        if (bound) continue; /* it may be less, so it is neither the best nor near it */
        const column = `${table.value("source", point.row)}|${table.word("concurrency", point.row)}`,
          top = best.get(column);
        if (top === undefined || (metric.better === "more" ? value > top : value < top)) best.set(column, value);
      }
    }
    if (!cells.size) continue;
    const mixed = new Set(of.map((point) => table.value("source", point.row))).size > 1;
    const head = make(
      "tr",
      {},
      make("th", { scope: "col" }, wordOf("layout")),
      ...columns.map((word) => make("th", { scope: "col" }, word)),
    );
    const body = lines.map((line, index) => {
      const first = line[0].row,
        style = styles().get(table.word(colouredBy(), first)),
        simulated = table.isSimulated(first);
      const name = make(
        "span",
        {},
        style ? symbol(style, simulated) : null,
        table.seriesName(first),
        simulated && mixed ? predictedChip() : null,
      );
      return make(
        "tr",
        {},
        make("th", { scope: "row" }, name),
        ...columns.map((word) =>
          heat(cells.get(`${index}|${word}`), best.get(`${table.value("source", first)}|${word}`), metric),
        ),
      );
    });
    const grid = make("table", { class: "heat" }, make("thead", {}, head), make("tbody", {}, ...body));
    walkable(grid);
    tables.push(
      make(
        "div",
        {},
        make("h3", {}, shape, !mixed && table.isSimulated(of[0].row) ? predictedChip() : null, standInNote(of)),
        make("div", { class: "scroll" }, grid),
      ),
    );
  }
  fill("layout-tables", ...(tables.length ? tables : [make("p", { class: "empty" }, NOTHING)]));
}

function heat(found, best, metric) {
  if (!found) return make("td", { class: "none" }, "–");
  if (found.bound)
    return make(
      "td",
      { tabindex: "-1", title: AT_MOST_WHY, onclick: () => openRow(found.point.row) },
      boundedNumber(found),
    );
  const share = metric.better === "more" ? found.value / best : best / found.value;
  const depth = Math.max(0, (share - 0.4) / 0.6) ** 2 * 0.34;
  const top = found.value === best;
  return make(
    "td",
    {
      class: top ? "winner" : null,
      tabindex: "-1",
      style: { background: `rgb(var(--accent-ground) / ${depth.toFixed(3)})` },
      title: top ? "best of this concurrency" : `${percent((share - 1) * 100)} from the best`,
      onclick: () => openRow(found.point.row),
    },
    number(found.value),
  );
}

/* One stop of the Tab key for a whole grid; arrows go from cell to cell, Enter opens. */
function walkable(grid) {
  const cells = () => [...grid.querySelectorAll("td[tabindex]")];
  cells()[0]?.setAttribute("tabindex", "0");
  grid.addEventListener("keydown", (event) => {
    const here = event.target.closest("td[tabindex]");
    if (!here) return;
    if (event.key === "Enter") {
      event.preventDefault(); /* else the same key presses the first button of what it opens */
      here.click();
      return;
    }
    const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[
      event.key
    ] ?? [0, 0];
    if (!down && !right) return;
    event.preventDefault();
    const next = grid.rows[here.parentElement.rowIndex + down]?.cells[here.cellIndex + right];
    if (!next?.hasAttribute("tabindex")) return;
    for (const cell of cells()) cell.setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  });
}
