// Colours, shows, hides and sorts what the report holds; every number was worked out before.
"use strict";

const root = document.documentElement;
const data = JSON.parse(document.getElementById("data").textContent);
const shown = new Map(Object.entries(data.models).map(([model, look]) => [model, look.shown]));
const view = new Map();
const dark = matchMedia("(prefers-color-scheme: dark)");
const touch = matchMedia("(pointer: coarse)");
const narrow = matchMedia("(max-width: 40rem)");

function theme() {
  const style = getComputedStyle(root);
  return (name) => style.getPropertyValue(`--${name}`).trim();
}

function faint(colour, share) {
  const part = (at) => parseInt(colour.slice(at, at + 2), 16);
  return `rgba(${part(1)}, ${part(3)}, ${part(5)}, ${share})`;
}

function paintTrace(trace, colours) {
  const { model, role, side } = trace.meta;
  const look = data.sides[side] ?? data.models[model] ?? { colour: 0, dash: "solid" };
  const colour = colours(`series-${look.colour}`);
  const painted = { ...trace, visible: shown.get(model) ?? true };
  if (role === "span") return { ...painted, line: { ...trace.line, color: colours("shade") } };
  if (role === "alarm") return { ...painted, marker: { ...trace.marker, color: colours("ink") } };
  if (role === "band") return { ...painted, fillcolor: faint(colour, 0.12) };
  if (role === "estimate") {
    return {
      ...painted, marker: { ...trace.marker, color: colour, size: 11 }, textfont: { color: colours("ink") }, cliponaxis: false,
      error_x: { ...trace.error_x, color: colour, thickness: 2.5, width: 6 },
    };
  }
  const marker = { ...trace.marker, color: colour, size: trace.marker?.size ?? 8 };
  return { ...painted, marker, line: { ...trace.line, color: colour, dash: look.dash, width: look.wide ? 3.2 : 1.8 } };
}

function paintShape(shape, colours) {
  const [ink, shade] = [colours("ink"), colours("shade")];
  if (shape.name === "shade") return { ...shape, fillcolor: faint(shade, 0.14), line: { width: 0 } };
  if (shape.name === "even") return { ...shape, line: { color: ink, width: 1.2 } };
  return { ...shape, line: { color: shade, width: 1.6 } };
}

function paintAxis(axis, colours, more) {
  const line = { gridcolor: colours("grid"), zerolinecolor: colours("rule"), linecolor: colours("rule"), tickcolor: colours("rule") };
  return { automargin: true, ticklabeloverflow: "allow", ...line, ...axis, ...more };
}

function paintLayout(layout, colours) {
  const still = touch.matches;
  const font = { family: getComputedStyle(document.body).fontFamily, size: narrow.matches ? 12 : 13, color: colours("muted") };
  return {
    ...layout,
    font,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 8, r: 12, t: (layout.annotations ?? []).length ? 28 : 12, b: 8, pad: 4 },
    hovermode: layout.hovermode ?? (narrow.matches ? "closest" : "x unified"),
    // A finger that scrolls the page must not zoom the chart.
    dragmode: still ? false : "zoom",
    hoverlabel: { bgcolor: colours("raised"), bordercolor: colours("rule"), font: { ...font, color: colours("ink") } },
    shapes: (layout.shapes ?? []).map((shape) => paintShape(shape, colours)),
    annotations: (layout.annotations ?? []).map((note) => ({ ...note, font: { ...font, color: colours("ink") } })),
    xaxis: paintAxis(layout.xaxis, colours, { fixedrange: still, showgrid: layout.xaxis.type !== "date" }),
    yaxis: paintAxis(layout.yaxis, colours, { fixedrange: true }),
  };
}

function draw(plot) {
  const { figures } = data.charts[plot.id];
  const figure = figures[view.get(plot.id) ?? Object.keys(figures)[0]];
  const colours = theme();
  const traces = figure.data.map((trace) => paintTrace(trace, colours));
  return Plotly.react(plot, traces, paintLayout(figure.layout, colours), { displayModeBar: false, responsive: true });
}

const plots = [...document.querySelectorAll(".plot")];

function drawAll() {
  // One after another, so that a phone stays at its owner's service meanwhile.
  const waiting = [...plots];
  const next = () => {
    const plot = waiting.shift();
    if (plot === undefined) {
      root.dataset.drawn = plots.length;
      return;
    }
    draw(plot);
    setTimeout(next, 0);
  };
  next();
}

function tell(text) {
  document.querySelector(".status").textContent = text;
}

function press(button, pressed) {
  button.setAttribute("aria-pressed", String(pressed));
}

function showModels() {
  for (const button of document.querySelectorAll("[data-model]")) press(button, shown.get(button.dataset.model));
  for (const plot of plots) {
    const models = (plot.data ?? []).map((trace) => trace.meta.model);
    const places = [...models.keys()].filter((place) => shown.has(models[place]));
    if (places.length) Plotly.restyle(plot, { visible: places.map((place) => shown.get(models[place])) }, places);
  }
}

for (const button of document.querySelectorAll("[data-model]")) {
  button.addEventListener("click", () => {
    shown.set(button.dataset.model, !shown.get(button.dataset.model));
    showModels();
  });
}

for (const button of document.querySelectorAll("[data-all]")) {
  button.addEventListener("click", () => {
    for (const [model, look] of Object.entries(data.models)) shown.set(model, button.dataset.all === "true" || look.shown);
    showModels();
  });
}

for (const button of document.querySelectorAll("[data-view]")) {
  button.addEventListener("click", () => {
    const chart = button.closest("figure");
    for (const other of chart.querySelectorAll("[data-view]")) press(other, other === button);
    const plot = chart.querySelector(".plot");
    view.set(plot.id, button.dataset.view);
    draw(plot);
  });
}

function sortKey(cell) {
  const key = cell.dataset.sort;
  return key === undefined ? null : key !== "" && Number.isFinite(Number(key)) ? Number(key) : key;
}

function compare(one, other) {
  return typeof one === "number" && typeof other === "number" ? one - other : String(one).localeCompare(String(other));
}

function sortBy(heading) {
  const table = heading.closest("table");
  const column = heading.cellIndex;
  const before = heading.getAttribute("aria-sort");
  // Figures are looked at from the largest on, names from A on.
  const first = heading.classList.contains("figure") ? "descending" : "ascending";
  const order = before === "none" ? first : before === "ascending" ? "descending" : "ascending";
  const rows = [...table.tBodies[0].rows].map((row) => [sortKey(row.cells[column]), row]);
  const known = rows.filter(([key]) => key !== null).sort(([one], [other]) => compare(one, other));
  if (order === "descending") known.reverse();
  for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", other === heading ? order : "none");
  table.tBodies[0].append(...[...known, ...rows.filter(([key]) => key === null)].map(([, row]) => row));
  tell(`${table.caption.textContent}: sorted by ${heading.textContent.trim()}, ${order}`);
}

for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => sortBy(button.closest("th")));
}

dark.addEventListener("change", drawAll);
narrow.addEventListener("change", drawAll);
drawAll();
