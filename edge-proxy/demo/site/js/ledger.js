// Every request of the page goes through `ask`, and leaves a line in the notebook.

const lines = document.querySelector("[data-ledger]");
const hits = document.querySelector("[data-hits]");
const hitsNote = document.querySelector("[data-hits-note]");
const LINES_MAX = 40;

const seen = new Set(); // serial numbers of the origin's answers
const heard = new EventTarget();
let reads = 0;
let fromMemory = 0;
let last;

/** Calls back with each answer of the origin: `{ colour, release, serial, at }`. */
export function onOrigin(callback) {
  heard.addEventListener("origin", (event) => callback(event.detail));
}

/** Asks the API. Gives `{ status, body, from }`. */
export async function ask(path, { method = "GET", json, quiet = false } = {}) {
  const started = performance.now();
  const request = { method, cache: "no-store" };
  if (json !== undefined) {
    request.body = JSON.stringify(json);
    request.headers = { "content-type": "application/json" };
  }
  let status = 0;
  let body = {};
  let headers = new Headers();
  try {
    const response = await fetch(path, request);
    status = response.status;
    headers = response.headers;
    body = await response.json();
  } catch {
    // No answer, or one that is not JSON: the line says which status there was.
  }
  const ms = performance.now() - started;
  const origin = body.origin;
  const from = whence(status, headers, origin);
  if (origin) {
    seen.add(origin.serial);
    heard.dispatchEvent(new CustomEvent("origin", { detail: origin }));
  }
  if (method === "GET" && origin) {
    reads += 1;
    if (from === "memory") fromMemory += 1;
    hits.textContent = `${fromMemory} of ${reads}`;
    hitsNote.textContent = "reads so far";
  }
  write({ path, method, status, ms, from, origin, age: headers.get("age"), quiet });
  return { status, body, from };
}

function whence(status, headers, origin) {
  if (!headers.has("x-origin")) return "edge";
  // Public reads say it themselves; of a school's own reads the age and the serial number tell.
  const said = headers.get("server-timing")?.match(/cache;desc=(hit|miss)/)?.[1];
  if (said) return said === "hit" ? "memory" : "origin";
  const again = origin && seen.has(origin.serial);
  return again || Number(headers.get("age")) > 0 ? "memory" : "origin";
}

function write(line) {
  const what = `${line.method} ${line.path.replace("/api/v1", "")} ${line.status} ${line.from}`;
  if (line.quiet && last?.what === what) {
    last.times += 1;
    last.item.querySelector("small").textContent = detail(line, last.times);
    last.item.querySelector(".ms").textContent = time(line.ms);
    return;
  }
  const item = document.createElement("li");
  item.className = "fresh";
  const code = document.createElement("code");
  code.textContent = `${line.method} ${line.path.replace("/api/v1", "")}`;
  const from = document.createElement("span");
  from.className = "from";
  from.dataset.from = line.from;
  from.textContent = line.from;
  const small = document.createElement("small");
  small.textContent = detail(line, 1);
  const ms = document.createElement("span");
  ms.className = "ms";
  ms.textContent = time(line.ms);
  item.append(code, from, small, ms);
  lines.prepend(item);
  while (lines.children.length > LINES_MAX) lines.lastElementChild.remove();
  last = { what, item, times: 1 };
}

function detail({ status, origin, age }, times) {
  const parts = [status || "no answer"];
  if (origin) parts.push(`${origin.colour}, answer ${origin.serial}`);
  if (age !== null) parts.push(`${age} s old`);
  if (times > 1) parts.push(`${times} times`);
  return parts.join(" · ");
}

function time(ms) {
  return ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
}
