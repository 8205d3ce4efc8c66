// Training and test curves of all runs, the epoch's slider, and the same as tables.
import { PALETTE, MARKERS, lineChart } from "../shared/chart.js";
import { byId, folded, scrolling, table } from "../shared/dom.js";
import { percent, short } from "../shared/numbers.js";

const PARTS = [["train", "Train", "5 3"], ["eval", "Test", null]];

export function formatOf(metric) {
  if (metric !== "accuracy") return (value) => short(value);
  return (value, onAxis) => (onAxis ? `${Number((100 * value).toFixed(6))} %` : percent(value));
}

function metricsOf(runs) {
  const names = runs.flatMap(({ metrics }) => Object.keys(metrics[0]));
  const shown = names.filter((name) => name !== "epoch" && !name.endsWith("_per_sample"));
  return [...new Set(shown.map((name) => name.slice(name.indexOf("_") + 1)))];
}

function seriesOf(runs, metric) {
  return runs.flatMap((run, r) =>
    PARTS.filter(([part]) => `${part}_${metric}` in run.metrics[0]).map(([part, word, dash], p) => ({
      label: runs.length > 1 ? `${run.name}, ${word.toLowerCase()}` : word,
      values: run.metrics.map((row) => row[`${part}_${metric}`] ?? NaN),
      // Of one run the colours tell training and test apart, of several the runs.
      color: PALETTE[(runs.length > 1 ? r : p) % PALETTE.length],
      marker: MARKERS[(runs.length > 1 ? r : p) % MARKERS.length],
      dash,
    })),
  );
}

const TITLES = { loss: "Cross-entropy (nats)", accuracy: "Accuracy" };

// `onEpoch(epoch)` is called with the epoch that a person chooses. Returns what shows an epoch.
export function showCurves(runs, onEpoch) {
  const slider = byId("epoch");
  const last = Math.max(...runs.map(({ metrics }) => metrics.length)) - 1;
  slider.max = last;
  slider.value = last;
  const charts = metricsOf(runs).map((metric) =>
    lineChart({
      title: TITLES[metric] ?? metric,
      unit: "Epoch",
      series: seriesOf(runs, metric),
      format: formatOf(metric),
      onChoose: onEpoch,
    }),
  );
  function moveTo(index) {
    slider.value = index;
    slider.setAttribute("aria-valuetext", `epoch ${index}`);
    byId("epoch-now").textContent = String(index);
    charts.forEach((chart) => chart.moveTo(index));
  }
  slider.addEventListener("input", () => onEpoch(Number(slider.value)));
  byId("curves").replaceChildren(...charts.map(({ node }) => node));
  byId("curves-table").replaceChildren(folded("The values as a table", runs.map(valuesOf)));
  moveTo(last);
  return moveTo;
}

function valuesOf(run) {
  const names = Object.keys(run.metrics[0]).filter((name) => name !== "epoch");
  const heads = ["Epoch", ...names.map((name) => name.replaceAll("_", " "))];
  const rows = run.metrics.map((row) => [String(row.epoch), ...names.map((name) => short(row[name], 6))]);
  return scrolling(`Values of ${run.name}`, table(`Every epoch of ${run.name}`, heads, rows));
}

// The last values of several runs next to one another.
export function comparison(runs) {
  const names = [...new Set(runs.flatMap(({ metrics }) => Object.keys(metrics[0])))];
  const shown = names.filter((name) => name !== "epoch" && !name.endsWith("_per_sample"));
  const described = ["Data", "Network", "Optimizer", "Seed"];
  const of = (run, what) => run.rows.find(([name]) => name === what)?.[1] ?? "";
  const rows = runs.map((run) => [
    run.name,
    String(run.metrics.length),
    ...shown.map((name) => formatOf(name.split("_")[1])(run.metrics.at(-1)[name])),
    ...described.map((what) => of(run, what)),
  ]);
  const heads = ["Run", "Epochs", ...shown.map((name) => name.replaceAll("_", " ")), ...described];
  return scrolling("Runs compared", table("The runs after their last epochs", heads, rows));
}
