/* Wiring: the head, the filters, the choices, and a page that is written anew while a sweep runs. */

function showHead() {
  const simulated = table.points.filter((point) => table.isSimulated(point.row)).length,
    about = document.getElementById("about");
  document.getElementById("name").textContent = table.name;
  document.title = `${simulated ? "PREDICTED · " : ""}${table.name} · sweep`;
  const banner = document.getElementById("banner"),
    rows = [...Array(table.count).keys()].filter((row) => table.isSimulated(row)).length;
  banner.hidden = rows === 0;
  if (rows) {
    const [head, tail] =
      rows === table.count
        ? [
            "PREDICTED, NOT MEASURED",
            ` Every number on this page comes from a simulator${table.database ? ` over ${table.database}` : ""}; no GPU was used.`,
          ]
        : [
            `${rows.toLocaleString("en-US")} OF ${table.count.toLocaleString("en-US")} ROWS ARE PREDICTED, NOT MEASURED`,
            " They come from a simulator and are hollow, dashed and named PREDICTED wherever they are shown.",
          ];
    const standIns = Object.entries(table.predicted_as).map(([model, name]) => ` ${model}: predicted as ${name}.`);
    banner.replaceChildren(make("strong", {}, head), make("br"), tail, ...standIns);
  }
  const one = (name) => (table.of.has(name) && "one" in table.of.get(name) ? table.of.get(name).one : null);
  const counts = groupBy([...Array(table.count).keys()], (row) => table.value("status", row));
  const parts = [
    one("model") ?? (table.count ? "several models" : null),
    one("gpu")?.toUpperCase(),
    one("bench") ? `bench ${one("bench")}` : null,
    one("image"),
  ].filter(Boolean);
  const states = [...counts]
    .sort(([a, one], [b, other]) => (b === "ok") - (a === "ok") || other.length - one.length)
    .map(([status, rows]) => `${rows.length.toLocaleString("en-US")} ${status}`)
    .join(", ");
  const standIn = one("model") === null ? "" : table.predicted_as[one("model")];
  about.replaceChildren(
    ...(parts.length
      ? [
          make("b", {}, parts[0]),
          standIn ? `, predicted as ${standIn}` : "",
          parts.length > 1 ? ` · ${parts.slice(1).join(" · ")}` : "",
          make("br"),
        ]
      : []),
    states || "no rows yet",
  );
  document.getElementById("foot").textContent =
    `Written ${local(table.written_at)} by sweep ${table.version}. One file, nothing is fetched; every column is explained in results/README.md.`;
}

function local(time) {
  return new Date(time).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

/* -------------------------------------------------------------------------------------------------------- filters */

function showFilters() {
  const host = document.getElementById("filters"),
    open = host.querySelector("details[open]")?.dataset.name;
  if (open) {
    updateFilters();
    return;
  } /* do not take away what is being used */
  const shown = table.dimensions.map(({ name, counts }) => {
    const list = make(
      "div",
      { class: "list" },
      ...[...counts].map(([word, count]) => {
        const box = make("input", { type: "checkbox", value: word, onchange: () => pick(name) });
        return make(
          "label",
          {},
          box,
          word === "simulated" ? predictedChip() : word,
          make("span", { class: "count" }, count.toLocaleString("en-US")),
        );
      }),
    );
    return make("details", { class: "filter", "data-name": name, name: "filter" }, make("summary", {}), list);
  });
  host.replaceChildren(
    ...shown,
    make("span", { class: "count", id: "shown-count", role: "status" }),
    make(
      "button",
      {
        type: "button",
        id: "reset",
        onclick: () => {
          state.filters.clear();
          state.page = 0;
          changed();
        },
      },
      "Clear filters",
    ),
  );
  updateFilters();
}

function pick(name) {
  const boxes = [...document.querySelectorAll(`.filter[data-name="${CSS.escape(name)}"] input`)],
    picked = boxes.filter((box) => box.checked).map((box) => box.value);
  setFilter(name, picked.length === boxes.length ? null : new Set(picked));
}

function updateFilters() {
  for (const details of document.querySelectorAll(".filter")) {
    const name = details.dataset.name,
      words = state.filters.get(name);
    details.classList.toggle("on", Boolean(words));
    const said = words
      ? [...words].length < 3
        ? [...words].join(", ")
        : `${words.size} of ${table.dimensions.find((d) => d.name === name).counts.size}`
      : null;
    details.firstElementChild.textContent = said ? `${wordOf(name)}: ${said}` : wordOf(name);
    for (const box of details.querySelectorAll("input")) box.checked = words?.has(box.value) ?? false;
  }
  const rows = shownRows().length;
  const count = document.getElementById("shown-count");
  if (count)
    count.textContent =
      rows === table.count ? plural(rows, "row") : `${rows.toLocaleString("en-US")} of ${plural(table.count, "row")}`;
  const reset = document.getElementById("reset");
  if (reset) reset.hidden = state.filters.size === 0;
}

function showLegend() {
  const points = shownPoints(),
    shown = new Set(points.map((point) => table.word(colouredBy(), point.row)));
  const simulated = points.some((point) => table.isSimulated(point.row)),
    measured = points.some((point) => !table.isSimulated(point.row));
  const items = [...styles()]
    .filter(([word]) => shown.has(word))
    .map(([word, style]) =>
      make("span", { role: "listitem" }, symbol(style, simulated && !measured), namedSeries(word)),
    );
  const mark = simulated
    ? make("span", { role: "listitem" }, predictedChip(), measured ? "hollow, dashed" : "")
    : null;
  fill("legend", mark, ...items);
}

function options(id, key, able, now) {
  const select = document.getElementById(id);
  select.replaceChildren(...able.map(([value, words]) => make("option", { value }, words)));
  select.value = now;
  select.onchange = () => choose(key, select.value);
  select.closest("label").hidden = able.length < 2;
}

function showAll() {
  const tput = table.metrics.filter((metric) => metric.better === "more"),
    latency = table.metrics.filter((metric) => metric.better === "less");
  const pairs = (metrics) => metrics.map((metric) => [metric.column, metric.words]);
  options(
    "colour-by",
    "by",
    colourings().map((name) => [name, wordOf(name)]),
    colouredBy(),
  );
  options("tput-metric", "tput", pairs(tput), metricOf("tput", tput)?.column);
  options("latency-metric", "latency", pairs(latency), metricOf("latency", latency)?.column);
  options("layout-metric", "layouts", pairs(table.metrics), metricOf("layouts", table.metrics)?.column);
  options("effect-metric", "effects", pairs(table.metrics), metricOf("effects", table.metrics)?.column);
  showFilters();
  showLegend();
  showBest();
  showFronts();
  showCurves("tput-plots", metricOf("tput", tput));
  showCurves("latency-plots", metricOf("latency", latency));
  showLayouts();
  showEffects();
  showRows();
}

function start(data) {
  table = new Table(data);
  readAddress();
  if (!location.hash.includes("=") && table.dimensions.some((dimension) => dimension.name === "source"))
    state.filters.set("source", new Set(["measured"]));
  showPage();
}

function showPage() {
  showHead();
  showProblems();
  showHours();
  showOrigin();
  showAll();
  showLive();
}

/* ----------------------------------------------------------------------------------------------------------- live */

const EVERY_MS = 10000;
let waiting = null,
  latest = text;

/* While a sweep runs this file is replaced by newer ones. A page from a disk may not read files, but it may show itself
   in a frame: that frame hands over its data, and the place, filters and what is open stay as they are. */
function showLive() {
  const line = document.getElementById("live");
  line.hidden = !table.live;
  clearTimeout(waiting);
  if (!table.live) return;
  line.textContent = `live: ${plural(table.count, "row")} at ${new Date(table.written_at).toLocaleTimeString()}`;
  waiting = setTimeout(askAgain, EVERY_MS);
}

function askAgain() {
  const frame = make("iframe", {
    hidden: true,
    title: "newer data",
    src: `${location.href.split("#")[0]}#messenger`,
  });
  const done = () => {
    window.removeEventListener("message", hear);
    frame.remove();
    clearTimeout(waiting);
    waiting = setTimeout(askAgain, EVERY_MS);
  };
  const hear = (event) => {
    if (event.source !== frame.contentWindow) return;
    done();
    if (event.data === latest) return;
    latest = event.data;
    refresh(JSON.parse(event.data));
  };
  window.addEventListener("message", hear);
  waiting = setTimeout(done, EVERY_MS); /* no answer: what is shown stays, with its time */
  document.body.append(frame);
}

function refresh(data) {
  const panel = document.getElementById("row");
  const key = (row) => ["sweep_id", "point_id", "source", "repeat"].map((name) => table.value(name, row)).join();
  const open = state.row === null ? null : key(state.row),
    back = whereFocusIs(),
    stay = whatIsRead();
  if (JSON.stringify(data.charts) === JSON.stringify(table.charts)) data.charts = table.charts; /* keeps the plots */
  table = new Table(data);
  for (const plot of plots.values()) plot.leave();
  state.row = null;
  for (let row = 0; row < table.count && open !== null; row++) if (key(row) === open) state.row = row;
  if (state.row === null) panel.close();
  showPage();
  back();
  stay();
}

/* Return what gives the focus back to the same place: elements are made anew. */
function whereFocusIs() {
  const steps = [];
  let element = document.activeElement;
  for (; element && element !== document.body && !element.id; element = element.parentElement)
    steps.unshift([...element.parentElement.children].indexOf(element));
  if (!element?.id || element.tagName === "DIALOG") return () => {};
  return () => {
    const place = steps.reduce((found, index) => found?.children[index], document.getElementById(element.id));
    if (place && place !== document.activeElement) place.focus({ preventScroll: true });
  };
}

/* Return what keeps the section that is being read where it is on the screen. */
function whatIsRead() {
  const line = window.innerHeight / 3;
  const section = [...document.querySelectorAll("main > section")].find((one) => {
    const { top, bottom } = one.getBoundingClientRect();
    return top <= line && bottom > line;
  });
  const before = section?.getBoundingClientRect().top;
  return () => {
    if (section && window.scrollY > 0)
      window.scrollBy({ top: section.getBoundingClientRect().top - before, behavior: "instant" });
  };
}

/* A page from a disk has no origin to name, and no page of the web may frame it. */
if (isMessenger) window.parent.postMessage(text, location.protocol === "file:" ? "*" : location.origin);
else {
  applyTheme();
  listeners.push(showAll);
  start(JSON.parse(text));
  dark.addEventListener("change", () => {
    applyTheme();
    showAll();
  });
  window.addEventListener("hashchange", () => {
    if (location.hash.includes("=")) {
      readAddress();
      showAll();
    }
  });
  window.addEventListener("beforeprint", () => {
    document.documentElement.dataset.theme = "light";
    showAll();
    for (const plot of plots.values()) plot.draw(true);
  });
  window.addEventListener("afterprint", () => {
    applyTheme();
    showAll();
  });
  document.getElementById("theme").addEventListener("click", toggleTheme);
  document.getElementById("limits").addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("least-speed").addEventListener("input", (event) => choose("least", event.target.value));
  document.getElementById("most-ttft").addEventListener("input", (event) => choose("ttft", event.target.value));
  document.addEventListener("click", (event) => {
    for (const details of document.querySelectorAll(".filter[open]"))
      if (!details.contains(event.target)) details.open = false;
  });
  document.addEventListener("keydown", (event) => {
    const open = document.querySelector(".filter[open]");
    if (event.key === "Escape" && open) {
      open.open = false;
      open.firstElementChild.focus();
    }
  });
  document.getElementById("row").addEventListener("close", () => {
    markRow();
  });
  document.getElementById("row").addEventListener("click", (event) => {
    if (event.target.id === "row") event.target.close();
  });
}
