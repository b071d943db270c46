/* What the reader chose: filters, colours, figures, the row that is open. Kept in the address, so that a reload, a
   bookmark or a colleague sees the same; the theme is kept in the browser. */

const state = { filters: new Map(), choices: new Map(), theme: null, sort: null, page: 0, row: null };
const listeners = [];
let table;

function readAddress() {
  state.filters.clear();
  state.choices.clear();
  for (const [key, value] of new URLSearchParams(location.hash.slice(1))) {
    if (key.startsWith("_")) state.choices.set(key.slice(1), value);
    else if (table.dimensions.some((dimension) => dimension.name === key)) {
      if (!state.filters.has(key)) state.filters.set(key, new Set());
      state.filters.get(key).add(value);
    }
  }
}

function writeAddress() {
  const said = new URLSearchParams();
  for (const [name, words] of state.filters) for (const word of words) said.append(name, word);
  for (const [name, value] of state.choices) said.append(`_${name}`, value);
  const hash = said.toString();
  if (`#${hash}` === location.hash || (!hash && !location.hash.includes("="))) return;
  try {
    history.replaceState(history.state, "", `#${hash}`);
  } catch {
    /* the address stays as it is */
  }
}

function choice(name, otherwise) {
  return state.choices.get(name) ?? otherwise;
}

function choose(name, value) {
  state.choices.set(name, String(value));
  changed();
}

function setFilter(name, words) {
  if (words === null || words.size === 0) state.filters.delete(name);
  else state.filters.set(name, words);
  state.page = 0;
  changed();
}

function changed() {
  writeAddress();
  for (const listener of listeners) listener();
}

function passes(row, except = null) {
  for (const [name, words] of state.filters) if (name !== except && !words.has(table.word(name, row))) return false;
  return true;
}

function shownPoints() {
  return table.points.filter((point) => passes(point.row, "status"));
}
function shownRows() {
  const rows = [];
  for (let row = 0; row < table.count; row++) if (passes(row)) rows.push(row);
  return rows;
}

/* --------------------------------------------------------------------------------------------------------- theme */

const dark = window.matchMedia("(prefers-color-scheme: dark)");

function savedTheme() {
  try {
    return localStorage.getItem("sweep-theme");
  } catch {
    return null;
  }
}
function isDark() {
  return document.documentElement.dataset.theme === "dark";
}

function applyTheme() {
  const theme = state.theme ?? savedTheme() ?? (dark.matches ? "dark" : "light");
  document.documentElement.dataset.theme = theme;
  document.getElementById("theme").textContent = theme === "dark" ? "Light theme" : "Dark theme";
}

function toggleTheme() {
  state.theme = isDark() ? "light" : "dark";
  try {
    localStorage.setItem("sweep-theme", state.theme);
  } catch {
    /* only for this visit */
  }
  applyTheme();
  for (const listener of listeners) listener();
}

function css(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/* -------------------------------------------------------------------------------------------------------- colours */

function colouredBy() {
  const able = colourings(),
    said = choice("by", "");
  return able.includes(said) ? said : (able[0] ?? "layout");
}

function colourings() {
  const able = table.dimensions
    .map((dimension) => dimension.name)
    .filter((name) => !["shape", "concurrency", "status", "source"].includes(name))
    .sort((a, b) => (a === "model") - (b === "model")); /* each model has charts of its own */
  return able.length ? able : ["layout"];
}

/* A style for each word of what is coloured by; words keep theirs whatever is filtered. */
let made = {};

function styles() {
  const by = colouredBy(),
    theme = isDark() ? "dark" : "light";
  if (made.table === table && made.by === by && made.theme === theme) return made.styles;
  const dimension = table.dimensions.find(({ name }) => name === by);
  const words = dimension ? [...dimension.counts.keys()] : [table.layout(0)];
  const colours = table.palette[theme],
    shapes = table.palette.shapes;
  const styleAt = (index) => ({
    colour: colours[index % colours.length],
    shape: shapes[(index + Math.floor(index / colours.length)) % shapes.length],
  });
  made = { table, by, theme, styles: new Map(words.map((word, index) => [word, styleAt(index)])) };
  return made.styles;
}

/* ------------------------------------------------------------------------------------------------------- elements */

/* Make an element; text is always text, never markup. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(element.style, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function fill(id, ...children) {
  const element = document.getElementById(id);
  element.replaceChildren(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const OUTLINES = {
  circle: "M5,0A5,5,0,1,1,-5,0A5,5,0,1,1,5,0Z",
  square: "M-4.4,-4.4H4.4V4.4H-4.4Z",
  diamond: "M0,-6L5,0L0,6L-5,0Z",
  "triangle-up": "M0,-5.5L5.5,4.5H-5.5Z",
  "triangle-down": "M0,5.5L-5.5,-4.5H5.5Z",
  "triangle-right": "M5.5,0L-4.5,5.5V-5.5Z",
  "triangle-left": "M-5.5,0L4.5,-5.5V5.5Z",
  cross: "M-5.5,-2H-2V-5.5H2V-2H5.5V2H2V5.5H-2V2H-5.5Z",
};

function symbol(style, hollow) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of Object.entries({
    width: 14,
    height: 14,
    viewBox: "-7 -7 14 14",
    "aria-hidden": "true",
  }))
    svg.setAttribute(name, value);
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", OUTLINES[style.shape]);
  path.setAttribute("fill", hollow ? "none" : style.colour);
  path.setAttribute("stroke", style.colour);
  path.setAttribute("stroke-width", "1.6");
  svg.append(path);
  return svg;
}

function predictedChip() {
  return make("span", { class: "chip" }, "PREDICTED");
}
