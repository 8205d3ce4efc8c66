// The page of the race: its state, what is computed from it, and how it is played.
import { lineChart } from "../shared/chart.js";
import { announcer, byId, dataOfPage, el, scrolling, table } from "../shared/dom.js";
import { counted, short } from "../shared/numbers.js";
import { fromFragment, toFragment } from "./fragment.js";
import { makePlot } from "./plot.js";
import { makeRacers } from "./racers.js";
import { RECURRENCES, trajectory } from "./recurrences.js";
import { SURFACES } from "./surfaces.js";
import { arrival, bestRate } from "./tuning.js";

const data = dataOfPage();
const names = Object.keys(data.conventions);
const say = announcer(byId("said"), 600);
const state = {};
let [racers, chart, playing, kept] = [[], null, 0, 0];

const about = () => data.surfaces[state.surface];
const hyperOf = (name) => ({ ...data.conventions[name][state.convention], learning_rate: state.rates[name] });

function tuned() {
  const rate = (name) =>
    bestRate(SURFACES[state.surface], about(), RECURRENCES[name], hyperOf(name), state.start, state.steps, data);
  return Object.fromEntries(names.map((name) => [name, rate(name)]));
}

// The convention's own rates; where it has none, 1, which changes nothing.
const ownRates = () => Object.fromEntries(names.map((name) => [name, data.conventions[name][state.convention].learning_rate ?? 1]));

// Takes what is given, and the surface's own for the rest.
function begin(given) {
  const surface = given.surface ?? data.first.surface;
  const found = data.surfaces[surface];
  Object.assign(state, {
    surface,
    convention: given.convention ?? "document",
    start: given.start ?? [...found.start],
    steps: given.steps ?? found.steps,
    racing: given.racing ?? [...names],
    step: 0,
    rates: ownRatesOrGiven(given),
  });
  if (!names.every((name) => name in (given.rates ?? {}))) state.rates = { ...tuned(), ...given.rates };
  state.step = Math.min(state.steps, given.step ?? 0);
}

function ownRatesOrGiven(given) {
  return Object.fromEntries(names.map((name) => [name, given.rates?.[name] ?? 1]));
}

function compute() {
  const surface = SURFACES[state.surface];
  racers = names.map((name) => {
    const path = trajectory(surface, RECURRENCES[name], hyperOf(name), state.start, state.steps);
    return { name, path, look: data.looks[name], heights: path.map((point) => surface.height(...point)) };
  });
}

const shownRacers = () => racers.filter(({ name }) => state.racing.includes(name));

// Everything that depends on the race; `showStep` is what depends on the step alone.
function showRace() {
  compute();
  const { title, bounds, minima } = about();
  byId("name").textContent = title;
  byId("surface").value = state.surface;
  byId("convention").value = state.convention;
  byId("steps").value = state.steps;
  byId("at").max = state.steps;
  ["x", "y"].forEach((axis, i) => {
    const input = byId(`start-${axis}`);
    [input.min, input.max] = bounds[i];
    input.step = (bounds[i][1] - bounds[i][0]) / 1000;
    input.value = state.start[i];
    byId(`start-${axis}-now`).textContent = short(state.start[i]);
  });
  showRates(state);
  const bottom = SURFACES[state.surface].height(...minima[0]);
  const series = shownRacers().map(({ look, heights }) => ({ ...look, values: heights.map((height) => height - bottom) }));
  chart = series.length
    ? lineChart({
        title: "Height above the minimum",
        unit: "Step",
        series,
        logarithmic: true,
        format: (value, onAxis) => short(value, onAxis ? 2 : 4),
        onChoose: goTo,
      })
    : null;
  byId("heights").replaceChildren(chart?.node ?? el("p", { class: "note" }, "No optimizer races."));
  showStep();
}

function showStep() {
  const { step } = state;
  byId("at").value = step;
  byId("at").setAttribute("aria-valuetext", `step ${step} of ${state.steps}`);
  byId("at-now").textContent = String(step);
  byId("back").disabled = byId("rewind").disabled = step === 0;
  byId("step").disabled = step === state.steps;
  chart?.moveTo(step);
  const surface = SURFACES[state.surface];
  showPaths({ name: state.surface, surface, about: about(), racers: shownRacers(), start: state.start, step });
  const rows = shownRacers().map(({ name, path, heights, look }) => {
    const there = arrival(path, about(), data.tolerance);
    return [look.label, short(state.rates[name]), short(heights[step]), `(${path[step].map((w) => short(w)).join(", ")})`, there < 0 ? "not there" : String(there)];
  });
  byId("table").replaceChildren(
    scrolling("The race as a table", table(`At step ${step} of ${state.steps}`, ["Optimizer", "Learning rate", "Height", "Point", "Steps to a minimum"], rows)),
  );
  byId("plot-text").textContent =
    `${about().title}, blue low and red high; crosses are minima. The ring is the start, (${state.start.map((w) => short(w)).join(", ")}): drag it, or click where it is to be.`;
  clearTimeout(kept);
  kept = setTimeout(() => history.replaceState(null, "", `#${toFragment(state)}`), 150);
}

function sayStep() {
  const heights = shownRacers().map(({ look, heights: all }) => `${look.label} ${short(all[state.step], 3)}`);
  say(`Step ${state.step}. Heights: ${heights.join(", ")}`);
}

function goTo(step) {
  pause();
  state.step = Math.min(state.steps, Math.max(0, step));
  showStep();
  sayStep();
}

function pause() {
  cancelAnimationFrame(playing);
  playing = 0;
  byId("play").textContent = "Play";
}

// About six seconds for a race, whatever its length.
function play() {
  if (state.step === state.steps) state.step = 0;
  byId("play").textContent = "Pause";
  const perSecond = Math.max(8, state.steps / 6);
  const [from, began] = [state.step, performance.now()];
  const tick = (now) => {
    state.step = Math.min(state.steps, from + Math.floor(((now - began) / 1000) * perSecond));
    showStep();
    if (state.step < state.steps) playing = requestAnimationFrame(tick);
    else goTo(state.steps);
  };
  playing = requestAnimationFrame(tick);
}

function change(what) {
  Object.assign(state, what);
  state.step = Math.min(state.step, state.steps);
  showRace();
}

const showPaths = makePlot((start) => {
  pause();
  change({ start: start.map((w) => Number(w.toPrecision(6))) });
});
const showRates = makeRacers(data.looks, (name, { rate, racing }) => {
  if (rate !== undefined) change({ rates: { ...state.rates, [name]: rate } });
  else change({ racing: names.filter((each) => (each === name ? racing : state.racing.includes(each))) });
});

byId("surface").replaceChildren(
  ...Object.entries(data.surfaces).map(([name, { title }]) => el("option", { value: name }, title)),
);
byId("surface").addEventListener("change", (event) => {
  pause();
  begin({ surface: event.target.value, convention: state.convention, racing: state.racing });
  showRace();
});
byId("convention").addEventListener("change", (event) => change({ convention: event.target.value }));
byId("steps").addEventListener("change", (event) => {
  const steps = Math.min(2000, Math.max(1, Math.round(Number(event.target.value)) || about().steps));
  change({ steps });
});
for (const [i, axis] of ["x", "y"].entries()) {
  byId(`start-${axis}`).addEventListener("input", (event) => {
    change({ start: state.start.map((w, each) => (each === i ? Number(event.target.value) : w)) });
  });
}
const sayRates = (what) => {
  byId("tuned").textContent = `${what}: ${counted(names.length, "learning rate")} set.`;
};
byId("tune").addEventListener("click", () => {
  change({ rates: tuned() });
  sayRates("Each one's best");
});
byId("own").addEventListener("click", () => {
  change({ rates: ownRates() });
  sayRates("The convention's own");
});
byId("reset").addEventListener("click", () => change({ start: [...about().start] }));
byId("play").addEventListener("click", () => (playing ? goTo(state.step) : play()));
byId("step").addEventListener("click", () => goTo(state.step + 1));
byId("back").addEventListener("click", () => goTo(state.step - 1));
byId("rewind").addEventListener("click", () => goTo(0));
byId("at").addEventListener("input", (event) => goTo(Number(event.target.value)));
addEventListener("hashchange", () => {
  pause();
  begin(fromFragment(location.hash, data));
  showRace();
});

const { first } = data;
begin({
  surface: first.surface,
  racing: first.optimizers,
  steps: first.steps ?? undefined,
  rates: first.rate === null ? undefined : Object.fromEntries(names.map((name) => [name, first.rate])),
  ...(location.hash.length > 1 ? fromFragment(location.hash, data) : {}),
});
// For the console: any race on any surface, from the start that it has or from another; a gradient;
// and an optimizer's updates for any gradients.
globalThis.jaxmnist = {
  race: (surface, name, hyper, steps, start = data.surfaces[surface].start) => {
    const path = trajectory(SURFACES[surface], RECURRENCES[name], hyper, start, steps);
    return { path, heights: path.map((point) => SURFACES[surface].height(...point)) };
  },
  gradient: (surface, point) => SURFACES[surface].gradient(...point),
  updates: (name, hyper, gradients) => {
    const each = [RECURRENCES[name](hyper), RECURRENCES[name](hyper)];
    return gradients.map((gradient) => gradient.map((g, i) => each[i](g)));
  },
  state,
};
showRace();
document.documentElement.dataset.ready = "yes";
