// What the page weighs, as the browser measured it. No imports: nothing here waits for the school.

const rows = document.querySelector("[data-cost]");
const bytes = document.querySelector("[data-page-bytes]");
const bytesNote = document.querySelector("[data-page-note]");
const note = document.querySelector("[data-cost-note]");

const KINDS = new Set(["navigation", "link", "script", "css", "img"]);

function show() {
  const files = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
    .filter((entry) => KINDS.has(entry.initiatorType) && !entry.name.includes("/api/"));
  const widest = Math.max(...files.map((file) => file.decodedBodySize), 1);
  rows.replaceChildren(...files.sort((a, b) => b.decodedBodySize - a.decodedBodySize).map((file) => row(file, widest)));

  const sent = sum(files, "encodedBodySize");
  const full = sum(files, "decodedBodySize");
  const page = files.find((file) => file.entryType === "navigation");
  const kept = files.filter((file) => file.transferSize === 0).length;
  bytes.textContent = size(sent);
  bytesNote.textContent = [page?.nextHopProtocol, coding(page), `first byte in ${Math.round(page?.responseStart ?? 0)} ms`].filter(Boolean).join(", ");
  note.textContent = `${size(full)} sent as ${size(sent)}` + (kept ? `; ${kept} files were here already` : "");
}

function row(file, widest) {
  const line = document.createElement("tr");
  const { pathname } = new URL(file.name);
  const name = document.createElement("code");
  name.textContent = pathname === "/" ? "/" : pathname.split("/").slice(-2).join("/");
  const bar = document.createElement("div");
  bar.className = "bar";
  const words = document.createElement("span");
  words.textContent = `${size(file.encodedBodySize)} of ${size(file.decodedBodySize)}`;
  const length = document.createElement("i");
  length.style.setProperty("--full", `${(100 * file.decodedBodySize) / widest}%`);
  length.style.setProperty("--sent", `${(100 * file.encodedBodySize) / (file.decodedBodySize || 1)}%`);
  bar.append(words, length);
  const asked = file.serverTiming?.find(({ name }) => name === "cache")?.description;
  const when = file.transferSize === 0 ? "kept" : `${Math.max(file.responseEnd - file.startTime, 0.1).toFixed(1)} ms`;
  for (const cell of [name, coding(file), bar, asked ? `${when}, ${asked}` : when]) {
    const td = document.createElement("td");
    td.append(cell);
    line.append(td);
  }
  return line;
}

function coding(file) {
  if (!file) return "";
  if (file.contentEncoding) return file.contentEncoding;
  return file.encodedBodySize < file.decodedBodySize ? "compressed" : "as it is";
}

const sum = (files, field) => files.reduce((total, file) => total + file[field], 0);

function size(bytes) {
  return bytes < 1000 ? `${bytes} B` : `${(bytes / 1000).toFixed(1)} kB`;
}

// Covers come with the courses, after a sign-in: look again whenever something was fetched.
let waiting = 0;
new PerformanceObserver(() => {
  clearTimeout(waiting);
  waiting = setTimeout(show, 150);
}).observe({ type: "resource", buffered: true });
addEventListener("load", () => setTimeout(show, 0));
