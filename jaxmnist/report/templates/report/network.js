// The trained network, run from its weights: h = max(0, Wh + b) after every layer but the last.
import { floatsOf } from "../shared/bytes.js";

export function makeNetwork(description) {
  const layers = description.layers.map((layer) => ({
    inputs: layer.inputs,
    outputs: layer.outputs,
    weight: floatsOf(layer.weight),
    bias: floatsOf(layer.bias),
  }));
  return { layers, dtype: description.dtype, rounded: ROUNDING[description.dtype] };
}

// Each layer computes in the run's own precision; sums are in double, closer than any of them.
const ROUNDING = { float32: Math.fround, float64: (value) => value, bfloat16: toBfloat16 };
const words = new DataView(new ArrayBuffer(4));

function toBfloat16(value) {
  words.setFloat32(0, value);
  const bits = words.getUint32(0);
  const even = (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 0;
  words.setUint32(0, even & 0xffff0000);
  return words.getFloat32(0);
}

// Bytes 0 to 255 become -1 to 1, as in training.
export function normalized(pixels) {
  return Float32Array.from(pixels, (p) => (Math.fround(Math.fround(p / 255) - 0.5)) / 0.5);
}

// Returns what enters each layer, and every layer's sums; the last layer's are the logits.
export function forward(network, input) {
  const { layers, rounded } = network;
  const inputs = [];
  const sums = [];
  let h = input;
  layers.forEach(({ inputs: width, outputs, weight, bias }, index) => {
    if (index > 0) h = h.map((value) => Math.max(0, value));
    h = h.map(rounded);
    inputs.push(h);
    const z = new Float64Array(outputs);
    for (let unit = 0, at = 0; unit < outputs; unit++) {
      let sum = 0;
      for (let i = 0; i < width; i++, at++) sum += rounded(weight[at]) * h[i];
      z[unit] = rounded(rounded(sum) + rounded(bias[unit]));
    }
    sums.push(z);
    h = z;
  });
  return { inputs, sums, logits: h };
}

export function softmax(logits) {
  const top = Math.max(...logits);
  const powers = Array.from(logits, (z) => Math.exp(z - top));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return powers.map((power) => power / total);
}

// The gradient of one class's logit with respect to the network's 784 inputs.
export function saliency(network, trace, chosen) {
  let gradient = new Float64Array(network.layers.at(-1).outputs);
  gradient[chosen] = 1;
  for (let index = network.layers.length - 1; index >= 0; index--) {
    const { inputs: width, outputs, weight } = network.layers[index];
    const before = new Float64Array(width);
    for (let unit = 0; unit < outputs; unit++) {
      const slope = gradient[unit];
      if (slope === 0) continue;
      const row = unit * width;
      for (let i = 0; i < width; i++) before[i] += slope * weight[row + i];
    }
    if (index > 0) {
      // ReLU passes on where its sum was above 0.
      trace.sums[index - 1].forEach((z, i) => {
        if (!(z > 0)) before[i] = 0;
      });
    }
    gradient = before;
  }
  return gradient;
}

// What each input of a unit adds to its sum: input × weight.
export function contributions(network, trace, layer, unit) {
  const { inputs: width, weight } = network.layers[layer];
  return trace.inputs[layer].map((value, i) => value * weight[unit * width + i]);
}
