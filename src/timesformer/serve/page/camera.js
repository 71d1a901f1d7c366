// The camera: a clip of a few seconds, or clip after clip. What it sees leaves the page only as clips.
import { showBars, spoken } from "./bars.js";
import { byId, say, setText, showNotice } from "./dom.js";
import { call, Cancelled } from "./service.js";

const TYPES = ["video/webm;codecs=vp8", "video/webm", "video/mp4"];
const WRONG = {
  NotAllowedError: "The browser was not allowed to use the camera. Allow it in the settings of this page.",
  NotFoundError: "There is no camera.",
  NotReadableError: "Another program uses the camera.",
};

export class Camera {
  /** onClip(file): a clip was recorded. query(): what live clips are asked about. onClose(). */
  constructor(onClip, query, onClose) {
    Object.assign(this, { onClip, query, onClose, stream: null, asking: false, recording: null, live: null });
    byId("close-camera").addEventListener("click", () => this.close());
    byId("record").addEventListener("click", () => this.record());
    byId("live").addEventListener("click", () => (this.live ? this.endLive() : this.startLive()));
  }

  async open() {
    byId("camera").hidden = false;
    byId("camera-title").focus();
    showNotice(byId("camera-problem"), "");
    if (this.stream || this.asking) return undefined; // a second stream would keep the camera on after `close`
    this.asking = true;
    try {
      if (!navigator.mediaDevices?.getUserMedia) {
        throw new DOMException("Browsers give pages the camera only over HTTPS, or on localhost.", "InsecureContext");
      }
      const stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 } }, audio: false });
      if (byId("camera").hidden) return void stream.getTracks().forEach((track) => track.stop()); // closed meanwhile
      this.stream = stream;
    } catch (wrong) {
      return showNotice(byId("camera-problem"), WRONG[wrong.name] ?? wrong.message);
    } finally {
      this.asking = false;
    }
    const preview = byId("preview");
    preview.srcObject = this.stream;
    byId("camera-stage").hidden = false;
    byId("record").disabled = byId("live").disabled = true;
    preview.addEventListener("playing", () => { byId("record").disabled = byId("live").disabled = false; }, { once: true });
    for (const track of this.stream.getTracks()) track.addEventListener("ended", () => {
      this.close();
      byId("camera").hidden = false;
      showNotice(byId("camera-problem"), "The camera was disconnected.");
    });
    return preview.play().catch(() => {});
  }

  close() {
    this.endLive();
    this.drop();
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = byId("preview").srcObject = null;
    byId("camera").hidden = byId("camera-stage").hidden = true;
    this.onClose();
  }

  /** End what is being recorded; nothing is made of it. */
  drop() {
    if (!this.recording) return;
    this.recording.dropped = true;
    this.recording.recorder.stop();
  }

  /** A clip, or null where it was dropped meanwhile. `stop` of its recorder ends it sooner. */
  async clip(seconds) {
    const type = TYPES.find((one) => MediaRecorder.isTypeSupported(one)) ?? "", parts = [];
    const recorder = new MediaRecorder(this.stream, type ? { mimeType: type } : {});
    const recording = { recorder, dropped: false }, bar = byId("camera-progress");
    let timer;
    recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
    const stopped = new Promise((resolve) => recorder.addEventListener("stop", resolve, { once: true }));
    const started = new Promise((resolve) => recorder.addEventListener("start", resolve, { once: true }));
    recorder.start();
    this.recording = recording;
    try {
      await Promise.race([started, stopped]);
      const start = performance.now();
      bar.hidden = false;
      timer = setInterval(() => {
        const passed = (performance.now() - start) / 1000;
        bar.value = Math.min(passed / seconds, 1);
        if (passed >= seconds && recorder.state === "recording") recorder.stop();
      }, 50);
      await stopped;
    } finally {
      clearInterval(timer);
      if (this.recording === recording) { // else live was switched off and on, and the next clip is being recorded
        this.recording = null;
        bar.hidden = true;
      }
    }
    const kind = recorder.mimeType.split(";")[0], at = new Date().toTimeString().slice(0, 8).replaceAll(":", ".");
    return recording.dropped ? null : new File(parts, `camera ${at}.${kind.split("/")[1] || "webm"}`, { type: kind });
  }

  async record() {
    if (this.recording) return this.recording.recorder.stop();
    const seconds = Number(byId("seconds").value);
    setText(byId("record"), "Stop");
    setText(byId("camera-state"), "Recording.");
    say(`Recording ${seconds} seconds`);
    byId("live").disabled = true;
    let clip = null;
    try {
      clip = await this.clip(seconds);
    } catch (wrong) {
      showNotice(byId("camera-problem"), `The camera cannot be recorded: ${wrong.message}`);
    } finally {
      byId("live").disabled = false;
      setText(byId("record"), "Record");
      setText(byId("camera-state"), "");
    }
    if (clip) this.onClip(clip);
    return undefined;
  }

  async startLive() {
    const live = (this.live = new AbortController());
    byId("live").setAttribute("aria-pressed", "true");
    byId("record").disabled = true;
    let before = "";
    try {
      while (!live.signal.aborted) {
        setText(byId("camera-state"), "Recording.");
        const clip = await this.clip(Number(byId("seconds").value));
        if (!clip || live.signal.aborted) break;
        setText(byId("camera-state"), "Classifying the clip.");
        const { predictions } = await call("v1/predict", { query: this.query(), file: clip, signal: live.signal });
        showBars(byId("live-bars"), predictions);
        if (predictions[0]?.label !== before) say(spoken(predictions.slice(0, 1))); // not the same again and again
        before = predictions[0]?.label;
      }
    } catch (problem) {
      if (!(problem instanceof Cancelled)) showNotice(byId("camera-problem"), `${problem.title ?? problem} ${problem.detail ?? ""}`);
    } finally {
      if (this.live === live) this.endLive();
    }
  }

  endLive() {
    if (!this.live) return;
    this.live.abort();
    this.live = null;
    this.drop();
    byId("live").setAttribute("aria-pressed", "false");
    byId("record").disabled = false;
    setText(byId("camera-state"), "");
  }
}
