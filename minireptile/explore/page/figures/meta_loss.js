import {figure} from "../figure.js";
import {number, Plot, track} from "../plot.js";
import {downhill, showWay, solutions, thetaHandle} from "./two_weights.js";

figure("meta_loss", ({root, change}) => {
  const [joint, meta] = ["joint", "meta"].map(name => new Plot(root.querySelector(`.plot.${name}`), {
    x: [-2.5, 2.5], y: [-2.5, 2.5], xlabel: "w₁", ylabel: "w₂", label: `the plane of the two weights, ${name} loss`,
  }));
  const numbers = root.querySelector(".numbers");
  const title = root.querySelector(".title.after");

  return {draw({task_losses, meta_loss, meta_ways}, state) {
    const {path, loss_before, loss_after, mean_grad, mean_meta_grad} = meta_ways, m = path.shape[0] - 1;
    const {loss} = task_losses, say = all => number(Number((all.reduce((a, b) => a + b) / all.length).toPrecision(3)));
    joint.landscape(loss, {scale: Math.sqrt, range: [0, ...loss]});
    joint.redraw(() => {
      solutions(joint, task_losses.off);
      downhill(joint, state.theta, {mean: mean_grad}, 0.7);
      thetaHandle(joint, state, change);
    });
    meta.landscape(meta_loss.after, {scale: Math.sqrt, range: [0, ...loss]});
    meta.redraw(() => {
      solutions(meta, task_losses.off);
      downhill(meta, state.theta, {update: mean_meta_grad}, 0.7);
      for (let t = 0; t < path.shape[1]; t++) showWay(meta, track(path, t), t);
      thetaHandle(meta, state, change);
    });
    title.textContent = m === 0 ? "The loss after no step: the same" : `The loss after ${m} step${m > 1 ? "s" : ""}`;
    numbers.textContent = `mean loss from θ: ${say(loss_before)} before, ${say(loss_after)} after ${m} steps`;
  }};
});
