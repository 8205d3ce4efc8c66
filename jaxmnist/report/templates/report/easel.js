// The canvas to draw on: by mouse, pen, touch and keyboard.
import { announcer, byId } from "../shared/dom.js";
import { CELL, SIDE, inkOf } from "./pen.js";

const CELLS = SIDE / CELL;

// `onDraw(strokes)` is called with all strokes whenever they change.
export function makeEasel(onDraw) {
  const canvas = byId("easel");
  const say = announcer(byId("easel-now"));
  const cell = { x: 13, y: 13, down: false };
  let strokes = [];
  let current = null;

  function show() {
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const style = getComputedStyle(canvas);
    const scale = canvas.width / SIDE;
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.strokeStyle = style.getPropertyValue("--grid");
    for (let i = 1; i < CELLS; i++) {
      const at = Math.round(i * CELL * scale) + 0.5;
      context.globalAlpha = i % 7 === 0 ? 1 : 0.45;
      context.strokeRect(at, -1, 0, canvas.height + 2);
      context.strokeRect(-1, at, canvas.width + 2, 0);
    }
    context.globalAlpha = 1;
    context.fillStyle = style.color;
    inkOf(strokes).forEach((inked, at) => {
      if (inked) context.fillRect((at % SIDE) * scale, Math.floor(at / SIDE) * scale, scale, scale);
    });
    if (document.activeElement === canvas) {
      context.strokeStyle = style.getPropertyValue(cell.down ? "--second" : "--first");
      context.lineWidth = 3;
      context.strokeRect(cell.x * CELL * scale, cell.y * CELL * scale, CELL * scale, CELL * scale);
      context.lineWidth = 1;
    }
  }

  function changed() {
    show();
    onDraw(strokes);
  }

  function replace(wanted) {
    strokes = wanted;
    current = null;
    cell.down = false;
    changed();
  }

  const pointOf = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button > 0) return;
    canvas.setPointerCapture(event.pointerId);
    cell.down = false;
    current = [pointOf(event)];
    strokes.push(current);
    changed();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!current || !canvas.hasPointerCapture(event.pointerId)) return;
    const events = event.getCoalescedEvents?.() ?? [];
    current.push(...(events.length ? events : [event]).map(pointOf));
    changed();
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (current = null));
  for (const turn of ["focus", "blur"]) canvas.addEventListener(turn, show);

  const middle = () => [(cell.x + 0.5) * CELL, (cell.y + 0.5) * CELL];
  canvas.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in steps) {
      const [dx, dy] = steps[event.key];
      cell.x = Math.min(CELLS - 1, Math.max(0, cell.x + dx));
      cell.y = Math.min(CELLS - 1, Math.max(0, cell.y + dy));
      if (cell.down) current.push(middle());
    } else if (event.key === " ") {
      cell.down = !cell.down;
      // A cell under the pen is inked when the pen comes down.
      current = cell.down ? [middle()] : null;
      if (current) strokes.push(current);
    } else if (event.key === "Backspace") {
      strokes.pop();
      [cell.down, current] = [false, null];
    } else if (event.key === "Delete") {
      replace([]);
    } else {
      return;
    }
    event.preventDefault();
    changed();
    say(`column ${cell.x + 1}, row ${cell.y + 1}, pen ${cell.down ? "down" : "up"}`);
  });
  byId("undo").addEventListener("click", () => replace(strokes.slice(0, -1)));
  byId("clear").addEventListener("click", () => replace([]));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  show();
  return { clear: () => { strokes = []; current = null; cell.down = false; show(); } };
}
