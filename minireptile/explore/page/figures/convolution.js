// A convolution, cell by cell. The products that make a cell come from Python as triples of cells of
// y, w and x; here they are only looked up.
import {figure} from "../figure.js";
import {number} from "../plot.js";

const ARRAYS = ["x", "w", "y", "dx", "dw", "dy"], GIVEN = ["x", "w", "dy"];
// A cell of each array: where it stands in a triple, and with it what is multiplied and what for.
const MAKES = {
  y: {at: 0, of: ["x", "w"]}, dx: {at: 2, of: ["dy", "w"]}, dw: {at: 1, of: ["x", "dy"]},
  x: {at: 2, with: "w", into: "y"}, w: {at: 1, with: "x", into: "y"}, dy: {at: 0, with: "w", into: "dx"},
};
const PLACE = {y: 0, dy: 0, w: 1, dw: 1, x: 2, dx: 2};

figure("convolution", ({root, state, change, answers}) => {
  const sums = root.querySelector(".numbers"), value = root.querySelector("[data-value]");
  const which = root.querySelector("[data-which]"), cells = {}, wide = {};
  let hovered = null, typed = "";

  const table = name => name in state ? state[name].flat() : answers.convolution[name];
  const columns = name => name.endsWith("w") ? 3 : name.endsWith("y") ? Math.sqrt(answers.convolution.y.length) : 6;
  const shown = (name, i) => {
    if (name !== "dy") return table(name)[i];
    return state.dy[Math.floor(i / columns("y"))][i % columns("y")];
  };
  const place = (name, i) => `${name}[${Math.floor(i / columns(name))}, ${i % columns(name)}]`;
  const minus = v => number(v), factor = v => v < 0 ? `(${minus(v)})` : minus(v);

  function build(name) {                                     // a grid of buttons, moved in by arrow keys
    const grid = root.querySelector(`[data-of="${name}"]`), n = columns(name);
    if (wide[name] === n) return;
    wide[name] = n;
    cells[name] = [];
    grid.replaceChildren(...Array.from({length: n}, (_, r) => {
      const row = document.createElement("div");
      row.setAttribute("role", "row");
      for (let c = 0; c < n; c++) {
        const cell = document.createElement("button");
        cell.type = "button";
        cell.setAttribute("role", "gridcell");
        cell.addEventListener("pointerenter", () => { hovered = [name, r, c]; light(); });
        cell.addEventListener("focus", () => pick([name, r, c]));
        cell.addEventListener("click", () => pick([name, r, c]));
        cell.addEventListener("keydown", event => key(event, name, r, c));
        cells[name].push(cell);
        row.append(cell);
      }
      return row;
    }));
  }

  function pick(picked) {
    if (String(picked) !== String(state.picked)) { typed = ""; change({picked}); }
  }

  function key(event, name, r, c) {
    const way = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]}[event.key], n = columns(name);
    if (way) {
      cells[name][Math.min(Math.max(r + way[0], 0), n - 1) * n + Math.min(Math.max(c + way[1], 0), n - 1)].focus();
    } else if (GIVEN.includes(name) && /^[0-9+-]$/.test(event.key)) {
      const now = state[name][r][c];
      if (event.key === "+" || event.key === "-") put(name, r, c, now + (event.key === "+" ? 1 : -1));
      else put(name, r, c, Number(event.key));
    } else return;
    event.preventDefault();
  }

  function put(name, r, c, to) {
    if (!Number.isInteger(to) || Math.abs(to) > 9) return;
    const rows = structuredClone(state[name]);
    rows[r][c] = to;
    change({[name]: rows});
  }

  value.addEventListener("input", () => {
    const [name, r, c] = picked();
    if (value.value !== "") put(name, r, c, Number(value.value));
  });
  root.querySelector("[data-ones]").addEventListener("click", () =>
    change({dy: state.dy.map(row => row.map(() => 1))}));
  root.querySelector(".arrays").addEventListener("pointerleave", () => { hovered = null; light(); });

  function picked() {                                       // what the address says, if there is such a cell
    const [name, r, c] = Array.isArray(state.picked) ? state.picked : [];
    const n = ARRAYS.includes(name) ? columns(name) : 0;
    return r >= 0 && c >= 0 && r < n && c < n ? [name, r, c] : ["y", 0, 0];
  }

  // The cells that belong to one, in the order of its products, and the sum written out.
  function light() {
    if (!answers.convolution) return;
    const [name, r, c] = hovered ?? picked(), own = r * columns(name) + c, {terms} = answers.convolution;
    const {at, of, with: partner, into} = MAKES[name], found = [], tag = {};
    for (let i = 0; i < terms.length; i += 3)
      if (terms[i + at] === own) found.push(terms.subarray(i, i + 3));
    const lit = of ?? [partner, into];
    found.forEach((term, n) => lit.forEach(array => { (tag[array] ??= {})[term[PLACE[array]]] = n + 1; }));
    for (const array of ARRAYS)
      cells[array].forEach((cell, i) => {
        const n = tag[array]?.[i];
        cell.classList.toggle("lit", n !== undefined);
        cell.classList.toggle("picked", array === name && i === own);
        if (n === undefined) delete cell.dataset.n; else cell.dataset.n = n;
      });
    const made = of ? name : into;
    for (const formula of root.querySelectorAll("[data-makes]")) {
      formula.classList.toggle("lit", formula.dataset.makes === made);
      for (const part of formula.querySelectorAll("[data-part]"))
        part.classList.toggle("lit", formula.dataset.makes === made && part.dataset.part === name);
    }
    const here = `${place(name, own)} = ${minus(shown(name, own))}`;
    if (of) {
      const products = found.map(term => of.map(array => factor(shown(array, term[PLACE[array]]))).join("·"));
      sums.textContent = `${place(name, own)} = ${products.join(" + ") || "0, of no product"} = ${minus(shown(name, own))}`;
    } else {
      const goes = found.slice(0, 9).map(term =>
        `${place(into, term[PLACE[into]])} by ${partner} = ${minus(shown(partner, term[PLACE[partner]]))}`);
      const more = found.length > 9 ? `; and ${found.length - 9} more` : "";
      sums.textContent = `${here} goes into ${goes.join("; ") || `no cell of ${into}`}${more}.`;
    }
  }

  return {draw(_, state) {
    for (const name of ARRAYS) {
      build(name);
      const most = Math.max(1, ...cells[name].map((_, i) => Math.abs(shown(name, i))));
      cells[name].forEach((cell, i) => {
        const v = shown(name, i);
        cell.textContent = minus(v);
        cell.style.setProperty("--strength", `${Math.round(32 * Math.abs(v) / most)}%`);
        cell.setAttribute("aria-label", `${place(name, i)} is ${minus(v)}`);
        cell.tabIndex = -1;
      });
    }
    const [name, r, c] = picked();
    for (const array of ARRAYS) cells[array][array === name ? r * columns(name) + c : 0].tabIndex = 0;
    value.disabled = !GIVEN.includes(name);
    which.textContent = place(name, r * columns(name) + c);
    const now = String(shown(name, r * columns(name) + c));
    if (value.value !== now && document.activeElement !== value || value.disabled) value.value = now;
    light();
  }};
});
