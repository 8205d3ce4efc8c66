// The surfaces of jaxmnist/landscapes/surfaces.py: a height, and its gradient by hand.

const TURN = 2 * Math.PI;

export const SURFACES = {
  valley: {
    height: (x, y) => x ** 2 / 20 + 10 * y ** 2,
    gradient: (x, y) => [(1 / 20) * (2 * x), 10 * (2 * y)],
  },
  turned_valley: {
    height: (x, y) => (x + y) ** 2 / 40 + 5 * (y - x) ** 2,
    gradient(x, y) {
      const along = (1 / 40) * (2 * (x + y));
      const across = 5 * (2 * (y - x));
      return [along - across, along + across];
    },
  },
  saddle: {
    height: (x, y) => x ** 2 - y ** 2 + y ** 4 / 4,
    gradient: (x, y) => [2 * x, -2 * y + y * y * y],
  },
  monkey_saddle: {
    height: (x, y) => x ** 3 - 3 * x * y ** 2 + 0.75 * (x ** 2 + y ** 2) ** 2,
    gradient(x, y) {
      const wall = 0.75 * (2 * (x * x + y * y));
      return [3 * (x * x) - 3 * (y * y) + wall * (2 * x), -3 * x * (2 * y) + wall * (2 * y)];
    },
  },
  beale: {
    height: (x, y) =>
      (1.5 - x + x * y) ** 2 + (2.25 - x + x * y ** 2) ** 2 + (2.625 - x + x * y ** 3) ** 2,
    gradient(x, y) {
      const [a, b, c] = [2 * (1.5 - x + x * y), 2 * (2.25 - x + x * y * y), 2 * (2.625 - x + x * y * y * y)];
      return [
        a * (y - 1) + b * (y * y - 1) + c * (y * y * y - 1),
        a * x + b * x * (2 * y) + c * x * (3 * (y * y)),
      ];
    },
  },
  rosenbrock: {
    height: (x, y) => (1 - x) ** 2 + 100 * (y - x ** 2) ** 2,
    gradient(x, y) {
      const off = 100 * (2 * (y - x * x));
      return [-2 * (1 - x) - off * (2 * x), off];
    },
  },
  himmelblau: {
    height: (x, y) => (x ** 2 + y - 11) ** 2 + (x + y ** 2 - 7) ** 2,
    gradient(x, y) {
      const [a, b] = [2 * (x * x + y - 11), 2 * (x + y * y - 7)];
      return [a * (2 * x) + b, a + b * (2 * y)];
    },
  },
  rastrigin: {
    height: (x, y) => 20 + (x ** 2 - 10 * Math.cos(TURN * x)) + (y ** 2 - 10 * Math.cos(TURN * y)),
    gradient: (x, y) => [x, y].map((w) => 2 * w + 10 * Math.sin(TURN * w) * TURN),
  },
  local_minimum: {
    height: (x, y) =>
      ((x - 1) ** 2 + y ** 2) / 8 - 0.9 * Math.exp(-2 * ((x + 2) ** 2 + y ** 2)),
    gradient(x, y) {
      const dent = 0.9 * Math.exp(-2 * ((x + 2) * (x + 2) + y * y)) * 2;
      return [(1 / 8) * (2 * (x - 1)) + dent * (2 * (x + 2)), (1 / 8) * (2 * y) + dent * (2 * y)];
    },
  },
};
