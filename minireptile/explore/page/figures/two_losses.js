import {figure} from "../figure.js";
import {Plot, track} from "../plot.js";
import {downhill, grid, showWay, solutions, thetaHandle} from "./two_weights.js";

figure("two_losses", ({root, change}) => {
  const plots = ["first", "second", "both"].map(name => new Plot(root.querySelector(`.plot.${name}`), {
    x: [-2.5, 2.5], y: [-2.5, 2.5], xlabel: "w₁", ylabel: "w₂", width: 300, height: 300,
    label: `the plane of the two weights, ${name}`,
  }));
  const title = root.querySelector(".title.after");
  const numbers = root.querySelector(".numbers");

  return {draw({task_losses, meta_loss, meta_ways}, state) {
    const {path, meta_grads, mean_grad, mean_meta_grad} = meta_ways;
    for (const [t, plot] of plots.entries()) {
      if (t < 2) plot.landscape(grid(task_losses.losses, t));
      else plot.landscape(meta_loss.after, {scale: Math.sqrt});
      plot.redraw(() => {
        solutions(plot, task_losses.off, t < 2 ? t : null);
        if (t < 2) showWay(plot, track(path, t), t);
        downhill(plot, state.theta, t < 2 ? {update: meta_grads.subarray(2 * t, 2 * t + 2)}
          : {mean: mean_grad, update: mean_meta_grad}, 0.9);
        thetaHandle(plot, state, change);
      });
    }
    const m = path.shape[0] - 1;
    title.textContent = `The mean loss after ${m} step${m === 1 ? "" : "s"}`;
    const say = g => `(${[...g].map(v => v.toFixed(3)).join(", ")})`;
    numbers.textContent = `mean gradient ${say(mean_grad)}, MAML’s ${say(mean_meta_grad)}`;
  }};
});
