import {figure} from "../figure.js";
import {Plot, track} from "../plot.js";
import {showWay, solutions, taskPlot, thetaHandle} from "./two_weights.js";

figure("reptile_step", ({root, change}) => {
  const plot = new Plot(root.querySelector(".plot.plane"), {
    x: [-0.5, 3], y: [-0.5, 3], xlabel: "w₁", ylabel: "w₂", label: "the plane of the two weights",
  });
  const showTasks = taskPlot(root, change);
  const numbers = root.querySelector(".numbers");

  return {draw({plane_loss, plane_outputs, reptile_step}, state) {
    const {path, mean, next} = reptile_step, T = state.tasks.length;
    if (path.shape[1] !== T || plane_loss.off.shape[0] !== T) return;       // the answers of before
    plot.landscape(plane_loss.loss);
    plot.redraw(() => {
      solutions(plot, plane_loss.off);
      for (let t = 0; t < T; t++) {
        const way = track(path, t);
        plot.line(`to mean ${t}`, [way.at(-1), [...mean]], "mean dotted");
        showWay(plot, way, t);
      }
      plot.dots("mean", [[...mean]], "mean", 5);
      plot.text("mean name", mean, "φ̄", "mean");
      plot.arrow("update", state.theta, [...next], "update");
      thetaHandle(plot, state, change);
    });
    showTasks(plane_outputs, state);
    const [a, b] = state.theta, [c, d] = next;
    numbers.textContent = `θ = (${a.toFixed(3)}, ${b.toFixed(3)}) → (${c.toFixed(3)}, ${d.toFixed(3)})`;
  }};
});
