// A box on a picture that a person draws, moves and resizes, with a pointer or with keys. Boxes are shares of the
// picture: { top, left, bottom, right }, each 0 to 1.

const LEAST = 0.04;
const STEP = 0.02;
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const percent = (share) => `${Math.round(share * 100)} %`;
const ARROWS = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };

export const boxOf = (text) => {
  const [top, left, bottom, right] = text.split(",").map(Number);
  return { top, left, bottom, right };
};
export const textOf = ({ top, left, bottom, right }) => [top, left, bottom, right].map((side) => side.toFixed(4)).join();

/**
 * Lets a person draw on a picture.
 *
 * shot: the element that is exactly as large as the picture.
 * chosen(box): a box is drawn or changed, and the pointer is up or Enter pressed. left(): Escape was pressed.
 * say(text): for people who do not see it.
 */
export class Drawing {
  #shot; #chosen; #left; #say; #frame = null; #box = null;

  constructor(shot, { chosen, left, say }) {
    this.#shot = shot;
    this.#chosen = chosen;
    this.#left = left;
    this.#say = say;
    shot.addEventListener("dragstart", (event) => event.preventDefault());
    shot.addEventListener("pointerdown", (event) => this.#press(event));
  }

  get frame() { return this.#frame; }

  /** Shows a box. */
  show(box) {
    this.#box = box;
    if (!this.#frame) this.#frame = this.#make();
    for (const [side, share] of [["top", box.top], ["left", box.left], ["bottom", 1 - box.bottom], ["right", 1 - box.right]]) {
      this.#frame.style.setProperty(`--${side}`, `${share * 100}%`);
    }
  }

  /** Takes the box away. */
  hide() {
    this.#frame?.remove();
    this.#frame = this.#box = null;
  }

  #make() {
    const frame = document.createElement("div");
    frame.className = "frame";
    frame.tabIndex = 0;
    frame.setAttribute("role", "application");
    frame.setAttribute("aria-label", "Box on the picture. Arrow keys move it, Shift with arrow keys resizes it, Enter searches, Escape goes back to the whole picture.");
    for (const corner of ["nw", "ne", "sw", "se"]) {
      const handle = document.createElement("i");
      handle.dataset.corner = corner;
      frame.append(handle);
    }
    frame.addEventListener("keydown", (event) => this.#key(event));
    this.#shot.append(frame);
    return frame;
  }

  #place({ clientX, clientY }) {
    const area = this.#shot.getBoundingClientRect();
    return { x: clamp((clientX - area.left) / area.width, 0, 1), y: clamp((clientY - area.top) / area.height, 0, 1) };
  }

  #press(event) {
    const onFrame = event.target.closest(".frame");
    // A finger scrolls the page, unless it was said that it draws.
    if (event.button || (!onFrame && event.pointerType === "touch" && !this.#shot.closest(".drawing"))) return;
    const start = this.#place(event);
    const from = this.#box;
    const corner = event.target.dataset.corner;
    let moved = false;
    const drag = (at) => {
      const to = this.#place(at);
      const area = this.#shot.getBoundingClientRect();
      if (!moved && Math.hypot((to.x - start.x) * area.width, (to.y - start.y) * area.height) < 6) return;
      moved = true;
      if (!onFrame) this.show(between(start, to));
      else if (corner) this.show(resized(from, corner, to));
      else this.show(shifted(from, to.x - start.x, to.y - start.y));
    };
    const end = (last) => {
      removeEventListener("pointermove", drag);
      removeEventListener("pointerup", end);
      removeEventListener("pointercancel", end);
      if (!moved) return;
      // The click that follows is the end of the drawing, not a choice of what lies below.
      addEventListener("click", stop, { capture: true, once: true });
      setTimeout(() => removeEventListener("click", stop, { capture: true }), 0);
      if (last.type === "pointerup") this.#chosen(this.#box);
    };
    addEventListener("pointermove", drag);
    addEventListener("pointerup", end);
    addEventListener("pointercancel", end);
  }

  #key(event) {
    if (event.key === "Enter") this.#chosen(this.#box);
    else if (event.key === "Escape") this.#left();
    else if (event.key in ARROWS) {
      const [x, y] = ARROWS[event.key];
      const { right, bottom } = this.#box;
      this.show(event.shiftKey ? resized(this.#box, "se", { x: clamp(right + x, 0, 1), y: clamp(bottom + y, 0, 1) }) : shifted(this.#box, x, y));
      const box = this.#box;
      this.#say(`Box ${percent(box.left)} from the left, ${percent(box.top)} from the top, ${percent(box.right - box.left)} wide, ${percent(box.bottom - box.top)} high`);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

const stop = (event) => { event.preventDefault(); event.stopPropagation(); };

const between = (one, other) => {
  const left = clamp(Math.min(one.x, other.x), 0, 1 - LEAST);
  const top = clamp(Math.min(one.y, other.y), 0, 1 - LEAST);
  return { left, top, right: Math.max(one.x, other.x, left + LEAST), bottom: Math.max(one.y, other.y, top + LEAST) };
};

const shifted = (box, x, y) => {
  const right = clamp(x, -box.left, 1 - box.right);
  const down = clamp(y, -box.top, 1 - box.bottom);
  return { left: box.left + right, right: box.right + right, top: box.top + down, bottom: box.bottom + down };
};

const resized = (box, corner, { x, y }) => ({
  top: corner[0] === "n" ? Math.min(y, box.bottom - LEAST) : box.top,
  bottom: corner[0] === "s" ? Math.max(y, box.top + LEAST) : box.bottom,
  left: corner[1] === "w" ? Math.min(x, box.right - LEAST) : box.left,
  right: corner[1] === "e" ? Math.max(x, box.left + LEAST) : box.right,
});
