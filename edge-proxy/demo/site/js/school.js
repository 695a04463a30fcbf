// The school: who is signed in, what is taught today, what anybody may read.

import { ask, onOrigin } from "ledger";
import { release } from "release";

const CATALOGUE_EVERY_MS = 5_000;

const PEOPLE = {
  maple: [["ada", "Ada Brook", "pupil"], ["noor", "Noor Haddad", "teacher"]],
  cedar: [["ben", "Ben Okoye", "pupil"], ["ines", "Inês Duarte", "teacher"]],
};
const NAMES = { maple: "Maple Grove School", cedar: "Cedar Hill Academy" };
const school = location.hostname.split(".")[0] in NAMES ? location.hostname.split(".")[0] : "maple";

const one = (name) => document.querySelector(`[data-${name}]`);
const all = (name) => document.querySelectorAll(`[data-${name}]`);

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/* what stands still */

document.title = `${NAMES[school]} · Bellwether demo`;
one("school").textContent = NAMES[school];
one("at-school").textContent = ` at ${NAMES[school].split(" ").slice(0, 2).join(" ")}`;
for (const word of all("release-word")) word.textContent = release.word;
for (const link of all("host")) {
  const url = new URL("/", location.href);
  url.hostname = link.dataset.host;
  link.href = url;
  if (link.dataset.host === location.hostname) link.setAttribute("aria-current", "page");
}
one("people").append(...PEOPLE[school].map(([login, name, role], first) => make("label", { className: "person" },
  make("input", { type: "radio", name: "login", value: login, checked: first === 0 }),
  make("strong", { textContent: name }),
  make("small", { textContent: role }))));

/* which colour answers */

onOrigin(({ colour, release: id }) => {
  one("colour").textContent = colour;
  one("colour-note").textContent = `release ${id}`;
  const moved = colour !== release.colour;
  one("moved").hidden = !moved;
  one("moved-to").textContent = colour;
});
one("reload").addEventListener("click", () => location.reload());

/* reads */

async function showCatalogue(quiet) {
  const { status, body, from } = await ask("/api/v1/catalogue", { quiet });
  if (status !== 200) return;
  one("catalogue-note").textContent = from === "memory" ? "kept by the edge for everybody here" : "just asked for; the next reader gets it from memory";
  one("catalogue").replaceChildren(...body.offers.map((offer) => make("li", {},
    make("strong", { textContent: offer.title }),
    make("span", { textContent: offer.level }),
    make("span", { textContent: `${offer.hours} hours` }))));
}

async function showCourses() {
  const { status, body, from } = await ask("/api/v1/courses");
  if (status !== 200) return status;
  const at = new Date(body.origin.at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  one("courses-note").textContent = from === "memory" ? `shared by the school, as of ${at}` : `fresh at ${at}`;
  one("courses").replaceChildren(...body.courses.map(card));
  return status;
}

function card(course) {
  const cover = make("div", { className: "cover" }, make("time", { textContent: course.next }));
  cover.dataset.cover = course.cover;
  const heard = make("p", { className: "heard" });
  heard.dataset.course = course.id;
  const field = make("input", { name: "text", maxLength: 140, required: true, placeholder: notes(course.notes), autocomplete: "off" });
  field.setAttribute("aria-label", `A note on ${course.title}`);
  const form = make("form", { className: "note" }, field, make("button", { textContent: "Note", className: "quiet" }));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const { status } = await ask(`/api/v1/courses/${course.id}/notes`, { method: "POST", json: { text: field.value } });
    if (status === 201) form.reset();
  });
  const progress = make("progress", { max: 100, value: course.progress });
  progress.setAttribute("aria-label", `${course.progress} % done`);
  return make("li", { className: "course" }, cover,
    make("div", { className: "course-words" },
      make("h3", { textContent: course.title }),
      make("small", { textContent: `${course.subject} · ${course.teacher} · ${course.room}` }),
      progress, heard, form));
}

function notes(count) {
  if (count === 0) return "Leave a note";
  return count === 1 ? "1 note so far" : `${count} notes so far`;
}

/* a note reaches everybody at the school as it is written */

addEventListener("note", ({ detail }) => {
  const line = document.querySelector(`[data-course="${detail.course}"]`);
  if (line) line.textContent = `“${detail.text}” ${detail.author}`;
});

/* who is signed in */

async function showSession() {
  const { body } = await ask("/api/v1/session");
  const person = body.signed_in ? (await ask("/api/v1/me")).body : undefined;
  one("gate").hidden = Boolean(person);
  one("courses").hidden = !person;
  one("dashboard").hidden = !person;
  one("courses-note").textContent = "";
  if (!person) {
    one("who").replaceChildren(make("a", { href: "#today", textContent: "Sign in" }));
    return;
  }
  const leave = make("button", { type: "button", textContent: "Sign out" });
  leave.addEventListener("click", async () => {
    await ask("/api/v1/session", { method: "DELETE" });
    await showSession();
  });
  one("who").replaceChildren(person.name ?? "", leave);
  await showCourses();
}

one("gate").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.currentTarget;
  const json = Object.fromEntries(new FormData(form));
  const { status, body } = await ask("/api/v1/session", { method: "POST", json });
  one("wrong").textContent = status === 201 ? "" : body.title ?? "No answer. Is the demo still running?";
  if (status === 201) await showSession();
});
one("ask-anyway").addEventListener("click", showCourses);
one("again").addEventListener("click", async () => {
  await showCatalogue(false);
  if (!one("courses").hidden) await showCourses();
});

await Promise.all([showSession(), showCatalogue(false)]);
setInterval(() => document.hidden || showCatalogue(true), CATALOGUE_EVERY_MS);
