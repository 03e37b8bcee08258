// Python in a worker: Pyodide from the address in pyodide.json, each file with the sum it must have.
const say = message => postMessage(message);

const ready = (async () => {
  const {files, ...where} = await (await fetch("pyodide.json")).json();
  const [base, packages] = [where.base, where.packages].map(url => new URL(url, location).href);
  await Promise.all(Object.entries(files).map(async ([name, integrity]) => {
    const reply = await fetch(base + name, {integrity});
    if (!reply.ok) throw Error(`${base}${name} is not there (${reply.status})`);
    await reply.arrayBuffer();
  }));
  const {loadPyodide} = await import(base + "pyodide.mjs");
  const python = await loadPyodide({indexURL: base, packageBaseUrl: packages, packages: ["numpy"]});
  python.unpackArchive(await (await fetch("minireptile.zip")).arrayBuffer(), "zip");
  const answer = python.runPython("from minireptile.explore import answer; answer");
  say({awake: true});
  return answer;
})();

ready.catch(error => say({failed: `Python could not be started in this page: ${error.message}`}));
onmessage = async ({data: {id, text}}) => say({id, text: (await ready)(text)});
