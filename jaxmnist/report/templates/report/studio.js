// The drawing, the network that sees it, and what each of its units and classes makes of it.
import { announcer, byId, el } from "../shared/dom.js";
import { counted, percent } from "../shared/numbers.js";
import { paintInk } from "../shared/paint.js";
import { makeEasel } from "./easel.js";
import { describe, pixelsOf } from "./gallery.js";
import { forward, makeNetwork, normalized, saliency, softmax } from "./network.js";
import { SIDE, inkOf } from "./pen.js";
import { asMnist } from "./recipe.js";
import { makeStrips, saliencyView, unitView } from "./units.js";

export function makeStudio() {
  let [run, network, strips, bars] = [null, null, null, []];
  let [image, note, wanted] = [new Uint8Array(784), "", null];
  let [unit, trace] = [{ layer: 0, unit: 0 }, null];
  const say = announcer(byId("prediction"), 150);
  const easel = makeEasel((strokes) => {
    if (!network) return;
    const made = asMnist(inkOf(strokes), SIDE);
    note = noteOf(made.drawings);
    see(made.image);
  });

  const noteOf = (drawings) => {
    if (drawings === 0) return "Nothing is drawn yet.";
    if (drawings > 1) return `${counted(drawings, "separate drawing")}: only the largest is shown.`;
    return "Cropped, scaled to 20 pixels and centred by mass, as MNIST's images are.";
  };

  let frame = 0;
  function see(pixels) {
    image = pixels;
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(refresh);
  }

  function refresh() {
    const { classes } = run;
    trace = forward(network, normalized(image));
    const odds = softmax(trace.logits);
    const best = odds.indexOf(Math.max(...odds));
    const isBlank = !image.some(Boolean);
    paintInk(byId("seen"), image);
    byId("seen-note").textContent = note;
    bars.forEach(({ button, bar, value }, index) => {
      bar.style.setProperty("--share", isBlank ? 0 : odds[index]);
      value.textContent = isBlank ? "" : percent(odds[index]);
      button.classList.toggle("best", !isBlank && index === best);
      button.setAttribute("aria-pressed", index === (wanted ?? best));
      button.dataset.logit = trace.logits[index];
    });
    say(isBlank ? "No prediction yet" : `${classes[best]}, with probability ${percent(odds[best])}`);
    strips.show(trace, unit);
    look(wanted ?? best);
  }

  // What is open in a fold stays open while a person draws.
  function replaceKept(place, nodes) {
    const open = place.querySelector("details")?.open;
    place.replaceChildren(...nodes);
    if (open) place.querySelector("details").open = true;
  }

  function look(chosen) {
    replaceKept(byId("unit"), unitView(network, trace, unit, run.classes));
    replaceKept(byId("saliency"), saliencyView(saliency(network, trace, chosen), run.classes[chosen]));
  }

  function makeBars(classes) {
    bars = classes.map((name, index) => {
      const bar = el("span", { class: "bar" });
      const value = el("span", { class: "value" });
      const choose = () => {
        wanted = index;
        refresh();
      };
      const button = el("button", { type: "button", "aria-pressed": "false", onclick: choose }, el("span", { class: "name", title: name }, name), bar, value);
      return { button, bar, value };
    });
    byId("probabilities").style.setProperty("--names", `${Math.max(...classes.map((name) => name.length)) + 1}ch`);
    byId("probabilities").replaceChildren(...bars.map(({ button }) => el("li", {}, button)));
  }

  function showTestImage(position, isChosen) {
    const { test } = run;
    const { index, label } = describe(test, test.snapshots.at(-1), position);
    easel.clear();
    note = `Test image ${index}, of class ${label}. Draw to replace it.`;
    see(pixelsOf(test, position));
    if (!isChosen) return;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    byId("draw-section").scrollIntoView({ behavior: calm ? "auto" : "smooth" });
    byId("easel").focus({ preventScroll: true });
  }

  function show(shown) {
    network = shown.network ? makeNetwork(shown.network) : null;
    byId("draw-section").hidden = !network;
    if (!network) return;
    const count = network.layers.at(-1).outputs;
    run = { ...shown, classes: shown.test?.classes ?? Array.from({ length: count }, (_, i) => String(i)) };
    [wanted, unit] = [null, { layer: 0, unit: 0 }];
    makeBars(run.classes);
    strips = makeStrips(network, run.classes, (layer, chosen) => {
      unit = { layer, unit: chosen };
      refresh();
    });
    byId("layers").replaceChildren(...strips.nodes);
    const first = run.test.groups.confident[0] ?? run.test.groups.worst[0];
    showTestImage(first, false);
  }

  // For the console: the network's logits of any 784 bytes, and what it is shown of any strokes.
  globalThis.jaxmnist = {
    logits: (pixels) => Array.from(forward(network, normalized(pixels)).logits),
    saliency: (pixels, chosen) => Array.from(saliency(network, forward(network, normalized(pixels)), chosen)),
    image: (strokes) => Array.from(strokes ? asMnist(inkOf(strokes), SIDE).image : image),
  };
  return { show, showTestImage, network: () => network };
}
