// Every layer's activations, and for one unit what each of its inputs adds to its sum.
import { el, folded, scrolling, table } from "../shared/dom.js";
import { paintSigned, largestOf } from "../shared/paint.js";
import { counted, short } from "../shared/numbers.js";
import { contributions } from "./network.js";

const COLUMNS = 32;
const LARGEST = 8;

export function outputOf(network, trace, layer, unit) {
  const sum = trace.sums[layer][unit];
  return layer === network.layers.length - 1 ? sum : Math.max(0, sum);
}

function nameOf(network, layer, unit, classes) {
  if (layer === network.layers.length - 1) return `the unit of class ${classes[unit]}`;
  return `unit ${unit} of layer ${layer + 1}`;
}

// One strip a layer; `onChoose(layer, unit)` is called when a person chooses a unit.
export function makeStrips(network, classes, onChoose) {
  const strips = network.layers.map(({ outputs }, layer) => {
    const columns = Math.min(COLUMNS, outputs);
    const canvas = el("canvas", { class: "pixels", "aria-hidden": "true" });
    const ring = el("span", { class: "ring", "aria-hidden": "true" });
    const isLast = layer === network.layers.length - 1;
    const name = isLast ? `Layer ${layer + 1}, the logits` : `Layer ${layer + 1}`;
    const strip = el(
      "div",
      {
        class: "strip", role: "slider", tabindex: 0, "aria-label": `${name}, ${counted(outputs, "unit")}`,
        "aria-valuemin": 0, "aria-valuemax": outputs - 1, "aria-valuenow": 0,
        style: `--columns:${columns};--rows:${Math.ceil(outputs / columns)}`,
      },
      canvas,
      ring,
    );
    let chosen = 0;
    const choose = (unit) => {
      chosen = Math.min(outputs - 1, Math.max(0, unit));
      onChoose(layer, chosen);
    };
    strip.addEventListener("pointerdown", (event) => {
      const box = canvas.getBoundingClientRect();
      const column = Math.floor(((event.clientX - box.left) / box.width) * columns);
      const row = Math.floor(((event.clientY - box.top) / box.height) * Math.ceil(outputs / columns));
      choose(row * columns + column);
    });
    strip.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -outputs, End: outputs };
      if (!(event.key in steps)) return;
      event.preventDefault();
      choose(chosen + steps[event.key]);
    });
    return { node: el("div", { class: "layer" }, el("p", { class: "name" }, `${name} `, el("span", { class: "note" }, counted(outputs, "unit"))), strip), strip, canvas, ring, columns };
  });
  return {
    nodes: strips.map(({ node }) => node),
    show(trace, chosen) {
      strips.forEach(({ strip, canvas, ring, columns }, layer) => {
        const values = Array.from(trace.sums[layer], (_, unit) => outputOf(network, trace, layer, unit));
        paintSigned(canvas, values, columns);
        const unit = chosen.layer === layer ? chosen.unit : Number(strip.getAttribute("aria-valuenow"));
        strip.setAttribute("aria-valuenow", unit);
        strip.setAttribute("aria-valuetext", `${nameOf(network, layer, unit, classes)}: ${short(values[unit])}`);
        strip.style.setProperty("--at-x", unit % columns);
        strip.style.setProperty("--at-y", Math.floor(unit / columns));
        ring.hidden = chosen.layer !== layer;
      });
    },
  };
}

// What a unit receives: its inputs × its weights, as a picture and as a table of the largest.
export function unitView(network, trace, { layer, unit }, classes) {
  const { inputs, weight, bias } = network.layers[layer];
  const added = contributions(network, trace, layer, unit);
  const weights = weight.subarray(unit * inputs, (unit + 1) * inputs);
  const isFirst = layer === 0;
  const width = isFirst ? 28 : Math.min(COLUMNS, inputs);
  const picture = (values, title, largest) => {
    const canvas = el("canvas", { class: "pixels", role: "img", "aria-label": `${title}: ${counted(inputs, "square")}; the largest are in the table` });
    paintSigned(canvas, values, width, largest);
    return el("figure", { class: isFirst ? "square" : "wide" }, canvas, el("figcaption", {}, title));
  };
  const isLast = layer === network.layers.length - 1;
  const sum = trace.sums[layer][unit];
  const inputSum = added.reduce((total, value) => total + value, 0);
  const after = isLast ? "" : `; after ReLU ${short(Math.max(0, sum))}`;
  const order = Array.from(added.keys()).sort((a, b) => Math.abs(added[b]) - Math.abs(added[a]));
  const rows = order.slice(0, LARGEST).map((i) => [
    isFirst ? `row ${Math.floor(i / 28) + 1}, column ${(i % 28) + 1}` : `unit ${i} of layer ${layer}`,
    short(trace.inputs[layer][i], 3),
    short(weights[i], 3),
    short(added[i], 3),
  ]);
  const name = nameOf(network, layer, unit, classes);
  return [
    el("h3", {}, name[0].toUpperCase() + name.slice(1)),
    el("p", {}, `Inputs × weights ${short(inputSum)} and bias ${short(bias[unit])} make ${short(sum)}${after}.`),
    el("div", { class: "pictures" }, picture(added, "Inputs × weights", largestOf(added)), picture(weights, "Weights", largestOf(weights))),
    folded("The largest as a table", scrolling("Largest inputs", table(`The inputs that add most to ${name}`, [isFirst ? "Pixel" : "Input", "Value", "Weight", "Product"], rows))),
  ];
}

// The gradient of a class's logit with respect to every pixel.
export function saliencyView(gradient, name) {
  const title = `Gradient of the logit of class ${name}`;
  const canvas = el("canvas", { class: "pixels", role: "img", "aria-label": `${title} with respect to the 28 × 28 pixels; the largest are in the table` });
  paintSigned(canvas, gradient, 28);
  const order = Array.from(gradient.keys()).sort((a, b) => Math.abs(gradient[b]) - Math.abs(gradient[a]));
  const rows = order.slice(0, LARGEST).map((i) => [String(Math.floor(i / 28) + 1), String((i % 28) + 1), short(gradient[i], 3)]);
  return [
    el("h3", {}, title),
    el("p", {}, "Where more ink would raise it (vermilion) or lower it (blue). Pixels are from −1 to 1."),
    el("div", { class: "pictures" }, el("figure", { class: "square" }, canvas, el("figcaption", {}, "Saliency"))),
    folded("The largest as a table", scrolling("Largest gradients", table(title, ["Row", "Column", "Gradient"], rows))),
  ];
}
