// All state is in the address: #figure.name=value&..., of what differs from how a figure begins.
import {same} from "./link.js";

const firsts = {}, states = {};
let timer = 0;

// The state of a figure: as it begins, changed by what the address says.
export function begin(figure, first) {
  firsts[figure] = first;
  states[figure] = structuredClone(first);
  for (const [key, text] of new URLSearchParams(location.hash.slice(1))) {
    const [of, name] = key.split(".");
    if (of !== figure || !(name in first)) continue;
    try { states[figure][name] = JSON.parse(text); } catch { /* a damaged address: as it begins */ }
  }
  return states[figure];
}

export function write() {
  clearTimeout(timer);
  timer = setTimeout(() => {
    const parts = location.hash.slice(1).split("&").filter(p => p && !(p.split(".")[0] in states));
    for (const [figure, state] of Object.entries(states))
      for (const [name, value] of Object.entries(state))
        if (!same(value, firsts[figure][name]) && !(value instanceof Float32Array))
          parts.push(`${figure}.${name}=${encodeURIComponent(JSON.stringify(value))}`);
    history.replaceState(null, "", parts.length ? "#" + parts.join("&") : location.pathname);
  }, 200);
}
