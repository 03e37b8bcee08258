// What the figures in the plane of two weights share.

// Each task's curve of solutions, in its colour.
export function solutions(plot, off) {
  const [T, rows, columns] = off.shape;
  for (let t = 0; t < T; t++) {
    const grid = off.subarray(t * rows * columns, (t + 1) * rows * columns);
    grid.shape = [rows, columns];
    plot.isoline(`solutions ${t}`, grid, 0, `task${t} solutions`);
  }
}

export function thetaHandle(plot, state, change) {
  plot.handle("theta", state.theta, {
    label: "theta, the initialisation", kind: "theta", move: theta => change({theta}),
  });
  plot.text("theta name", state.theta, "θ", "theta", [10, -10]);
}
