// The timeline under the video: a track that is a slider, and the segments as a list of buttons.
import { byId, clock, make, percent, setText, sync } from "./dom.js";
import { segmentAt, segmentsOf } from "./segments.js";

const SVG = "http://www.w3.org/2000/svg";

export class Timeline {
  /** onSeek(seconds): someone chose a moment. onToggle(): someone asked to play or to pause. */
  constructor(onSeek, onToggle) {
    Object.assign(this, { onSeek, onToggle });
    this.track = byId("track");
    this.list = byId("segments");
    this.reset(null);
    this.track.addEventListener("keydown", (event) => this.key(event));
    this.track.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      this.track.setPointerCapture(event.pointerId);
      this.seekTo(event);
    });
    this.track.addEventListener("pointermove", (event) => {
      if (this.track.hasPointerCapture(event.pointerId)) this.seekTo(event);
    });
  }

  /** Another video; colours: those of its classes, whichever of its windows they are in. */
  reset(colours) {
    this.colours = colours;
    this.rows = [];
    this.segments = [];
    this.duration = this.seconds = 0;
    this.show();
  }

  setDuration(seconds) {
    this.duration = seconds;
    this.show();
  }

  setRows(rows) {
    this.rows = rows;
    this.drawing ??= requestAnimationFrame(() => this.show()); // rows may come faster than a screen shows them
  }

  get length() { return Math.max(this.duration, this.rows.at(-1)?.end_s ?? 0); }

  show() {
    this.drawing = null;
    this.segments = segmentsOf(this.rows);
    const length = this.length, some = this.segments.length > 0;
    this.track.hidden = byId("ticks").hidden = this.list.hidden = byId("now").hidden = !some;
    this.track.setAttribute("aria-valuemax", length.toFixed(2));
    sync(byId("labels"), this.segments, () => make("span", {}, make("span")), (span, one) => {
      span.className = `segment s${this.colours.of(one.label)}`;
      span.style.left = `${(100 * one.start) / length}%`;
      span.style.width = `${(100 * (one.end - one.start)) / length}%`;
      setText(span.firstChild, one.label);
    });
    this.drawScores(length);
    this.drawTicks(length);
    sync(this.list, this.segments, () => this.listItem(), (item, one) => {
      const [button] = item.children, [time, swatch, label, score] = button.children;
      item.dataset.start = one.start;
      swatch.className = `swatch s${this.colours.of(one.label)}`;
      setText(label, one.label);
      setText(time, clock(one.start));
      setText(score, percent(one.score));
    });
    this.setTime(this.seconds);
  }

  listItem() {
    const parts = ["time", "swatch", "label", "score"].map((name) => make("span", { className: name }));
    parts[1].setAttribute("aria-hidden", "true");
    const button = make("button", { type: "button" }, ...parts), item = make("li", {}, button);
    button.addEventListener("click", () => this.onSeek(Number(item.dataset.start)));
    return item;
  }

  drawScores(length) {
    this.marked?.firstChild.removeAttribute("aria-current");
    this.marked = null;
    const svg = byId("scores");
    svg.setAttribute("viewBox", `0 0 ${length || 1} 1`);
    sync(svg, this.segments, () => document.createElementNS(SVG, "path"), (path, one) => {
      path.setAttribute("class", `s${this.colours.of(one.label)}`); // setTime marks that of this moment again
      const steps = one.pieces.map(({ start, end, score }) => `L${start} ${1 - score}L${end} ${1 - score}`).join("");
      path.setAttribute("d", `M${one.start} 1${steps}L${one.end} 1Z`);
    });
  }

  drawTicks(length) {
    const step = [0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600].find((one) => length / one <= 7) ?? 7200;
    const ticks = length ? Array.from({ length: Math.floor(length / step + 0.001) + 1 }, (_, number) => number * step) : [];
    sync(byId("ticks"), ticks, () => make("span"), (span, seconds) => {
      span.style.left = `${(100 * seconds) / length}%`;
      span.className = seconds / length > 0.94 ? "last" : "";
      setText(span, clock(seconds, step < 1 ? 1 : 0));
    });
  }

  /** Where the video is. Screen readers hear of each second while it plays, of each step while it is `still`. */
  setTime(seconds, still = true) {
    this.seconds = seconds;
    const length = this.length, number = segmentAt(this.segments, seconds), one = this.segments[number];
    byId("playhead").style.left = `${length ? (100 * Math.min(seconds, length)) / length : 0}%`;
    const text = `${clock(seconds)} of ${clock(length)}${one ? `, ${one.label} ${percent(one.score)}` : ""}`;
    if (still || number !== this.current || Math.abs(seconds - this.told) >= 1) {
      this.told = seconds;
      this.track.setAttribute("aria-valuenow", seconds.toFixed(2));
      this.track.setAttribute("aria-valuetext", text);
    }
    this.showNow(one, seconds);
    if (number === this.current && this.marked === this.list.children[number]) return;
    this.marked?.firstChild.removeAttribute("aria-current");
    this.lit?.classList.remove("now");
    this.lit = byId("scores").children[number];
    this.lit?.classList.add("now");
    this.current = number;
    this.marked = this.list.children[number];
    this.marked?.firstChild.setAttribute("aria-current", "true");
    if (this.marked && !this.list.contains(document.activeElement)) { // in its own list alone: the page stays
      const { offsetTop, offsetHeight } = this.marked;
      if (offsetTop < this.list.scrollTop) this.list.scrollTop = offsetTop;
      else if (offsetTop + offsetHeight > this.list.scrollTop + this.list.clientHeight) {
        this.list.scrollTop = offsetTop + offsetHeight - this.list.clientHeight;
      }
    }
  }

  showNow(one, seconds) {
    const now = byId("now");
    if (!now.children.length) {
      now.append(make("span", { className: "time" }), make("span"), make("strong"));
    }
    const [time, swatch, label] = now.children;
    setText(time, clock(seconds));
    swatch.className = one ? `swatch s${this.colours.of(one.label)}` : "";
    setText(label, one?.label ?? "");
  }

  seekTo(event) {
    const box = this.track.getBoundingClientRect();
    this.seek(((event.clientX - box.left) / box.width) * this.length);
  }

  seek(seconds) { this.onSeek(Math.min(Math.max(seconds, 0), this.length)); }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const [first, second] = this.rows, step = second ? second.start_s - first.start_s : this.length / 20;
    const next = () => this.segments.find((one) => one.start > this.seconds + 0.01)?.start ?? this.length;
    const before = () => this.segments.findLast((one) => one.start < this.seconds - 0.3)?.start ?? 0;
    const keys = {
      ArrowRight: () => this.seek(this.seconds + step), ArrowUp: () => this.seek(this.seconds + step),
      ArrowLeft: () => this.seek(this.seconds - step), ArrowDown: () => this.seek(this.seconds - step),
      PageUp: () => this.seek(next()), PageDown: () => this.seek(before()),
      Home: () => this.seek(0), End: () => this.seek(this.length),
      " ": () => this.onToggle(), Enter: () => this.onToggle(),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  }
}
