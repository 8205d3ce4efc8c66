// A race in a link's fragment, and back; what a link cannot mean is left as it was.

export function toFragment(state) {
  const words = new URLSearchParams();
  words.set("surface", state.surface);
  words.set("convention", state.convention);
  words.set("start", state.start.join(","));
  words.set("steps", state.steps);
  words.set("step", state.step);
  words.set("racing", state.racing.join(","));
  for (const [name, rate] of Object.entries(state.rates)) words.set(name, rate);
  return words.toString().replaceAll("%2C", ",");
}

const numberIn = (text, low, high) => {
  const value = text === null || text.trim() === "" ? NaN : Number(text);
  return value >= low && value <= high ? value : null;
};

// Returns the part of a state that a fragment has: {surface, convention, start, ...}.
export function fromFragment(text, { surfaces, conventions }) {
  const words = new URLSearchParams(text.replace(/^#/, ""));
  const found = { rates: {} };
  const surface = words.get("surface");
  if (Object.hasOwn(surfaces, surface)) found.surface = surface;
  if (["document", "pytorch", "optax"].includes(words.get("convention"))) found.convention = words.get("convention");
  const steps = numberIn(words.get("steps"), 1, 2000);
  if (Number.isInteger(steps) && steps !== null) found.steps = steps;
  const step = numberIn(words.get("step"), 0, 2000);
  if (Number.isInteger(step) && step !== null) found.step = step;
  if (found.surface) {
    const { bounds } = surfaces[found.surface];
    const parts = (words.get("start") ?? "").split(",");
    const start = bounds.map(([low, high], i) => numberIn(parts[i] ?? null, low, high));
    if (parts.length === 2 && !start.includes(null)) found.start = start;
  }
  if (words.has("racing")) found.racing = Object.keys(conventions).filter((name) => words.get("racing").split(",").includes(name));
  for (const name of Object.keys(conventions)) {
    const rate = numberIn(words.get(name), 0, 1e6);
    if (rate !== null) found.rates[name] = rate;
  }
  return found;
}
