// A round pen on a square of 140 × 140 pixels, five to each of the 28 × 28 cells.

export const SIDE = 140;
export const CELL = 5;
const RADIUS = 6;

// Inks every pixel whose middle is within the pen's radius of a straight stroke.
export function inkStroke(ink, [x0, y0], [x1, y1]) {
  const [dx, dy] = [x1 - x0, y1 - y0];
  const length = dx * dx + dy * dy;
  const range = (a, b) => [
    Math.max(0, Math.floor(Math.min(a, b) - RADIUS)),
    Math.min(SIDE - 1, Math.ceil(Math.max(a, b) + RADIUS)),
  ];
  const [left, right] = range(x0, x1);
  const [top, bottom] = range(y0, y1);
  for (let y = top; y <= bottom; y++) {
    for (let x = left; x <= right; x++) {
      const [px, py] = [x + 0.5 - x0, y + 0.5 - y0];
      const along = length ? Math.min(1, Math.max(0, (px * dx + py * dy) / length)) : 0;
      const distance = (px - along * dx) ** 2 + (py - along * dy) ** 2;
      if (distance <= RADIUS * RADIUS) ink[y * SIDE + x] = 1;
    }
  }
}

// The ink of strokes, each a list of points in pixels.
export function inkOf(strokes) {
  const ink = new Uint8Array(SIDE * SIDE);
  for (const stroke of strokes) {
    stroke.forEach((point, index) => inkStroke(ink, stroke[Math.max(0, index - 1)], point));
  }
  return ink;
}
