import {figure} from "../figure.js";

figure("bug", ({root, state, change}) => {
  const find = name => root.querySelector(`[data-${name}]`);
  const lines = find("lines"), forward = find("forward"), title = find("title"), score = find("score");
  const says = root.querySelector(".numbers"), verdict = find("verdict"), next = find("next");
  let shown = null, of = 1;
  const tries = () => Array.isArray(state.tries) ? state.tries : [];

  next.addEventListener("click", () => change({puzzle: (state.puzzle + 1) % of, picked: null}));

  function list(code) {                                     // a button for every line but the first
    lines.replaceChildren(...code.map((text, i) => {
      const item = document.createElement("li"), line = document.createElement(i ? "button" : "span");
      const words = document.createElement("code"), indent = text.match(/^ */)[0];
      words.textContent = text.trim();
      line.append(indent, words);
      if (i) {
        line.type = "button";
        line.addEventListener("click", () => change({picked: i}));
      }
      item.append(line);
      return item;
    }));
  }

  return {draw({listing, bug}, state) {
    of = listing.of;
    if (listing.shown !== shown) {
      shown = listing.shown;
      forward.textContent = listing.forward;
      list(listing.lines);
    }
    title.textContent = `${listing.shown + 1} of ${of}: ${listing.name}`;
    const fresh = listing.shown === state.puzzle && bug.puzzle === state.puzzle && bug.picked === state.picked;
    const picked = fresh ? bug.picked : null, hit = picked !== null && bug.hit;
    if (picked !== null && (tries()[state.puzzle] ?? null) === null) {
      const now = Array.from({length: of}, (_, i) => tries()[i] ?? null);
      now[state.puzzle] = hit;
      return change({tries: now});
    }
    [...lines.children].forEach((item, i) => {
      item.classList.toggle("bad", i === picked && hit);
      item.classList.toggle("mean", i === picked && !hit);
      item.querySelector(".fix")?.remove();
      if (i === picked && hit) {
        const fix = document.createElement("code");
        fix.className = "fix good";
        fix.textContent = listing.lines[i].match(/^ */)[0] + bug.right;
        item.append(fix);
      }
    });
    const blamed = listing.blamed.filter(Boolean).join(" and ");
    says.textContent = picked === null ? `One line is wrong. The check of the gradients objects to ${blamed}.`
      : hit ? `Yes. ${bug.why}`
      : "This line is right. What the check says may help.";
    verdict.textContent = picked === null ? "Pick the wrong line, and read here what the check says." : bug.verdict + (hit ? `\n\nWith the right line:\n${bug.proof}` : "");
    const done = tries().filter(t => t !== null && t !== undefined);
    score.textContent = `Found at the first try: ${done.filter(Boolean).length} of ${done.length}.`;
  }};
});
