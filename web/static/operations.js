// While a retry runs, asks how it goes, and shows the page anew once it has ended.

const box = document.querySelector('[data-retry="running"]');

const ask = async () => {
  try {
    const answer = await fetch(box.dataset.asks, { headers: { Accept: "application/json" } });
    if (answer.ok && (await answer.json()).state !== "running") {
      const here = new URL(location.href);
      here.searchParams.delete("said");
      location.replace(here);
      return;
    }
  } catch { /* The server may be away for a moment. */ }
  setTimeout(ask, 2000);
};

if (box) setTimeout(ask, 1000);
