// The video and, in its place, the same under the attention map.
import { byId } from "./dom.js";

const FAR = 1e7; // seconds: a browser that looks for this moment finds the end

export class Player {
  /** onTime(seconds, still), onDuration(seconds): of the video, whichever of the two is shown. */
  constructor(onTime, onDuration) {
    Object.assign(this, { onTime, onDuration });
    this.video = byId("video");
    this.overlay = byId("overlay");
    this.range = null;
    for (const screen of [this.video, this.overlay]) {
      for (const event of ["timeupdate", "seeking", "seeked"]) screen.addEventListener(event, () => this.tell(screen));
      screen.addEventListener("play", () => this.follow());
    }
    this.video.addEventListener("loadedmetadata", () => {
      const { videoWidth, videoHeight } = this.video;
      this.video.parentElement.style.aspectRatio = videoWidth ? Math.min(videoWidth / videoHeight, 16 / 9) : "";
      this.measure();
    });
    this.video.addEventListener("error", () => {
      if (!this.video.getAttribute("src")) return;
      this.playable = false;
      this.arrange(this.overlaid);
    });
  }

  get shown() { return this.overlay.hidden ? this.video : this.overlay; }

  get overlaid() { return !this.overlay.hidden; }

  open(address) {
    this.hideOverlay();
    this.playable = true;
    this.arrange(false);
    this.overlay.removeAttribute("src"); // one that is still loading is not shown any more
    this.measuring = false;
    this.video.src = address;
  }

  close() {
    this.hideOverlay();
    for (const screen of [this.video, this.overlay]) {
      screen.removeAttribute("src");
      screen.load();
    }
  }

  /** What a browser has recorded does not say how long it is, until its end has been looked for. */
  measure() {
    if (Number.isFinite(this.video.duration)) return this.onDuration(this.video.duration);
    const address = this.video.src;
    this.measuring = true;
    this.video.addEventListener("seeked", () => {
      if (this.video.src !== address) return; // another video by now
      this.measuring = false;
      this.video.currentTime = 0;
      this.onDuration(this.video.duration);
    }, { once: true });
    this.video.currentTime = FAR;
    return undefined;
  }

  tell(screen) {
    if (screen === this.shown && !this.measuring) this.onTime(this.time, screen.paused);
  }

  follow() {
    const step = () => {
      if (this.shown.paused || this.shown.ended) return;
      this.tell(this.shown);
      requestAnimationFrame(step);
    };
    step();
  }

  arrange(overlaid) {
    this.overlay.hidden = !overlaid;
    this.video.hidden = overlaid || !this.playable;
    byId("unplayable").hidden = overlaid || this.playable;
  }

  get time() {
    return this.overlaid ? this.range.start + this.overlay.currentTime * this.pace : this.video.currentTime;
  }

  /** Seconds of the video for each of the overlay. */
  get pace() {
    return this.overlay.duration > 0 ? (this.range.end - this.range.start) / this.overlay.duration : 1;
  }

  seek(seconds) {
    this.video.currentTime = seconds;
    if (this.overlaid) this.seekOverlay(seconds);
    this.entered = this.overlay.currentTime;
    this.onTime(seconds);
  }

  seekOverlay(seconds) {
    const within = Math.min(Math.max(seconds, this.range.start), this.range.end);
    this.overlay.currentTime = (within - this.range.start) / this.pace;
  }

  toggle() {
    if (this.shown.paused) this.shown.play().catch(() => {});
    else this.shown.pause();
  }

  /**
   * In place of the video, at the same moment, playing if it played. start, end: the time range of the video that the
   * overlay shows. Gives false, and the video stays, where the browser cannot play the overlay.
   */
  async showOverlay(address, start, end) {
    const seconds = this.time, played = !this.shown.paused;
    this.shown.pause();
    if (this.overlay.getAttribute("src") !== address) {
      this.overlay.src = address;
      await new Promise((resolve) => {
        for (const event of ["loadedmetadata", "error"]) this.overlay.addEventListener(event, resolve, { once: true });
      });
      if (this.overlay.getAttribute("src") !== address) return true; // another video, or another overlay, by now
      if (this.overlay.error) {
        this.overlay.removeAttribute("src"); // so that it is loaded again when it is tried again
        if (this.overlaid) this.video.currentTime = seconds;
        this.arrange(false);
        if (played) this.video.play().catch(() => {});
        return false;
      }
    }
    this.range = { start, end };
    this.arrange(true);
    this.seekOverlay(seconds);
    this.entered = this.overlay.currentTime;
    if (played) this.overlay.play().catch(() => {});
    return true;
  }

  hideOverlay() {
    if (!this.overlaid) return;
    const seconds = this.time, played = !this.overlay.paused, moved = Math.abs(this.overlay.currentTime - this.entered) > 0.01;
    this.overlay.pause();
    this.arrange(false);
    if (moved) this.video.currentTime = seconds; // else it is where it was, though the overlay may not go that far
    this.onTime(this.video.currentTime);
    if (played) this.video.play().catch(() => {});
  }
}
