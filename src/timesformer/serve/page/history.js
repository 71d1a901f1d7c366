// What was classified in this tab: chosen again, it is shown as it was.
import { byId, make, percent, setText, sync } from "./dom.js";

const WIDTH = 96; // pixels of a thumbnail

export class History {
  /** onChoose(entry), onClear(). */
  constructor(onChoose, onClear) {
    this.entries = [];
    this.onChoose = onChoose;
    byId("clear").addEventListener("click", () => {
      this.entries.forEach(release);
      this.entries = [];
      onClear();
      this.show(null);
    });
  }

  /** The newest comes first. */
  add(entry) {
    this.entries.unshift(entry);
    this.show(entry);
  }

  show(open) {
    this.open = open;
    byId("history").hidden = !this.entries.length;
    sync(byId("entries"), this.entries, (number) => {
      const button = make("button", { type: "button" }, make("span", { className: "thumbnail" }),
        make("span", { className: "label" }), make("span", { className: "name" }));
      button.addEventListener("click", () => this.onChoose(this.entries[number]));
      return make("li", {}, button);
    }, (item, entry) => {
      const button = item.firstChild, [thumbnail, label, name] = button.children, best = entry.predictions?.[0];
      if (entry.thumbnail) thumbnail.replaceChildren(entry.thumbnail);
      else thumbnail.replaceChildren();
      setText(label, best ? `${best.label} ${percent(best.score)}` : entry.waiting ? "…" : "no prediction");
      setText(name, entry.modelShown ? `${entry.file.name}, ${entry.model}` : entry.file.name);
      if (entry === open) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    });
  }

  /** A still picture of an entry, from its video as soon as that shows one. */
  picture(entry, video) {
    if (entry.thumbnail || !video.videoWidth) return;
    const canvas = make("canvas", { width: WIDTH, height: Math.round((WIDTH * 9) / 16) });
    const scale = Math.max(canvas.width / video.videoWidth, canvas.height / video.videoHeight);
    const [width, height] = [video.videoWidth * scale, video.videoHeight * scale];
    canvas.getContext("2d").drawImage(video, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
    entry.thumbnail = canvas;
    this.show(this.open);
  }
}

function release(entry) {
  URL.revokeObjectURL(entry.address);
  for (const overlay of entry.overlays.values()) URL.revokeObjectURL(overlay.address);
}
