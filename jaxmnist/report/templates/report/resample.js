// Scaling a grey image as Pillow scales one: an average over boxes down, a cubic up.

function box(x) {
  return x > -0.5 && x <= 0.5 ? 1 : 0;
}

// Keys's cubic with a = -1/2.
function cubic(x) {
  const d = Math.abs(x);
  if (d < 1) return (1.5 * d - 2.5) * d * d + 1;
  return d < 2 ? ((-0.5 * d + 2.5) * d - 4) * d + 2 : 0;
}

// For each output pixel of a line, the input pixels it is made of and their shares.
function sharesOf(from, to, filter, reach) {
  const scale = from / to;
  const stretch = Math.max(scale, 1);
  const support = reach * stretch;
  return Array.from({ length: to }, (_, index) => {
    const center = (index + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const end = Math.min(from, Math.trunc(center + support + 0.5));
    const shares = [];
    for (let i = first; i < end; i++) shares.push(filter((i - center + 0.5) / stretch));
    const total = shares.reduce((sum, share) => sum + share, 0);
    return { first, shares: shares.map((share) => share / total) };
  });
}

// `image` has `width` × `height` numbers, row by row; rows are scaled first, as Pillow does.
export function resized(image, width, height, newWidth, newHeight) {
  const up = newWidth > width || newHeight > height;
  const [filter, reach] = up ? [cubic, 2] : [box, 0.5];
  let middle = image;
  if (newWidth !== width) {
    middle = new Float32Array(newWidth * height);
    sharesOf(width, newWidth, filter, reach).forEach(({ first, shares }, column) => {
      for (let row = 0; row < height; row++) {
        let sum = 0;
        shares.forEach((share, i) => (sum += image[row * width + first + i] * share));
        middle[row * newWidth + column] = sum;
      }
    });
  }
  if (newHeight === height) return Float32Array.from(middle);
  const result = new Float32Array(newWidth * newHeight);
  sharesOf(height, newHeight, filter, reach).forEach(({ first, shares }, row) => {
    for (let column = 0; column < newWidth; column++) {
      let sum = 0;
      shares.forEach((share, i) => (sum += middle[(first + i) * newWidth + column] * share));
      result[row * newWidth + column] = sum;
    }
  });
  return result;
}
