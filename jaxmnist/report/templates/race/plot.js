// The optimizers' paths over the ground, and the start, which can be dragged.
import { byId, svg } from "../shared/dom.js";
import { marker } from "../shared/marker.js";
import { paintGround } from "./ground.js";

// `onStart(point)` is called while a person drags the start, or clicks where it is to be.
export function makePlot(onStart) {
  const [plot, canvas, paths] = [byId("plot"), byId("ground"), byId("paths")];
  let [shown, ground] = [null, ""];

  const scale = () => {
    const { bounds } = shown.about;
    const [width, height] = [plot.clientWidth, plot.clientHeight];
    const clip = (value, size) => Math.min(3 * size, Math.max(-2 * size, value));
    return ([x, y]) => [
      clip(((x - bounds[0][0]) / (bounds[0][1] - bounds[0][0])) * width, width),
      clip(((bounds[1][1] - y) / (bounds[1][1] - bounds[1][0])) * height, height),
    ];
  };

  function draw() {
    const [width, height] = [plot.clientWidth, plot.clientHeight];
    const place = scale();
    const size = `${shown.name} ${width} ${height}`;
    if (ground !== size) paintGround(canvas, shown.surface, shown.about);
    ground = size;
    paths.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const minima = shown.about.minima.map((point) => {
      const [x, y] = place(point);
      return svg("path", { class: "minimum", d: `M${x - 5},${y - 5}l10,10m0,-10l-10,10` });
    });
    const racers = shown.racers.map(({ path, look }) => {
      const points = path.slice(0, shown.step + 1).filter((point) => point.every(Number.isFinite)).map(place);
      const line = points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join("L");
      const [x, y] = points.at(-1);
      const head = marker(look.marker, x.toFixed(1), y.toFixed(1), look.color);
      head.setAttribute("transform", `${head.getAttribute("transform")} scale(1.7)`);
      const curve = svg("path", { class: "curve", d: `M${line}`, "stroke-dasharray": look.dash ?? "none", style: `--c:${look.color}` });
      return svg("g", { class: "racer" }, curve, head);
    });
    const [x, y] = place(shown.start);
    const handle = [svg("circle", { class: "reach", cx: x, cy: y, r: 22 }), svg("circle", { class: "handle", cx: x, cy: y, r: 7 })];
    paths.replaceChildren(...minima, ...racers, ...handle);
  }

  let dragged = false;
  const pointOf = (event) => {
    const box = plot.getBoundingClientRect();
    const { bounds } = shown.about;
    const share = [(event.clientX - box.left) / box.width, 1 - (event.clientY - box.top) / box.height];
    return share.map((part, i) => bounds[i][0] + Math.min(1, Math.max(0, part)) * (bounds[i][1] - bounds[i][0]));
  };
  plot.addEventListener("pointerdown", (event) => {
    dragged = event.target.closest(".reach, .handle") !== null;
    if (dragged) plot.setPointerCapture(event.pointerId);
  });
  plot.addEventListener("pointermove", (event) => dragged && onStart(pointOf(event)));
  plot.addEventListener("pointerup", () => (dragged = false));
  plot.addEventListener("pointercancel", () => (dragged = false));
  plot.addEventListener("click", (event) => onStart(pointOf(event)));
  new ResizeObserver(() => shown && draw()).observe(plot);
  return (what) => {
    shown = what;
    draw();
  };
}
