import {figure} from "../figure.js";
import {Plot} from "../plot.js";
import {thetaHandle} from "./two_weights.js";

figure("taylor", ({root, change}) => {
  const plot = new Plot(root.querySelector(".plot.plane"), {
    x: [0.1, 1.5], y: [1.5, 2.9], xlabel: "w₁", ylabel: "w₂", label: "the plane of the two weights",
  });
  const rests = new Plot(root.querySelector(".plot.rests"), {
    x: [-4, 0], y: [-8, 1], xlabel: "log₁₀ of α", ylabel: "log₁₀ of the rest’s length",
    label: "what the two terms leave out, against the inner rate",
  });
  const numbers = root.querySelector(".numbers"), terms = root.querySelectorAll(".terms span");

  return {draw({taylor_plane, taylor}, state) {
    const {update, parts, coefficients, alphas, rest, slope} = taylor;
    const add = (from, i) => from.map((v, j) => v + parts[2 * i + j]);
    if (state.land === "inner") plot.landscape(taylor_plane.inner, {scale: Math.asinh, bands: 20});
    else plot.landscape(taylor_plane.loss);
    plot.redraw(() => {
      const order = state.land === "inner" ? [1, 0] : [0, 1], names = ["AvgGrad", "AvgGradInner"];
      const a = add(state.theta, order[0]), b = add(a, order[1]), c = add(b, 2);
      for (const [i, from, to] of [[order[0], state.theta, a], [order[1], a, b]]) {
        plot.arrow(names[i], from, to, ["grad", "inner"][i]);
        if (i === 0 || coefficients[1] !== 0) plot.name(`name ${i}`, to, from, names[i], ["grad", "inner"][i]);
      }
      plot.arrow("rest", b, c, "rest");
      plot.arrow("update", state.theta, state.theta.map((v, j) => v + update[j]), "update");
      thetaHandle(plot, state, change);
    });
    const log = (x, y) => [Math.log10(x), Math.log10(y)];
    rests.redraw(() => {
      rests.line("rests", [...alphas].map((x, i) => log(x, taylor.rests[i])), "rest");
      rests.dots("here", [log(state.rate, rest[0])], "rest", 5);
      if (Number.isFinite(slope[0])) {
        const [x, y] = log(alphas[8], taylor.rests[8]);
        rests.line("two", [[x - 1, y - 2], [x + 2, y + 4]].map(([u, v]) => [u, v - 0.6]), "dotted");
        rests.text("two name", [x + 0.6, y + 1.2 - 0.6], "slope 2", "", [8, 12]);
      }
    });
    [...coefficients].forEach((v, i) => { terms[i].textContent = String(v).replace("-", "−"); });
    numbers.textContent = Number.isFinite(slope[0])
      ? `the rest is ${(100 * Math.hypot(parts[4], parts[5]) / Math.hypot(...update)).toFixed(1)} % of the update; for small α it falls with α to the power ${slope[0].toFixed(2)}`
      : "One mini-batch: AvgGrad is all there is, and nothing is left out.";
  }};
});
