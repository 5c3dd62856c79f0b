// A panel over the page: what another page says in its element [data-panel].

/** Opens the panel of an answer; gives the dialog, or null when there is none. The focus comes back to `opener`. */
export const openPanel = async (answer, opener) => {
  const page = answer?.ok && new DOMParser().parseFromString(await answer.text(), "text/html");
  const panel = page && page.querySelector("[data-panel]");
  if (!panel) return null;
  const heading = panel.querySelector("h1");
  heading.id = "panel-title";
  const dialog = document.createElement("dialog");
  dialog.className = "panel-dialog";
  dialog.setAttribute("aria-labelledby", heading.id);
  const close = document.createElement("button");
  close.className = "bare close";
  close.setAttribute("aria-label", "Close");
  close.innerHTML = '<svg class="icon" viewBox="0 0 24 24" aria-hidden="true"><path d="m6 6 12 12M18 6 6 18"/></svg>';
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close());
  dialog.addEventListener("close", () => { dialog.remove(); opener.focus(); });
  dialog.append(close, document.adoptNode(panel));
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
};
