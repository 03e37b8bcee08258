import {figure} from "../figure.js";
import {Plot, number} from "../plot.js";

const SETS = {
  omniglot: {name: "Omniglot", y: [93, 100]},
  miniimagenet: {name: "Mini-ImageNet", y: [25, 55]},
};
const BESIDE = {maml: -0.12, fomaml: 0.12};                 // two of one year
const NAMED = {maml: ["end", [-8, -8]], fomaml: ["", [10, 5]]};

figure("tree", ({root, change}) => {
  const plot = new Plot(root.querySelector(".plot"), {
    width: 400, height: 260, x: [2015.5, 2019.8], y: SETS.omniglot.y, ticks: 5, xlabel: "year", ylabel: "accuracy, %",
    label: "methods by year and accuracy",
  });
  const buttons = [...root.querySelectorAll("[data-item]")], [what, reached] = root.querySelectorAll(".said p");
  for (const button of buttons)
    for (const event of ["pointerenter", "focus", "click"])
      button.addEventListener(event, () => change({pick: button.dataset.item}));

  return {draw({methods}, {pick, data}) {
    const chosen = methods[pick] ?? methods.reptile, {name: set, y} = SETS[data] ?? SETS.omniglot;
    for (const button of buttons) button.setAttribute("aria-pressed", methods[button.dataset.item] === chosen);
    plot.range({y});
    plot.redraw(() => {
      for (const [id, m] of Object.entries(methods)) {
        if (!m.year) continue;
        const [published, own] = m[data] ?? [], x = m.year + (BESIDE[id] ?? 0);
        const kind = m === chosen ? "picked" : "", take = () => change({pick: id});
        if (!published) continue;
        if (own) plot.line(`link ${id}`, [[x, published[0]], [x, own[0]]], "mean thin dashed");
        plot.spot(`${data} ${id}`, [x, published[0]], {label: `${m.name}, published`, pick: take, kind: `update ${kind}`});
        if (own) plot.spot(`${data} own ${id}`, [x, own[0]],
          {label: `${m.name}, measured here`, pick: take, kind: `own task0 ${kind}`, shape: "diamond"});
        const [side, offset] = NAMED[id] ?? ["", [9, -9]];
        plot.text(`name ${id}`, [x, published[0]], m.name, `${side} ${m === chosen ? "update" : ""}`, offset);
      }
    });
    what.textContent = `${chosen.name}${chosen.year ? `, ${chosen.year}` : ""}. ${chosen.says}`;
    const said = [["published", chosen[data]?.[0]], ["measured here", chosen[data]?.[1]]]
      .filter(([, value]) => value).map(([how, [value, half]]) => `${value.toFixed(2)} ± ${half.toFixed(2)} % ${how}`);
    reached.textContent = (said.length ? `5-way 1-shot on ${set}, transductive: ${said.join(", ")}. ` : "") +
      (chosen.sine ? `On sine waves, squared error after 32 steps, measured here: ${number(chosen.sine)}.` : "");
  }};
});
