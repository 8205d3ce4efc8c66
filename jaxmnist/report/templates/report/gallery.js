// Test images with what they are and what the network took them for.
import { el } from "../shared/dom.js";
import { paintInk } from "../shared/paint.js";
import { percent, short } from "../shared/numbers.js";

export function pixelsOf(test, position) {
  return test.pixels.subarray(784 * position, 784 * (position + 1));
}

export function describe(test, snapshot, position) {
  const label = test.classes[test.images.label[position]];
  const guess = test.classes[snapshot.prediction[position]];
  return { index: test.images.index[position], label, guess, sure: percent(snapshot.confidence[position]) };
}

// `onChoose(position)` is called with the image that a person chooses; without it, nothing can be.
// `withLoss` shows each image's loss in place of the probability of its prediction.
export function gallery(test, snapshot, positions, onChoose, withLoss = false) {
  return positions.map((position) => {
    const { index, label, guess, sure } = describe(test, snapshot, position);
    const canvas = el("canvas", { class: "pixels ink", "aria-hidden": "true" });
    paintInk(canvas, pixelsOf(test, position));
    const loss = short(snapshot.loss[position], 3);
    const right = label === guess;
    const [what, how] = [right ? label : `${label} → ${guess}`, withLoss ? `loss ${loss}` : sure];
    const text = `${what} ${how}: test image ${index}, class ${label}, predicted ${guess} with probability ${sure}`;
    const caption = el(
      "span",
      { class: right ? "caption" : "caption wrong", "aria-hidden": "true" },
      el("span", {}, what),
      " ",
      el("span", { class: "sure" }, how),
    );
    if (!onChoose) return el("div", { class: "shown", role: "img", "aria-label": text, title: text }, canvas, caption);
    return el(
      "button",
      { class: "shown", type: "button", "aria-label": text, title: text, onclick: () => onChoose(position) },
      canvas,
      caption,
    );
  });
}
