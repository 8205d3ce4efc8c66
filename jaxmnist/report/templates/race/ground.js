// The surface from above: bands of height, as the pictures of the race have them.

const BANDS = 14;
const LOW = [0x21, 0x66, 0xac];
const HIGH = [0xb2, 0x18, 0x2b];

// Paints the bands into a canvas of the size that it is shown in.
export function paintGround(canvas, surface, { bounds, relief }) {
  const width = Math.max(2, canvas.clientWidth);
  const height = Math.max(2, canvas.clientHeight);
  [canvas.width, canvas.height] = [width, height];
  const [[left, right], [bottom, top]] = bounds;
  const heights = new Float64Array(width * height);
  let [low, high] = [Infinity, -Infinity];
  for (let row = 0; row < height; row++) {
    const y = top - ((row + 0.5) / height) * (top - bottom);
    for (let column = 0; column < width; column++) {
      const value = surface.height(left + ((column + 0.5) / width) * (right - left), y);
      heights[row * width + column] = value;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  const bands = Uint8Array.from(heights, (value) =>
    Math.min(BANDS - 1, Math.floor(BANDS * ((value - low) / (high - low)) ** (relief / 2))),
  );
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let at = 0; at < bands.length; at++) {
    // Between two bands is a line of the page's own colour.
    const isLine = bands[at] !== bands[at + 1] && (at + 1) % width !== 0;
    if (isLine || (at + width < bands.length && bands[at] !== bands[at + width])) continue;
    const share = (2 * bands[at]) / (BANDS - 1) - 1;
    image.data.set(share < 0 ? LOW : HIGH, 4 * at);
    image.data[4 * at + 3] = 255 * (0.1 + 0.42 * Math.abs(share));
  }
  context.putImageData(image, 0, 0);
}
