// One thing that the service does for the page: its progress, a button that cancels it, and what went wrong.
import { byId, bytes, say, setText } from "./dom.js";
import { Cancelled, Problem } from "./service.js";

const TRIES = 5; // of a service that is busy

export class Task {
  /** place: the element that shows it. what: what it is called in messages. */
  constructor(place, what) {
    place.append(byId("task-template").content.cloneNode(true));
    this.what = what;
    this.busy = place.querySelector(".task");
    this.text = this.busy.querySelector("p");
    this.bar = this.busy.querySelector("progress");
    this.bar.setAttribute("aria-label", what);
    this.failed = place.querySelector(".problem");
    this.stop = null;
    this.busy.querySelector("button").addEventListener("click", () => this.cancel());
    this.busy.querySelector("button").setAttribute("aria-label", `Cancel: ${what}`);
    this.failed.querySelector("button").addEventListener("click", () => this.again());
  }

  get running() { return this.stop !== null; }

  cancel() { this.stop?.abort(); }

  /** Nothing runs any more and nothing is shown. */
  clear() {
    this.cancel();
    this.stop = null;
    this.busy.hidden = this.failed.hidden = true;
  }

  /**
   * Runs work(how), where `how` has the signal and what to tell of progress. Gives its value; undefined where it was
   * cancelled or failed, which is shown with a button that calls `again`.
   */
  async run(work, again) {
    this.clear();
    const stop = (this.stop = new AbortController());
    this.again = again;
    this.busy.hidden = false;
    try {
      return await this.whileBusy(work, stop);
    } catch (problem) {
      if (this.stop !== stop) return undefined; // something else runs here by now
      if (problem instanceof Cancelled) this.show(new Problem("Cancelled."), "Start again", false);
      else if (problem instanceof Problem) this.show(problem);
      else { this.show(new Problem("The page failed.", String(problem))); throw problem; }
      return undefined;
    } finally {
      clearInterval(this.timer);
      if (this.stop === stop) {
        if (this.busy.contains(document.activeElement)) this.away?.();
        this.busy.hidden = true;
        this.stop = null;
      }
    }
  }

  async whileBusy(work, stop) {
    for (let tried = 1; ; tried += 1) {
      try {
        this.progress("Uploading", 0);
        return await work({
          signal: stop.signal,
          onUpload: (sent, all) => this.progress(`Uploading, ${bytes(sent)} of ${bytes(all)}`, sent / all),
          onSent: () => this.computing(),
        });
      } catch (problem) {
        if (problem.status !== 429 || tried === TRIES) throw problem;
        say(problem.title);
        await this.wait(problem.wait ?? 5, stop.signal);
      } finally {
        clearInterval(this.timer);
      }
    }
  }

  computing() {
    const start = performance.now();
    const tell = () => {
      const seconds = Math.floor((performance.now() - start) / 1000);
      if (!this.fraction) this.progress(seconds ? `Computing, ${seconds} s` : "Computing", null);
    };
    this.fraction = null;
    tell();
    clearInterval(this.timer);
    this.timer = setInterval(tell, 1000);
  }

  /** How far it is, between 0 and 1; null where that is unknown. */
  progress(text, fraction) {
    this.fraction = fraction;
    setText(this.text, text);
    if (fraction === null) this.bar.removeAttribute("value");
    else this.bar.value = fraction;
  }

  wait(seconds, signal) {
    return new Promise((resolve, reject) => {
      let left = Math.ceil(seconds);
      const end = (how) => { clearInterval(timer); signal.removeEventListener("abort", cancelled); how(); };
      const cancelled = () => end(() => reject(new Cancelled()));
      const tell = () => this.progress(`The service is busy; retrying in ${left} s`, null);
      const timer = setInterval(() => { left -= 1; if (left <= 0) end(resolve); else tell(); }, 1000);
      signal.addEventListener("abort", cancelled);
      tell();
    });
  }

  /** What can be started. */
  offer(text, again) {
    this.again = again;
    this.show(new Problem(text), "Start", false);
  }

  show(problem, button = "Try again", wrong = true) {
    const text = this.failed.querySelector("p"), strong = document.createElement("strong");
    this.failed.hidden = false;
    this.failed.classList.toggle("wrong", wrong);
    strong.textContent = problem.title;
    text.replaceChildren(strong, ` ${problem.detail}`);
    const again = this.failed.querySelector("button");
    again.textContent = button;
    again.setAttribute("aria-label", `${button}: ${this.what}`);
    if (this.busy.contains(document.activeElement)) again.focus();
  }
}
