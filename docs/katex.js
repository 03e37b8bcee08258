// Formulas in, HTML out, a line of JSON for each: node katex.js KATEX
const katex = require(require("path").resolve(process.argv[2]));

function set({ tex, display }) {
  try {
    return { html: katex.renderToString(tex, { displayMode: display, strict: "error" }) };
  } catch (error) {
    return { error: error.message };
  }
}

require("readline")
  .createInterface({ input: process.stdin })
  .on("line", (line) => process.stdout.write(JSON.stringify(set(JSON.parse(line))) + "\n"));
