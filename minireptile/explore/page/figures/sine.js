// What the figures of sine waves share.
import {ask} from "../link.js";
import {log10} from "../plot.js";

export const PIECE = 20;                                    // iterations a question, at most

// theta after so many iterations, trained anew: what an address can say of a theta.
export async function learn([algorithm, seed, iteration]) {
  let theta = null, start = 0;
  do {
    const to = Math.min(start + PIECE, iteration);
    ({theta} = await ask("meta_train", {algorithm, seed, start, iteration: to, theta}));
    start = to;
    await new Promise(requestAnimationFrame);
  } while (start < iteration);
  return theta;
}

// Curves (n, G) over [-5, 5], each fuller than the one before.
export function curves(plot, values) {
  const [n, G] = values.shape;
  for (let k = 0; k < n; k++) {
    const line = Array.from({length: G}, (_, g) => [-5 + 10 * g / (G - 1), values[k * G + g]]);
    const last = k === n - 1;
    const node = plot.line(`phi ${k}`, line, k === 0 ? "theta thin dashed" : last ? "update thick" : "update thin");
    node.setAttribute("opacity", k === 0 || last ? 1 : 0.15 + 0.6 * k / n);
  }
}

// (0, v0), (1, v1), ... with v on an axis of powers.
export const series = values => [...values].map((v, k) => [k, log10(v)]);

export const error = v => !Number.isFinite(v) ? "beyond all bounds" : v.toPrecision(v < 1 ? 2 : 3);
