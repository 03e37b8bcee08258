// The engine, wherever it runs: ask(name, arguments) -> Promise. One JSON text there, one back;
// what one move of a hand asks goes together.
//
// A page that `minireptile explore` serves asks Python on this machine, and a static one Pyodide in
// a worker. Until that is awake, the first answers of every figure come from first.json.

const status = text => { document.querySelector("#engine").textContent = text; };
let send;

if (document.documentElement.dataset.engine === "local") {
  const key = await theKey();
  status("Python on this machine computes every figure.");
  send = async texts => {
    if (!key) throw Error("Open the address that `minireptile explore` printed, key and all.");
    let reply;
    try {
      reply = await fetch("ask", {method: "POST", body: texts.join("\n"), headers: {"X-Key": key}});
    } catch {
      throw Error("The engine does not answer: is `minireptile explore` still running?");
    }
    if (!reply.ok) throw Error(await reply.text());
    return (await reply.text()).split("\n");
  };
} else {
  send = inWorker();
}

// The key comes in the address, moves to this tab's storage, and a second tab asks the first.
async function theKey() {
  const given = new URLSearchParams(location.hash.slice(1)).get("key");
  const kept = given ?? sessionStorage.getItem("key");
  const others = new BroadcastChannel("minireptile key");
  const key = kept ?? await new Promise(done => {
    others.onmessage = ({data}) => { if (data) done(data); };
    others.postMessage(null);
    setTimeout(() => done(null), 300);
  });
  others.onmessage = ({data}) => { if (!data && key) others.postMessage(key); };
  if (key) sessionStorage.setItem("key", key);
  if (given) {
    history.replaceState(null, "", location.pathname + location.search);
  }
  return key;
}

function inWorker() {
  status("Recorded answers, while Python wakes in this page (10 MB, the first time).");
  document.documentElement.dataset.asleep = "";              // and every figure says so
  const worker = new Worker("worker.js", {type: "module"}), waiting = new Map();
  const recorded = fetch("first.json").then(r => r.json());
  let id = 0, awake = false, failed = null;
  worker.onmessage = ({data}) => {
    if (data.awake) {
      awake = true;
      delete document.documentElement.dataset.asleep;
      status("Python in this page computes every figure.");
    } else if (data.failed) {
      failed = data.failed;
      status(failed);
      for (const {reject} of waiting.values()) reject(Error(failed));
    } else {
      waiting.get(data.id).resolve(data.text);
      waiting.delete(data.id);
    }
  };
  worker.onerror = () => worker.onmessage({data: {failed: "Python could not be started in this page."}});
  async function one(text) {
    if (!awake) {
      const [name, given] = JSON.parse(text), {figures, answers} = await recorded;
      if (name === "figures") return JSON.stringify({ok: figures});
      const known = answers.find(([n, a]) => n === name && same(a, given));
      if (known) return JSON.stringify({ok: known[2]});
    }
    if (failed) throw Error(failed);
    return new Promise((resolve, reject) => {
      waiting.set(++id, {resolve, reject});
      worker.postMessage({id, text});
    });
  }
  return texts => Promise.all(texts.map(one));
}

export function same(a, b) {
  if (a === b) return true;
  if (a instanceof Float32Array || b instanceof Float32Array) return false;
  if (!a || !b || typeof a !== "object" || typeof b !== "object") return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every(k => same(a[k], b[k]));
}

// Arrays travel as base64 of float32; the text of one that is sent back is kept with it.
const unpack = (_, v) => v && v.f4 !== undefined
  ? Object.assign(new Float32Array(Uint8Array.from(atob(v.f4), c => c.charCodeAt(0)).buffer),
                  {shape: v.shape, packed: v})
  : v;
const pack = (_, v) => v instanceof Float32Array ? v.packed : v;

// The answers to questions [[name, arguments], ...], in order; an Error in place of one that has none.
export async function askAll(questions) {
  const replies = await send(questions.map(question => JSON.stringify(question, pack)));
  return replies.map(reply => {
    const {ok, error} = JSON.parse(reply, unpack);
    return error ? Error(error) : ok;
  });
}

export async function ask(name, given) {
  const [found] = await askAll([[name, given]]);
  if (found instanceof Error) throw found;
  return found;
}
