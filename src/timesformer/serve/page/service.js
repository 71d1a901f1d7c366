// Requests to the service. XMLHttpRequest, because fetch does not say how much of a file has been sent.
import { byId, showNotice } from "./dom.js";

const KEPT = "timesformer-token"; // in sessionStorage: it goes with the tab
const TOKEN = /^[!-~]+$/; // others no service has, and no header may carry

export class Cancelled extends Error {}

/** What went wrong, in words for people. status: 0 where there was no answer. wait: seconds, where the service says so. */
export class Problem extends Error {
  constructor(title, detail = "", status = 0, wait = null) {
    super(title);
    Object.assign(this, { title, detail, status, wait });
  }
}

const TITLES = { // by the code of the error, or else by the status
  not_a_video: "This file cannot be classified.",
  too_long: "The video is too long.",
  unreadable_video: "The video cannot be read.",
  decoder_crashed: "The video cannot be read.",
  decoder_timeout: "Reading the video takes too long.",
  explain_timeout: "Computing the attention takes too long.",
  400: "The service cannot do this.",
  401: "This service needs a token.",
  403: "The service refused the request.",
  404: "The service does not have this.",
  408: "The upload was too slow.",
  413: "The video is too large.",
  415: "This is not a video that the service can read.",
  422: "The service cannot do this.",
  429: "The service is busy.",
  503: "The service could not do this now.",
};

const keptToken = () => sessionStorage.getItem(KEPT);
export const hasToken = () => keptToken() !== null;
let asking = null; // the answer that all requests wait for

function askToken(refused) {
  asking ??= new Promise((resolve) => {
    const dialog = byId("token-dialog"), input = byId("token"), before = document.activeElement;
    input.value = "";
    showNotice(byId("token-refused"), refused ? "The service does not accept this token." : "");
    byId("token-cancel").onclick = () => dialog.close("");
    byId("token-form").onsubmit = (event) => {
      event.preventDefault();
      if (TOKEN.test(input.value.trim())) return dialog.close("given");
      showNotice(byId("token-refused"), "A token has printable ASCII characters only, without spaces.");
      return input.focus();
    };
    dialog.oncancel = () => { dialog.returnValue = ""; };
    dialog.onclose = () => {
      asking = null;
      if (dialog.returnValue === "given") sessionStorage.setItem(KEPT, input.value.trim());
      before?.focus?.();
      resolve(dialog.returnValue === "given");
      input.value = "";
    };
    dialog.returnValue = "";
    dialog.showModal();
    input.focus();
  });
  return asking;
}

/**
 * The answer to a request: its JSON, or a Blob where `blob` is set, or "" where `onText` gets all text that has come.
 * file: what is sent, with its name; onUpload(sent, all) and onSent() follow it. Throws Problem and Cancelled.
 */
export async function call(path, options = {}) {
  for (;;) {
    const used = keptToken();
    try {
      return await once(path, options, used);
    } catch (problem) {
      if (problem.status !== 401) throw problem;
      if (keptToken() === used && !(await askToken(used !== null))) throw problem;
      if (options.signal?.aborted) throw new Cancelled();
    }
  }
}

export function addressOf(path, query = {}) {
  const address = new URL(path, document.baseURI);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") address.searchParams.set(name, value);
  }
  return address.href;
}

function once(path, { query, file, onUpload, onSent, onText, signal, blob = false }, token) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(new Cancelled());
    const request = new XMLHttpRequest(), stop = () => request.abort();
    let sending = Boolean(file);
    request.open(file ? "POST" : "GET", addressOf(path, query));
    request.responseType = blob ? "blob" : "";
    if (token) request.setRequestHeader("Authorization", `Bearer ${token}`);
    if (file) {
      request.upload.onprogress = (event) => onUpload?.(event.loaded, event.total);
      request.upload.onload = () => { sending = false; onSent?.(); };
    }
    if (onText) request.onprogress = () => { if (request.status === 200) onText(request.responseText); };
    request.onload = async () => {
      if (request.status !== 200) return reject(await problemOf(request));
      if (blob) return resolve({ content: request.response, header: (name) => request.getResponseHeader(name) });
      if (onText) { onText(request.responseText); return resolve(""); }
      try { resolve(JSON.parse(request.responseText)); }
      catch { reject(new Problem("The service gave an answer that this page cannot read.", "", request.status)); }
    };
    request.onerror = () => reject(sending
      ? new Problem("The video could not be sent.", "The service ended the connection, as it may for a file that is too "
        + "large; or it cannot be reached; or the file has changed.")
      : new Problem("The service cannot be reached.", "Check that it is running."));
    request.onabort = () => reject(new Cancelled());
    request.onloadend = () => signal?.removeEventListener("abort", stop);
    signal?.addEventListener("abort", stop);
    let body = null;
    if (file) {
      body = new FormData();
      body.append("video", file, file.name);
    }
    request.send(body);
  });
}

async function problemOf(request) {
  let body = {};
  try {
    body = JSON.parse(request.responseType === "blob" ? await request.response.text() : request.responseText);
  } catch { /* what stands between the page and the service may answer in its own way; the status says enough */ }
  const wait = Number.parseFloat(request.getResponseHeader("Retry-After") ?? "");
  const title = TITLES[body?.error] ?? TITLES[request.status] ?? `The service failed (status ${request.status}).`;
  return new Problem(title, sentence(body?.detail), request.status, Number.isFinite(wait) ? wait : null);
}

/** What the service says after a sentence of this page. */
export function sentence(text) {
  if (typeof text !== "string" || !text) return "";
  return `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}

/** Gives each whole line of growing text once, as JSON. */
export function lineReader(onRow) {
  let read = 0;
  return (text) => {
    for (let end = text.indexOf("\n", read); end >= 0; end = text.indexOf("\n", read)) {
      const line = text.slice(read, end).trim();
      read = end + 1;
      if (line) onRow(JSON.parse(line));
    }
  };
}
