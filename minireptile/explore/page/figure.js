// A figure: its state, its controls, its questions, its errors, and the lines behind it.
//
//   figure("name", root => {...; return {draw(answers, state) {...}}})
//
// `draw` is called with the answers to the figure's calls, by name, whenever one is new; `change`
// alters the state, moves the controls along and asks again what has changed.
import {ask, askAll, same} from "./link.js";
import {begin, write} from "./state.js";

export const trips = [];                                 // [figure, ms from the hand to the picture]
const known = ask("figures", {});
const near = new IntersectionObserver(entries => {
  for (const {target, isIntersecting} of entries)
    if (isIntersecting) { near.unobserve(target); target.start(); }
}, {rootMargin: "800px"});

export function figure(name, setup) {
  const root = document.getElementById(name);
  root.start = () => start(name, root, setup);
  near.observe(root);
}

async function start(name, root, setup) {
  const problem = root.querySelector(".problem");
  const complain = text => { problem.textContent = text; };
  let about;
  try { about = (await known)[name]; } catch (error) { return complain(error.message); }
  const first = structuredClone(about.state), state = begin(name, about.state);
  const answers = {}, asked = {}, calls = Object.keys(about.calls);
  const show = () => {
    if (!calls.every(call => call in answers)) return;
    drawing.draw(answers, state);
    root.dataset.drawn = (Number(root.dataset.drawn) || 0) + 1;
  };
  // At most one question of each call is under way, and after it only the newest: what follows a
  // hand never queues. All answers to one move are drawn at once.
  const waiting = new Map();
  let busy = false, since = 0;
  async function follow() {
    if (busy) return;
    busy = true;
    root.dataset.asking = "";
    while (waiting.size) {
      const questions = [...waiting], began = since;
      waiting.clear();
      const replies = await askAll(questions).catch(error => questions.map(() => error));
      replies.forEach((reply, i) => {
        if (reply instanceof Error) delete asked[questions[i][0]];   // to be asked again
        else answers[questions[i][0]] = reply;
      });
      const failed = replies.find(reply => reply instanceof Error);
      complain(failed?.message ?? "");
      if (!failed) show();
      await new Promise(requestAnimationFrame);
      if (trips.push([name, performance.now() - began]) > 1000) trips.shift();
    }
    busy = false;
    delete root.dataset.asking;
  }

  function change(patch) {
    Object.assign(state, patch);
    since = performance.now();
    for (const input of root.querySelectorAll("[name]")) put(input, state[input.name]);
    for (const [call, takes] of Object.entries(about.calls)) {
      const given = Object.fromEntries(takes.map(n => [n, state[n]]));
      if (same(given, asked[call])) continue;
      asked[call] = Object.fromEntries(takes.map(n => [n, copy(state[n])]));
      waiting.set(call, given);
    }
    if (waiting.size) follow();
    else show();                                             // what no call depends on
    code();
    write();
  }

  const lines = root.querySelector("details.code");
  async function code() {
    if (!lines?.open) return;
    const takes = new Set(Object.values(about.calls).flat());
    const given = Object.fromEntries([...takes].map(n => [n, state[n]]));
    try {
      lines.querySelector("code").textContent = (await ask("code", {figure: name, ...given})).code;
    } catch (error) { complain(error.message); }
  }
  lines?.addEventListener("toggle", code);
  lines?.querySelector("button")?.addEventListener("click", () =>
    navigator.clipboard.writeText(lines.querySelector("code").textContent));

  for (const input of root.querySelectorAll("[name]"))
    input.addEventListener("input", () => {
      if (input.type !== "radio" || input.checked) change({[input.name]: value(input, first)});
    });
  root.querySelector("[data-reset]")?.addEventListener("click", () => change(structuredClone(first)));

  root.figure = {state, answers, change};                   // for the curious, in the console
  const drawing = setup({root, state, change, complain, answers});
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  change({});
}

const copy = v => v instanceof Float32Array ? v : structuredClone(v);

function value(input, first) {
  if (input.type === "checkbox") return input.checked;
  if ("log" in input.dataset) return Number((10 ** input.value).toPrecision(3));
  return typeof first[input.name] === "number" ? Number(input.value) : input.value;
}

function put(input, value) {
  if (value === undefined) return;
  if (input.type === "checkbox") input.checked = value;
  else if (input.type === "radio") input.checked = input.value === String(value);
  else if ("log" in input.dataset) {                        // a slider of powers of ten
    if (value !== Number((10 ** input.value).toPrecision(3))) input.value = Math.log10(value);
    input.setAttribute("aria-valuetext", value);
  } else if (input.value !== String(value)) input.value = value;
  const output = input.closest("label")?.querySelector("output");
  if (output) output.textContent = output.dataset.digits ? value.toFixed(output.dataset.digits) : value;
}
