// Marks on offers: each is on the disk before its button says so.
"use strict";
(() => {
  const page = document.body.dataset;
  const trouble = document.getElementById("trouble-text");

  async function put(row, mark) {
    const response = await fetch("/api/v1/marks", {
      method: "POST",
      body: JSON.stringify({ advert: row.dataset.key, mark }),
      headers: {
        "Content-Type": "application/json",
        "X-Lotlens-Token": page.token,
        "Accept-Language": page.lang,
      },
    });
    const found = await response.json();
    if (!response.ok) throw Object.assign(new Error(found.error.message), { found: found.error });
  }

  document.getElementById("list").addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-set]");
    if (!button) return;
    const row = button.closest("li");
    const buttons = [...row.querySelectorAll("button[data-set]")];
    const mark = row.dataset.mark === button.dataset.set ? "" : button.dataset.set;
    for (const one of buttons) one.disabled = true;
    trouble.textContent = "";
    try {
      await put(row, mark);
      // One car may stand there twice.
      for (const twin of document.querySelectorAll(`li[data-key="${row.dataset.key}"]`)) {
        twin.dataset.mark = mark;
        for (const one of twin.querySelectorAll("button[data-set]"))
          one.setAttribute("aria-pressed", String(one.dataset.set === mark));
      }
    } catch (error) {
      trouble.textContent = error.found ? error.found.message : page.failed;
      trouble.scrollIntoView({ block: "nearest" });
    } finally {
      for (const one of buttons) one.disabled = false;
      button.focus();
    }
  });
})();
