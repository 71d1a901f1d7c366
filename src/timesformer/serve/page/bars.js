// Classes and their scores.
import { make, percent, setText, sync } from "./dom.js";

/** list: an element. predictions: {label, score}, the best first. */
export function showBars(list, predictions) {
  sync(list, predictions, () => make("li", {},
    make("span", { className: "label" }), make("span", { className: "score" }),
    make("span", { className: "bar", ariaHidden: "true" }, make("span"))), (item, { label, score }) => {
    const [name, number, bar] = item.children;
    setText(name, label);
    setText(number, percent(score));
    bar.firstChild.style.width = percent(Math.min(Math.max(score, 0), 1));
  });
}

export const spoken = (predictions) => predictions.map(({ label, score }) => `${label} ${percent(score)}`).join(", ");
