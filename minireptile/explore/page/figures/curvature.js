import {figure} from "../figure.js";
import {Plot} from "../plot.js";
import {solutions, thetaHandle} from "./two_weights.js";

figure("curvature", ({root, state, change}) => {
  const [left, right] = root.querySelectorAll(".plot");
  const plane = new Plot(left, {
    x: [-0.5, 3], y: [-0.5, 3], xlabel: "w₁", ylabel: "w₂", label: "the plane of the two weights",
  });
  const cut = new Plot(right, {
    x: [0, 1], y: [-1, 2], xlabel: "length a of the step from θ, along −∇L", ylabel: "loss",
    label: "the loss along the step, with its tangent and its parabola",
  });
  const numbers = root.querySelector(".numbers");
  const ahead = (from, gradient) => from.map((v, i) => v - gradient[i]);

  return {draw({plane_loss, curvature}, state) {
    const {lengths, phi, fomaml, maml, angle, bend, at: [loss, tangent, parabola]} = curvature;
    const {theta, rate} = state, n = lengths.length;
    plane.landscape(plane_loss.loss);
    plane.redraw(() => {
      solutions(plane, plane_loss.off);
      plane.arrow("inner step", theta, [...phi], "task0");
      plane.text("phi", phi, "φ", "task0");
      const ends = {FOMAML: ahead(theta, fomaml), MAML: ahead(theta, maml)};
      plane.arrow("maml", theta, ends.MAML, "good");
      plane.arrow("fomaml", theta, ends.FOMAML, "bad");
      const left = ends.MAML[0] < ends.FOMAML[0] ? -56 : 8;
      plane.text("maml name", ends.MAML, "MAML", "good", [left, -4]);
      plane.text("fomaml name", ends.FOMAML, "FOMAML", "bad", [left < 0 ? 8 : -72, 12]);
      thetaHandle(plane, state, change);
    });
    const curve = i => Array.from(lengths, (a, j) => [a, curvature.cut[i * n + j]]);
    const start = curvature.cut[0];
    cut.range({y: [-0.6 * start - 0.02, 1.4 * start + 0.02]});
    cut.redraw(() => {
      cut.line("parabola", curve(2), "good");
      cut.line("tangent", curve(1), "bad dashed");
      cut.line("loss", curve(0), "thick");
      cut.line("miss", [[rate, loss], [rate, tangent]], "bad thin");
      cut.dots("promised", [[rate, tangent]], "bad", 3.5);
      cut.dots("promised better", [[rate, parabola]], "good", 3.5);
      cut.handle("rate", [rate, loss], {
        label: "the inner rate, along the loss", free: "x", kind: "task0",
        move: ([a]) => change({rate: Math.round(a * 100) / 100}),
      });
      cut.text("phi", [rate, loss], "φ", "task0", [11, 16]);
      [["the loss", ""], ["its parabola", "good"], ["its tangent", "bad"]].forEach(([words, kind], i) =>
        cut.text(words, [1, cut.y[0]], words, kind, [-100, 20 * i - 52]));
    });
    const say = (v, digits = 3) => Number.isFinite(v) ? v.toFixed(digits).replace("-", "−") : "beyond numbers";
    numbers.textContent = `At φ the loss is ${say(loss)}; the tangent promised ${say(tangent)}, the parabola ` +
      `${say(parabola)}. Curvature along the step: ${say(bend[0])}. MAML and FOMAML differ by ${say(angle, 1)}°.`;
  }};
});
