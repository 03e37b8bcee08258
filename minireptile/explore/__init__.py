"""The pages, and what answers them: `minireptile explore`, on this machine or in any browser.

A page asks, the engine answers; no page computes a gradient. A question is one JSON text,
`["plane_step", {"theta": [1.3, 1.0], ...}]`, and so is the answer, `{"ok": {...}}` or
`{"error": "a sentence"}`. `serve` carries them over HTTP on 127.0.0.1, `page/worker.js` to Pyodide.
"""

from .answer import answer as answer
