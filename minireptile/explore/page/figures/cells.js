// A cell to draw in: strokes as text ("xxyyxxyy-..."), by mouse, touch, pen and keyboard.

const SVG = "http://www.w3.org/2000/svg", MOST = 4000, PAGE = 105;

// The points that a path cannot do without: no other is farther than 1 from the lines between them.
function corners(path) {
  if (path.length < 3) return path;
  const [a, b] = [path[0], path.at(-1)], [u, v] = [b[0] - a[0], b[1] - a[1]], length = Math.max(u * u + v * v, 1e-9);
  let far = 0, most = -1;
  path.forEach(([x, y], i) => {
    const t = Math.min(Math.max(((x - a[0]) * u + (y - a[1]) * v) / length, 0), 1);
    const off = Math.hypot(x - a[0] - t * u, y - a[1] - t * v);
    if (off > most) [far, most] = [i, off];
  });
  return most <= 1 ? [a, b] : [...corners(path.slice(0, far + 1)).slice(0, -1), ...corners(path.slice(far))];
}

const whole = v => Math.min(Math.max(Math.floor(v), 0), 99);
export const textOf = path => corners(path).flat().map(v => String(whole(v)).padStart(2, "0")).join("");

function pathOf(text) {
  return text.split("-").filter(Boolean).map(stroke => {
    const points = stroke.match(/.{4}/g).map(p => `${+p.slice(0, 2) + 0.5} ${+p.slice(2) + 0.5}`);
    return `M${points.join("L")}${points.length === 1 ? "h.01" : ""}`;
  }).join("");
}

function element(tag, attributes = {}, ...inside) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...inside);
  return node;
}

export class Cell {
  // does: {stroke(text), begins() -> whether a stroke is added to others, undo(), clear(),
  // letter(key), choose(), picture(file), focus()}
  constructor(name, short, does) {
    Object.assign(this, {name, does, text: ""});
    this.path = document.createElementNS(SVG, "path");
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 100 100");
    svg.append(this.path);
    this.large = element("canvas", {width: 28, height: 28, hidden: ""});
    this.pad = element("div", {class: "pad", tabindex: 0, role: "application",
                               "aria-roledescription": "drawing"}, this.large, element("span", {class: "name"}, short), svg);
    this.seen = element("canvas", {class: "seen", width: 28, height: 28, role: "img",
                                   "aria-label": `${name}, as the network sees it`});
    this.word = element("b", {class: "word"});
    this.share = element("span", {class: "share"});
    const clear = element("button", {type: "button", "aria-label": `clear ${name}`, title: "clear"}, "×");
    const choose = element("button", {type: "button", "aria-label": `a picture for ${name}`, title: "a picture"}, "+");
    clear.addEventListener("click", does.clear);
    choose.addEventListener("click", does.choose);
    this.root = element("div", {class: "cell"}, this.pad,
      element("div", {class: "tools"}, this.seen, clear, choose),
      element("div", {class: "says"}, this.share, this.word));
    this.hand();
    this.keys();
    this.drops();
  }

  hand() {
    let path = null, before = "";
    const place = event => {
      const r = this.pad.getBoundingClientRect();
      return [(event.clientX - r.left) / r.width * 100, (event.clientY - r.top) / r.height * 100];
    };
    const preview = () => this.path.setAttribute("d",
      before + "M" + path.map(p => p.map(v => v.toFixed(1)).join(" ")).join("L") + (path.length === 1 ? "h.01" : ""));
    this.pad.addEventListener("pointerdown", event => {
      if (!event.isPrimary || event.button) return;
      event.preventDefault();
      this.pad.focus({preventScroll: true});
      this.pad.setPointerCapture(event.pointerId);
      before = this.does.begins() ? pathOf(this.text) : "";
      if (!before) this.large.hidden = true;
      path = [place(event)];
      preview();
    });
    this.pad.addEventListener("pointermove", event => {
      if (!path || !event.isPrimary) return;
      const all = event.getCoalescedEvents?.() ?? [];
      path.push(...(all.length ? all : [event]).map(place));
      preview();
    });
    const end = event => {
      if (!path || !event.isPrimary) return;
      const text = textOf(path);
      path = null;
      if (before.length && this.text.length + text.length >= MOST || text.length > MOST) this.show(this.text, this.image);
      else this.does.stroke(text);
    };
    this.pad.addEventListener("pointerup", end);
    this.pad.addEventListener("pointercancel", end);
    this.pad.addEventListener("focus", this.does.focus);
  }

  keys() {
    this.pad.addEventListener("keydown", event => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const key = event.key.toLowerCase();
      if (/^[a-z]$/.test(key)) this.does.letter(key);
      else if (key === "backspace") this.does.undo();
      else if (key === "delete") this.does.clear();
      else return;
      event.preventDefault();
    });
  }

  drops() {
    this.root.addEventListener("dragover", event => event.preventDefault());
    this.root.addEventListener("drop", event => {
      event.preventDefault();
      if (event.dataTransfer.files[0]) this.does.picture(event.dataTransfer.files[0]);
    });
  }

  // The drawing, and its image (784,) as the network sees it.
  show(text, image) {
    const picture = text[0] === "p", strokes = picture || !text ? 0 : text.split("-").length;
    Object.assign(this, {text, image});
    this.path.setAttribute("d", picture ? "" : pathOf(text));
    this.large.hidden = !picture;
    for (const canvas of [this.seen, this.large]) paint(canvas, image);
    const what = picture ? "a picture" : `${strokes || "no"} stroke${strokes === 1 ? "" : "s"}`;
    this.pad.setAttribute("aria-label", `${this.name}, ${what}: draw here, or press a letter's key`);
  }

  // What the network says of it.
  says(words, share, best) {
    this.word.textContent = best ? `✓ ${words}` : words;
    this.share.style.setProperty("--share", share);
    this.root.classList.toggle("best", best);
  }
}

export function paint(canvas, image) {
  const context = canvas.getContext("2d");
  if (!image) return context.clearRect(0, 0, 28, 28);
  const pixels = new ImageData(28, 28);
  image.forEach((v, i) => pixels.data.set([255 * v, 255 * v, 255 * v, 255], 4 * i));
  context.putImageData(pixels, 0, 0);
}

// A picture file as at most 105 x 105 grey levels, on white where it lets through.
export async function readPicture(file) {
  let bitmap;
  try { bitmap = await createImageBitmap(file); } catch { throw Error("This file is no picture that the browser can read."); }
  const scale = Math.min(1, PAGE / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map(v => Math.max(1, Math.round(v * scale)));
  const canvas = element("canvas", {width, height}), context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  const {data} = context.getImageData(0, 0, width, height);
  let bytes = "";
  for (let i = 0; i < data.length; i += 4)
    bytes += String.fromCharCode(Math.round(0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2]));
  return {grey: btoa(bytes), width, height};
}
