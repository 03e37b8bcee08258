// Something to be dragged from one figure into another, or sent there by a press of its button.

// `what` gives the patch of the other figure's state.
export function token(button, target, what) {
  const knob = button.querySelector(".grip");
  let from = null, moved = false, frame = 0, at = null;         // moved: no click is meant

  async function send() {
    const patch = what();
    if (!patch) return;
    target.scrollIntoView({block: "nearest"});
    while (!target.figure) await new Promise(requestAnimationFrame);  // it begins when it is near
    target.figure.change(patch);
  }
  const over = ({x, y}) => {
    const box = target.getBoundingClientRect();
    return x > box.left && x < box.right && y > box.top && y < box.bottom;
  };
  // Near the edge of the window, the page moves along.
  function follow() {
    if (!from) return;
    const edge = 70, by = at.y < edge ? at.y - edge : Math.max(0, at.y - innerHeight + edge);
    if (by) scrollBy({top: by / 4, behavior: "instant"});
    target.classList.toggle("awaits", moved && over(at));
    const box = button.getBoundingClientRect();
    if (moved) knob.style.transform = `translate(${at.x - box.left - 20}px, ${at.y - box.top - 20}px)`;
    frame = requestAnimationFrame(follow);
  }
  function end() {
    cancelAnimationFrame(frame);
    from = null;
    knob.style.transform = "";
    button.classList.remove("dragged");
    target.classList.remove("awaits");
  }

  button.addEventListener("pointerdown", event => {
    if (event.button) return;
    from = at = {x: event.clientX, y: event.clientY};
    moved = false;
    button.setPointerCapture(event.pointerId);
    follow();
  });
  button.addEventListener("pointermove", event => {
    if (!from) return;
    at = {x: event.clientX, y: event.clientY};
    moved ||= Math.hypot(at.x - from.x, at.y - from.y) > 6;
    button.classList.toggle("dragged", moved);
  });
  button.addEventListener("pointerup", () => {
    const dropped = from && moved && over(at);
    end();
    if (dropped) send();
  });
  button.addEventListener("pointercancel", end);
  button.addEventListener("keydown", event => { if (event.key === "Escape" && from) end(); });
  button.addEventListener("click", () => { if (!moved) send(); moved = false; });
  return {label: text => { knob.querySelector("sub").textContent = text; }};
}
