// A map of points: drawn on a canvas, moved, zoomed, searched; classes can be hidden. What it shows is in a list, too.
const data = JSON.parse(document.getElementById("data").textContent);
const count = data.x.length, FIRST = 24, FADED = 0.1, MARGIN = 26, NARROW = 500;
const byId = (id) => document.getElementById(id);
const canvas = byId("canvas"), pen = canvas.getContext("2d"), tip = byId("tip");
const shapes = Object.fromEntries(Object.entries(data.paths).map(([name, path]) => [name, new Path2D(path)]));
const texts = data.id.map((id, i) => `${id} ${data.classes[data.label[i]].name}`.toLowerCase());
const number = (value) => value.toLocaleString("en");
const shown = new Array(data.classes.length).fill(true);
let matches = new Array(count).fill(true), searching = false;
let zoom = 1, middle = [0, 0]; // of the map's units, in the middle of the canvas
let wide = 0, high = 0, chosen = -1, lit = -1, named = byId("names") !== null, listed = FIRST;
let colours = [], ink = "", paper = "", waiting = false, ratio = 1;

const scale = () => Math.min((wide - 2 * MARGIN) / data.width, (high - 2 * MARGIN) / data.height) * zoom;
const placeOf = (x, y) => [wide / 2 + (x - middle[0]) * scale(), high / 2 + (y - middle[1]) * scale()];
const place = (i) => placeOf(data.x[i], data.y[i]);
const unplace = (px, py) => [middle[0] + (px - wide / 2) / scale(), middle[1] + (py - high / 2) / scale()];
const isShown = (i) => shown[data.label[i]];
const isUp = (i) => isShown(i) && matches[i] && (lit < 0 || data.label[i] === lit);

function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
}

function draw() {
  ratio = window.devicePixelRatio || 1;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, wide, high);
  const size = Math.min(1.25, Math.max(0.5, 26 / Math.sqrt(count))) * Math.min(1.8, Math.sqrt(zoom)) * (wide < NARROW ? 0.8 : 1);
  for (const up of [false, true]) for (let i = 0; i < count; i += 1) {
    if (isShown(i) && isUp(i) === up && i !== chosen) drawPoint(i, size, up ? 0.9 : FADED, up);
  }
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.globalAlpha = 1;
  if (named && data.classes.length > 1) drawNames(size);
  if (chosen >= 0 && isShown(chosen)) {
    const [px, py] = place(chosen);
    drawPoint(chosen, size * 1.6, 1, true);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.beginPath();
    pen.arc(px, py, 11 * size + 3, 0, 2 * Math.PI);
    pen.lineWidth = 2;
    pen.strokeStyle = ink;
    pen.stroke();
  }
}

function drawPoint(i, size, opacity, edged) {
  const [px, py] = place(i), one = data.classes[data.label[i]];
  if (px < -20 || py < -20 || px > wide + 20 || py > high + 20) return;
  pen.setTransform(ratio * size, 0, 0, ratio * size, ratio * px, ratio * py);
  pen.globalAlpha = opacity;
  pen.fillStyle = one.colour === null ? colours[7] : colours[one.colour];
  pen.fill(shapes[one.shape]);
  if (edged) { pen.lineWidth = 0.7; pen.strokeStyle = paper; pen.stroke(shapes[one.shape]); }
}

function drawNames(size) { // those of the largest classes first; one that would cover another waits for a closer look
  pen.font = `600 ${wide < NARROW ? 11 : 13}px ${getComputedStyle(document.body).fontFamily}`;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.lineJoin = "round";
  pen.lineWidth = 4;
  const boxes = [];
  const order = data.classes.map((_, k) => k).sort((a, b) => data.classes[b].count - data.classes[a].count);
  for (const k of order) {
    const one = data.classes[k];
    if (!one.centre || one.colour === null || !shown[k] || (lit >= 0 && lit !== k)) continue;
    let [px, py] = placeOf(...one.centre);
    if (px < 0 || py < 0 || px > wide || py > high) continue;
    const rise = one.rise * scale();
    if (rise < 40) py -= rise + 9 + 5 * size; // above a small group, in the middle of a large one
    py = Math.max(py, 9);
    const text = one.name.length > 28 ? `${one.name.slice(0, 27)}…` : one.name;
    const half = pen.measureText(text).width / 2 + 3;
    px = Math.min(Math.max(px, half), wide - half);
    const box = [px - half, py - 9, px + half, py + 9];
    const free = [0, -18, 18, -36, 36].find((down) => boxes.every((other) =>
      box[2] < other[0] || other[2] < box[0] || box[3] + down < other[1] || other[3] < box[1] + down));
    if (free === undefined) continue;
    boxes.push([box[0], box[1] + free, box[2], box[3] + free]);
    pen.strokeStyle = paper;
    pen.fillStyle = ink;
    pen.strokeText(text, px, py + free);
    pen.fillText(text, px, py + free);
  }
}

function pictures(i) { // none or one
  if (!data.pictures[i]) return [];
  const image = document.createElement("img");
  image.alt = "";
  image.src = data.pictures[i];
  return [image];
}

function path(i) { // which breaks after its slashes
  return data.id[i].split(/(?<=\/)/).flatMap((part) => [part, document.createElement("wbr")]);
}

function choose(i, said) {
  if (i === chosen && !said) return;
  chosen = i;
  tip.hidden = i < 0;
  if (i >= 0) {
    const name = data.classes[data.label[i]].name;
    byId("tip-picture").replaceChildren(...pictures(i));
    byId("tip-class").textContent = byId("classes") ? name : "";
    byId("tip-id").replaceChildren(...path(i));
    if (said) byId("said").textContent = `${data.id[i]}${byId("classes") ? `, ${name}` : ""}`;
    const [px, py] = place(i);
    let left = px + 16 + tip.offsetWidth > wide ? px - 16 - tip.offsetWidth : px + 16, top = py - tip.offsetHeight / 2;
    if (wide < NARROW) [left, top] = [0, py > high / 2 ? 0 : high]; // where it hides the point least
    tip.style.left = `${Math.max(4, Math.min(left, wide - tip.offsetWidth - 4))}px`;
    tip.style.top = `${Math.max(4, Math.min(top, high - tip.offsetHeight - 4))}px`;
  }
  redraw();
}

function nearest(px, py, within) {
  let best = -1, least = within * within;
  for (let i = 0; i < count; i += 1) {
    if (!isUp(i)) continue;
    const [x, y] = place(i), far = (x - px) ** 2 + (y - py) ** 2;
    if (far < least) { least = far; best = i; }
  }
  return best;
}

function step(right, down) { // to the next point in the direction of an arrow; what lies aside of it is farther away
  if (chosen < 0 || !isShown(chosen)) return choose(nearest(wide / 2, high / 2, Infinity), true);
  const [px, py] = place(chosen);
  let best = -1, least = Infinity;
  for (let i = 0; i < count; i += 1) {
    if (i === chosen || !isUp(i)) continue;
    const [x, y] = place(i), along = (x - px) * right + (y - py) * down;
    const far = along + 2 * Math.abs((x - px) * down + (y - py) * right);
    if (along > 0 && far < least) { least = far; best = i; }
  }
  if (best >= 0) show(best);
}

function show(i, said = true) { // and move the map where the point is not on it
  const [px, py] = place(i);
  if (px < 10 || py < 10 || px > wide - 10 || py > high - 10) middle = [data.x[i], data.y[i]];
  choose(i, said);
}

function zoomBy(factor, px = wide / 2, py = high / 2) {
  const [x, y] = unplace(px, py);
  zoom = Math.min(60, Math.max(1, zoom * factor));
  middle = zoom === 1 ? [0, 0] : [x - (px - wide / 2) / scale(), y - (py - high / 2) / scale()];
  canvas.style.touchAction = zoom === 1 ? "pan-y" : "none"; // a page is scrolled over a map that shows all
  choose(-1);
  redraw();
}

const fingers = new Map();
let moved = 0;
const at = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
canvas.addEventListener("pointerdown", (event) => {
  fingers.set(event.pointerId, at(event));
  moved = 0;
  canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener("pointermove", (event) => {
  const [px, py] = at(event), before = fingers.get(event.pointerId);
  if (!before) return event.pointerType === "touch" ? undefined : choose(nearest(px, py, 14));
  const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
  moved += Math.hypot(px - before[0], py - before[1]);
  fingers.set(event.pointerId, [px, py]);
  if (other) {
    const ratio = Math.hypot(px - other[0], py - other[1]) / Math.max(1, Math.hypot(before[0] - other[0], before[1] - other[1]));
    zoomBy(ratio, (px + other[0]) / 2, (py + other[1]) / 2);
  } else if (moved > 4 && zoom > 1) {
    canvas.classList.add("held");
    middle = [middle[0] - (px - before[0]) / scale(), middle[1] - (py - before[1]) / scale()];
    choose(-1);
    redraw();
  }
});
for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => {
  fingers.delete(event.pointerId);
  canvas.classList.remove("held");
  if (end === "pointerup" && moved <= 4) choose(nearest(...at(event), 22), true);
});
canvas.addEventListener("pointerleave", () => { if (document.activeElement !== canvas) choose(-1); });
canvas.addEventListener("wheel", (event) => {
  if (document.activeElement !== canvas && !event.ctrlKey) return;
  event.preventDefault();
  zoomBy(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), ...at(event));
}, { passive: false });
canvas.addEventListener("dblclick", (event) => zoomBy(2, ...at(event)));
canvas.addEventListener("blur", () => choose(-1));
canvas.addEventListener("keydown", (event) => {
  const keys = {
    ArrowLeft: () => step(-1, 0), ArrowRight: () => step(1, 0), ArrowUp: () => step(0, -1), ArrowDown: () => step(0, 1),
    "+": () => zoomBy(1.5), "=": () => zoomBy(1.5), "-": () => zoomBy(1 / 1.5), 0: () => zoomBy(0), Escape: () => choose(-1),
  };
  if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  keys[event.key]();
});
byId("in").addEventListener("click", () => zoomBy(1.5));
byId("out").addEventListener("click", () => zoomBy(1 / 1.5));
byId("fit").addEventListener("click", () => zoomBy(0));
byId("names")?.addEventListener("click", (event) => {
  named = !named;
  event.currentTarget.setAttribute("aria-pressed", String(named));
  redraw();
});

function update() { // after a search or a change of classes
  if (chosen >= 0 && !isUp(chosen)) choose(-1);
  listed = FIRST;
  const all = matches.filter(Boolean).length;
  byId("found").textContent = searching ? `${number(all)} of ${number(count)}` : "";
  fill();
  redraw();
}
function search() {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  searching = words.length > 0;
  matches = texts.map((text) => words.every((word) => text.includes(word)));
  update();
}
byId("search").addEventListener("input", search);
const boxes = [...document.querySelectorAll("[data-class]")];
for (const box of boxes) {
  const k = Number(box.dataset.class), row = box.closest("label");
  shown[k] = box.checked; // browsers keep what was ticked when a page is loaded again
  box.addEventListener("change", () => { shown[k] = box.checked; update(); });
  const light = (on) => { lit = on && shown[k] ? k : -1; redraw(); };
  row.addEventListener("pointerenter", () => light(true));
  row.addEventListener("pointerleave", () => light(false));
}
const toggle = (on) => { for (const box of boxes) { box.checked = on; shown[Number(box.dataset.class)] = on; } update(); };
byId("all")?.addEventListener("click", () => toggle(true));
byId("none")?.addEventListener("click", () => toggle(false));

function fill() {
  const rows = [];
  for (let i = 0; i < count; i += 1) if (isShown(i) && matches[i]) rows.push(i);
  byId("listed").textContent = `${number(rows.length)} of ${number(count)} ${data.noun}`;
  byId("list").replaceChildren(...rows.slice(0, listed).map((i) => {
    const item = document.createElement("li"), button = document.createElement("button"), text = document.createElement("span");
    button.type = "button";
    button.append(...pictures(i));
    if (boxes.length) {
      const strong = document.createElement("strong");
      strong.textContent = data.classes[data.label[i]].name;
      text.append(strong, " ");
    }
    text.append(...path(i));
    button.append(text);
    button.addEventListener("focus", () => show(i, false));
    button.addEventListener("click", () => { show(i); canvas.scrollIntoView({ block: "nearest" }); });
    item.append(button);
    return item;
  }));
  byId("more").hidden = rows.length <= listed;
}
byId("more").addEventListener("click", () => { listed *= 2; fill(); });

function look() { // colours of the page, light or dark
  const style = getComputedStyle(document.documentElement), value = (name) => style.getPropertyValue(name).trim();
  ink = value("--ink");
  paper = value("--surface");
  colours = [1, 2, 3, 4, 5, 6].map((n) => value(`--series-${n}`)).concat([ink, value("--series-7")]);
  redraw();
}
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", look);
new ResizeObserver(() => {
  wide = canvas.clientWidth;
  high = canvas.clientHeight;
  canvas.width = Math.round(wide * (window.devicePixelRatio || 1));
  canvas.height = Math.round(high * (window.devicePixelRatio || 1));
  choose(-1);
  draw();
}).observe(canvas);
canvas.style.touchAction = "pan-y";
look();
search();
