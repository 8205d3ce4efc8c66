// The confusion matrix after any epoch whose checkpoint was kept, and the images of its cells.
import { byId, el, folded, scrolling, table } from "../shared/dom.js";
import { counted, percent } from "../shared/numbers.js";
import { gallery } from "./gallery.js";

// `onChoose(position)` is called with an image, `onEpoch(epoch)` with an epoch that a person
// chooses. Returns what shows an epoch.
export function showMatrix(run, onChoose, onEpoch) {
  const { test } = run;
  const slider = byId("snapshot");
  const last = run.metrics.length - 1;
  slider.max = last;
  slider.oninput = () => onEpoch(Number(slider.value));
  const kept = test.snapshots.map(({ epochs }) => epochs - 1);

  function show(wanted) {
    const epoch = Math.min(last, wanted);
    slider.value = epoch;
    slider.setAttribute("aria-valuetext", `epoch ${epoch}`);
    byId("snapshot-now").textContent = String(epoch);
    // The kept epoch that is nearest, of two the later one.
    const nearest = kept.reduce((best, each) => (Math.abs(each - epoch) <= Math.abs(best - epoch) ? each : best));
    const snapshot = test.snapshots[kept.indexOf(nearest)];
    const note = nearest === epoch ? "" : `Of epoch ${epoch} no checkpoint was kept; shown is the nearest. `;
    byId("matrix-note").textContent =
      `${note}Epoch ${nearest}: ${counted(test.samples - snapshot.right, "mistake")} in ` +
      `${counted(test.samples, "test image")}, accuracy ${percent(snapshot.right / test.samples)}. ` +
      `Weights were kept of ${kept.length === 1 ? "epoch" : "epochs"} ${kept.join(", ")}.`;
    byId("matrix").replaceChildren(matrixOf(test, snapshot, (row, column) => showCell(snapshot, row, column)));
    byId("cell").replaceChildren();
    const rows = snapshot.frequent.map(([label, guess, count]) => [
      test.classes[label], test.classes[guess], String(count),
    ]);
    byId("frequent").replaceChildren(
      folded("The most frequent confusions", scrolling("Frequent confusions", table(`Confusions at epoch ${nearest}`, ["Class", "Predicted", "Images"], rows))),
    );
  }

  function showCell(snapshot, row, column) {
    const positions = snapshot.cells[`${row},${column}`] ?? [];
    const [label, guess] = [test.classes[row], test.classes[column]];
    const total = snapshot.counts[row][column];
    const which = row === column ? "the least sure" : "the surest";
    const some = positions.length < total ? `; ${positions.length} are shown, ${which}` : "";
    byId("cell").replaceChildren(
      el("h3", {}, row === column ? `${label}, rightly predicted` : `${label}, predicted ${guess}`),
      el("p", { class: "note" }, total ? `${counted(total, "image")}${some}.` : "No image."),
      el("div", { class: "gallery" }, gallery(test, snapshot, positions, onChoose)),
    );
  }
  show(last);
  return show;
}

function matrixOf(test, snapshot, onCell) {
  if (!snapshot.counts) {
    return el("p", { class: "note" }, `A matrix of ${test.classes.length} classes is too large; the most frequent confusions are listed below.`);
  }
  const { counts } = snapshot;
  const buttons = [];
  const rows = counts.map((row, r) => {
    const total = row.reduce((sum, count) => sum + count, 0) || 1;
    return el(
      "tr",
      {},
      el("th", { scope: "row", title: test.classes[r] }, test.classes[r]),
      row.map((count, c) => {
        const share = count / total;
        const button = el(
          "button",
          {
            type: "button",
            tabindex: r + c === 0 ? 0 : -1,
            class: count === 0 ? "none" : r === c ? "right" : "wrong",
            style: `--share:${Math.round(100 * Math.sqrt(share))}`,
            "aria-label": `${test.classes[r]}, predicted ${test.classes[c]}: ${count} ${count === 1 ? "image" : "images"}`,
            onclick: () => onCell(r, c),
          },
          String(count),
        );
        buttons.push(button);
        return el("td", {}, button);
      }),
    );
  });
  const content = el(
    "table",
    { class: "matrix", onkeydown: (event) => move(event, buttons, counts.length) },
    el("caption", {}, "Rows: the class; columns: the prediction. Choose a cell to see its images; arrow keys move between cells."),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Class"), test.classes.map((name) => el("th", { scope: "col", title: name }, name)))),
    el("tbody", {}, rows),
  );
  return el("div", { class: "scrolling", role: "group", "aria-label": "Confusion matrix" }, content);
}

// One cell at a time is in the order of the tab key.
function move(event, buttons, size) {
  const at = buttons.indexOf(event.target);
  const [row, column] = [Math.floor(at / size), at % size];
  const places = {
    ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1], ArrowUp: [row - 1, column], ArrowDown: [row + 1, column],
    Home: [row, 0], End: [row, size - 1],
  };
  if (at < 0 || !(event.key in places)) return;
  event.preventDefault();
  const [r, c] = places[event.key].map((place) => Math.min(size - 1, Math.max(0, place)));
  buttons[at].tabIndex = -1;
  buttons[r * size + c].tabIndex = 0;
  buttons[r * size + c].focus();
}
