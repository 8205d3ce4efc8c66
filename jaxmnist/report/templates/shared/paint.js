// Small pictures on canvases: ink as opacity, so that they are right on light and on dark pages.

// In memory, not on a graphics card: they are small, and may be read back.
const context2d = (canvas) => canvas.getContext("2d", { willReadFrequently: true });

// Grey images: 0 is paper, 255 the strongest ink.
export function paintInk(canvas, pixels, width = 28) {
  const height = pixels.length / width;
  [canvas.width, canvas.height] = [width, height];
  const context = context2d(canvas);
  const image = context.createImageData(width, height);
  for (let i = 0; i < pixels.length; i++) image.data[4 * i + 3] = pixels[i];
  context.putImageData(image, 0, 0);
}

const ABOVE = [0xd5, 0x5e, 0x00];
const BELOW = [0x00, 0x72, 0xb2];

// Numbers around 0: vermilion above, blue below, stronger where they are farther from it.
export function paintSigned(canvas, values, width, largest = largestOf(values)) {
  const height = Math.ceil(values.length / width);
  [canvas.width, canvas.height] = [width, height];
  const context = context2d(canvas);
  const image = context.createImageData(width, height);
  for (let i = 0; i < values.length; i++) {
    const [r, g, b] = values[i] > 0 ? ABOVE : BELOW;
    image.data.set([r, g, b, 255 * Math.min(1, Math.abs(values[i]) / largest)], 4 * i);
  }
  context.putImageData(image, 0, 0);
}

export function largestOf(values) {
  let largest = 0;
  for (const value of values) largest = Math.max(largest, Math.abs(value));
  return largest || 1;
}
