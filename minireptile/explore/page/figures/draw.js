import {figure} from "../figure.js";
import {ask} from "../link.js";
import {Plot} from "../plot.js";
import {Cell, readPicture} from "./cells.js";

const LETTERS = "ABCDEFGHIJ", percent = p => `${(100 * p).toFixed(0)} %`;

figure("draw", ({root, state, change, complain}) => {
  const cells = {support: [], query: []}, byHand = new Set();
  const plots = Object.fromEntries(["probabilities", "loss"].map(name => [name, new Plot(
    root.querySelector(`[data-plot=${name}]`),
    {x: [-0.6, 5.6], y: [0, 1.12], width: 320, height: 270, xlabel: "steps", ylabel: name === "loss" ? "loss" : "probability",
     label: name === "loss" ? "the loss on the support set after each step"
                            : "the probability of each class after each step"})]));
  const numbers = root.querySelector(".numbers"), file = root.querySelector("input[type=file]");
  let chosen = null;

  // A new drawing in a cell; what was dealt is then no longer the truth.
  function put(kind, i, text, patch = {truth: []}) {
    change({[kind]: state[kind].with(i, text), ...patch, ...(kind === "query" && {shown: i})});
  }
  async function asking(question, then) {
    try { then(await question); complain(""); } catch (error) { complain(error.message); }
  }
  const takePicture = (kind, i, picture) => asking(
    readPicture(picture).then(grey => ask("picture", grey)),
    ({drawing}) => { byHand.delete(`${kind} ${i}`); put(kind, i, drawing); });

  function size(kind) {
    const place = root.querySelector(`[data-cells=${kind}]`);
    if (!cells[kind].length) place.replaceChildren();         // the room that the page keeps for the first
    while (cells[kind].length > state[kind].length) cells[kind].pop().root.remove();
    while (cells[kind].length < state[kind].length) {
      const i = cells[kind].length, key = `${kind} ${i}`;
      const cell = new Cell(kind === "support" ? `class ${LETTERS[i]}` : `query ${i + 1}`, kind === "support" ? LETTERS[i] : `?${i ? i + 1 : ""}`, {
        stroke: text => {
          const before = state[kind][i], keep = byHand.has(key) && before && before[0] !== "p";
          byHand.add(key);
          put(kind, i, keep ? `${before}-${text}` : text);
        },
        begins: () => byHand.has(key) && state[kind][i][0] !== "p",
        undo: () => put(kind, i, state[kind][i].split("-").slice(0, -1).join("-")),
        clear: () => put(kind, i, ""),
        letter: letter => asking(ask("letter", {letter, hand: Math.floor(1e6 * Math.random())}),
          ({drawing}) => { byHand.delete(key); put(kind, i, drawing); }),
        choose: () => { chosen = [kind, i]; file.click(); },
        picture: picture => takePicture(kind, i, picture),
        focus: () => { if (kind === "query" && state.shown !== i) change({shown: i}); },
      });
      cells[kind].push(cell);
      place.append(cell.root);
    }
    const slider = root.querySelector(`[data-size=${kind}]`);
    slider.value = slider.nextElementSibling.textContent = state[kind].length;
  }

  file.addEventListener("change", () => {
    if (file.files[0]) takePicture(...chosen, file.files[0]);
    file.value = "";
  });
  for (const slider of root.querySelectorAll("[data-size]"))
    slider.addEventListener("input", () => {
      const kind = slider.dataset.size, n = Number(slider.value);
      const drawings = Array.from({length: n}, (_, i) => state[kind][i] ?? "");
      change({[kind]: drawings, truth: [], ...(kind === "query" && {shown: Math.min(state.shown, n - 1)})});
    });
  root.querySelector("[data-deal]").addEventListener("click", () => asking(
    ask("deal", {way: state.support.length, queries: state.query.length, seed: Math.floor(1e6 * Math.random())}),
    task => {
      byHand.clear();
      const rest = Array(state.query.length - task.query.length).fill("");
      change({...task, query: [...task.query, ...rest], shown: 0});
    }));
  root.querySelector("[data-clear]").addEventListener("click", () => {
    byHand.clear();
    change({support: state.support.map(() => ""), query: state.query.map(() => ""), truth: [], shown: 0});
  });
  root.querySelector("[data-reset]").addEventListener("click", () => byHand.clear());

  return {draw({draw: {classes, queries, support, query, loss, probabilities}}, state) {
    size("support");
    size("query");
    const n = classes.length, m = queries.length, steps = loss.length - 1, ready = steps >= 0;
    const p = (step, q, c) => probabilities[(step * m + q) * n + c];
    const best = (step, q) => classes.reduce((top, _, c) => p(step, q, c) > p(step, q, top) ? c : top, 0);
    const shown = Math.max(queries.indexOf(state.shown), 0);
    for (const [kind, present, images] of [["support", classes, support], ["query", queries, query]])
      cells[kind].forEach((cell, i) => {
        const at = present.indexOf(i);
        cell.show(state[kind][i], at < 0 ? null : images.subarray(784 * at, 784 * (at + 1)));
      });
    cells.support.forEach((cell, i) => {
      const c = classes.indexOf(i);
      cell.says(ready && c >= 0 ? percent(p(steps, shown, c)) : "", ready && c >= 0 ? p(steps, shown, c) : 0,
                ready && c >= 0 && c === best(steps, shown));
    });
    cells.query.forEach((cell, i) => {
      const q = queries.indexOf(i), c = ready && q >= 0 ? best(steps, q) : -1;
      const right = state.truth?.length > i ? (classes[c] === state.truth[i] ? " ✓" : ` ✗ it is ${LETTERS[state.truth[i]]}`) : "";
      cell.says(c < 0 ? "?" : `${LETTERS[classes[c]]} ${percent(p(steps, q, c))}${right}`, c < 0 ? 0 : p(steps, q, c), false);
      cell.root.classList.toggle("shown", state.query.length > 1 && q === shown);
    });

    const x = [-0.6, Math.max(steps, 1) + 0.6];
    plots.probabilities.range({x});
    plots.probabilities.redraw(() => {
      for (let s = 0; s <= steps; s++) {
        const top = best(s, shown);
        for (let c = 0; c < n; c++)
          plots.probabilities.bar(`${s} ${c}`, s - 0.4 + 0.8 * c / n, p(s, shown, c), 0.8 / n,
                                  c === top ? "best" : "other");
        plots.probabilities.text(`${s}`, [s - 0.4 + 0.8 * (top + 0.5) / n, p(s, shown, top)],
                                 LETTERS[classes[top]], "step", [0, -4]);
      }
    });
    plots.loss.range({x, y: [0, Math.max(1.8, ...[...loss].filter(Number.isFinite)) * 1.05]});
    plots.loss.redraw(() => {
      const points = [...loss].map((l, i) => [i, l]);
      plots.loss.line("loss", points, "update");
      plots.loss.dots("losses", points, "update");
    });
    if (!ready) {
      numbers.textContent = m ? "Draw an example of two classes at least." : "Draw a query, and two classes at least.";
      return;
    }
    const c = best(steps, shown);
    numbers.textContent = `${m > 1 ? `Query ${queries[shown] + 1} is ` : "It is "}${LETTERS[classes[c]]}, `
      + `with probability ${p(steps, shown, c).toFixed(4)}, after ${steps} steps; `
      + `loss ${loss[0].toFixed(4)} → ${loss[steps].toFixed(4)}`;
  }};
});
