"use strict";
/* Rows and points: decoding, grouping, the front, words for people. Nothing here touches the page. */

/* Where this page runs in a frame of itself it only hands its newest data to the page around it (see askAgain). */
const text = document.getElementById("data").textContent;
const isMessenger = window.parent !== window && location.hash === "#messenger";

class Table {
  constructor(data) {
    Object.assign(this, data);
    this.of = new Map(Object.entries(data.rows.columns));
    this.count = data.rows.count;
    this.speed = data.speed;
    this.words = new Map();
    this.points = this.makePoints();
    this.dimensions = this.makeDimensions();
    const load = ["shape", "concurrency", "status"];
    this.seriesOf = this.dimensions.map((dimension) => dimension.name).filter((name) => !load.includes(name));
  }

  value(name, row) {
    const column = this.of.get(name);
    if (column === undefined) return null;
    if ("one" in column) return column.one;
    if ("all" in column) return column.all[row];
    return column.at[row] < 0 ? null : column.of[column.at[row]];
  }

  layout(row) {
    return this.rows.layout.of[this.rows.layout.at[row]];
  }
  shape(row) {
    return this.word("shape", row);
  }
  /* The model without its organisation; empty where all rows are of one. */
  model(row) {
    if (!this.of.has("model") || "one" in this.of.get("model")) return "";
    return this.word("model", row).split("/").at(-1);
  }
  isSimulated(row) {
    return this.value("source", row) === "simulated";
  }

  /* The other models that predictions among these rows are of; empty where all are of their own. */
  predictedAs(rows) {
    const simulated = rows.filter((row) => this.isSimulated(row));
    const names = simulated.map((row) => this.predicted_as[this.value("model", row)]).filter(Boolean);
    return names.length ? `predicted as ${[...new Set(names)].join(", ")}` : "";
  }

  /* What a row is called in a filter or a legend; each is asked for many times. */
  word(name, row) {
    if (!this.words.has(name))
      this.words.set(
        name,
        Array.from({ length: this.count }, (_, at) => this.wordOf(name, at)),
      );
    return this.words.get(name)[row];
  }

  wordOf(name, row) {
    if (name === "layout") return this.layout(row);
    if (name === "shape") return `${this.value("isl", row) ?? "?"} / ${this.value("osl", row) ?? "?"}`;
    if (name === "series") return this.seriesOf.map((part) => this.word(part, row)).join(" · ");
    const value = this.value(name, row);
    if (name === "concurrency" && value === 0) return "unlimited";
    if (value === null) return this.value("backend", row) === "import" ? "not told" : "default";
    return value === true ? "on" : value === false ? "off" : String(value);
  }

  /* Repeats of a point that are ok become one point with the mean of each figure. */
  makePoints() {
    const found = new Map();
    for (let row = 0; row < this.count; row++) {
      if (this.value("status", row) !== "ok") continue;
      const key = [this.value("sweep_id", row), this.value("point_id", row), this.value("source", row)].join();
      if (!found.has(key)) found.set(key, { row, rows: [] });
      found.get(key).rows.push(row);
    }
    this.pointOf = new Map();
    for (const point of found.values()) for (const row of point.rows) this.pointOf.set(row, point);
    return [...found.values()];
  }

  figure(point, name) {
    let sum = 0,
      count = 0;
    for (const row of point.rows) {
      const value = this.value(name, row);
      if (value !== null) {
        sum += value;
        count++;
      }
    }
    return count ? sum / count : null;
  }

  /* What a P99 or P95 that is null is at most: the maximum, null where that is not known either. The same rule as
     sweep/analysis/bounds.py; wherever it is shown, AT_MOST stands before it. */
  atMost(name, row) {
    if (!/_p9[59]$/.test(name) || this.value(name, row) !== null) return null;
    return this.value(name.replace(/p9[59]$/, "max"), row);
  }

  /* A figure of a point, or what bounds it: { value, bound }, a mean over repeats of which `bound` says that some have
     only their maximum; null where nothing is known. */
  bounded(point, name) {
    const found = point.rows.map((row) => [this.value(name, row), this.atMost(name, row)]);
    const values = found.map(([value, most]) => value ?? most).filter((value) => value !== null);
    if (!values.length) return null;
    return {
      value: values.reduce((sum, value) => sum + value, 0) / values.length,
      bound: found.some(([, most]) => most !== null),
    };
  }

  /* What can be filtered and coloured by: each setting that varies and does not follow from another one here. */
  makeDimensions() {
    const hidden = new Set(["isl", "osl", "tp", "pp", "ep", "attention_dp", "num_requests", "concurrency"]);
    const names = ["shape", "layout", ...this.rows.varied.filter((name) => !hidden.has(name)), "concurrency"];
    const found = [];
    for (const name of ["source", "status", ...names]) {
      const counts = new Map();
      for (let row = 0; row < this.count; row++) {
        const word = this.word(name, row);
        counts.set(word, (counts.get(word) ?? 0) + 1);
      }
      if (counts.size < 2) continue;
      if (!["source", "status", "shape", "layout", "concurrency"].includes(name) && this.follows(name, found))
        continue;
      found.push({ name, counts: new Map([...counts].sort(([a], [b]) => compareWords(a, b))) });
    }
    return found;
  }

  /* Whether every value of another dimension has a single value of this one. */
  follows(name, dimensions) {
    return dimensions.some((other) => {
      if (other.name === "source" || other.name === "status") return false;
      const seen = new Map();
      for (let row = 0; row < this.count; row++) {
        const key = this.word(other.name, row),
          word = this.word(name, row);
        if (seen.has(key) && seen.get(key) !== word) return false;
        seen.set(key, word);
      }
      return true;
    });
  }

  /* What joins points to one line: all that varies but the load. */
  series(row) {
    return this.word("series", row);
  }

  seriesName(row) {
    const words = this.seriesOf
      .filter((name) => !["source", "layout", "model"].includes(name))
      .map((name) => named(name, this.word(name, row)));
    return [this.layout(row), ...words].join(" · ");
  }
}

/* Points that no other point of their source beats: none is at least as good in both and better in one. The same rule
   as sweep.pareto, which cannot be asked from here. */
function front(points) {
  const best = new Set();
  for (const source of new Set(points.map((point) => point.source))) {
    const sorted = points.filter((point) => point.source === source).sort((a, b) => b.x - a.x || b.y - a.y);
    let highest = -Infinity,
      reachedAt = NaN;
    for (const point of sorted) {
      if (point.y > highest) {
        highest = point.y;
        reachedAt = point.x;
        best.add(point);
      } else if (point.y === highest && point.x === reachedAt) best.add(point);
    }
  }
  return best;
}

function groupBy(items, key) {
  const found = new Map();
  for (const item of items) {
    const name = key(item);
    if (!found.has(name)) found.set(name, []);
    found.get(name).push(item);
  }
  return found;
}

function compareWords(a, b) {
  const [one, other] = [a, b].map((word) => word.split(" / ").map(Number));
  if (one.every(Number.isFinite) && other.every(Number.isFinite))
    return one[0] - other[0] || (one[1] ?? 0) - (other[1] ?? 0);
  if (one.every(Number.isFinite) !== other.every(Number.isFinite)) return one.every(Number.isFinite) ? -1 : 1;
  return a < b ? -1 : a > b ? 1 : 0;
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b),
    middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/* --------------------------------------------------------------------------------------------- words for people */

const WORDS = {
  shape: "ISL / OSL",
  isl: "ISL",
  osl: "OSL",
  layout: "layout",
  kv_cache_dtype: "KV cache",
  concurrency: "concurrency",
  tp: "TP",
  pp: "PP",
  ep: "EP",
  attention_dp: "attention DP",
  moe_backend: "MoE backend",
  num_requests: "requests",
  output_tput_per_gpu: "tok/s/GPU",
  tps_per_user: "tok/s/user",
  tps_per_user_e2e: "tok/s/user, end to end",
  ttft_ms_p50: "TTFT P50",
  ttft_ms_p99: "TTFT P99",
  tpot_ms_p50: "TPOT P50",
  e2el_ms_p50: "E2E P50",
  mtp_layers: "MTP layers",
  gpu: "GPU",
};

function wordOf(name) {
  return WORDS[name] ?? name.replaceAll("_", " ");
}
function named(name, word) {
  return word === "on" ? wordOf(name) : word === "off" ? `no ${wordOf(name)}` : `${wordOf(name)} ${word}`;
}

const FORMATS = [0, 1, 2, 3].map(
  (digits) =>
    new Intl.NumberFormat("en-US", { maximumFractionDigits: digits, minimumFractionDigits: Math.min(digits, 2) }),
);

function number(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  return FORMATS[size >= 100 || Number.isInteger(value) ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3].format(value);
}

const AT_MOST = "≤ ";
const AT_MOST_WHY = "≤ is the maximum in the place of a percentile, which needs 100 requests (P99) or 20 (P95).";

function boundedNumber(found) {
  return found === null ? "–" : `${found.bound ? AT_MOST : ""}${number(found.value)}`;
}

function cell(value) {
  if (value === null) return "";
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : number(value);
  return value === true ? "yes" : value === false ? "no" : String(value);
}

function percent(change) {
  return `${change > 0 ? "+" : change < 0 ? "−" : ""}${Math.abs(change).toFixed(Math.abs(change) < 9.95 ? 1 : 0)} %`;
}
function plural(count, word) {
  return `${count.toLocaleString("en-US")} ${word}${count === 1 ? "" : "s"}`;
}
