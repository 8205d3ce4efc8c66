// The page of runs: everything that is shown of one, and what is compared of several.
import { inflated } from "../shared/bytes.js";
import { byId, dataOfPage, el } from "../shared/dom.js";
import { percent, short } from "../shared/numbers.js";
import { comparison, showCurves } from "./curves.js";
import { gallery } from "./gallery.js";
import { showMatrix } from "./matrix.js";
import { makeStudio } from "./studio.js";
import { showDistributions, showFirstLayer } from "./weights.js";

const { runs } = dataOfPage();
const studio = makeStudio();
let showMatrixAt = () => {};
const showEpoch = (epoch) => {
  showCurvesAt(epoch);
  showMatrixAt(epoch);
};
const showCurvesAt = showCurves(runs, showEpoch);

function glance(run) {
  const last = run.metrics.at(-1);
  const found = [];
  if (run.test) {
    const { right } = run.test.snapshots.at(-1);
    found.push(["Test accuracy", percent(right / run.test.samples)]);
    found.push(["Mistakes", `${(run.test.samples - right).toLocaleString("en")} of ${run.test.samples.toLocaleString("en")}`]);
  }
  found.push(["Epochs", String(run.metrics.length)]);
  found.push(["Test loss", short(last.eval_loss)], ["Train loss", short(last.train_loss)]);
  if ("eval_accuracy" in last) {
    const best = run.metrics.reduce((a, b) => (b.eval_accuracy > a.eval_accuracy ? b : a));
    found.push(["Best epoch", String(best.epoch)]);
  }
  return found;
}

const pairs = (rows) => rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)));

function show(run) {
  byId("name").textContent = run.name;
  const of = (what) => run.rows.find(([name]) => name === what)?.[1];
  byId("subtitle").textContent = [of("Data"), of("Network") ?? of("Task"), of("Optimizer")].filter(Boolean).join(" · ");
  byId("glance").replaceChildren(...pairs(glance(run)));
  byId("record").replaceChildren(...pairs(run.rows));
  for (const id of ["matrix-section", "mistakes-section"]) byId(id).hidden = !run.test;
  studio.show(run);
  showMatrixAt = () => {};
  if (run.test) {
    const last = run.test.snapshots.at(-1);
    const choose = run.network ? (position) => studio.showTestImage(position, true) : null;
    showMatrixAt = showMatrix(run, choose, showEpoch);
    for (const name of ["confident", "worst"]) {
      const images = gallery(run.test, last, run.test.groups[name], choose, name === "worst");
      byId(name).replaceChildren(...(images.length ? images : [el("p", { class: "note" }, "There is none.")]));
    }
  }
  showFirstLayer(studio.network());
  showDistributions(run);
  byId("contents").replaceChildren(
    ...[...document.querySelectorAll("main section:not([hidden]) > h2")].map((heading) =>
      el("li", {}, el("a", { href: `#${heading.id}` }, heading.textContent)),
    ),
  );
}

for (const { test } of runs) if (test) test.pixels = await inflated(test.images.pixels);
if (runs.length > 1) {
  byId("run").replaceChildren(...runs.map(({ name }, index) => el("option", { value: index }, name)));
  byId("run").addEventListener("change", (event) => show(runs[Number(event.target.value)]));
  byId("chooser").hidden = false;
  byId("comparison").replaceChildren(comparison(runs));
}
show(runs[0]);
document.documentElement.dataset.ready = "yes";
