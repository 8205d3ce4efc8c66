// Which connected marks of a drawing are its digit: the rules of jaxmnist/data/strokes.py.

const AROUND = [-1, 0, 1].flatMap((dy) => [-1, 0, 1].map((dx) => [dy, dx]));
const ACROSS = [[-1, 0], [1, 0], [0, -1], [0, 1]];

// Calls `visit` for every pixel that `allowed` pixels connect to the first one.
function flood(side, start, steps, allowed, visit) {
  const waiting = [start];
  visit(start);
  while (waiting.length) {
    const at = waiting.pop();
    const [y, x] = [Math.floor(at / side), at % side];
    for (const [dy, dx] of steps) {
      const next = (y + dy) * side + x + dx;
      const inside = y + dy >= 0 && y + dy < side && x + dx >= 0 && x + dx < side;
      if (inside && allowed(next)) {
        visit(next);
        waiting.push(next);
      }
    }
  }
}

// Marks in reading order, each with its pixels and its box.
function marksOf(ink, side) {
  const seen = new Uint8Array(ink.length);
  const marks = [];
  for (let start = 0; start < ink.length; start++) {
    if (!ink[start] || seen[start]) continue;
    const mark = { pixels: [], top: side, bottom: -1, left: side, right: -1 };
    flood(side, start, AROUND, (at) => ink[at] && !seen[at], (at) => {
      seen[at] = 1;
      mark.pixels.push(at);
      const [y, x] = [Math.floor(at / side), at % side];
      mark.top = Math.min(mark.top, y);
      mark.bottom = Math.max(mark.bottom, y);
      mark.left = Math.min(mark.left, x);
      mark.right = Math.max(mark.right, x);
    });
    mark.size = Math.max(mark.bottom - mark.top, mark.right - mark.left) + 1;
    mark.atEdge =
      mark.top === 0 || mark.left === 0 || mark.bottom === side - 1 || mark.right === side - 1;
    marks.push(mark);
  }
  return marks;
}

// Whether a mark goes round all of another one.
function encloses(outer, inner, side) {
  const wide = side + 2;
  const blocked = new Uint8Array(wide * wide);
  outer.pixels.forEach((at) => (blocked[(Math.floor(at / side) + 1) * wide + (at % side) + 1] = 1));
  flood(wide, 0, ACROSS, (at) => !blocked[at], (at) => (blocked[at] = 2));
  return inner.pixels.every(
    (at) => blocked[(Math.floor(at / side) + 1) * wide + (at % side) + 1] === 0,
  );
}

// A mark round another of at least a third of its size is a frame, and no part of the digit.
function withoutFrames(marks, side) {
  const order = [...marks].sort((one, other) => other.size - one.size);
  const frames = order.slice(0, 3).filter((outer) =>
    marks.some(
      (inner) => inner !== outer && inner.size > 0.3 * outer.size && encloses(outer, inner, side),
    ),
  );
  return marks.filter((mark) => !frames.includes(mark));
}

function outlineOf(mark, ink, side) {
  return mark.pixels.filter((at) => {
    const [y, x] = [Math.floor(at / side), at % side];
    const within = y > 0 && x > 0 && y < side - 1 && x < side - 1;
    return !within || ACROSS.some(([dy, dx]) => !ink[at + dy * side + dx]);
  });
}

function gapBetween(one, other, ink, side) {
  const ends = outlineOf(other, ink, side);
  let nearest = Infinity;
  for (const at of outlineOf(one, ink, side)) {
    const [y, x] = [Math.floor(at / side), at % side];
    for (const end of ends) {
      const d = (y - Math.floor(end / side)) ** 2 + (x - (end % side)) ** 2;
      if (d < nearest) nearest = d;
    }
  }
  return Math.sqrt(nearest);
}

function sharedColumns(one, other) {
  const shared = Math.min(one.right, other.right) - Math.max(one.left, other.left) + 1;
  return shared / (Math.min(one.right - one.left, other.right - other.left) + 1);
}

// Returns the pixels of the digit, or how many separate drawings there are.
export function digitAmong(ink, side) {
  const marks = withoutFrames(marksOf(ink, side), side);
  const weight = (mark) => mark.pixels.length * (mark.atEdge ? 0.2 : 1);
  const main = marks.reduce((best, mark) => (weight(mark) > weight(best) ? mark : best));
  const core = new Uint8Array(ink.length);
  main.pixels.forEach((at) => (core[at] = 1));
  let others = 0;
  for (const mark of marks) {
    const share = mark.pixels.length / main.pixels.length;
    if (mark === main || share < 0.015) continue;
    const gap = gapBetween(mark, main, ink, side) / main.size;
    // Strokes of one digit are next to one another, or one above the other.
    const near = sharedColumns(mark, main) > 0.4 ? 0.35 : 0.2;
    if (gap < 0.08 || (gap < near && share > 0.06)) mark.pixels.forEach((at) => (core[at] = 1));
    else if (share > 0.25 && mark.size > 0.5 * main.size && !mark.atEdge) others++;
  }
  return { core, drawings: others + 1 };
}
