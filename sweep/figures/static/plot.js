/* One chart on the page: drawn when it comes into view, asked by mouse, finger or keyboard. */

const plots = new Map();
const inView = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      const plot = plots.get(entry.target);
      if (plot) {
        plot.visible = entry.isIntersecting;
        plot.draw();
      }
    }
  },
  { rootMargin: "300px" },
);

const LINE = 14; /* pixels of a line of a chart's title, as charts.py has it */
const NEAR = 40; /* pixels from a point within which it is meant */

class Plot {
  constructor(specification, saved) {
    this.specification = specification;
    this.saved = saved;
    this.view = null;
    this.visible = false;
    this.at = null;
    this.title = make("b");
    this.told = make("span");
    this.chip = predictedChip();
    const save = make("button", { type: "button", class: "quiet save", onclick: () => this.save() }, "Save PNG");
    this.place = make("div", { class: "view" });
    this.ring = make("div", { class: "ring", hidden: true });
    this.host = make(
      "div",
      { class: "plot", tabindex: "0", role: "application", "aria-roledescription": "chart" },
      this.place,
      this.ring,
    );
    this.element = make("figure", {}, make("figcaption", {}, this.title, this.chip, save, this.told), this.host);
    this.host.addEventListener("pointermove", (event) => this.point(event));
    this.host.addEventListener("pointerleave", () => this.leave());
    this.host.addEventListener("click", (event) => {
      this.point(event);
      if (this.at) openRow(this.at.row);
    });
    this.host.addEventListener("keydown", (event) => this.key(event));
    this.host.addEventListener("blur", () => this.leave());
    plots.set(this.host, this);
    inView.observe(this.host);
  }

  show({ title, told, rows, axis = null, unlimitedAt = -1, limit = 0, names = [], ...places }) {
    this.title.textContent = title;
    this.predictedAs = table.predictedAs(rows.map(({ row }) => row));
    this.told.textContent = [this.predictedAs, told].filter(Boolean).join("; ");
    this.chip.hidden = !rows.some((row) => row.source === "simulated");
    const predicted = this.chip.hidden
      ? ""
      : [", predicted, not measured", this.predictedAs].filter(Boolean).join(", ");
    this.host.setAttribute(
      "aria-label",
      `${title}${predicted}: ${plural(rows.length, "point")}. Arrow keys move from point to point, Enter opens its row.`,
    );
    Object.assign(this, { rows, axis, names, places, signals: { unlimited_at: unlimitedAt, limit }, stale: true });
    this.leave();
    this.draw();
  }

  async draw(unseen = false) {
    if (!(this.visible || unseen) || !this.stale || !this.host.isConnected) return;
    this.stale = false;
    label(this.rows, this.names, { ...this.places, width: this.host.clientWidth - 70 });
    const theme = isDark();
    if (this.view && this.theme === theme) {
      for (const [name, value] of Object.entries(this.signals)) this.view.signal(name, value);
      if (this.axis) this.view.signal("title", this.axis);
      this.view.change(
        "rows",
        this.view
          .changeset()
          .remove(() => true)
          .insert(this.rows.map((row) => ({ ...row }))),
      );
      await this.view.runAsync();
      return;
    }
    this.view?.finalize();
    this.theme = theme;
    const specification = structuredClone(this.specification);
    specification.data.find((data) => data.name === "rows").values = this.rows.map((row) => ({ ...row }));
    specification.background = "transparent";
    for (const signal of specification.signals) {
      if (["ink", "soft", "ground"].includes(signal.name)) signal.value = css(`--${signal.name}`);
      if (signal.name === "mark") signal.value = css("--mark-line");
      if (signal.name === "title" && this.axis) signal.value = this.axis;
      if (signal.name in this.signals) signal.value = this.signals[signal.name];
    }
    const drawn = await vegaEmbed(this.place, specification, {
      mode: "vega",
      ast: true,
      actions: false,
      tooltip: false,
      hover: false,
      logLevel: 1,
      renderer: "canvas",
      config: chartStyle(),
    });
    this.view = drawn.view;
  }

  /* Where a row lies, in pixels of the host. */
  position(row) {
    const [left, top] = this.view.origin(),
      padding = this.view.padding();
    return [left + padding.left + this.view.scale("x")(row.x), top + padding.top + this.view.scale("y")(row.y)];
  }

  point(event) {
    if (!this.view) return;
    const box = this.host.getBoundingClientRect(),
      x = event.clientX - box.left,
      y = event.clientY - box.top;
    let near = null,
      least = NEAR;
    for (const row of this.rows) {
      const [left, top] = this.position(row),
        far = Math.hypot(left - x, top - y) * (row.front ? 0.8 : 1);
      if (far < least) [near, least] = [row, far];
    }
    if (near) this.focus(near);
    else this.leave();
  }

  focus(row) {
    const [left, top] = this.position(row);
    this.at = row;
    this.ring.hidden = false;
    this.ring.style.left = `${left}px`;
    this.ring.style.top = `${top}px`;
    const box = this.host.getBoundingClientRect();
    showTip(row, box.left + left, box.top + top);
  }

  leave() {
    this.at = null;
    this.ring.hidden = true;
    hideTip();
  }

  key(event) {
    if (!this.view || !this.rows.length) return;
    const moves = { ArrowRight: 1, ArrowLeft: -1, ArrowUp: "up", ArrowDown: "down", Home: "first", End: "last" };
    if (event.key === "Enter" && this.at) {
      event.preventDefault();
      openRow(this.at.row);
      return;
    }
    if (event.key === "Escape") {
      this.leave();
      return;
    }
    if (!(event.key in moves)) return;
    event.preventDefault();
    const next = this.next(moves[event.key]);
    if (next) {
      this.focus(next);
      tell(tipText(next));
    }
  }

  /* Left and right stay on the line that the point is on: the front, else its series; up and down change the line. */
  next(move) {
    const lineOf = (row) => (row.front ? `front ${row.source}` : `${row.series} ${row.source}`);
    const lines = groupBy(
      [...this.rows].sort((a, b) => a.x - b.x || a.y - b.y),
      lineOf,
    );
    const names = [...lines.keys()].sort((a, b) => b.startsWith("front") - a.startsWith("front"));
    if (!this.at) return lines.get(names[0])[0];
    const line = lines.get(lineOf(this.at)),
      index = line.indexOf(this.at);
    if (move === "first") return line[0];
    if (move === "last") return line.at(-1);
    if (typeof move === "number") return line[Math.min(line.length - 1, Math.max(0, index + move))];
    const other = names[(names.indexOf(lineOf(this.at)) + (move === "up" ? 1 : names.length - 1)) % names.length];
    return lines
      .get(other)
      .reduce((near, row) => (Math.abs(row.x - this.at.x) < Math.abs(near.x - this.at.x) ? row : near));
  }

  async save() {
    if (!this.view) return;
    const mark = this.chip.hidden ? "" : ", PREDICTED, NOT MEASURED";
    const [ground, title, padding] = [this.view.background(), this.view.signal("title"), this.view.padding()];
    const heading = [`${table.name}, ${this.title.textContent}: ${title}${mark}`, this.predictedAs].filter(Boolean);
    this.view
      .background(css("--ground"))
      .padding({ ...padding, top: padding.top + LINE * (heading.length - 1) })
      .signal("title", heading);
    const address = await this.view.toImageURL("png", 2);
    await this.view.background(ground).padding(padding).signal("title", title).runAsync();
    const words = [table.name, this.saved, this.title.textContent, this.chip.hidden ? "" : "predicted"];
    make("a", {
      href: address,
      download: `${words
        .filter(Boolean)
        .join("-")
        .replace(/[^\w.+-]+/g, "-")}.png`,
    }).click();
  }

  remove() {
    this.view?.finalize();
    plots.delete(this.host);
    inView.unobserve(this.host);
    this.element.remove();
  }
}

function chartStyle() {
  const font = getComputedStyle(document.body).fontFamily,
    soft = css("--soft"),
    line = css("--line");
  return {
    background: "transparent",
    style: { cell: { stroke: "transparent" } },
    axis: {
      labelFont: font,
      titleFont: font,
      labelColor: soft,
      titleColor: soft,
      labelFontSize: 11.5,
      titleFontSize: 11.5,
      titleFontWeight: "normal",
      gridColor: line,
      domainColor: line,
      tickColor: line,
      ticks: false,
      labelPadding: 6,
      titlePadding: 8,
    },
    axisY: { domain: false },
    text: { font },
  };
}

/* Names are written beside a few points, where no other name is. Places are in parts of the chart's extent; letters
   are about seven pixels wide. */
function label(rows, names, { width, logX = false, logY = false, sides = ["left", "right"] }) {
  for (const row of rows) row.label = "";
  const scaled = (values, log) => values.map((value) => (log ? Math.log(value) : value));
  const xs = scaled(
      rows.map((row) => row.x),
      logX,
    ),
    ys = scaled(
      rows.map((row) => row.y),
      logY,
    );
  const left = logX ? Math.min(...xs) : 0,
    wide = Math.max(...xs) - left || 1,
    low = logY ? Math.min(...ys) : Math.min(0, ...ys),
    high = Math.max(...ys) - low || 1;
  const places = new Map(
    rows.map((row, index) => [row, { x: (xs[index] - left) / wide, y: (ys[index] - low) / high }]),
  );
  const taken = [],
    letter = 7 / width;
  const fits = (name, row, side) => {
    const { x, y } = places.get(row),
      from = side === "left" ? x - name.length * letter : x,
      to = from + name.length * letter;
    if (
      from < -0.02 ||
      to > 1.04 ||
      taken.some((other) => Math.abs(other.y - y) < 0.07 && from < other.to && to > other.from)
    )
      return false;
    taken.push({ from, to, y });
    return true;
  };
  for (const { name, candidates } of names) {
    const found = sides
      .flatMap((side) => candidates.map((row) => ({ row, side })))
      .find(({ row, side }) => fits(name, row, side));
    if (found) Object.assign(found.row, { label: name, side: found.side });
  }
}
