// A chart of curves over whole numbers, with a cursor that pointer and arrow keys move.
import { el, svg } from "./dom.js";
import { MARKERS, marker, sample } from "./marker.js";
import { ticks } from "./numbers.js";

export const PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];
export { MARKERS };
const MARGIN = { left: 52, right: 12, top: 10, bottom: 34 };
const HEIGHT = 240;

// `series` are {label, values, color, dash, marker}; `onChoose(index)` is called when a person moves
// the cursor and leaves it there, which pointing at the chart does not. Returns {node, moveTo(index)}.
export function lineChart({ title, unit, series, format, logarithmic = false, onChoose }) {
  const count = Math.max(...series.map(({ values }) => values.length));
  const drawing = svg("svg", { class: "chart", "aria-hidden": "true" });
  const readouts = series.map(() => el("span", { class: "value" }));
  const legend = el(
    "ul",
    { class: "legend" },
    series.map((each, i) =>
      el("li", {}, sample(each), el("span", { class: "name", title: each.label }, each.label), readouts[i]),
    ),
  );
  const cursor = el(
    "div",
    {
      class: "cursor-area",
      role: "slider",
      tabindex: 0,
      "aria-label": `${title} by ${unit}`,
      "aria-valuemin": 0,
      "aria-valuemax": count - 1,
    },
    drawing,
  );
  const node = el("figure", { class: "panel" }, el("figcaption", {}, title), cursor, legend);
  let [index, chosen, scale] = [count - 1, count - 1, null];

  function draw() {
    const width = Math.max(240, cursor.clientWidth);
    scale = scales(series, count, width, logarithmic);
    drawing.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    drawing.setAttribute("height", HEIGHT);
    drawing.replaceChildren(...axes(scale, width, unit, format), ...series.flatMap((each) => curve(each, scale)));
    drawing.append(svg("line", { class: "cursor", y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom }));
    place();
  }

  function place() {
    if (scale) {
      const x = scale.x(index);
      const line = drawing.querySelector(".cursor");
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
      drawing.querySelectorAll(".at").forEach((each) => each.remove());
      series.forEach(({ values, color, marker: shape }) => {
        const y = scale.y(values[index]);
        if (!Number.isFinite(y)) return;
        const at = marker(shape, x, y, color);
        at.classList.add("at");
        drawing.append(at);
      });
    }
    series.forEach(({ values }, i) => {
      readouts[i].textContent = index < values.length ? format(values[index]) : "none";
    });
    cursor.setAttribute("aria-valuenow", index);
    const words = series.map(({ label, values }) => `${label} ${index < values.length ? format(values[index]) : "none"}`);
    cursor.setAttribute("aria-valuetext", `${unit} ${index}: ${words.join(", ")}`);
  }

  function pointAt(wanted) {
    index = Math.min(count - 1, Math.max(0, wanted));
    place();
  }
  function moveTo(wanted) {
    pointAt(wanted);
    chosen = index;
  }
  const choose = (wanted) => {
    moveTo(wanted);
    onChoose?.(index);
  };
  const indexAt = (event) => scale.index(event.clientX - cursor.getBoundingClientRect().left);
  cursor.addEventListener("pointermove", (event) => {
    if (event.pointerType === "touch" && event.buttons) choose(indexAt(event));
    else pointAt(indexAt(event));
  });
  cursor.addEventListener("pointerleave", () => pointAt(chosen));
  cursor.addEventListener("pointerdown", (event) => choose(indexAt(event)));
  cursor.addEventListener("keydown", (event) => {
    const leap = Math.max(1, Math.round(count / 10));
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -leap, PageUp: leap, Home: -count, End: count };
    if (!(event.key in steps)) return;
    event.preventDefault();
    choose(chosen + steps[event.key]);
  });
  new ResizeObserver(draw).observe(cursor);
  return { node, moveTo };
}

function scales(series, count, width, logarithmic) {
  const shown = series.flatMap(({ values }) => values).filter((v) => Number.isFinite(v) && (!logarithmic || v > 0));
  const form = logarithmic ? Math.log10 : (value) => value;
  let [low, high] = [Infinity, -Infinity];
  for (const value of shown) {
    low = Math.min(low, form(value));
    high = Math.max(high, form(value));
  }
  if (!(high > low)) [low, high] = shown.length ? [low - 0.5, low + 0.5] : [0, 1];
  const pad = (high - low) * 0.04;
  [low, high] = [low - pad, high + pad];
  const [left, right] = [MARGIN.left, width - MARGIN.right];
  const [top, bottom] = [MARGIN.top, HEIGHT - MARGIN.bottom];
  const last = Math.max(1, count - 1);
  return {
    x: (index) => left + (count === 1 ? 0.5 : index / last) * (right - left),
    y: (value) => bottom - ((form(value) - low) / (high - low)) * (bottom - top),
    index: (x) => Math.round(((x - left) / (right - left)) * last),
    last: count - 1,
    marks: logarithmic
      ? ticks(low, high, 5).filter(Number.isInteger).map((power) => 10 ** power)
      : ticks(low, high, 5),
  };
}

function axes(scale, width, unit, format) {
  const bottom = HEIGHT - MARGIN.bottom;
  const grid = scale.marks.flatMap((value) => [
    svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: scale.y(value), y2: scale.y(value) }),
    svg("text", { class: "tick", x: MARGIN.left - 8, y: scale.y(value) + 4, "text-anchor": "end" }, format(value, true)),
  ]);
  const places = ticks(0, Math.max(1, scale.last), Math.max(2, Math.floor(width / 70)));
  const below = places
    .filter((index) => Number.isInteger(index) && index <= scale.last)
    .map((index) => svg("text", { class: "tick", x: scale.x(index), y: bottom + 16, "text-anchor": "middle" }, String(index)));
  const name = svg("text", { class: "tick", x: (MARGIN.left + width - MARGIN.right) / 2, y: bottom + 31, "text-anchor": "middle" }, unit);
  return [...grid, ...below, name];
}

function curve({ values, color, dash, marker: shape }, scale) {
  let [path, pen] = ["", "M"];
  values.forEach((value, index) => {
    const y = Number.isFinite(value) ? scale.y(value) : NaN;
    if (Number.isFinite(y)) path += `${pen}${scale.x(index).toFixed(1)},${y.toFixed(1)}`;
    pen = Number.isFinite(y) ? "L" : "M";
  });
  const every = Math.ceil(values.length / 12);
  const marks = values
    .map((value, index) => [value, index])
    .filter(([value, index]) => index % every === 0 && Number.isFinite(value) && Number.isFinite(scale.y(value)))
    .map(([value, index]) => marker(shape, scale.x(index), scale.y(value), color));
  return [svg("path", { class: "curve", d: path || "M0,0", "stroke-dasharray": dash ?? "none", style: `--c:${color}` }), ...marks];
}
