// A drawing in the form of MNIST's images: the recipe of `jaxmnist predict --images`.
import { digitAmong } from "./marks.js";
import { resized } from "./resample.js";

const DISC = [];
for (let y = -6; y <= 6; y++) for (let x = -6; x <= 6; x++) if (y * y + x * x <= 36) DISC.push([y, x]);

// Whether some pixel is farther than 6 from everything that is not drawn.
function isWide(core, side) {
  return core.some((drawn, at) => {
    if (!drawn) return false;
    const [y, x] = [Math.floor(at / side), at % side];
    return DISC.every(([dy, dx]) => {
      const outside = y + dy < 0 || y + dy >= side || x + dx < 0 || x + dx >= side;
      return outside || core[(y + dy) * side + x + dx];
    });
  });
}

// The median of each pixel's 3 × 3 neighbourhood; the picture is mirrored at its edges.
function smoothed(ink, side) {
  const mirror = (i) => (i < 0 ? 0 : i >= side ? side - 1 : i);
  return ink.map((_, at) => {
    const [y, x] = [Math.floor(at / side), at % side];
    let count = 0;
    for (let dy = -1; dy <= 1; dy++)
      for (let dx = -1; dx <= 1; dx++) count += ink[mirror(y + dy) * side + mirror(x + dx)];
    return count > 4 ? 1 : 0;
  });
}

// Python's round: halves go to the even neighbour.
function rounded(value) {
  const down = Math.floor(value);
  const rest = value - down;
  if (rest !== 0.5) return rest < 0.5 ? down : down + 1;
  return down % 2 === 0 ? down : down + 1;
}

// Scales a cropped drawing to 20 pixels and puts its centre of mass in the middle of 28 × 28.
export function centered(ink, width, height) {
  const scale = 20 / Math.max(width, height);
  const [w, h] = [width, height].map((side) => Math.max(1, rounded(side * scale)));
  const small = resized(ink, width, height, w, h).map((v) => Math.min(1, Math.max(0, v)));
  const factor = Math.fround(255 / small.reduce((top, v) => Math.max(top, v), 0));
  let [mass, down, right] = [0, 0, 0];
  small.forEach((value, at) => {
    small[at] = value * factor;
    mass += small[at];
    down += small[at] * Math.floor(at / w);
    right += small[at] * (at % w);
  });
  // To three digits first: rounding noise must not decide where a symmetric drawing is placed.
  const nearest = (position) => rounded(Math.round(position * 1000) / 1000);
  const place = (moment, size) => Math.min(28 - size, Math.max(0, nearest(14 - moment / mass)));
  const [top, left] = [place(down, h), place(right, w)];
  const image = new Uint8Array(784);
  small.forEach((value, at) => {
    image[(top + Math.floor(at / w)) * 28 + left + (at % w)] = rounded(value);
  });
  return image;
}

// `ink` is 1 where the pen was, on a square of `side` pixels. Returns the network's 784 bytes, all
// 0 for an empty square, and how many separate drawings there are.
export function asMnist(ink, side) {
  if (!ink.some(Boolean)) return { image: new Uint8Array(784), drawings: 0 };
  const { core, drawings } = digitAmong(ink, side);
  const whole = ink.map((drawn, at) => drawn && core[at]);
  const drawn = isWide(core, side) ? smoothed(whole, side) : whole;
  const rows = [];
  const columns = [];
  drawn.forEach((inked, at) => {
    if (!inked) return;
    rows.push(Math.floor(at / side));
    columns.push(at % side);
  });
  const [top, bottom] = [rows[0], rows.at(-1)];
  const left = columns.reduce((a, b) => Math.min(a, b));
  const right = columns.reduce((a, b) => Math.max(a, b));
  const [width, height] = [right - left + 1, bottom - top + 1];
  const cropped = new Float32Array(width * height);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) cropped[y * width + x] = drawn[(top + y) * side + left + x];
  return { image: centered(cropped, width, height), drawings };
}
