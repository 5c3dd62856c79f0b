// The photo page: the photo is shown at once, sent for every question, and never leaves the browser otherwise. The server
// draws the answers; this puts them in place of the old ones and keeps the address in step.

import { Drawing, boxOf, textOf } from "./frame.js";
import { openPanel } from "./panel.js";
import { keep, kept } from "./photos.js";

const desk = document.querySelector("[data-desk]");
const live = document.querySelector("[data-live]");
const here = location.pathname;
const template = (name) => document.querySelector(`template[${name}]`).content.cloneNode(true);
const say = (text) => { live.textContent = text; };

let held = null; // the photo on the desk: { name, photo, address, things }
let asking = null; // what is being asked; an AbortController
let shown = location.search;

/** Shows what an address asks for, and makes it the page's address. */
const go = (asked) => {
  history.pushState(null, "", `${asked}` ? `${here}?${asked}` : here);
  shown = location.search;
  return show(asked);
};

/** Searches with a new photo. */
const use = async (photo) => {
  // Where a browser keeps nothing, the photo is here until the page is left.
  const name = await keep(photo).catch(() => `${Date.now()}`);
  hold(name, photo);
  await go(new URLSearchParams({ photo: name }));
};

const hold = (name, photo) => {
  if (held) URL.revokeObjectURL(held.address);
  held = { name, photo, address: URL.createObjectURL(photo), things: null };
  lay();
};

/** The photo on the desk, with room for what looks like it. */
const lay = () => {
  put(template("data-waiting"));
  fillIn();
};

/** Puts something else on the desk. Whose focus was there goes on at its heading. */
const put = (content) => {
  const within = desk.contains(document.activeElement);
  desk.replaceChildren(content);
  if (within) focusOn("h1");
};

const show = async (asked) => {
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  const name = asked.get("photo");
  if (!name && !asked.get("product")) return begin();
  if (name && held?.name !== name) {
    const photo = await kept(name).catch(() => undefined);
    if (signal.aborted) return;
    if (!photo) return begin("That photo is not in this browser any more", "Show it again to search with it.");
    hold(name, photo);
  } else if (name && !isOwn()) {
    lay();
  } else if (!name && !isProduct()) {
    return location.reload();
  }
  await ask(asked, signal);
};

// What is on the desk: a photo that the browser has, a product's picture that the server drew, or else the way in.
const isOwn = () => desk.querySelector("img[data-own]");
const isProduct = () => desk.querySelector(".subject") && !isOwn();

/** The page as it is before there is a photo. */
const begin = (title, detail) => {
  desk.removeAttribute("aria-busy");
  put(template("data-intake-page"));
  if (title) desk.querySelector(".lead").after(notice(title, detail));
  say(title ? `${title}. ${detail}` : "");
  document.title = "Search by photo – Vetrina";
};

const ask = async (asked, signal, tries = 3) => {
  const own = asked.has("photo");
  if (own && held.photo.size > Number(desk.dataset.most)) {
    return fail("The photo is too large", `At most ${Math.floor(desk.dataset.most / 2 ** 20)} MB can be looked at. Send a smaller copy of it.`);
  }
  desk.setAttribute("aria-busy", "true");
  desk.querySelector("[data-answer]")?.classList.add("busy");
  say("Looking…");
  const sent = new URLSearchParams(asked);
  sent.delete("photo");
  const headers = { Accept: "text/html, application/problem+json" };
  let answer, text;
  try {
    answer = await fetch(`${here}?${sent}`, own ? posted(headers, signal) : { headers, signal });
    text = await answer.text();
  } catch {
    if (signal.aborted) return;
    return fail("The shop cannot be reached", "Is this device online? The photo is still here: try again.", asked);
  }
  if (answer.ok) return place(new DOMParser().parseFromString(text, "text/html"), asked);
  const again = Number(answer.headers.get("Retry-After"));
  if (answer.status === 503 && again && again <= 5 && tries > 1) {
    say("Many are searching. Trying again…");
    setTimeout(() => { if (!signal.aborted) ask(asked, signal, tries - 1); }, again * 1000);
    return;
  }
  const told = answer.headers.get("Content-Type")?.includes("json") ? JSON.parse(text) : {};
  const later = answer.status >= 500 || answer.status === 408;
  fail(told.title ?? "The shop cannot answer now", told.detail ?? "Try again later.", later && asked);
};

/** The photo as a request. */
const posted = (headers, signal) => {
  const type = held.photo.type.startsWith("image/") ? held.photo.type : "application/octet-stream";
  return { method: "POST", body: held.photo, headers: { ...headers, "Content-Type": type }, signal };
};

/** Puts an answer in place of what is shown. */
const place = (page, asked) => {
  const focus = whereFocusIs();
  desk.removeAttribute("aria-busy");
  desk.replaceChildren(...page.querySelector("[data-desk]").childNodes);
  document.title = page.title;
  enhance(asked);
  focusOn(focus);
  const found = desk.querySelectorAll(".results > li").length;
  say(`${desk.querySelector("#alike").textContent}: ${found} ${found === 1 ? "product" : "products"}`);
};

const fail = (title, detail, asked) => {
  desk.removeAttribute("aria-busy");
  const box = notice(title, detail);
  const ways = document.createElement("p");
  ways.className = "row";
  if (asked) ways.append(way("Try again", () => show(asked)));
  ways.append(way("Another photo", () => go(new URLSearchParams())));
  box.append(ways);
  const answer = desk.querySelector(".alike");
  desk.querySelector("[data-said]")?.remove();
  answer.removeAttribute("aria-hidden");
  answer.classList.remove("busy");
  const within = answer.contains(document.activeElement);
  answer.replaceChildren(box);
  if (within) box.querySelector("button").focus();
  say(`${title}. ${detail}`);
};

const notice = (title, detail) => {
  const box = document.createElement("div");
  box.className = "notice stack";
  const heading = document.createElement("h2");
  heading.textContent = title;
  const text = document.createElement("p");
  text.textContent = detail.charAt(0).toUpperCase() + detail.slice(1);
  box.append(heading, text);
  return box;
};

const way = (text, follow) => {
  const button = document.createElement("button");
  button.className = "button second";
  button.textContent = text;
  button.addEventListener("click", follow);
  return button;
};

/** The photo itself, and its name in every address, which the server knows nothing of. */
const fillIn = (place = desk) => {
  for (const image of place.querySelectorAll("img[data-own]")) {
    image.srcset = `${held.address} 0.1x`;
  }
};

const nameIn = (asked) => {
  const name = asked.get("photo");
  if (!name) return;
  for (const link of desk.querySelectorAll("a[href]:not([data-fresh])")) {
    const url = new URL(link.getAttribute("href"), location.href);
    if (url.pathname !== here || url.searchParams.has("product")) continue;
    url.searchParams.set("photo", name);
    link.setAttribute("href", `${here}?${url.searchParams}`);
  }
  for (const form of desk.querySelectorAll("form#narrow")) {
    const field = Object.assign(document.createElement("input"), { type: "hidden", name: "photo", value: name });
    form.append(field);
  }
};

/** Where a box is drawn nothing is detected: what was before on this photo is offered again. */
const rememberThings = (asked) => {
  if (!asked.has("photo")) return;
  const chips = [...desk.querySelectorAll("a.chip[data-part]")];
  if (chips.length) {
    held.things = { chips, marks: desk.querySelector(".marks") };
  } else if (asked.has("box") && held.things) {
    desk.querySelector("[data-whole]").parentElement.after(...held.things.chips.map((chip) => {
      const copy = chip.cloneNode(true);
      copy.removeAttribute("aria-current");
      copy.classList.remove("lit");
      const item = document.createElement("li");
      item.append(copy);
      return item;
    }));
    const marks = held.things.marks.cloneNode(true);
    for (const mark of marks.querySelectorAll("a")) mark.classList.remove("chosen", "lit");
    desk.querySelector(".shot .marks")?.remove();
    desk.querySelector(".shot").append(marks);
    const rest = new URLSearchParams(asked);
    rest.delete("box");
    for (const link of desk.querySelectorAll("a[data-part]")) {
      rest.set("object", link.dataset.part);
      link.setAttribute("href", `${here}?${rest}`);
    }
  }
};

const enhance = (asked) => {
  fillIn();
  rememberThings(asked);
  nameIn(asked);
  const shot = desk.querySelector(".subject .shot");
  const draw = desk.querySelector("[data-draw]");
  const part = (name, value) => {
    const next = new URLSearchParams(location.search);
    next.delete("box");
    next.delete("object");
    if (name) next.set(name, value);
    return next;
  };
  const drawing = new Drawing(shot, {
    chosen: (box) => go(part("box", textOf(box))),
    left: () => go(part()),
    say,
  });
  const pressed = (on) => {
    draw.setAttribute("aria-pressed", `${on}`);
    shot.closest(".subject").classList.toggle("drawing", on);
  };
  if (asked.has("box") && !shot.querySelector(".chosen")) {
    shot.querySelector(".drawn")?.remove();
    drawing.show(boxOf(asked.get("box")));
  }
  draw.addEventListener("click", () => {
    if (drawing.frame) {
      if (new URLSearchParams(location.search).has("box")) return void go(part());
      drawing.hide();
      return pressed(false);
    }
    pressed(true);
    drawing.show({ top: 0.25, left: 0.25, bottom: 0.75, right: 0.75 });
    drawing.frame.focus();
    say("A box is on the middle of the picture");
  });
  pressed(Boolean(drawing.frame));
};

// What had the focus has it again, although it was drawn anew.
const whereFocusIs = () => {
  const at = document.activeElement;
  if (!desk.contains(at)) return null;
  if (at.matches(".frame, [data-draw]")) return ".frame";
  if (at.matches("[data-whole]")) return "[data-whole]";
  if (at.matches("[data-part]")) return `a.chip[data-part="${at.dataset.part}"]`;
  return "#alike";
};
const focusOn = (selector) => {
  const at = selector && (desk.querySelector(selector) ?? desk.querySelector("[data-whole]"));
  if (!at) return;
  if (at.matches("h1, h2")) at.tabIndex = -1;
  at.focus({ preventScroll: true });
};

document.addEventListener("photo", (event) => {
  event.preventDefault();
  use(event.detail);
});
desk.addEventListener("change", ({ target }) => {
  if (target.type === "file" && target.files.length) use(target.files[0]);
});
desk.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  const url = new URL(link.getAttribute("href"), location.href);
  if (url.pathname !== here) return;
  event.preventDefault();
  go(url.searchParams);
});
desk.addEventListener("click", async ({ target }) => {
  const button = target.closest("[data-why]");
  if (!button) return;
  const answer = await fetch(button.dataset.why, posted({ Accept: "text/html" })).catch(() => null);
  const dialog = await openPanel(answer, button);
  if (dialog) fillIn(dialog);
  else say("The shop cannot say why just now. Try again.");
});
desk.addEventListener("submit", (event) => {
  if (event.target.id !== "narrow") return;
  event.preventDefault();
  const asked = new URLSearchParams();
  for (const [name, value] of new FormData(event.target)) if (value) asked.append(name, value);
  go(asked);
});
addEventListener("popstate", () => {
  if (location.search === shown) return; // the place on the page has changed
  shown = location.search;
  show(new URLSearchParams(shown));
});

const asked = new URLSearchParams(location.search);
if (desk.dataset.product) enhance(asked);
else if (asked.get("photo")) show(asked);
