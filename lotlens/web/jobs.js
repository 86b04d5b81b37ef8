// The pages of lists: photos are chosen and sent, progress is shown, rows are filtered. tables.js sorts.
"use strict";

const headers = { "X-Lotlens-Token": page.token, "Accept-Language": page.lang };

function tellTime(seconds) {
  if (seconds < 90) return say("about %(num)s s left", { num: Math.max(1, seconds) });
  return say("about %(num)s min left", { num: Math.round(seconds / 60) });
}

// --- all lists

async function send(files) {
  if (!files.length) return;
  byId("files").disabled = true;
  const failed = await sendList([...files], (text) => (byId("status").textContent = text));
  byId("files").disabled = false;
  byId("files").value = "";
  if (failed) byId("status").textContent = failed;
}

if (byId("files")) {
  byId("files").addEventListener("change", (event) => send(event.target.files));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    send(event.dataTransfer.files);
  });
}

// --- one list

async function follow() {
  try {
    const response = await fetch(`/api/v1/jobs/${page.job}`, { headers });
    const job = await response.json();
    if (!response.ok || job.state === "done" || job.state === "failed") {
      location.reload();
      return;
    }
    byId("bar").max = job.total;
    byId("bar").value = job.done;
    const left = job.seconds_left === null ? "" : `, ${tellTime(job.seconds_left)}`;
    byId("progress").textContent = say("%(done)s of %(total)s photos", job) + left;
  } catch {
    byId("progress").textContent = say("No connection to lotlens. It goes on by itself.");
  }
  setTimeout(follow, 1000);
}

if (byId("bar")) follow();

async function remove() {
  if (!confirm(say("Delete this list with its photos?"))) return;
  byId("delete").disabled = true;
  try {
    const response = await fetch(`/api/v1/jobs/${page.job}`, { method: "DELETE", headers });
    if (response.ok || response.status === 404) location.assign(`/jobs?lang=${page.lang}`);
    else tellUndeleted((await response.json()).error.message);
  } catch {
    tellUndeleted(say("Not deleted: no connection to lotlens."));
  }
}

function tellUndeleted(why) {
  byId("delete").disabled = false;
  alert(why);
}

if (byId("delete")) byId("delete").addEventListener("click", remove);

function choose() {
  const words = byId("search").value.trim().toLowerCase(), kind = byId("show").value;
  let num = 0;
  const rows = byId("rows").tBodies[0].rows;
  for (const row of rows) {
    const isShown =
      (!kind || row.dataset.kind === kind) && (!words || row.textContent.toLowerCase().includes(words));
    row.hidden = !isShown;
    num += isShown;
  }
  byId("count").textContent = say("%(num)s of %(all)s photos", { num, all: rows.length });
}

if (byId("rows")) {
  byId("show").addEventListener("change", choose);
  let waiting = 0;
  byId("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(choose, 150);
  });
  choose();
}
