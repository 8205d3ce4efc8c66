// Each optimizer's best learning rate for a race: the rule of jaxmnist/landscapes/race.py.
import { trajectory } from "./recurrences.js";

// The mean height above the minimum over the second half of the steps; infinite for a path that
// leaves the box.
function scoreOf(surface, { bounds, minima }, path, floor) {
  const bottom = surface.height(...minima[0]);
  const least = floor * (surface.height(...path[0]) - bottom);
  const stays = path.every((point) => point.every((w, i) => bounds[i][0] <= w && w <= bounds[i][1]));
  if (!stays) return Infinity;
  const late = path.slice(-(Math.floor((path.length - 1) / 2) + 1));
  const heights = late.map((point) => Math.max(surface.height(...point) - bottom, least));
  return heights.reduce((sum, height) => sum + height, 0) / late.length;
}

export function bestRate(surface, about, recurrence, hyper, start, steps, { rates, floor }) {
  let [best, lowest] = [rates[0], Infinity];
  for (const rate of rates) {
    const path = trajectory(surface, recurrence, { ...hyper, learning_rate: rate }, start, steps);
    const score = scoreOf(surface, about, path, floor);
    if (score < lowest) [best, lowest] = [rate, score];
  }
  return best;
}

// After how many steps a path is near a minimum and stays near; -1 if it does not end near one.
export function arrival(path, { bounds, minima }, tolerance) {
  const diagonal = Math.hypot(bounds[0][1] - bounds[0][0], bounds[1][1] - bounds[1][0]);
  const near = ([x, y]) => minima.some(([a, b]) => Math.hypot(x - a, y - b) <= tolerance * diagonal);
  let first = path.length;
  while (first > 0 && near(path[first - 1])) first--;
  return first < path.length ? first : -1;
}
