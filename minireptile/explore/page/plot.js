// A picture: a landscape on a canvas, and over it an SVG of lines, arrows, points and handles.
//
// Elements are kept by name from one drawing to the next: what is not drawn again goes.

const SVG = "http://www.w3.org/2000/svg";
export const colour = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

export class Plot {
  // x, y: [low, high] of the data; margins leave room for the numbers at the axes.
  constructor(root, {x, y, width = 400, height = 400, margin = [8, 8, 34, 40], label,
                     xlabel = "", ylabel = "", ticks = 4, xtick = number, ytick = number}) {
    Object.assign(this, {root, x, y, width, height, margin, ticks, xtick, ytick, kept: new Map(), used: new Set()});
    const [top, right, bottom, left] = margin;
    this.box = {left, top, right: width - right, bottom: height - bottom};
    this.canvas = root.querySelector("canvas");
    this.svg = document.createElementNS(SVG, "svg");
    set(this.svg, {viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": label});
    root.append(this.svg);
    this.labels = {xlabel, ylabel};
    this.layers = Object.fromEntries(["axes", "data", "hands"].map(name => {
      const g = document.createElementNS(SVG, "g");
      g.setAttribute("class", name);
      this.svg.append(g);
      return [name, g];
    }));
    const clip = document.createElementNS(SVG, "clipPath"), id = `clip-${++Plot.count}`;
    clip.id = id;
    clip.append(document.createElementNS(SVG, "rect"));
    set(clip.firstChild, {x: left, y: top, width: width - left - right, height: height - top - bottom});
    this.svg.prepend(clip);
    this.layers.data.setAttribute("clip-path", `url(#${id})`);
    this.axes();
  }

  X(v) { return at(v, this.x, this.box.left, this.box.right); }
  Y(v) { return at(v, this.y, this.box.bottom, this.box.top); }

  // Where in the data a pointer is.
  place(event) {
    const r = this.svg.getBoundingClientRect();
    const px = (event.clientX - r.left) / r.width * this.width;
    const py = (event.clientY - r.top) / r.height * this.height;
    return [at(px, [this.box.left, this.box.right], ...this.x), at(py, [this.box.bottom, this.box.top], ...this.y)];
  }

  range({x = this.x, y = this.y}) {
    if (String([x, y]) === String([this.x, this.y])) return;
    Object.assign(this, {x, y});
    this.axes();
  }

  axes() {
    const {left, top, right, bottom} = this.box, parts = [];
    for (const v of nice(this.x, this.ticks)) {
      parts.push(make("line", {x1: this.X(v), x2: this.X(v), y1: top, y2: bottom, class: "grid"}),
                 make("text", {x: this.X(v), y: bottom + 14, class: "tick middle"}, this.xtick(v)));
    }
    for (const v of nice(this.y, this.ticks)) {
      parts.push(make("line", {x1: left, x2: right, y1: this.Y(v), y2: this.Y(v), class: "grid"}),
                 make("text", {x: left - 5, y: this.Y(v) + 4, class: "tick end"}, this.ytick(v)));
    }
    parts.push(make("text", {x: (left + right) / 2, y: bottom + 29, class: "axis middle"}, this.labels.xlabel),
               make("text", {transform: `translate(12 ${(top + bottom) / 2}) rotate(-90)`, class: "axis middle"},
                    this.labels.ylabel));
    this.layers.axes.replaceChildren(...parts);
  }

  // Draw everything anew: what `draw` does not name again is taken away.
  redraw(draw) {
    this.used.clear();
    draw(this);
    for (const [name, node] of this.kept)
      if (!this.used.has(name)) { node.remove(); this.kept.delete(name); }
  }

  node(name, tag, attributes, layer = "data") {
    let found = this.kept.get(name);
    if (!found) {
      found = document.createElementNS(SVG, tag);
      this.kept.set(name, found);
      this.layers[layer].append(found);
    }
    this.used.add(name);
    set(found, attributes);
    return found;
  }

  // points: [[x, y], ...] in the data's units; a gap where one is not finite.
  line(name, points, kind = "") {
    let d = "", pen = false;
    for (const [x, y] of points) {
      if (!Number.isFinite(x) || !Number.isFinite(y)) { pen = false; continue; }
      d += `${pen ? "L" : "M"}${this.X(x).toFixed(2)} ${this.Y(y).toFixed(2)}`;
      pen = true;
    }
    return this.node(name, "path", {d, class: `line ${kind}`});
  }

  dots(name, points, kind = "", r = 3) {
    const d = points.filter(p => p.every(Number.isFinite)).map(([x, y]) =>
      `M${(this.X(x) - r).toFixed(2)} ${this.Y(y).toFixed(2)}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`);
    return this.node(name, "path", {d: d.join(""), class: `dots ${kind}`});
  }

  // An arrow has its head where it ends, and none if it is too short to be seen.
  arrow(name, from, to, kind = "") {
    const [x0, y0, x1, y1] = [this.X(from[0]), this.Y(from[1]), this.X(to[0]), this.Y(to[1])];
    const length = Math.hypot(x1 - x0, y1 - y0), head = Math.min(9, length * 0.6);
    if (!(length > 0.5) || !Number.isFinite(length)) return;
    const [u, v] = [(x1 - x0) / length, (y1 - y0) / length], h = 0.45 * head;
    const [bx, by] = [x1 - head * u, y1 - head * v];
    this.node(name, "path", {d: `M${x0} ${y0}L${bx} ${by}`, class: `arrow ${kind}`});
    this.node(`${name} head`, "path",
      {d: `M${x1} ${y1}L${bx - h * v} ${by + h * u}L${bx + h * v} ${by - h * u}Z`, class: `arrow head ${kind}`});
  }

  text(name, place, words, kind = "", [dx, dy] = [7, -7]) {
    this.node(name, "text", {x: this.X(place[0]) + dx, y: this.Y(place[1]) + dy, class: `mark ${kind}`})
      .textContent = words;
  }

  // A name beside the end of a line or an arrow, on the side that it points to.
  name(name, end, from, words, kind = "") {
    const [u, v] = [this.X(end[0]) - this.X(from[0]), this.Y(end[1]) - this.Y(from[1])];
    const length = Math.hypot(u, v), [x, y] = length ? [u / length, v / length] : [1, 0];
    const side = x > 0.4 ? "" : x < -0.4 ? "end" : "middle";
    this.text(name, end, words, `${kind} ${side}`, [9 * x, 15 * y + 5]);
  }

  // A bar from zero, of the given width in the data's units.
  bar(name, x, y, width, kind = "") {
    const [a, b] = [this.Y(0), this.Y(y)], w = this.X(x + width) - this.X(x);
    return this.node(name, "rect",
      {x: this.X(x) - w / 2, y: Math.min(a, b), width: w, height: Math.abs(a - b), class: `bar ${kind}`});
  }

  // Bands of equal ratio: grid is (size, size), row after row from the lowest y. `scale` rises; the
  // values in `range` hold two landscapes to one.
  landscape(grid, {bands = 14, log = true, scale = log ? v => Math.log(v + 1e-3) : v => v, range = grid} = {}) {
    let least = Infinity, most = -Infinity;
    for (const v of range) if (Number.isFinite(v)) { least = Math.min(least, v); most = Math.max(most, v); }
    const ends = [colour("low"), colour("high")];
    if (unchanged(this, grid, [least, most, bands, ends])) return;
    const size = grid.shape.at(-1), rows = grid.shape.at(-2), {left, top, right, bottom} = this.box;
    const fine = 2, w = fine * (right - left), h = fine * (bottom - top), canvas = this.canvas;
    set(canvas, {width: fine * this.width, height: fine * this.height});
    const [from, to] = ends.map(rgb), image = new ImageData(w, h), pixels = new Uint32Array(image.data.buffer);
    const shades = Array.from({length: bands}, (_, i) => {                  // as bytes r, g, b, 255
      const [r, g, b] = from.map((c, j) => Math.round(c + (to[j] - c) * i / (bands - 1)));
      return (255 << 24 | b << 16 | g << 8 | r) >>> 0;
    });
    const tops = Array.from({length: bands - 1}, (_, i) =>                  // of the bands but the last
      where(scale, scale(least) + (scale(most) - scale(least)) * (i + 1) / bands, least, most));
    const band = (v, i = 0) => {                                            // that is i or a later one
      if (!Number.isFinite(v)) return bands - 1;
      while (v >= tops[i]) i++;
      return i;
    };
    const at = Array.from(grid, v => band(v)), edges = (n, pixels) =>
      Array.from({length: n}, (_, i) => Math.max(0, Math.ceil(i * pixels / (n - 1) - 0.5)));
    const xs = edges(size, w), ys = edges(rows, h);                         // where cells begin
    for (let i = 0; i < rows - 1; i++)
      for (let j = 0; j < size - 1; j++) {
        const k = i * size + j, [p, q, r, s] = [grid[k], grid[k + 1], grid[k + size], grid[k + size + 1]];
        const corners = [at[k], at[k + 1], at[k + size], at[k + size + 1]], one = Math.min(...corners);
        const flat = one === Math.max(...corners);
        for (let y = ys[i]; y < ys[i + 1]; y++) {
          const row = (h - 1 - y) * w;
          if (flat) { pixels.fill(shades[one], row + xs[j], row + xs[j + 1]); continue; }
          const b = (y + 0.5) / h * (rows - 1) - i, u = p + b * (r - p), v = q + b * (s - q);
          for (let x = xs[j]; x < xs[j + 1]; x++)
            pixels[row + x] = shades[band(u + ((x + 0.5) / w * (size - 1) - j) * (v - u), one)];
        }
      }
    canvas.getContext("2d").putImageData(image, fine * left, fine * top);
  }

  // Where a grid takes a value: marching squares.
  isoline(name, grid, level, kind = "") {
    const found = this.kept.get(name);
    if (found && unchanged(found, grid, [level, this.x, this.y])) return this.node(name, "path", {class: `line ${kind}`});
    const size = grid.shape.at(-1), rows = grid.shape.at(-2);
    const x = j => this.X(this.x[0] + (this.x[1] - this.x[0]) * j / (size - 1));
    const y = i => this.Y(this.y[0] + (this.y[1] - this.y[0]) * i / (rows - 1));
    let d = "";
    for (let i = 0; i < rows - 1; i++)
      for (let j = 0; j < size - 1; j++) {
        const corners = [[i, j], [i, j + 1], [i + 1, j + 1], [i + 1, j]];
        const values = corners.map(([a, b]) => grid[a * size + b] - level), cuts = [];
        for (let s = 0; s < 4; s++) {
          const [a, b] = [values[s], values[(s + 1) % 4]];
          if (a < 0 === b < 0) continue;
          const t = a / (a - b), [p, q] = [corners[s], corners[(s + 1) % 4]];
          cuts.push([x(p[1] + t * (q[1] - p[1])), y(p[0] + t * (q[0] - p[0]))]);
        }
        for (let c = 0; c + 1 < cuts.length; c += 2)
          d += `M${cuts[c].map(n => n.toFixed(1)).join(" ")}L${cuts[c + 1].map(n => n.toFixed(1)).join(" ")}`;
      }
    const node = this.node(name, "path", {d, class: `line ${kind}`});
    unchanged(node, grid, [level, this.x, this.y]);
    return node;
  }

  // Something to take hold of: by mouse, pen and finger, and by the arrow keys (with shift, in
  // steps ten times as long). `move` gets a place in the data's units; `free` are the axes it has.
  handle(name, place, {label, move, kind = "", step = (this.x[1] - this.x[0]) / 100, free = "xy"}) {
    const hand = this.node(name, "g", {
      class: `hand ${kind}`, role: "slider", tabindex: 0, "aria-label": label,
      "aria-roledescription": free === "xy" ? "point in the plane" : "point on a line",
      "aria-valuenow": place[free === "y" ? 1 : 0].toPrecision(4),
      "aria-valuetext": free === "xy" ? place.map(v => v.toFixed(2)).join(", ") : place[free === "y" ? 1 : 0].toFixed(2),
      transform: `translate(${this.X(place[0])} ${this.Y(place[1])})`,
    }, "hands");
    Object.assign(hand, {place, move});
    if (hand.firstChild) return hand;
    hand.append(make("circle", {r: 20, class: "reach"}), make("circle", {r: 11, class: "ring"}),
                make("circle", {r: 6.5, class: "knob"}));
    const go = to => {
      const [x, y] = to.map((v, i) => clamp(v, i ? this.y : this.x));
      hand.move(free === "x" ? [x, hand.place[1]] : free === "y" ? [hand.place[0], y] : [x, y]);
    };
    hand.addEventListener("pointerdown", event => {
      event.preventDefault();
      const near = this.nearest(event);
      near.focus({preventScroll: true});
      near.setPointerCapture(event.pointerId);
    });
    hand.addEventListener("pointermove", event => {
      if (hand.hasPointerCapture(event.pointerId)) go(this.place(event));
    });
    hand.addEventListener("keydown", event => {
      const way = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1]}[event.key];
      if (!way) return;
      event.preventDefault();
      const by = step * (event.shiftKey ? 10 : 1);
      const [u, v] = free === "x" ? [way[0] + way[1], 0] : free === "y" ? [0, way[0] + way[1]] : way;
      go([hand.place[0] + u * by, hand.place[1] + v * by]);
    });
    return hand;
  }

  // The handle that a pointer means: where two overlap, not the one that happens to lie on top.
  nearest(event) {
    const [x, y] = this.place(event);
    const far = ({place: [a, b]}) => Math.hypot(this.X(a) - this.X(x), this.Y(b) - this.Y(y));
    return [...this.layers.hands.children].filter(hand => hand.move).sort((a, b) => far(a) - far(b))[0];
  }

  // A mark that says what it is when a pointer or the focus comes to it: "disc" or "diamond".
  spot(name, place, {label, pick, kind = "", shape = "disc", r = 6}) {
    const spot = this.node(name, "g", {
      class: `spot ${kind}`, role: "button", tabindex: 0, "aria-label": label,
      transform: `translate(${this.X(place[0])} ${this.Y(place[1])})`,
    }, "hands");
    if (spot.firstChild) return;
    spot.append(make("circle", {r: 14, class: "reach"}), shape === "disc"
      ? make("circle", {r, class: "knob"}) : make("path", {d: `M0 ${-r}L${r} 0L0 ${r}L${-r} 0Z`, class: "knob"}));
    for (const event of ["pointerenter", "focus", "click"]) spot.addEventListener(event, pick);
  }
}
Plot.count = 0;

// For an axis of logarithms to base ten: what stands at its ticks, and what is drawn for a value.
export const power = v => Number.isInteger(v) ? number(10 ** v) : "";
export const log10 = v => v > 0 ? Math.log10(v) : v === 0 ? -99 : NaN;

// Where a function that rises takes a value, by halves.
function where(f, value, low, high) {
  for (let i = 0; i < 50; i++) {
    const middle = (low + high) / 2;
    if (f(middle) < value) low = middle; else high = middle;
  }
  return high;
}

// Whether something was drawn from the same numbers in the same way; or it will have been.
function unchanged(drawn, grid, how) {
  const way = String([grid.byteOffset, grid.length, ...how]);
  if (drawn.from === grid.buffer && drawn.way === way) return true;
  Object.assign(drawn, {from: grid.buffer, way});
  return false;
}

// The points (n, 2) of entry t of an answer (n, T, 2).
export function track(path, t) {
  const [n, T] = path.shape;
  return Array.from({length: n}, (_, i) => [path[2 * (i * T + t)], path[2 * (i * T + t) + 1]]);
}

export const number = v => String(Number(v.toPrecision(6))).replace("-", "−");
export const clamp = (v, [low, high]) => Math.min(Math.max(v, low), high);

function at(v, [low, high], first, last) { return first + (v - low) / (high - low) * (last - first); }

// Round numbers in a range, about so many.
export function nice([low, high], count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find(m => m * power >= rough), out = [];
  for (let v = Math.ceil(low / step) * step; v <= high + 1e-9 * step; v += step) out.push(Math.abs(v) < 1e-9 ? 0 : v);
  return out;
}

function make(tag, attributes, words = "") {
  const node = document.createElementNS(SVG, tag);
  set(node, attributes);
  node.textContent = words;
  return node;
}

function set(node, attributes) {
  for (const [name, value] of Object.entries(attributes))
    if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

function rgb(hex) { return [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16)); }
