// The six optimizers' recurrences for one parameter, as jaxmnist/optim has them. Each takes its
// arguments and returns `update(gradient)`, what to add to the parameter.

const moved = (old, value, decay) => {
  const weight = 1 - decay;
  return old - weight * old + weight * value;
};
const root = (x, { eps_root: inside, eps: outside }) => Math.sqrt(x + inside) + outside;
const oneMinusPower = (decay, count) => -Math.expm1(count * Math.log(decay));

export const RECURRENCES = {
  sgd: ({ learning_rate: rate }) => (g) => -rate * g,

  momentum({ learning_rate: rate, momentum, learning_rate_in_velocity: inside }) {
    let velocity = 0;
    return (g) => {
      velocity = momentum * velocity + (inside ? rate * g : g);
      return inside ? -velocity : -rate * velocity;
    };
  },

  adagrad(hyper) {
    let sum = hyper.initial_accumulator_value;
    return (g) => {
      sum += g * g;
      return (-hyper.learning_rate / root(sum, hyper)) * g;
    };
  },

  rmsprop(hyper) {
    let square = 0;
    return (g) => {
      square = moved(square, g * g, hyper.decay);
      return (-hyper.learning_rate / root(square, hyper)) * g;
    };
  },

  adadelta(hyper) {
    let [square, changes] = [0, 0];
    return (g) => {
      square = moved(square, g * g, hyper.rho);
      const change = (root(changes, hyper) / root(square, hyper)) * g;
      changes = moved(changes, change * change, hyper.rho);
      return -hyper.learning_rate * change;
    };
  },

  adam(hyper) {
    let [mean, square, count] = [0, 0, 0];
    return (g) => {
      count += 1;
      mean = moved(mean, g, hyper.b1);
      square = moved(square, g * g, hyper.b2);
      const m = mean / oneMinusPower(hyper.b1, count);
      const n = square / oneMinusPower(hyper.b2, count);
      return (-hyper.learning_rate / root(n, hyper)) * m;
    };
  },
};

// The start and the point after each step.
export function trajectory(surface, recurrence, hyper, [x0, y0], steps) {
  const updates = [recurrence(hyper), recurrence(hyper)];
  const path = [[x0, y0]];
  for (let step = 0; step < steps; step++) {
    const point = path[step];
    const gradient = surface.gradient(...point);
    path.push(point.map((w, i) => w + updates[i](gradient[i])));
  }
  return path;
}
