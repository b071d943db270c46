/* The rows as a table, and the one that is open. */

const PAGE = 50;
const GROUPS = [
  "failure",
  "metric",
  "setting",
  "effective",
  "time",
  "cost",
  "power",
  "prediction",
  "provenance",
  "identity",
];

function rowColumns() {
  const varied = table.dimensions
    .map((dimension) => dimension.name)
    .filter((name) => !["source", "status", "shape", "layout", "concurrency"].includes(name));
  const metrics = [
    "output_tput_per_gpu",
    table.speed,
    "ttft_ms_p50",
    "ttft_ms_p99",
    "tpot_ms_p50",
    "e2el_ms_p50",
  ].filter((name) => table.of.has(name));
  const settings = ["isl", "osl", "layout", ...varied, "concurrency"];
  const several = (name) => table.of.has(name) && !("one" in table.of.get(name));
  return [
    "point_id",
    "status",
    "source",
    ...settings,
    ...(several("repeat") ? ["repeat"] : []),
    ...(several("attempt") ? ["attempt"] : []),
    ...metrics,
  ];
}

function sortKey(name, row) {
  const value = name === "layout" ? table.layout(row) : table.value(name, row);
  return name === "concurrency" && value === 0 ? Infinity : value;
}

function sorted(rows) {
  if (!state.sort)
    return [...rows].sort(
      (a, b) =>
        compareWords(table.shape(a), table.shape(b)) ||
        table.rows.layout.at[a] - table.rows.layout.at[b] ||
        compareWords(table.series(a), table.series(b)) ||
        sortKey("concurrency", a) - sortKey("concurrency", b),
    );
  const { name, down } = state.sort;
  return [...rows].sort((a, b) => {
    const one = sortKey(name, a),
      other = sortKey(name, b);
    if (one === null || other === null) return (one === null) - (other === null);
    return (one < other ? -1 : one > other ? 1 : 0) * (down ? -1 : 1);
  });
}

function showRows() {
  const columns = rowColumns(),
    rows = sorted(shownRows()),
    last = Math.max(0, Math.ceil(rows.length / PAGE) - 1);
  state.page = Math.min(state.page, last);
  const metric = (name) => table.of.get(name)?.group === "metric";
  const numeric = (name) => metric(name) || ["isl", "osl", "concurrency", "repeat", "attempt"].includes(name);
  const heads = columns.map((name) => {
    const sort = state.sort?.name === name ? (state.sort.down ? "descending" : "ascending") : null;
    const unit =
      metric(name) && name.includes("_ms_")
        ? make("small", {}, "ms")
        : metric(name)
          ? make("small", {}, table.of.get(name).unit)
          : null;
    const arrow = sort ? (sort === "ascending" ? " ↑" : " ↓") : "";
    const words =
      metric(name) && !name.includes("_ms_")
        ? ({ output_tput_per_gpu: "throughput", tps_per_user: "speed" }[name] ?? wordOf(name))
        : name === "point_id"
          ? "point"
          : wordOf(name);
    const press = () => {
      state.sort = {
        name,
        down: state.sort?.name === name ? !state.sort.down : metric(name) && !name.includes("_ms_"),
      };
      state.page = 0;
      showRows();
      document.querySelector(`[data-sort="${name}"]`)?.focus();
    };
    return make(
      "th",
      { scope: "col", class: numeric(name) ? "n" : null, "aria-sort": sort },
      make("button", { type: "button", "data-sort": name, onclick: press }, words + arrow, unit),
    );
  });
  const lines = rows.slice(state.page * PAGE, (state.page + 1) * PAGE).map((row) =>
    make(
      "tr",
      {
        "data-row": row,
        class: [table.isSimulated(row) ? "simulated" : "", state.row === row ? "here" : ""].join(" ").trim() || null,
        onclick: () => openRow(row),
      },
      ...columns.map((name) => rowCell(name, row, numeric(name), metric(name))),
    ),
  );
  fill(
    "row-table",
    rows.length
      ? make("table", { class: "rows" }, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...lines))
      : make("p", { class: "empty" }, "No row passes the filters."),
  );
  document.getElementById("rows-count").textContent =
    rows.length === table.count
      ? plural(table.count, "row")
      : `${rows.length.toLocaleString("en-US")} of ${plural(table.count, "row")}`;
  const turn = (by) => {
    state.page += by;
    showRows();
  };
  fill(
    "pager",
    ...(last
      ? [
          make("button", { type: "button", disabled: state.page === 0, onclick: () => turn(-1) }, "Previous"),
          make("button", { type: "button", disabled: state.page === last, onclick: () => turn(1) }, "Next"),
          make("span", {}, `page ${state.page + 1} of ${last + 1}`),
        ]
      : []),
  );
}

function rowCell(name, row, numeric, metric) {
  if (name === "point_id")
    return make(
      "td",
      {},
      make(
        "button",
        {
          type: "button",
          class: "open mono",
          onclick: (event) => {
            event.stopPropagation();
            openRow(row);
          },
        },
        (table.value(name, row) ?? "?").slice(0, 8),
      ),
    );
  if (name === "source") return make("td", {}, table.isSimulated(row) ? predictedChip() : table.value(name, row));
  if (name === "status")
    return make("td", { class: table.value(name, row) === "ok" ? null : "bad" }, table.value(name, row));
  const most = metric ? table.atMost(name, row) : null;
  if (most !== null) return make("td", { class: "n metric", title: AT_MOST_WHY }, AT_MOST + number(most));
  const words = metric
    ? table.value(name, row) === null
      ? ""
      : number(table.value(name, row))
    : table.value(name, row) === null && name !== "layout"
      ? ""
      : table.word(name, row);
  return make("td", { class: [numeric ? "n" : "", metric ? "metric" : ""].join(" ").trim() || null }, words);
}

/* -------------------------------------------------------------------------------------------------------- one row */

function openRow(row) {
  const panel = document.getElementById("row");
  state.row = row;
  hideTip();
  const siblings = table.pointOf.get(row)?.rows ?? [row],
    at = siblings.indexOf(row),
    body = make("div", { class: "body" });
  for (const group of GROUPS) {
    const list = make("dl");
    for (const [name, column] of table.of) {
      const value = table.value(name, row);
      if (column.group !== group || value === null || value === "") continue;
      const unit = column.unit && typeof value === "number" ? ` ${column.unit}` : "";
      list.append(
        make("dt", { title: column.meaning }, wordOf(name) === name.replaceAll("_", " ") ? name : name),
        make("dd", {}, cell(value) + unit),
      );
    }
    if (list.childElementCount)
      body.append(
        make(
          "h3",
          {},
          {
            setting: "settings",
            effective: "as the report states it",
            metric: "figures",
            time: "where the time went",
          }[group] ?? group,
        ),
        list,
      );
  }
  const close = make("button", { type: "button", onclick: () => panel.close() }, "Close");
  const inTable = make(
    "button",
    {
      type: "button",
      onclick: () => {
        panel.close();
        goToRow(row);
      },
    },
    "Show in the table",
  );
  const json = make("button", { type: "button", onclick: (event) => copyRow(row, event.target) }, "Copy as JSON");
  const other =
    siblings.length > 1
      ? make(
          "button",
          { type: "button", onclick: () => openRow(siblings[(at + 1) % siblings.length]) },
          `Repeat ${at + 1} of ${siblings.length}, next`,
        )
      : null;
  const standIn = table.predictedAs([row]);
  const mark = table.isSimulated(row)
    ? make("p", {}, predictedChip(), ` by a simulator, not measured${standIn && `; ${standIn}`}`)
    : null;
  panel.replaceChildren(
    make(
      "header",
      {},
      make(
        "h2",
        { id: "row-title" },
        `${table.shape(row)}, ${table.layout(row)}, c ${table.word("concurrency", row)}`,
      ),
      mark,
      make("div", { class: "buttons" }, close, inTable, json, other),
    ),
    body,
  );
  if (!panel.open) panel.showModal();
  panel.scrollTop = 0;
  markRow();
}

function markRow() {
  for (const line of document.querySelectorAll("#row-table tr[data-row]"))
    line.classList.toggle("here", Number(line.dataset.row) === state.row);
}

function goToRow(row) {
  if (!passes(row)) state.filters.clear();
  state.page = Math.floor(sorted(shownRows()).indexOf(row) / PAGE);
  changed();
  const line = document.querySelector(`#row-table tr[data-row="${row}"]`);
  line?.scrollIntoView({ block: "center" });
  line?.querySelector("button").focus({ preventScroll: true });
}

function copyRow(row, button) {
  const said = Object.fromEntries([...table.of.keys()].map((name) => [name, table.value(name, row)]));
  copy(JSON.stringify(said), button);
}
