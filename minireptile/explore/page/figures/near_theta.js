// iMAML: the landscape with its pull to theta, and the balance at its minimum.
import {figure} from "../figure.js";
import {Plot, number, track} from "../plot.js";
import {solutions, thetaHandle} from "./two_weights.js";

const PLANE = {x: [-0.5, 3], y: [-0.5, 3], xlabel: "w₁", ylabel: "w₂"};
const size = v => !Number.isFinite(v) ? "beyond numbers" : v >= 0.001 && v < 1000 ? v.toFixed(3) : v.toExponential(0);

figure("prox_loss", ({root, state, change}) => {
  const plots = [...root.querySelectorAll(".plot")].map((plot, t) =>
    new Plot(plot, {...PLANE, label: `the plane of the two weights, task ${t + 1}`}));
  const numbers = root.querySelector(".numbers");

  return {draw({prox_loss: {off, pulled, path, minimum, left}}, state) {
    plots.forEach((plot, t) => {
      const [, rows, columns] = pulled.shape, cells = rows * columns;
      const part = all => Object.assign(all.subarray(t * cells, (t + 1) * cells), {shape: [rows, columns]});
      plot.landscape(part(pulled));
      plot.redraw(() => {
        plot.isoline("solutions", part(off), 0, `task${t} solutions`);
        const way = track(path, t), end = [minimum[2 * t], minimum[2 * t + 1]];
        plot.line("pull", [state.theta, end], "update dashed thin");
        plot.line("way", way, `task${t} thin`);
        plot.dots("minimum", [end], `task${t}`, 5);
        plot.text("phi", end, `φ*${"₁₂"[t]}`, `task${t}`, [9, -9]);
        thetaHandle(plot, state, change);
      });
    });
    const at = t => `(${minimum[2 * t].toFixed(2)}, ${minimum[2 * t + 1].toFixed(2)})`;
    numbers.textContent = `λ = ${number(state.prox)}: φ*₁ = ${at(0)}, φ*₂ = ${at(1)}; what is left of the ` +
      `gradient there: ${size(left[0])} and ${size(left[1])}.`;
  }};
});

figure("balance", ({root, state, change}) => {
  const [left, right] = root.querySelectorAll(".plot");
  const plane = new Plot(left, {...PLANE, label: "the plane of the two weights"});
  const curve = new Plot(right, {
    x: [0, 60], y: [-8, 2], xlabel: "inner steps k", ylabel: "what is left, as a power of ten",
    label: "what is left of the balance after every step", ticks: 5,
  });
  const numbers = root.querySelector(".numbers");

  return {draw({plane_loss, balance}, state) {
    const {way, phi, gradient, pull, residual, sizes} = balance, steps = state.steps;
    const off = balance.left[steps];
    const from = arrow => [phi[0] + arrow[0], phi[1] + arrow[1]], against = v => from([-v[0], -v[1]]);
    plane.landscape(plane_loss.loss);
    plane.redraw(() => {
      solutions(plane, plane_loss.off);
      const path = Array.from({length: steps + 1}, (_, i) => [way[2 * i], way[2 * i + 1]]);
      plane.line("way", path, "mean thin");
      plane.dots("steps", path.slice(1), "mean", 2);
      plane.arrow("loss", phi, against(gradient), "task0");
      plane.arrow("pull", phi, against(pull), "update");
      plane.arrow("residual", phi, against(residual), "bad");
      plane.dots("phi", [[...phi]], "mean", 5);
      plane.text("phi name", phi, "φ", "mean", [4, 19]);
      plane.text("loss name", against(gradient), "−∇L", "task0");
      plane.text("pull name", against(pull), "−λ(φ − θ)", "update", [-30, 20]);
      plane.text("residual name", against(residual), "their sum", "bad", [8, 6]);
      thetaHandle(plane, state, change);
    });
    curve.redraw(() => {
      const points = Array.from(balance.left, (v, i) => [i, v > 0 ? Math.log10(v) : NaN]);
      curve.line("left", points, "bad");
      curve.handle("steps", points[steps].map((v, i) => Number.isFinite(v) ? v : i ? 2 : steps), {
        label: "inner steps", free: "x", step: 1, kind: "bad", move: ([k]) => change({steps: Math.round(k)}),
      });
    });
    numbers.textContent = `After ${steps} steps |∇L| = ${size(sizes[0])}, λ|φ − θ| = ${size(sizes[1])}, ` +
      `and the sum of the two arrows still has the length ${size(off)}.`;
  }};
});
