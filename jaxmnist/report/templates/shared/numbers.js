// Numbers as people read them, and the round ones that axes are marked with.

export function short(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "none";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const text = Number(value.toPrecision(digits));
  const small = Math.abs(text) < 1e-4 || Math.abs(text) >= 1e7;
  return (text !== 0 && small ? text.toExponential() : String(text)).replace("-", "−");
}

export function percent(value) {
  return value === null || value === undefined ? "none" : `${(100 * value).toFixed(2)} %`;
}

export function counted(number, one, several = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : several}`;
}

// Round numbers that divide a range into about `count` parts.
export function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((each) => each >= rough * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  const found = [];
  for (let i = first; i * step <= high + step * 1e-9; i++) found.push(Number((i * step).toPrecision(12)));
  return found;
}
