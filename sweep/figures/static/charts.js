/* The sections that answer: best, fronts, concurrency, effects. Each is drawn anew from what the filters let
   through; plots are kept and given new rows. */

const NOTHING = "No row with a number passes the filters.";
const lacking = (needed) =>
  needed.length && shownPoints().length ? `No row that passes the filters has both ${needed.join(" and ")}.` : NOTHING;
const kept = new Map(); /* section -> name of a plot -> Plot */

/* needed: what a row must have to be drawn. */
function showPlots(id, wanted, specification, needed = []) {
  const host = document.getElementById(id),
    known = kept.get(id) ?? new Map(),
    now = new Map();
  for (const [name, shown] of wanted) {
    const old = known.get(name);
    const plot = old && old.specification === specification ? old : new Plot(specification, id.split("-")[0]);
    if (plot !== old) old?.remove();
    now.set(name, [plot, shown]);
  }
  for (const [name, plot] of known) if (!now.has(name)) plot.remove();
  const shown = [...now.values()].map(([plot]) => plot.element);
  const same =
    shown.length > 0 && shown.length === host.children.length && shown.every((one, at) => one === host.children[at]);
  if (!same) host.replaceChildren(...shown, ...(now.size ? [] : [make("p", { class: "empty" }, lacking(needed))]));
  host.classList.toggle("three", now.size % 3 === 0);
  for (const [plot, shown] of now.values()) plot.show(shown);
  kept.set(id, new Map([...now].map(([name, [plot]]) => [name, plot])));
}

function drawn(point, x, y) {
  const simulated = table.isSimulated(point.row),
    style = styles().get(table.word(made.by, point.row));
  return {
    x,
    y,
    row: point.row,
    source: simulated ? "simulated" : "measured",
    series: table.series(point.row),
    label: "",
    side: "right",
    stroke: style.colour,
    fill: simulated ? "transparent" : style.colour,
    shape: style.shape,
    size: 45,
    opacity: 1,
  };
}

/* Points of one ISL/OSL, and of one model: what another model does with it is no question of throughput. */
function byShape(points) {
  const name = ({ row }) => [table.shape(row), table.model(row)].filter(Boolean).join(" · ");
  return [...groupBy(points, name)].sort(
    ([a, [{ row: one }]], [b, [{ row: other }]]) =>
      compareWords(table.shape(one), table.shape(other)) || compareWords(a, b),
  );
}

/* ----------------------------------------------------------------------------------------------------------- best */

/* The highest of 1, 2, 5, 10, 20, 50, ... tok/s per user that every ISL/OSL reaches. */
function usualSpeed(points) {
  const reached = Math.min(
    ...byShape(points).map(([, of]) => Math.max(...of.map((point) => table.figure(point, table.speed) ?? 0))),
    points.length ? Infinity : 0,
  );
  const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500].filter((step) => step <= reached * 0.75);
  return Math.min(steps.at(-1) ?? 0, 50);
}

function limits() {
  return {
    least: Number(choice("least", (table.usualSpeed ??= usualSpeed(table.points)))) || 0,
    most: Number(choice("ttft", "")) || Infinity,
  };
}

/* The point of the highest throughput that keeps both limits. */
function bestOf(points) {
  const { least, most } = limits();
  const able = points.filter(
    (point) =>
      table.figure(point, "output_tput_per_gpu") !== null &&
      (table.figure(point, table.speed) ?? 0) >= least &&
      (most === Infinity || (table.bounded(point, "ttft_ms_p99")?.value ?? Infinity) <= most),
  );
  return able.reduce(
    (best, point) =>
      best && table.figure(best, "output_tput_per_gpu") >= table.figure(point, "output_tput_per_gpu") ? best : point,
    null,
  );
}

function showBest() {
  const points = shownPoints(),
    { least, most } = limits();
  const speed = document.getElementById("least-speed"),
    ttft = document.getElementById("most-ttft");
  if (document.activeElement !== speed) speed.value = least || "";
  if (document.activeElement !== ttft) ttft.value = most === Infinity ? "" : most;
  const title = (words, numeric) => make("th", { scope: "col", class: numeric ? "n" : null }, words);
  const body = make("tbody");
  for (const [, of] of byShape(points))
    for (const rows of groupBy(of, (point) => table.value("source", point.row)).values())
      body.append(bestRow(rows, bestOf(rows)));
  const head = make(
    "tr",
    {},
    title("ISL / OSL"),
    title("output tok/s per GPU", true),
    title("layout"),
    title("concurrency", true),
    title("tok/s per user", true),
    title("TTFT P99, ms", true),
  );
  const several = points.some(({ row }) => table.model(row)); /* then each line says it of its own */
  fill(
    "best",
    several ? null : standInNote(points),
    body.rows.length
      ? make("table", { class: "best" }, make("thead", {}, head), body)
      : make("p", { class: "empty" }, NOTHING),
  );
  document.getElementById("best-note").textContent =
    `The highest output throughput among single points that keep both limits; what lies between two points is not guessed. ${AT_MOST_WHY} A limit that it keeps is kept.`;
}

/* What stands in a heading where predictions are of another model. */
function standInNote(points) {
  const words = table.predictedAs(points.map(({ row }) => row));
  return words ? make("small", { class: "stand-in" }, words) : null;
}

/* points: those that the best one was sought in. */
function bestRow(points, point) {
  const row = points[0].row;
  const head = make(
    "th",
    { scope: "row", class: "shape" },
    make("span", {}, table.shape(row)),
    " ",
    table.isSimulated(row) ? predictedChip() : null,
    table.model(row) ? make("small", {}, table.model(row)) : null,
    table.model(row) ? standInNote(points) : null,
  );
  const known = points.some((one) => table.figure(one, "output_tput_per_gpu") !== null);
  const lacking = limits().most === Infinity ? 0 : points.filter((one) => !table.bounded(one, "ttft_ms_p99")).length;
  const open = lacking ? `; ${plural(lacking, "point")} without TTFT P99 and maximum` : "";
  const why = known ? `no point keeps these limits${open}` : "nobody told how many GPUs these used";
  if (point === null)
    return make(
      "tr",
      {},
      head,
      make("td", { class: "n big" }, "–"),
      make("td", { colspan: 4, class: "wide" }, why),
    );
  return make(
    "tr",
    {},
    head,
    make("td", { class: "n big" }, number(table.figure(point, "output_tput_per_gpu"))),
    make(
      "td",
      { class: "wide" },
      make("button", { type: "button", class: "open", onclick: () => openRow(point.row) }, table.seriesName(point.row)),
    ),
    make("td", { class: "n", "data-name": "concurrency" }, table.word("concurrency", point.row)),
    make("td", { class: "n", "data-name": "tok/s per user" }, number(table.figure(point, table.speed))),
    make("td", { class: "n", "data-name": "TTFT P99, ms" }, boundedNumber(table.bounded(point, "ttft_ms_p99"))),
  );
}

/* --------------------------------------------------------------------------------------------------------- fronts */

function showFronts() {
  const wanted = new Map();
  for (const [shape, of] of byShape(shownPoints())) {
    const rows = [];
    for (const point of of) {
      const x = table.figure(point, table.speed),
        y = table.figure(point, "output_tput_per_gpu");
      if (x !== null && y !== null) rows.push(drawn(point, x, y));
    }
    const best = front(rows);
    for (const row of rows)
      Object.assign(row, best.has(row) ? { front: true, size: 75 } : { front: false, size: 34, opacity: 0.4 });
    const winners = new Set(
      [...groupBy(of, (point) => table.value("source", point.row)).values()].map((points) => bestOf(points)?.row),
    );
    for (const row of rows) if (winners.has(row.row)) Object.assign(row, { size: 190, opacity: 1 });
    rows.sort((a, b) => a.front - b.front);
    const names = [...groupBy(rows, (row) => table.word(colouredBy(), row.row))].map(([name, of]) => {
      const onFront = of.filter((row) => row.front).sort((a, b) => a.x - b.x),
        middle = onFront.length >> 1;
      return {
        name: namedSeries(name),
        candidates: [...onFront.slice(middle), ...onFront.slice(0, middle).reverse()],
      };
    });
    if (rows.length)
      wanted.set(shape, {
        title: shape,
        told: `${plural(best.size, "point")} of ${rows.length} on the front${rows.length < of.length ? `; ${of.length - rows.length} more without ${wordOf(table.speed)} or ${wordOf("output_tput_per_gpu")}` : ""}`,
        limit: limits().least,
        rows,
        names: names.sort((a, b) => b.candidates.length - a.candidates.length),
        sides: ["right", "left"],
      });
  }
  showPlots("front-plots", wanted, table.charts.front, [wordOf("output_tput_per_gpu"), wordOf(table.speed)]);
}

function namedSeries(word) {
  return colouredBy() === "layout" ? word : named(colouredBy(), word);
}

/* ---------------------------------------------------------------------------------------------------- concurrency */

function concurrencies(points) {
  const all = points.map((point) => table.value("concurrency", point.row)).filter((value) => value !== null);
  return {
    unlimitedAt: all.includes(0) ? Math.max(1, ...all) * 2 : -1,
    of: (point) => table.value("concurrency", point.row),
  };
}

function showCurves(id, metric) {
  const wanted = new Map();
  if (metric) {
    for (const [shape, of] of byShape(shownPoints())) {
      const { unlimitedAt, of: load } = concurrencies(of),
        rows = [];
      for (const point of of) {
        const y = table.figure(point, metric.column),
          x = load(point);
        if (y !== null && x !== null && !(metric.log && y <= 0))
          rows.push({ ...drawn(point, x || unlimitedAt, y), size: 30 });
      }
      const ends = [...groupBy(rows, (row) => table.word(colouredBy(), row.row))].map(([name, of]) => ({
        name: namedSeries(name),
        candidates: [...of].sort((a, b) => b.x - a.x || b.y - a.y).slice(0, 4),
      }));
      if (rows.length)
        wanted.set(shape, {
          title: shape,
          axis: metric.words,
          rows,
          names: ends,
          logX: true,
          logY: metric.log,
          unlimitedAt,
        });
    }
  }
  const needed = metric ? [metric.words, "a concurrency"] : [];
  showPlots(id, wanted, table.charts[metric?.log ? "log_curve" : "curve"], needed);
}

function metricOf(which, able) {
  const said = choice(which, "");
  return able.find((metric) => metric.column === said) ?? able[0];
}

/* -------------------------------------------------------------------------------------------------------- effects */

function showEffects() {
  const metric = metricOf("effects", table.metrics),
    wanted = new Map(),
    shown = new Set(shownPoints());
  const shapes = table.dimensions.find((dimension) => dimension.name === "shape"),
    words = shapes ? [...shapes.counts.keys()] : [table.shape(0)];
  const colours = table.palette[isDark() ? "dark" : "light"];
  for (const effect of metric ? table.effects : []) {
    const rows = [],
      changes = [],
      pairs = effect.pairs
        .map((pair) => pair.map((row) => table.pointOf.get(row)))
        .filter((pair) => pair.every((point) => shown.has(point)));
    const { unlimitedAt, of: load } = concurrencies(pairs.map(([, after]) => after));
    for (const [before, after] of pairs) {
      const [from, to] = [before, after].map((point) => table.figure(point, metric.column));
      if (!from || to === null || load(after) === null) continue;
      const change = (to / from - 1) * 100,
        index = Math.max(0, words.indexOf(table.shape(after.row)));
      const style = {
        stroke: colours[index % colours.length],
        shape: table.palette.shapes[index % table.palette.shapes.length],
      };
      changes.push(change);
      rows.push({
        ...drawn(after, load(after) || unlimitedAt, change),
        ...style,
        fill: table.isSimulated(after.row) ? "transparent" : style.stroke,
        size: 30,
        change: `${effect.name}: ${percent(change)} ${metric.words}`,
        series: `${table.shape(after.row)} ${table.series(after.row)}`,
      });
    }
    if (!rows.length) continue;
    const ends = [...groupBy(rows, (row) => table.shape(row.row))].map(([name, of]) => ({
      name,
      candidates: [...of].sort((a, b) => b.x - a.x).slice(0, 5),
    }));
    const along = effect.along.length ? `; ${effect.along.map(wordOf).join(", ")} may differ too` : "";
    const told = `${effect.at ? `at ${effect.at}; ` : ""}median ${percent(median(changes))} over ${plural(rows.length, "pair")}${along}`;
    wanted.set(`${effect.name} ${effect.at}`, {
      title: effect.name,
      told,
      axis: `change of ${metric.words}`,
      rows,
      names: ends,
      logX: true,
      unlimitedAt,
    });
  }
  showPlots("effect-plots", wanted, table.charts.effect);
  if (!wanted.size && shown.size)
    fill(
      "effect-plots",
      make("p", { class: "empty" }, "No two points differ in one setting only, apart from the load."),
    );
}
