// source.html#FILE:TEXT shows a file, at the line that holds the text.
async function show() {
  const [, name, text] = decodeURIComponent(location.hash.slice(1)).match(/^([^:]*):?(.*)$/);
  const title = document.querySelector("h1"), code = document.querySelector("code");
  title.textContent = document.title = name;
  const reply = await fetch(`source/${name}`).catch(() => null);
  if (!reply?.ok) { code.textContent = "This file is not among those that the figures link to."; return; }
  const lines = (await reply.text()).split("\n").map(line => {
    const node = document.createElement("span");
    node.className = "line";
    node.textContent = line + "\n";
    return node;
  });
  code.replaceChildren(...lines);
  const found = text && lines.find(node => node.textContent.includes(text));
  if (found) {
    found.classList.add("found");
    found.scrollIntoView({block: "center"});
  }
}
addEventListener("hashchange", show);
show();
