// The page of the service: from a video to its classes, its timeline and its attention.
import { showBars, spoken } from "./bars.js";
import { Camera } from "./camera.js";
import { byId, clock, say, setText, showNotice } from "./dom.js";
import { History } from "./history.js";
import { Player } from "./player.js";
import { Colours } from "./segments.js";
import { call, hasToken, lineReader, Problem, sentence } from "./service.js";
import { asCurl, asPython } from "./snippets.js";
import { Task } from "./task.js";
import { Timeline } from "./timeline.js";

const TOP = 5; // classes beside the video
let models = [];
let entry = null; // what is shown: a file and what is known of it

const connection = new Task(byId("connection"), "models");
const predicting = new Task(byId("prediction-task"), "prediction");
const timing = new Task(byId("timeline-task"), "timeline");
const explaining = new Task(byId("overlay-task"), "attention");
const timeline = new Timeline((seconds) => player.seek(seconds), () => player.toggle());
const player = new Player((...when) => timeline.setTime(...when), (seconds) => timeline.setDuration(seconds));
const history = new History((chosen) => { if (chosen !== entry) show(chosen); }, () => { stopAll(); close(); });
const camera = new Camera((clip) => open(clip), queryOf, () => { showSource(); byId("use-camera").focus(); });
byId("video").addEventListener("loadeddata", () => { if (entry) history.picture(entry, byId("video")); });
for (const task of [predicting, timing, explaining]) task.away = () => byId("name").focus();

// Models

async function connect() {
  connection.clear();
  try {
    ({ models } = await call("v1/models"));
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    connection.again = connect;
    return connection.show(problem);
  }
  const select = byId("model"), first = models.find((one) => one.default) ?? models[0];
  select.replaceChildren(...models.map(({ name }) => new Option(name)));
  select.value = first.name;
  byId("model-choice").hidden = models.length < 2;
  byId("openapi").hidden = hasToken(); // which a link does not bring
  return describe();
}

const modelOf = (name) => models.find((one) => one.name === name);

function describe() {
  const one = modelOf(byId("model").value);
  const facts = [one.scheme ?? one.architecture, `${one.frames} frames of ${one.side} pixels`,
    `${one.classes} classes`, `${one.engine} in ${one.precision}`];
  setText(byId("facts"), (models.length < 2 ? [one.name, ...facts] : facts)
    .map((fact) => fact.replaceAll(" ", "\u00a0")).join(" · "));
}

byId("model").addEventListener("change", () => {
  describe();
  if (entry) open(entry.file, false); // who chooses a model stays there
});

function queryOf(model = byId("model").value) {
  return { model, top_k: Math.min(TOP, modelOf(model)?.classes ?? TOP) };
}

// A video

function open(file, focus = true) {
  showNotice(byId("notice"), file.size ? "" : `${file.name} is empty.`);
  if (!file.size) return;
  stopAll();
  const model = byId("model").value;
  history.add({ file, model, address: URL.createObjectURL(file), modelShown: models.length > 1, predictions: null,
    waiting: true, rows: [], complete: false, window: "", overlays: new Map(), thumbnail: null,
    colours: new Colours(modelOf(model)?.labels ?? []) });
  show(history.entries[0], focus);
  say(`Uploading ${file.name}`);
  predict(entry);
}

function stopAll() {
  for (const task of [predicting, timing, explaining]) task.clear();
}

function close() {
  entry = null;
  byId("opened").hidden = true;
  showSource();
  player.close();
  byId("choose").focus();
}

/** As it was left. */
function show(chosen, focus = true) {
  stopAll();
  entry = chosen;
  byId("opened").hidden = false;
  showSource();
  setText(byId("name"), entry.file.name);
  byId("window").value = entry.window;
  timeline.reset(entry.colours);
  timeline.setRows(entry.rows);
  player.open(entry.address);
  showPredictions();
  history.show(entry);
  if (focus) byId("name").focus();
  if (entry.waiting) return; // it begins
  if (!entry.predictions) predicting.offer("No prediction yet.", () => predict(entry));
  else if (!entry.complete) timing.offer("The timeline is not complete.", () => follow(entry));
}

function showPredictions() {
  const found = entry.predictions ?? [];
  showBars(byId("bars"), found);
  byId("copies").hidden = !found.length;
  const { seen, seconds } = entry, some = seen > 0 && seconds > 0;
  showNotice(byId("seen"), some ? `From ${seen.toFixed(1)} of ${seconds.toFixed(1)} s of the video.` : "");
  byId("snippet").hidden = true;
  setText(byId("copied"), "");
  byId("explained").replaceChildren(...found.map(({ label }) => new Option(label)));
  byId("attention-controls").hidden = !found.length;
  byId("timeline").hidden = !entry.predictions;
  press(false);
}

async function predict(one) {
  one.waiting = true;
  history.show(entry);
  const answer = await predicting.run(
    (how) => call("v1/predict", { query: queryOf(one.model), file: one.file, ...how }), () => predict(one));
  one.waiting = false;
  history.show(entry);
  if (!answer) return;
  Object.assign(one, { predictions: answer.predictions, seen: answer.seen_seconds, seconds: answer.seconds });
  showPredictions();
  history.show(entry);
  say(answer.predictions.length ? spoken(answer.predictions) : "No class");
  await follow(one);
}

/** Its timeline, row after row. */
async function follow(one) {
  Object.assign(one, { rows: [], complete: false });
  timeline.setRows(one.rows);
  const done = await timing.run(async (how) => {
    one.rows.length = 0;
    const reader = lineReader((row) => {
      if (row.error || row.problem) throw new Problem("The timeline ends here.", sentence(row.detail ?? row.problem));
      if (row.done) one.complete = true;
      else one.rows.push(row);
    });
    let wrong = null;
    const onText = (text) => {
      try { if (!wrong) reader(text); } catch (problem) { wrong = problem; }
      timeline.setRows(one.rows);
      const end = one.rows.at(-1)?.end_s;
      if (end) timing.progress(`Computing, ${clock(end)} of ${clock(timeline.length)}`, end / timeline.length);
    };
    await call("v1/timeline", { query: { model: one.model, window: one.window }, file: one.file, onText, ...how });
    if (wrong) throw wrong;
    if (!one.complete) throw new Problem("The timeline ends here.", "The service ended the connection.");
    return true;
  }, () => follow(one));
  if (done) say(`Timeline: ${timeline.segments.length} ${timeline.segments.length === 1 ? "segment" : "segments"}`);
}

byId("window-form").addEventListener("submit", (event) => {
  event.preventDefault();
  entry.window = byId("window").value;
  follow(entry);
});

// Attention

async function explain(one) {
  const label = byId("explained").value, method = byId("method").value, key = JSON.stringify([label, method]);
  if (!one.overlays.has(key)) {
    const answer = await explaining.run((how) =>
      call("v1/explain", { query: { model: one.model, method, label, plain: true }, file: one.file, blob: true, ...how }),
    () => explain(one));
    if (!answer) return press(player.overlaid);
    one.overlays.set(key, { address: URL.createObjectURL(answer.content), ...rangeOf(answer) });
    say(`Attention for ${label}, by ${method}`);
  } else {
    explaining.clear();
  }
  const { address, start, end } = one.overlays.get(key);
  if (!await player.showOverlay(address, start, end)) {
    URL.revokeObjectURL(address);
    one.overlays.delete(key);
    explaining.again = () => explain(one);
    explaining.show(new Problem("This browser cannot play the overlay."));
  }
  return press(player.overlaid);
}

/** The time range of the video that the overlay shows; all of it where the service does not say. */
function rangeOf({ header }) {
  const [start, end] = ["Overlay-Start", "Overlay-End"].map((name) => Number.parseFloat(header(name) ?? ""));
  return end > start ? { start, end } : { start: 0, end: timeline.length };
}

function press(on) {
  byId("attention").setAttribute("aria-pressed", String(on));
  const { start, end } = player.range ?? {}, all = start < 0.05 && end > timeline.length - 0.05;
  showNotice(byId("looked"), on && !all ? `The model saw ${clock(start)} to ${clock(end)}.` : "");
}

byId("attention").addEventListener("click", () => {
  if (!player.overlaid) return explain(entry);
  player.hideOverlay();
  return press(false);
});
for (const id of ["explained", "method"]) byId(id).addEventListener("change", () => {
  if (player.overlaid || explaining.running) explain(entry);
});

// Copy

for (const button of document.querySelectorAll("[data-copy]")) button.addEventListener("click", async () => {
  const write = button.dataset.copy === "curl" ? asCurl : asPython, pre = byId("snippet");
  const text = write(entry.file.name, queryOf(entry.model), hasToken());
  pre.hidden = false;
  pre.textContent = text;
  try {
    await navigator.clipboard.writeText(text); // which browsers have only over HTTPS, or on localhost
    setText(byId("copied"), "Copied.");
  } catch {
    getSelection().selectAllChildren(pre);
    pre.focus();
    setText(byId("copied"), "Selected: copy it.");
  }
});

// Files

/** Where videos come from: large as long as there is nothing else. */
function showSource() {
  const small = entry !== null || !byId("camera").hidden, touch = matchMedia("(pointer: coarse)").matches;
  byId("source").classList.toggle("small", small);
  setText(byId("source-title"), small ? "Another video" : touch ? "Classify a video" : "Drop a video"); // fingers drop nothing
}

byId("choose").addEventListener("click", () => byId("file").click());
byId("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  event.target.value = ""; // the same may be chosen again
  if (file) open(file);
});
byId("use-camera").addEventListener("click", () => { camera.open(); showSource(); });

const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
addEventListener("dragenter", (event) => { if (hasFiles(event)) byId("drop-here").hidden = false; });
addEventListener("dragover", (event) => { if (hasFiles(event)) event.preventDefault(); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) byId("drop-here").hidden = true; });
addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  byId("drop-here").hidden = true;
  const { items, files } = event.dataTransfer;
  if (files.length > 1) showNotice(byId("notice"), `${files.length} files were dropped; drop one video at a time.`);
  else if (items[0]?.webkitGetAsEntry?.()?.isDirectory) showNotice(byId("notice"), `${files[0].name} is a folder; drop a video.`);
  else if (files.length) open(files[0]);
  else showNotice(byId("notice"), "What was dropped is not a file; drop a video.");
});

showSource();
connect();
