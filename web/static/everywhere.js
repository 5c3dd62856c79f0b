// On every page: filters folded on a narrow screen, pictures that cannot be had, photos dropped or pasted anywhere.

for (const fold of document.querySelectorAll("details[data-open-when-wide]")) {
  const wide = matchMedia("(min-width: 56.01rem)");
  const follow = () => { fold.open = wide.matches; };
  wide.addEventListener("change", follow);
  follow();
}

const broken = (image) => image.closest(".tile")?.classList.add("broken");
document.addEventListener("error", ({ target }) => target instanceof HTMLImageElement && broken(target), true);
for (const image of document.images) if (image.complete && !image.naturalWidth && image.loading !== "lazy") broken(image);
