/* The sections that account: what has no number, where the GPU-hours went, where the numbers come from. */

function listTable(heads, rows, name = "list-table") {
  const title = ([words, numeric, unseen]) =>
    make(
      "th",
      { scope: "col", class: numeric ? "n" : null },
      make("span", { class: unseen ? "unseen" : null }, words),
    );
  return make(
    "table",
    { class: name },
    make("thead", {}, make("tr", {}, ...heads.map(title))),
    make("tbody", {}, ...rows),
  );
}

/* -------------------------------------------------------------------------------------------------- without number */

function showProblems() {
  const bad = [];
  for (let row = 0; row < table.count; row++) if (table.value("status", row) !== "ok") bad.push(row);
  const groups = [
    ...groupBy(bad, (row) =>
      ["status", "failure_kind", "failure_message"].map((name) => table.value(name, row) ?? "").join("\u0000"),
    ).values(),
  ].sort((a, b) => b.length - a.length);
  const lines = groups.map((rows) => {
    const [first] = rows,
      layouts = [...new Set(rows.map((row) => table.layout(row)))];
    const show = () => {
      setFilter("status", new Set([table.value("status", first)]));
      openRow(first);
    };
    const kind = [table.value("status", first), table.value("failure_kind", first)].filter(Boolean).join(": ");
    return make(
      "tr",
      {},
      make("td", { class: "n" }, rows.length.toLocaleString("en-US")),
      make("td", {}, make("span", { class: "kind" }, kind)),
      make("td", { class: "why" }, table.value("failure_message", first) ?? "no reason was told"),
      make("td", { class: "where" }, layouts.slice(0, 3).join(", ") + (layouts.length > 3 ? ", …" : "")),
      make(
        "td",
        { class: "open-rows" },
        make("button", { type: "button", onclick: show }, rows.length === 1 ? "Row" : "Rows"),
      ),
    );
  });
  const told = table.count === 0 ? "There is no row yet." : `All ${plural(table.count, "row")} have a number.`;
  fill(
    "problem-list",
    bad.length
      ? make(
          "div",
          { class: "scroll" },
          listTable(
            [["rows", true], ["what"], ["why"], ["layouts"], ["open", false, true]],
            lines,
            "list-table problems",
          ),
        )
      : make("p", { class: "note" }, told),
  );
  fill(
    "pruned-list",
    ...table.pruned.map(({ configs, cells }) => {
      const total = cells.reduce((sum, [, count]) => sum + count, 0);
      const title = make("h3", {}, `${plural(total, "cell")} of the matrix became no point`);
      const from = make("p", { class: "note" }, `configuration ${configs.join(", ")}`);
      return make(
        "div",
        {},
        title,
        from,
        make(
          "div",
          { class: "scroll" },
          listTable(
            [["cells", true], ["why"]],
            cells.map(([reason, count]) =>
              make("tr", {}, make("td", { class: "n" }, count.toLocaleString("en-US")), make("td", {}, reason)),
            ),
          ),
        ),
      );
    }),
  );
}

/* ----------------------------------------------------------------------------------------------------- GPU-hours */

const SHADES = ["--p3", "--p1", "--p2", "--p0", "--p4", "--p5"];

function showHours() {
  const { layouts, total, queued, cost_usd: cost, priced, predicted, unknown, repeated } = table.hours,
    shown = [];
  if (layouts.length) {
    const parts = Object.keys(layouts[0].parts),
      sum = (name) => layouts.reduce((all, { parts }) => all + parts[name], 0);
    const dollars = total - priced > 1e-6 * total ? `for the ${number(priced)} GPU-hours with a price` : "at the price given";
    const figure = (value, words) => make("div", {}, make("b", {}, value), make("span", {}, words));
    shown.push(
      make(
        "div",
        { class: "figures" },
        figure(number(total), "GPU-hours held"),
        figure(`${number((100 * sum("bench")) / total)} %`, "of them measuring"),
        sum("no number") > 0 ? figure(number(sum("no number")), "GPU-hours without a number") : null,
        cost === null ? null : figure(`$${number(cost)}`, dollars),
        queued > 0 ? figure(`${number(queued)} h`, "waited for GPUs, held none") : null,
      ),
    );
    const most = Math.max(...layouts.map(({ parts }) => Object.values(parts).reduce((a, b) => a + b, 0)));
    const used = parts.map((name, index) => [name, SHADES[index]]).filter(([name]) => sum(name) > 0);
    const swatch = (shade) => make("i", { class: "swatch", style: { background: `var(${shade})` } });
    const heads = [["layout"], ["share", false, true], ["GPU h", true]].concat(used.map(([name]) => [name, true]));
    const lines = layouts.map(({ layout, parts }) => {
      const all = Object.values(parts).reduce((a, b) => a + b, 0);
      const bars = used
        .filter(([name]) => parts[name] > 0)
        .map(([name, shade]) =>
          make("i", { style: { width: `${(100 * parts[name]) / most}%`, background: `var(${shade})` } }),
        );
      return make(
        "tr",
        {},
        make("th", { scope: "row" }, layout),
        make("td", { class: "stacked" }, make("div", { class: "stack", "aria-hidden": "true" }, ...bars)),
        make("td", { class: "n" }, number(all)),
        ...used.map(([name]) => make("td", { class: "n" }, number(parts[name]))),
      );
    });
    const grid = listTable(heads, lines, "list-table hours");
    used.forEach(([, shade], index) => grid.tHead.rows[0].cells[index + 3].prepend(swatch(shade)));
    shown.push(make("div", { class: "scroll" }, grid));
    const notes = ["Rest is what no column names: starting processes, warm-up, waiting for GPU memory."];
    if (repeated) notes.push(`${plural(repeated, "earlier attempt")} that a later one replaced count too.`);
    if (unknown) notes.push(`Of ${plural(unknown, "measured row")} nobody knows how long GPUs were held.`);
    shown.push(make("p", { class: "note" }, notes.join(" ")));
  } else if (unknown) shown.push(make("p", { class: "note" }, "Nobody told how long GPUs were held for these rows."));
  if (predicted > 0)
    shown.push(
      make(
        "p",
        { class: "note" },
        predictedChip(),
        ` Simulated rows held no GPU. Measuring them would take about ${number(predicted)} GPU-hours of bench alone, start-up not counted.`,
      ),
    );
  fill("hours-list", ...(shown.length ? shown : [make("p", { class: "note" }, "No GPU was held for any row.")]));
}

/* ------------------------------------------------------------------------------------------------------ provenance */

function showOrigin() {
  const facts = make("dl", { class: "facts" });
  for (const { name, values } of table.provenance) {
    const some = values
      .slice(0, 12)
      .map(([value, count], index) => [
        index ? make("br") : "",
        value,
        values.length > 1 ? make("span", { class: "count" }, plural(count, "row")) : "",
      ])
      .flat();
    facts.append(
      make("dt", {}, name),
      make("dd", {}, ...some, values.length > 12 ? ` … and ${values.length - 12} more` : ""),
    );
  }
  const commands = table.commands.map((command) =>
    make(
      "div",
      { class: "command" },
      make("code", {}, command),
      make("button", { type: "button", onclick: (event) => copy(command, event.target) }, "Copy"),
    ),
  );
  if (commands.length)
    facts.append(
      make("dt", {}, "to repeat or go on"),
      make(
        "dd",
        {},
        ...commands,
        make("span", { class: "note" }, "Points that have their row are not measured again."),
      ),
    );
  fill("origin-list", table.count ? facts : make("p", { class: "note" }, "There is no row yet."));
}

async function copy(words, button) {
  try {
    await navigator.clipboard.writeText(words);
  } catch {
    const field = make("textarea", { style: { position: "fixed", opacity: 0 } });
    field.value = words;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  button.textContent = "Copied";
  setTimeout(() => {
    button.textContent = "Copy";
  }, 2000);
}
