import {figure} from "../figure.js";
import {Plot} from "../plot.js";
import {solutions, taskPlot, thetaHandle} from "./two_weights.js";

const METHODS = {joint: "joint", fomaml: "FOMAML", maml: "MAML", reptile: "Reptile", imaml: "iMAML"};

figure("comparison", ({root, change}) => {
  const plot = new Plot(root.querySelector(".plot.plane"), {
    x: [-0.5, 3], y: [-0.5, 3], xlabel: "w₁", ylabel: "w₂", label: "the plane of the two weights",
  });
  const showTasks = taskPlot(root, change);
  const rows = Object.fromEntries(Object.keys(METHODS).map(m => [m, root.querySelector(`tr.${m}`)]));
  const numbers = root.querySelector(".numbers");

  return {draw({comparison_plane, plane_outputs, comparison}, state) {
    const {updates, lengths, angles} = comparison, ends = {};
    plot.landscape(comparison_plane.after);
    plot.redraw(() => {
      solutions(plot, comparison_plane.off);
      for (const [i, method] of Object.keys(METHODS).entries()) {
        const by = updates.subarray(2 * i, 2 * i + 2), known = by.every(Number.isFinite);
        const told = [...[...by, lengths[i]].map(v => v.toFixed(3)), `${angles[i].toFixed(1)}°`];
        rows[method].querySelectorAll("td + td").forEach((cell, n) => { cell.textContent = known ? told[n] : "–"; });
        if (!state[method] || !known) continue;
        const scale = state.unit ? 1.1 / (lengths[i] || 1) : 1;
        ends[method] = state.theta.map((v, j) => v + scale * by[j]);
        plot.arrow(method, state.theta, ends[method], method);
      }
      for (const [method, end, offset] of apart(plot, ends, state.theta))
        plot.text(`name ${method}`, end, METHODS[method], method, offset);
      thetaHandle(plot, state, change);
    });
    showTasks(plane_outputs, state);
    const gap = Number.isFinite(updates[8]) ? ""
      : state.steps === 1 ? "; iMAML has no step to take" : "; iMAML: no minimum where its steps end, raise λ or k";
    numbers.textContent = `Reptile’s is ${(lengths[3] / lengths[2]).toFixed(2)} times as long as MAML’s, `
      + `${angles[3].toFixed(1)}° away from it${gap}`;
  }};
});

// Names beside the arrows' heads, one below the other where heads are close.
function apart(plot, ends, theta) {
  const names = Object.entries(ends).map(([method, end]) => {
    const right = end[0] >= theta[0];
    return {method, end, x: plot.X(end[0]) + (right ? 9 : -9 - 9 * METHODS[method].length), y: plot.Y(end[1]) + 5};
  }).sort((a, b) => a.y - b.y);
  for (const [i, name] of names.entries())
    for (const above of names.slice(0, i))
      if (Math.abs(above.x - name.x) < 60 && name.y - above.y < 15) name.y = above.y + 15;
  return names.map(({method, end, x, y}) => [method, end, [x - plot.X(end[0]), y - plot.Y(end[1])]]);
}
