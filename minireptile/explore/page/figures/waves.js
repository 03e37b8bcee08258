import {figure} from "../figure.js";
import {ask} from "../link.js";
import {Plot, clamp, log10, power} from "../plot.js";
import {curves, error, learn, series} from "./sine.js";

const TURN = 2 * Math.PI, MOST = 10;
const NAMES = {random: "a random θ", joint: "joint training", reptile: "Reptile", fomaml: "FOMAML", maml: "MAML",
               imaml: "iMAML"};
export const named = ([algorithm, , iteration]) => `${NAMES[algorithm]}, ${iteration} iterations`;

figure("waves", ({root, state, change, complain}) => {
  const [first, second] = root.querySelectorAll(".plot");
  const plot = new Plot(first, {x: [-5, 5], y: [-6.5, 6.5], xlabel: "x", ylabel: "y", label: "the wave and the model"});
  const errors = new Plot(second, {
    width: 400, height: 200, margin: [8, 16, 34, 56], ticks: 5, x: [0, 5], y: [-3, 1.7], ytick: power,
    xlabel: "steps taken", xtick: v => Number.isInteger(v) ? v : "", ylabel: "squared error",
    label: "the error after each step",
  });
  const numbers = root.querySelector(".numbers"), mine = root.querySelector("[value=yours]");
  let crest = 0;                                            // where the hand last was

  if (state.start === "yours" && !state.yours) {            // an address knows how theta was made
    state.start = "reptile";
    learn(state.recipe).then(yours => change({yours, start: "yours"}), fault => complain(fault.message));
  }

  plot.svg.addEventListener("click", event => {
    if (!event.target.closest(".hand")) add(plot.place(event)[0]);
  });
  plot.svg.addEventListener("keydown", event => {
    const hand = event.target.closest(".hand.point");
    if (hand && ["Delete", "Backspace"].includes(event.key)) {
      event.preventDefault();
      change({points: state.points.filter((_, i) => i !== hand.index)});
      (plot.kept.get("point 0") ?? plot.kept.get("crest")).focus();
    }
  });
  const press = (name, act) => root.querySelector(`[data-${name}]`).addEventListener("click", act);
  press("add", () => add(widest(state.points)));
  press("clear", () => change({points: []}));
  press("deal", async () => {
    const deal = state.deal % 9999 + 1;
    try {
      change({deal, ...await ask("wave_deal", {deal, shot: state.points.length || 5})});
    } catch (fault) { complain(fault.message); }
  });

  function add(x) {
    if (state.points.length < MOST) change({points: [...state.points, Number(clamp(x, plot.x).toFixed(3))]});
  }

  return {draw({wave_fit: {curves: phi, whole, seen}}, {amplitude, phase, points, steps, start, recipe}) {
    const y = x => amplitude * Math.sin(x + phase), taken = phi.shape[0] - 1;
    plot.redraw(() => {
      plot.line("wave", Array.from({length: 101}, (_, g) => [-5 + g / 10, y(-5 + g / 10)]), "task0 solutions");
      curves(plot, phi);
      const top = TURN / 4 - phase + TURN * Math.round((crest - TURN / 4 + phase) / TURN);
      const at = Math.abs(top) > 5 ? top - Math.sign(top) * TURN : top;
      plot.handle("crest", [at, amplitude], {
        label: "crest of the wave: its amplitude and its phase", kind: "crest task0",
        move: ([x, a]) => {
          crest = x;
          change({amplitude: clamp(a, [0.1, 5]), phase: ((TURN / 4 - x) % TURN + TURN) % TURN});
        },
      });
      points.forEach((x, i) => {
        plot.handle(`point ${i}`, [x, y(x)], {
          label: `point ${i + 1} of ${points.length}`, kind: "point task0", free: "x",
          move: ([to]) => change({points: points.map((p, j) => j === i ? Number(to.toFixed(3)) : p)}),
        }).index = i;
      });
    });
    errors.range({x: [-0.02 * steps, 1.02 * steps]});
    errors.redraw(() => {
      errors.line("whole", series(whole), "update");
      errors.dots("whole dots", series(whole), "update", 2.5);
      errors.line("seen", series(seen), "task0 dashed");
      errors.text("whole name", [steps, log10(whole[taken])], "whole wave", "update end", [-4, -8]);
      if (seen.length && Math.abs(log10(seen[taken]) - log10(whole[taken])) > 0.5)
        errors.text("seen name", [steps, log10(seen[taken])], "points", "task0 end", [-4, 16]);
    });
    mine.disabled = !state.yours;
    mine.closest("label").querySelector("span").textContent = state.yours ? `yours: ${named(recipe)}` : "yours, from below";
    const from = start === "yours" ? `your θ (${named(recipe)})` : NAMES[start];
    numbers.textContent = taken
      ? `From ${from}: error on the whole wave ${error(whole[0])}, after ${taken} ${taken > 1 ? "steps" : "step"} ${error(whole[taken])}.`
      : `From ${from}: error on the whole wave ${error(whole[0])}. No points, no steps.`;
  }};
});

// The middle of the widest gap between points.
function widest(points) {
  const ends = [-5, ...[...points].sort((a, b) => a - b), 5];
  const gaps = ends.slice(1).map((x, i) => [x - ends[i], (x + ends[i]) / 2]);
  return gaps.sort(([a], [b]) => b - a)[0][1];
}
