// The desk's page: photos are chosen, sent, answered and corrected. It loads nothing from elsewhere.
"use strict";

const mostPhotos = Number(page.mostPhotos);
const mostBytes = Number(page.mostBytes);
const percent = (share) => {
  const sign = page.lang === "en" ? "%" : "\u202f%";
  if (share > 0.995) return `>\u202f99${sign}`;
  if (share < 0.005) return `<\u202f1${sign}`;
  return `${Math.round(100 * share)}${sign}`;
};

let chosen = []; // {file, url, item}
let answer = null; // of the photos that are chosen now
let asking = null; // what ends the request that is under way
let again = null; // what to do when the person tries again

let added = []; // files that are too many for one car, until it is said what to do with them

function add(files) {
  files = [...files];
  const isMany = chosen.length + files.length > mostPhotos;
  const hasZip = files.some((file) => /\.zip$/i.test(file.name));
  added = isMany || hasZip ? files : [];
  byId("many").hidden = !added.length;
  if (!added.length) {
    addToCar(files);
    return;
  }
  byId("many-no").hidden = hasZip;
  byId("many-text").textContent = hasZip
    ? say("A zip is answered as a list, each photo by itself.")
    : say("%(num)s photos are too many for one car. As a list, each is answered by itself.", { num: chosen.length + added.length });
  byId("many").scrollIntoView({ block: "nearest" });
}

function addToCar(files) {
  const fit = files.filter((file) => file.size > 0 && file.size <= mostBytes);
  const taken = fit.slice(0, mostPhotos - chosen.length);
  if (taken.length) forget();
  if (fit.length < files.length) tell(say("A photo is empty or too large and was left out."));
  else if (taken.length < fit.length) tell(say("%(num)s photos of one car at most.", { num: mostPhotos }));
  else tell("");
  for (const file of taken) chosen.push({ file, url: URL.createObjectURL(file) });
  draw();
}

function remove(one) {
  URL.revokeObjectURL(one.url);
  chosen = chosen.filter((other) => other !== one);
  forget();
  draw();
}

function forget() {
  if (asking) {
    asking.abort();
    tell("");
  }
  answer = null;
  byId("answer").hidden = true;
  byId("trouble").hidden = true;
}

function draw() {
  const list = byId("photos");
  list.replaceChildren(
    ...chosen.map((one, number) => {
      const item = document.createElement("li");
      const picture = document.createElement("img");
      picture.src = one.url;
      picture.alt = say("photo %(num)s", { num: number + 1 });
      picture.addEventListener("error", () => item.classList.add("unseen"));
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = "×";
      button.setAttribute("aria-label", say("remove photo %(num)s", { num: number + 1 }));
      button.addEventListener("click", () => remove(one));
      item.append(picture, button);
      const told = answer && answer.photos[number];
      if (told && told.box) {
        picture.after(outline(told.box, picture));
        picture.alt = say("photo %(num)s, with a frame around the car", { num: number + 1 });
      }
      if (told && (told.odd || !told.used)) {
        item.classList.add(told.odd ? "odd" : "unused");
        const note = document.createElement("span");
        note.textContent = told.odd ? say("another car?") : told.sentence;
        item.append(note);
      }
      return item;
    }),
  );
  byId("more").hidden = chosen.length === 0;
}

// A frame around the car, over a photo that fills its place and is cut to it as the photo is.
function outline(box, picture) {
  const space = "http://www.w3.org/2000/svg";
  const drawing = document.createElementNS(space, "svg");
  drawing.setAttribute("aria-hidden", "true");
  drawing.setAttribute("preserveAspectRatio", "xMidYMid slice");
  const fit = () => {
    const [width, height] = [picture.naturalWidth, picture.naturalHeight];
    if (!width || !height) return; // a photo that this browser cannot show
    drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const frame = document.createElementNS(space, "rect");
    frame.setAttribute("x", box.left * width);
    frame.setAttribute("y", box.top * height);
    frame.setAttribute("width", (box.right - box.left) * width);
    frame.setAttribute("height", (box.bottom - box.top) * height);
    drawing.replaceChildren(frame);
  };
  if (picture.complete) fit();
  else picture.addEventListener("load", fit);
  return drawing;
}

function tell(text) {
  byId("status").textContent = text;
}

function complain(text, retry) {
  tell("");
  again = retry;
  byId("trouble-text").textContent = text;
  byId("retry").hidden = retry === null;
  byId("trouble").hidden = false;
}

async function post(path, fields, signal) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  // Names of files are nobody's business.
  for (const one of chosen) form.append("photos", one.file, "photo");
  let response;
  for (let tries = 1; ; tries++) {
    response = await fetch(path, {
      method: "POST",
      body: form,
      signal,
      headers: { "X-Lotlens-Token": page.token, "Accept-Language": page.lang },
    });
    if (response.status !== 429 || tries === 4) break;
    // Others are being answered: nobody needs to be told before it has lasted.
    const seconds = Number(response.headers.get("Retry-After")) || 1;
    await new Promise((go) => setTimeout(go, 1000 * Math.min(seconds, 5)));
  }
  const found = await response.json();
  if (!response.ok) throw Object.assign(new Error(found.error.message), { found: found.error });
  return found;
}

async function check() {
  if (!chosen.length) return;
  forget();
  const own = (asking = new AbortController());
  byId("send").disabled = true;
  tell(say("Looking…"));
  try {
    const found = await post(
      "/api/v1/predict",
      { claim: byId("claim").value.trim(), remember: "1" },
      own.signal,
    );
    answer = found;
    tell("");
    show();
  } catch (error) {
    if (error.name === "AbortError") return;
    if (error.found) {
      const hopeless = ["unreadable", "no_photo", "photo_too_large", "not_let_in"];
      complain(error.found.message, hopeless.includes(error.found.code) ? null : check);
    } else complain(say("No connection to lotlens. The photos are still here."), check);
  } finally {
    if (asking === own) {
      asking = null;
      byId("send").disabled = false;
    }
  }
}

function show() {
  byId("answer").className = answer.verdict.replaceAll(" ", "-");
  byId("sentence").textContent = answer.sentence;
  byId("chance").textContent =
    answer.verdict === "model" ? say("Probability %(share)s", { share: percent(answer.probability) }) : "";
  const claim = byId("claimed");
  claim.hidden = !answer.claim;
  claim.className = answer.claim ? answer.claim.result : "";
  claim.textContent = answer.claim ? answer.claim.sentence : "";
  byId("advice").hidden = !answer.advice;
  byId("advice").textContent = answer.advice;
  const shown = answer.verdict === "unsure" ? answer.candidates : [];
  byId("others").hidden = !shown.length;
  byId("candidates").replaceChildren(
    ...shown.map((car) => {
      const item = document.createElement("li");
      item.textContent = `${car.name} — ${percent(car.probability)}`;
      return item;
    }),
  );
  byId("correct").open = false;
  byId("correct").hidden = !answer.check_id;
  byId("label").value = "?";
  byId("save").disabled = true;
  byId("saved").textContent = "";
  byId("answer").hidden = false;
  draw();
  byId("answer").focus({ preventScroll: true });
  byId("answer").scrollIntoView({ block: "nearest" });
}

async function save() {
  const label = byId("label").value;
  byId("save").disabled = true;
  byId("saved").textContent = say("Saving…");
  try {
    await post("/api/v1/corrections", { check_id: answer.check_id, label });
    byId("saved").textContent = say("Saved. Thank you.");
  } catch (error) {
    byId("saved").textContent = error.found ? error.found.message : say("Not saved: no connection to lotlens.");
    byId("save").disabled = false;
  }
}

for (const id of ["camera", "gallery"]) {
  byId(id).addEventListener("change", (event) => {
    add(event.target.files);
    event.target.value = "";
  });
}
async function makeList() {
  const buttons = [byId("many-send"), byId("many-no")];
  for (const button of buttons) button.disabled = true;
  const files = [...chosen.map((one) => one.file), ...added];
  const failed = await sendList(files, (text) => (byId("many-text").textContent = text));
  if (failed) byId("many-text").textContent = failed;
  for (const button of buttons) button.disabled = false;
}

byId("many-send").addEventListener("click", makeList);
byId("many-no").addEventListener("click", () => {
  byId("many").hidden = true;
  addToCar(added);
});
// Where there is no camera the chooser of files is one for all kinds of them.
if (matchMedia("(hover: hover) and (pointer: fine)").matches) byId("gallery").accept += ",.zip";
byId("send").addEventListener("click", check);
byId("retry").addEventListener("click", () => again && again());
byId("clear").addEventListener("click", () => {
  for (const one of [...chosen]) remove(one);
  byId("claim").value = "";
  byId("many").hidden = true;
  tell("");
});
byId("claim").addEventListener("keydown", (event) => event.key === "Enter" && check());
byId("label").addEventListener("change", (event) => (byId("save").disabled = event.target.value === "?"));
byId("save").addEventListener("click", save);
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  add(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) add(event.clipboardData.files);
});
// The token of a link lets one device in once: it is of no use in the address bar any more.
if (location.search.includes("token=")) history.replaceState(null, "", `/?lang=${page.lang}`);
