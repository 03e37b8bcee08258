import {figure} from "../figure.js";
import {Plot} from "../plot.js";

figure("manifolds", ({root, state, change}) => {
  const plot = new Plot(root.querySelector(".plot"), {
    x: [-0.6, 1.4], y: [-0.6, 1.4], xlabel: "w₁", ylabel: "w₂",
    label: "the plane of the two weights, with a line of solutions for each task",
  });
  const numbers = root.querySelector(".numbers"), play = root.querySelector("[data-play]");
  let trail = [], next = null, timer = 0, playing = false;

  function step() {
    if (next) change({theta: next, iteration: state.iteration + 1});
  }
  function run(on) {
    playing = on;
    play.textContent = on ? "Pause" : "Play";
    clearTimeout(timer);
    if (on) step();
  }
  play.addEventListener("click", () => run(!playing));
  root.querySelector("[data-step]").addEventListener("click", () => { run(false); step(); });
  root.querySelector("[data-reset]").addEventListener("click", () => run(false));

  return {draw({line_distance, manifolds}, state) {
    const {lines, far, nearest, least} = line_distance, {walk, phi, drawn, distance, joint} = manifolds;
    const {theta, iteration} = state, fresh = String(walk[0]) === String(theta);
    if (!iteration) trail = [];
    if (trail.length !== iteration + 1) trail[iteration] = theta;
    plot.landscape(far);
    plot.redraw(() => {
      for (let t = 0; t < 3; t++)
        plot.line(`line ${t}`, [0, 1].map(e => [lines[4 * t + 2 * e], lines[4 * t + 2 * e + 1]]), `task${t} solutions`);
      for (let i = 0; i < drawn.length; i++) {
        const end = [phi[2 * i], phi[2 * i + 1]];
        plot.line(`inner ${i}`, [theta, end], `task${drawn[i]} thin`);
        plot.dots(`phi ${i}`, [end], `task${drawn[i]}`, 3.5);
      }
      plot.line("ahead", walk, "update dashed thin");
      plot.dots("ahead dots", walk.slice(1), "update faint", 2);
      plot.line("trail", trail.filter(Boolean), "update");
      plot.dots("nearest", [[...nearest]], "good", 5);
      plot.text("nearest name", nearest, "least distance", "good", [-106, 5]);
      plot.dots("joint", [[...joint]], "mean", 5);
      plot.text("joint name", joint, "least loss", "mean", [9, -7]);
      plot.handle("theta", theta, {
        label: "theta, the initialisation", kind: "theta",
        move: to => { trail = []; change({theta: to, iteration: 0}); },
      });
      plot.text("theta name", theta, "θ", "theta", [10, 18]);
    });
    numbers.textContent = `Iteration ${iteration}: mean squared distance from θ to the lines ` +
      `${distance.toFixed(4)}; at least ${least.toFixed(4)}.`;
    next = fresh ? walk[1] : null;
    if (playing && fresh) {
      clearTimeout(timer);
      timer = setTimeout(step, 1000 / state.speed);
    }
  }};
});
