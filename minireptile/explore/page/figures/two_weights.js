// What the figures in the plane of two weights share.
import {Plot} from "../plot.js";

const NAMES = "₁₂₃₄";
export const sub = t => NAMES[t];

// The data of the answers: the t-th of the grids (T, size, size).
export function grid(all, t) {
  const [, rows, columns] = all.shape, found = all.subarray(t * rows * columns, (t + 1) * rows * columns);
  return Object.assign(found, {shape: [rows, columns]});
}

// Each task's curve of solutions, in its colour.
export function solutions(plot, off, only = null) {
  for (let t = 0; t < off.shape[0]; t++)
    if (only === null || only === t)
      plot.isoline(`solutions ${t}`, grid(off, t), 0, `task${t} solutions`);
}

export function thetaHandle(plot, state, change) {
  plot.handle("theta", state.theta, {
    label: "theta, the initialisation", kind: "theta", move: theta => change({theta}),
  });
  plot.text("theta name", state.theta, "θ", "theta", [-16, -8]);
}

// Arrows from theta against gradients, {kind: gradient}; the longest has a length, and the others
// are in proportion.
export function downhill(plot, theta, gradients, length) {
  const most = Math.max(...Object.values(gradients).map(g => Math.hypot(...g)));
  for (const [kind, g] of Object.entries(gradients))
    plot.arrow(`down ${kind}`, theta, theta.map((v, i) => v - length * g[i] / (most || 1)), kind);
}

// A task's way from theta, ending in an arrow at its phi.
export function showWay(plot, way, t) {
  plot.line(`way ${t}`, way.slice(0, -1), `task${t} thin`);
  plot.dots(`steps ${t}`, way.slice(1, -1), `task${t}`, 2.5);
  if (way.length < 2) return;
  plot.arrow(`last ${t}`, way.at(-2), way.at(-1), `task${t} thin`);
  plot.name(`phi ${t}`, way.at(-1), way[0], `φ${sub(t)}`, `task${t}`);
}

// The other picture of the same: the network's output along x, through the tasks' examples, which
// can be taken hold of, and, with buttons data-add and data-remove, be more and fewer.
export function taskPlot(root, change) {
  const plot = new Plot(root.querySelector(".plot.tasks"), {
    x: [-3, 3], y: [-3, 3], xlabel: "x", ylabel: "y", ticks: 6, label: "the tasks, one example each",
  });
  const [more, fewer] = ["[data-add]", "[data-remove]"].map(name => root.querySelector(name));
  const deal = [[-1, -1.2], [2, 1.6], [-2, -1.9], [1, 2.2]];
  let tasks = [];
  more?.addEventListener("click", () => {
    if (tasks.length < 4) change({tasks: [...tasks, deal[tasks.length]]});
  });
  fewer?.addEventListener("click", () => { if (tasks.length > 1) change({tasks: tasks.slice(0, -1)}); });
  return ({outputs}, state) => {
    tasks = state.tasks;
    if (more) more.disabled = tasks.length === 4;
    if (fewer) fewer.disabled = tasks.length === 1;
    const [curves, along] = outputs.shape;
    plot.redraw(() => {
      for (let c = 0; c < curves; c++) {
        const points = Array.from({length: along}, (_, i) => [6 * i / (along - 1) - 3, outputs[c * along + i]]);
        plot.line(`output ${c}`, points, c ? `task${c - 1} thin` : "theta dashed");
      }
      for (let t = 0; t < tasks.length; t++) {
        plot.handle(`task ${t}`, tasks[t], {
          label: `the example of task ${t + 1}`, kind: `task${t}`,
          move: place => change({tasks: state.tasks.map((old, i) => i === t ? place : old)}),
        });
        plot.text(`task name ${t}`, tasks[t], String(t + 1), `task${t}`, [9, -9]);
      }
    });
  };
}
