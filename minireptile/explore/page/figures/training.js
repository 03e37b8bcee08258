import {figure} from "../figure.js";
import {Plot, log10, power} from "../plot.js";
import {PIECE, curves, error} from "./sine.js";
import {token} from "./token.js";

const MOST = 3000;
const still = matchMedia("(prefers-reduced-motion: reduce)");

figure("training", ({root, state, change}) => {
  const [first, second] = root.querySelectorAll(".plot");
  const plot = new Plot(first, {x: [-5, 5], y: [-6.5, 6.5], xlabel: "x", ylabel: "y", label: "an unseen wave"});
  const errors = new Plot(second, {
    width: 400, height: 200, margin: [8, 16, 34, 56], ticks: 5, x: [0, 200], y: [-1.3, 1.3], ytick: power, xlabel: "iterations",
    ylabel: "squared error", label: "the error on unseen waves as training goes on",
  });
  const numbers = root.querySelector(".numbers"), play = root.querySelector("[data-play]");
  const step = root.querySelector("[data-step]"), runs = {};
  let playing = false, goal = 0, now = null;                // now: the newest answer of this run

  const begin = {start: 0, iteration: 0, theta: null};
  if (state.iteration) {                                    // the address says how far it was
    goal = state.iteration;
    Object.assign(state, begin, {iteration: Math.min(goal, PIECE)});
  }

  const drive = on => {
    playing = on;
    play.textContent = on ? "Pause" : "Play";
    numbers.setAttribute("aria-live", on ? "off" : "polite");
    if (on) go(state.speed);
  };
  const ready = () => now && key(now) === key(state) && now.iteration === state.iteration;
  const go = by => ready() && change({start: now.iteration, theta: now.theta, iteration: Math.min(now.iteration + by, MOST)});
  play.addEventListener("click", () => drive(!playing));
  step.addEventListener("click", () => { drive(false); go(state.speed); });
  root.querySelector("[data-again]").addEventListener("click", () => {
    drive(false);
    goal = 0;
    change(begin);
  });
  root.addEventListener("input", ({target}) => {            // before figure.js asks
    if (target.name !== "algorithm" && target.name !== "seed") return;
    goal = 0;
    Object.assign(state, begin);
  }, true);
  const motion = () => { play.hidden = still.matches; if (still.matches) drive(false); };
  still.addEventListener("change", motion);
  motion();
  const give = token(root.querySelector(".token"), document.getElementById("waves"), () => ready() &&
    {yours: now.theta, recipe: [now.algorithm, now.seed, now.iteration], start: "yours"});

  return {draw({meta_train: found}, state) {
    if (found !== now && key(found) === key(state) && found.iteration === state.iteration) {
      now = found;
      const run = runs[key(now)] ??= [];
      if (run.length && run.at(-1)[0] >= now.iteration) run.length = 0;
      run.push([now.iteration, ...now.errors, now.loss.reduce((a, b) => a + b, 0) / now.loss.length]);
      if (now.iteration >= MOST) drive(false);
      else if (now.iteration < goal) go(Math.min(PIECE, goal - now.iteration));
      else if (playing) go(state.speed);
    }
    const shown = now ?? found;
    plot.redraw(() => {
      const {true: wave, x, y} = shown;
      plot.line("wave", [...wave].map((v, g) => [-5 + g / 10, v]), "task0 solutions");
      curves(plot, shown.curves);
      plot.dots("points", [...x].map((v, i) => [v, y[i]]), "task0", 5);
    });
    const longest = Math.max(...Object.values(runs).map(run => run.at(-1)[0]));
    errors.range({x: [0, [250, 500, 1000, 2000].find(n => n >= 1.3 * longest) ?? 1.3 * MOST]});
    errors.redraw(() => {
      for (const [name, run] of Object.entries(runs)) {
        const own = name === key(state), line = column => run.map(row => [row[0], log10(row[column])]);
        errors.line(`after ${name}`, line(2), own ? "update" : "mean thin faint");
        const [iteration, before, after] = run.at(-1);
        errors.dots(`end ${name}`, [[iteration, log10(after)]], own ? "update" : "mean", 3);
        if (own) {
          errors.line("training", line(3), "task0 thin faint");
          errors.line("before", line(1), "theta dashed thin");
          errors.text("before name", [iteration, log10(before)], "before", "theta small", [6, -7]);
          errors.text("after name", [iteration, log10(after)], "after 8 steps", "update small", [6, 14]);
        } else errors.text(`name ${name}`, [iteration, log10(after)], name.split(" ")[0], "mean end small", [-4, -6]);
      }
    });
    give.label(shown.iteration);
    numbers.textContent = `Iteration ${shown.iteration} of ${MOST.toLocaleString("en")}. Error on ten unseen waves: ` +
      `${error(shown.errors[0])} before, ${error(shown.errors[1])} after eight steps.`;
  }};
});

const key = ({algorithm, seed}) => `${algorithm} ${seed}`;
