// The request of a prediction as a command and as a program. Names are quoted: a file may be called anything.
import { addressOf } from "./service.js";

const TOKEN = "TIMESFORMER_TOKEN"; // a variable of the environment: the token itself is never copied

const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** name: of the file. query: of the request. token: whether the service needs one. */
export function asCurl(name, query, token) {
  const quoted = name.replaceAll("\\", "\\\\").replaceAll('"', '\\"'); // as curl reads -F
  const header = token ? ` -H "Authorization: Bearer $${TOKEN}"` : "";
  return `curl${header} -F ${shell(`video=@"${quoted}"`)} ${shell(addressOf("v1/predict", query))}`;
}

export function asPython(name, query, token) {
  const lines = [
    "import json",
    ...(token ? ["import os"] : []),
    "from pathlib import Path",
    "from urllib.request import Request, urlopen",
    "",
    `video = Path(${python(name)})`,
    'headers = {"Content-Type": "application/octet-stream"}',
    ...(token ? [`headers["Authorization"] = f"Bearer {os.environ['${TOKEN}']}"`] : []),
    `request = Request(${python(addressOf("v1/predict", query))}, video.read_bytes(), headers)`,
    "with urlopen(request) as response:",
    '    for prediction in json.load(response)["predictions"]:',
    '        print(prediction["label"], prediction["score"])',
    "",
  ];
  return lines.join("\n");
}

const python = (text) => JSON.stringify(text); // its escapes are Python's too
