// The first layer's weights as pictures, and the distributions of every layer's numbers.
import { byId, el, scrolling, svg } from "../shared/dom.js";
import { largestOf } from "../shared/paint.js";
import { percent, short } from "../shared/numbers.js";

const MOST_UNITS = 512;

export function showFirstLayer(network) {
  const place = byId("first-layer");
  if (!network) return place.replaceChildren();
  const { outputs, weight } = network.layers[0];
  const count = Math.min(outputs, MOST_UNITS);
  const text = `Weights of ${count} units of the first layer, each a picture of 28 × 28 weights: vermilion above 0, blue below`;
  const pictures = Array.from({ length: count }, (_, unit) => weight.subarray(784 * unit, 784 * (unit + 1)));
  const columns = Math.min(16, count);
  const canvas = el("canvas", { class: "pixels weights", role: "img", "aria-label": text });
  paintTiles(canvas, pictures, columns);
  place.replaceChildren(
    el("figure", { class: "wall" }, canvas, el("figcaption", {}, outputs > count ? `The first ${count} of ${outputs} units of layer 1.` : "The weights of layer 1, a picture a unit; each is scaled by its own largest weight.")),
  );
}

function paintTiles(canvas, pictures, columns) {
  const step = 30;
  [canvas.width, canvas.height] = [columns * step, Math.ceil(pictures.length / columns) * step];
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  pictures.forEach((values, index) => {
    const [x0, y0] = [(index % columns) * step + 1, Math.floor(index / columns) * step + 1];
    const largest = largestOf(values);
    values.forEach((value, i) => {
      const at = 4 * ((y0 + Math.floor(i / 28)) * canvas.width + x0 + (i % 28));
      image.data.set(value > 0 ? [0xd5, 0x5e, 0] : [0, 0x72, 0xb2], at);
      image.data[at + 3] = (255 * Math.abs(value)) / largest;
    });
  });
  context.putImageData(image, 0, 0);
}

function histogram({ counts, low, high }) {
  const top = Math.max(...counts);
  const bars = counts.map((count, i) => {
    // The root lets tails be seen.
    const height = count ? Math.max(0.6, 30 * Math.sqrt(count / top)) : 0;
    return svg("rect", { x: i * 3, y: 32 - height, width: 2.4, height });
  });
  const zero = low < 0 && high > 0 ? [svg("line", { class: "cursor", x1: (-low / (high - low)) * 123, x2: (-low / (high - low)) * 123, y1: 0, y2: 32 })] : [];
  return svg("svg", { class: "histogram", viewBox: "0 0 123 32", "aria-hidden": "true" }, ...bars, ...zero);
}

export function showDistributions(run) {
  const rows = run.layers.flatMap(({ name, weights, activations, never }) => [
    row(name, "weights", weights, ""),
    ...(activations ? [row(name, never === null ? "logits" : "activations", activations, never === null ? "" : percent(never))] : []),
  ]);
  const heads = ["Layer", "Of", "Distribution", "Mean", "Deviation", "Least", "Greatest", "Zeros", "Units always 0"];
  byId("distributions").replaceChildren(
    scrolling(
      "Distributions",
      el(
        "table",
        { class: "distributions" },
        el("caption", {}, `Weights, and activations for the first ${run.measured} test images. Bars show the root of a count; the line is 0.`),
        el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
        el("tbody", {}, rows),
      ),
    ),
  );
}

function row(name, of, found, never) {
  const cells = [of, histogram(found), short(found.mean, 3), short(found.deviation, 3), short(found.low, 3), short(found.high, 3), percent(found.zeros), never];
  return el("tr", {}, el("th", { scope: "row" }, name), cells.map((cell) => el("td", {}, cell)));
}
