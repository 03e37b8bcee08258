import {figure} from "../figure.js";
import {paint} from "./cells.js";

figure("guess", ({root, state, change}) => {
  const place = root.querySelector(".glyphs"), asked = root.querySelector(".asked canvas");
  const next = root.querySelector("[data-next]"), numbers = root.querySelector(".numbers");
  const buttons = [];
  let task = null;

  function choose(i) {
    if (!task || state.guess >= 0) return;
    const {truth, reptile} = task, [mine, its, played] = state.score[state.way];
    const score = [mine + (i === truth), its + (reptile === truth), played + 1];
    change({guess: i, score: {...state.score, [state.way]: score}});
    next.focus();
  }
  next.addEventListener("click", () => change({seed: (state.seed + 1) % 1e6, guess: -1}));
  root.querySelector("select").addEventListener("input", () => change({guess: -1}));

  return {draw({guess: {support, query, truth, probabilities, seed}}, state) {
    const way = probabilities.length;
    if (seed !== state.seed || way !== state.way) return;     // the next task is on its way
    const reptile = probabilities.indexOf(Math.max(...probabilities)), done = state.guess >= 0;
    task = {truth, reptile};
    while (buttons.length > way) buttons.pop().button.remove();
    while (buttons.length < way) {
      const i = buttons.length;                               // the page has the first five
      const button = place.children[i] ?? place.appendChild(place.firstElementChild.cloneNode(true));
      const [canvas, share, word] = button.children;
      button.disabled = false;
      button.addEventListener("click", () => choose(i));
      buttons.push({button, canvas, share, word});
    }
    place.classList.toggle("many", way > 5);
    paint(asked, query);
    buttons.forEach(({button, canvas, share, word}, i) => {
      const who = [i === state.guess && "you", i === reptile && "Reptile"].filter(Boolean).join(", ");
      paint(canvas, support.subarray(784 * i, 784 * (i + 1)));
      button.classList.toggle("right", done && i === truth);
      button.classList.toggle("wrong", done && i !== truth && i === state.guess);
      share.style.setProperty("--share", done ? probabilities[i] : 0);
      word.textContent = done ? `${i === truth ? "✓ " : who ? "✗ " : ""}${who}` : "";
      button.setAttribute("aria-label", `class ${i + 1}${done ? `, ${(100 * probabilities[i]).toFixed(0)} % says Reptile`
        + `${who ? `, chosen by ${who}` : ""}${i === truth ? ", right" : ""}` : ""}`);
      button.setAttribute("aria-disabled", done);
    });
    const [mine, its, played] = state.score[way];
    const now = !done ? "" : `You are ${state.guess === truth ? "right" : "wrong"}, Reptile is `
      + `${reptile === truth ? "right" : "wrong"} with ${(100 * probabilities[reptile]).toFixed(0)} %. `;
    numbers.textContent = `${now}${way}-way: you ${mine}, Reptile ${its} of ${played}.`;
  }};
});
