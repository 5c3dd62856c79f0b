// On every page: pictures that cannot be had, photos dropped or pasted anywhere.

import { openPanel } from "./panel.js";
import { keep, photoIn } from "./photos.js";

// A product stays in sight beside what looks like it; one that is taller than the window is left by its upper end.
const subject = document.querySelector(".beside > .subject");
if (subject) {
  new ResizeObserver(() => {
    subject.style.setProperty("--stay", `${Math.min(24, innerHeight - subject.offsetHeight - 24)}px`);
  }).observe(subject);
  subject.classList.add("stays");
}

const broken = (image) => image.closest(".tile")?.classList.add("broken");
document.addEventListener("error", ({ target }) => target instanceof HTMLImageElement && broken(target), true);
for (const image of document.images) if (image.complete && !image.naturalWidth && image.loading !== "lazy") broken(image);

// What opens over the page closes by Escape or a press beside it, as people expect.
const closeNarrowing = (but) => {
  for (const open of document.querySelectorAll("details.narrowing[open]")) {
    if (open.contains(but)) continue;
    open.open = false;
    if (!but) open.querySelector("summary").focus();
  }
};
document.addEventListener("keydown", ({ key }) => key === "Escape" && closeNarrowing(null));
document.addEventListener("pointerdown", ({ target }) => closeNarrowing(target));

// What is one thing in two places, an outline on the picture and a chip beside it, lights up in both.
for (const [on, off] of [["pointerover", "pointerout"], ["focusin", "focusout"]]) {
  for (const [kind, lit] of [[on, true], [off, false]]) {
    document.addEventListener(kind, ({ target }) => {
      const part = target.closest?.("[data-part]");
      if (!part) return;
      const all = part.closest("[data-parts]").querySelectorAll("[data-part]");
      for (const same of all) if (same.dataset.part === part.dataset.part) same.classList.toggle("lit", lit);
    });
  }
}

// A link to a panel opens it over the page; with the usual keys for a new tab it stays a link.
document.addEventListener("click", async (event) => {
  const link = event.target.closest?.("a[data-dialog]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  const answer = await fetch(link.href, { headers: { Accept: "text/html" } }).catch(() => null);
  if (!await openPanel(answer, link)) location.assign(link.href);
});

// A photo dropped or pasted anywhere is searched with: by this page if it can, by the photo page otherwise.
const search = async (photo) => {
  const offer = new CustomEvent("photo", { detail: photo, cancelable: true });
  if (!document.dispatchEvent(offer)) return;
  const name = await keep(photo).catch(() => "");
  location.assign(`${document.body.dataset.photoPage}${name && `?photo=${name}`}`);
};

document.addEventListener("paste", ({ clipboardData }) => {
  const photo = photoIn(clipboardData);
  if (photo) search(photo);
});

const veil = document.createElement("div");
veil.className = "over-all";
veil.append(Object.assign(document.createElement("p"), { textContent: "Drop it to search with it" }));
const carries = (event) => event.dataTransfer?.types.includes("Files");
document.addEventListener("dragover", (event) => {
  if (!carries(event)) return;
  event.preventDefault();
  document.body.append(veil);
});
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) veil.remove(); });
document.addEventListener("drop", (event) => {
  if (!carries(event)) return;
  event.preventDefault();
  veil.remove();
  const photo = photoIn(event.dataTransfer);
  if (photo) search(photo);
});
