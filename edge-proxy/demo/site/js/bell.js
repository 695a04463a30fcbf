// The event stream: a tick each second, and the notes of the school.

const bell = document.querySelector(".bell");
const ticks = document.querySelector("[data-ticks]");
const note = document.querySelector("[data-ticks-note]");
let count = 0;
let before;

const stream = new EventSource("/api/v1/events");

stream.addEventListener("tick", ({ data }) => {
  const { colour } = JSON.parse(data);
  const now = performance.now();
  count += 1;
  ticks.textContent = count;
  const gap = before === undefined ? "first event at once" : `${((now - before) / 1000).toFixed(2)} s apart`;
  note.textContent = `${gap}, from ${colour}`;
  before = now;
  bell.classList.remove("off", "rung");
  void bell.offsetWidth; // lets the animation start again
  bell.classList.add("rung");
});

stream.addEventListener("note", ({ data }) => {
  dispatchEvent(new CustomEvent("note", { detail: JSON.parse(data) }));
});

stream.addEventListener("error", () => {
  before = undefined;
  bell.classList.add("off");
  note.textContent = "stream lost, opening it again";
});

addEventListener("pagehide", () => stream.close());
