/* What a point says when it is pointed at: its figures and every setting. */

const MAIN = [
  "output_tput_per_gpu",
  "tps_per_user",
  "tps_per_user_e2e",
  "ttft_ms_p50",
  "ttft_ms_p99",
  "tpot_ms_p50",
  "e2el_ms_p50",
];

function tipText(row) {
  const point = table.pointOf.get(row.row),
    figures = MAIN.map((name) => [name, table.bounded(point, name)]).filter(([, found]) => found !== null);
  const source = table.isSimulated(row.row) ? "predicted" : "measured";
  return `${table.shape(row.row)}, ${table.seriesName(row.row)}, concurrency ${table.word("concurrency", row.row)}, ${source}: ${figures.map(([name, found]) => `${wordOf(name)} ${boundedNumber(found)}`).join(", ")}`;
}

function showTip(shown, x, y) {
  const row = shown.row,
    point = table.pointOf.get(row),
    numbers = make("div", { class: "numbers" });
  for (const name of MAIN) {
    const found = table.bounded(point, name);
    if (found === null || (name === "tps_per_user_e2e" && table.speed !== name)) continue;
    const unit = name.includes("_ms_") ? " ms" : "";
    numbers.append(make("span", {}, wordOf(name)), make("span", {}, boundedNumber(found) + unit));
  }
  const settings = make("dl"),
    hidden = (name, word) => word === "{}" || (table.value(name, row) === null && !table.rows.varied.includes(name));
  for (const name of table.rows.settings) {
    const word = table.word(name, row);
    if (!hidden(name, word))
      settings.append(
        make(
          "div",
          { class: word.length + wordOf(name).length > 26 ? "wide" : null },
          make("dt", {}, wordOf(name)),
          make("dd", {}, word),
        ),
      );
  }
  const change = shown.change === undefined ? null : make("div", {}, shown.change);
  const repeats = point.rows.length > 1 ? make("div", {}, `mean of ${point.rows.length} repeats`) : null;
  fill(
    "tip",
    make(
      "div",
      {},
      make("b", {}, table.seriesName(row)),
      ` · c ${table.word("concurrency", row)} `,
      table.isSimulated(row) ? predictedChip() : null,
    ),
    change,
    repeats,
    numbers,
    settings,
  );
  const tip = document.getElementById("tip");
  tip.hidden = false;
  const wide = document.documentElement.clientWidth,
    box = tip.getBoundingClientRect();
  const left = x + 16 + box.width < wide - 8 ? x + 16 : x - 16 - box.width;
  const top = Math.min(y + 16, window.innerHeight - box.height - 8);
  tip.style.left = `${Math.max(8, Math.min(left, wide - box.width - 8)) + window.scrollX}px`;
  tip.style.top = `${Math.max(8, top) + window.scrollY}px`;
}

function hideTip() {
  document.getElementById("tip").hidden = true;
}
function tell(words) {
  document.getElementById("said").textContent = words;
}
