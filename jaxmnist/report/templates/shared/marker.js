// The marks that tell curves apart without their colours, as matplotlib calls them.
import { svg } from "./dom.js";

const SHAPES = {
  o: "M-3.4,0a3.4,3.4 0 1,0 6.8,0a3.4,3.4 0 1,0 -6.8,0Z",
  s: "M-3,-3H3V3H-3Z",
  "^": "M0,-4L3.8,3H-3.8Z",
  D: "M0,-4.2L4.2,0L0,4.2L-4.2,0Z",
  v: "M0,4L3.8,-3H-3.8Z",
  P: "M-1.4,-4H1.4V-1.4H4V1.4H1.4V4H-1.4V1.4H-4V-1.4H-1.4Z",
};
export const MARKERS = Object.keys(SHAPES);

export function marker(shape, x, y, color) {
  return svg("path", { class: "marker", d: SHAPES[shape], transform: `translate(${x} ${y})`, style: `--c:${color}` });
}

// A short piece of a curve, for its name in a legend.
export function sample({ color, dash, marker: shape }) {
  return svg(
    "svg",
    { class: "sample", viewBox: "0 0 34 12", "aria-hidden": "true" },
    svg("path", { class: "curve", d: "M1,6H33", "stroke-dasharray": dash ?? "none", style: `--c:${color}` }),
    marker(shape, 17, 6, color),
  );
}
