// All state is in the address: ?figure.name=value&..., of what differs from how a figure begins.
import {same} from "./link.js";

const firsts = {}, states = {};
let timer = 0;

// The state of a figure: as it begins, changed by what the address says.
export function begin(figure, first) {
  firsts[figure] = first;
  states[figure] = structuredClone(first);
  for (const [key, text] of new URLSearchParams(location.search)) {
    const [of, name] = key.split(".");
    if (of !== figure || !(name in first)) continue;
    let value;
    try { value = JSON.parse(text); } catch { continue; }    // a damaged address: as it begins
    if (typeof value === typeof first[name] && Array.isArray(value) === Array.isArray(first[name]))
      states[figure][name] = value;
  }
  return states[figure];
}

export function write() {
  clearTimeout(timer);
  timer = setTimeout(() => {
    const parts = location.search.slice(1).split("&").filter(p => p && !(p.split(".")[0] in states));
    for (const [figure, state] of Object.entries(states))
      for (const [name, value] of Object.entries(state))
        if (!same(value, firsts[figure][name]) && !(value instanceof Float32Array))
          parts.push(`${figure}.${name}=${encodeURIComponent(JSON.stringify(value))}`);
    const query = parts.length ? "?" + parts.join("&") : location.pathname;
    history.replaceState(null, "", query + location.hash);
  }, 200);
}
