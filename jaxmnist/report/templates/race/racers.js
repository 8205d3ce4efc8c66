// The list of optimizers: which of them race, and each one's learning rate.
import { byId, el } from "../shared/dom.js";
import { sample } from "../shared/marker.js";
import { short } from "../shared/numbers.js";

const [LEAST, MOST] = [-4, 3];

// `onChange(name, {rate, racing})` is called with what a person changes.
export function makeRacers(looks, onChange) {
  const rows = Object.entries(looks).map(([name, look]) => {
    const racing = el("input", { type: "checkbox", id: `racing-${name}`, "aria-label": `${look.label} races` });
    const rate = el("input", { type: "range", min: LEAST, max: MOST, step: 0.025, id: `rate-${name}`, "aria-label": `Learning rate of ${look.label}` });
    const value = el("output", { class: "value", for: rate.id });
    racing.addEventListener("change", () => onChange(name, { racing: racing.checked }));
    rate.addEventListener("input", () => onChange(name, { rate: Number((10 ** Number(rate.value)).toPrecision(6)) }));
    return { name, racing, rate, value, node: el("li", {}, racing, sample(look), el("span", {}, look.label), rate, value) };
  });
  byId("racers").replaceChildren(...rows.map(({ node }) => node));
  return (state) => {
    for (const { name, racing, rate, value } of rows) {
      racing.checked = state.racing.includes(name);
      rate.value = Math.log10(Math.max(1e-9, state.rates[name]));
      rate.setAttribute("aria-valuetext", short(state.rates[name]));
      value.textContent = short(state.rates[name]);
    }
  };
}
