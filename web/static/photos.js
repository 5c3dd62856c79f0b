// Photos that a person searches with are kept in this browser alone, the last few of them, so that going back and
// loading a page anew find them again. The address of a page holds a photo's name here, never the photo.

const MOST = 8;

const asked = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

const shelf = async (mode) => {
  const opening = indexedDB.open("vetrina", 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore("photos");
  return (await asked(opening)).transaction("photos", mode).objectStore("photos");
};

/** Keeps a photo; gives its name. */
export async function keep(photo) {
  const name = `${Date.now().toString(36)}${Math.random().toString(36).slice(2, 6)}`;
  const photos = await shelf("readwrite");
  await asked(photos.put(photo, name));
  const names = await asked(photos.getAllKeys());
  for (const old of names.slice(0, -MOST)) photos.delete(old);
  return name;
}

/** A photo by its name; undefined when it is not here (any more). */
export async function kept(name) {
  return asked((await shelf("readonly")).get(name));
}

/** The photo that is dropped or pasted; undefined when it is something else. */
export const photoIn = (transfer) => [...(transfer?.files ?? [])][0];
