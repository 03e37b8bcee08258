import {figure} from "../figure.js";
import {Plot, track} from "../plot.js";
import {showWay, solutions, thetaHandle} from "./two_weights.js";

figure("one_step", ({root, change}) => {
  const plot = new Plot(root.querySelector(".plot.plane"), {
    x: [-0.5, 3], y: [-0.5, 3], xlabel: "w₁", ylabel: "w₂", label: "the plane of the two weights",
  });
  const angle = new Plot(root.querySelector(".plot.angle"), {
    x: [0, 21], y: [0, 90], xlabel: "inner steps k", ylabel: "angle between the arrows, degrees",
    label: "the angle between the two updates, for every k",
  });
  const numbers = root.querySelector(".numbers");

  return {draw({plane_loss, one_step}, state) {
    const {path, reptile, sgd, angles, lengths} = one_step, k = path.shape[0] - 1;
    const end = by => state.theta.map((v, i) => v + by[i]);
    plot.landscape(plane_loss.loss);
    plot.redraw(() => {
      solutions(plot, plane_loss.off);
      for (let t = 0; t < path.shape[1]; t++) showWay(plot, track(path, t), t);
      plot.arrow("sgd", state.theta, end(sgd), "task2 wide");
      plot.arrow("reptile", state.theta, end(reptile), "update");
      plot.text("reptile name", end(reptile), "Reptile", "update", [-58, -4]);
      if (k > 1) plot.text("sgd name", end(sgd), "SGD", "task2", [-18, 22]);
      thetaHandle(plot, state, change);
    });
    const widest = Math.max(...angles.filter(Number.isFinite), 1);
    angle.range({y: [0, [10, 20, 45, 90, 180].find(v => v >= widest)]});
    angle.redraw(() => {
      const points = [...angles].map((v, i) => [i + 1, v]);
      angle.line("angles", points, "update");
      angle.dots("every k", points, "update", 3);
      angle.handle("k", [k, angles[k - 1] || 0], {
        label: "inner steps k", kind: "update", free: "x", step: 1,
        move: ([x]) => change({steps: Math.min(20, Math.max(1, Math.round(x)))}),
      });
    });
    const say = v => v.toFixed(3);
    numbers.textContent = `angle ${angles[k - 1].toFixed(2)}°; lengths: Reptile ${say(lengths[0])}, SGD ${say(lengths[1])}`;
  }};
});
