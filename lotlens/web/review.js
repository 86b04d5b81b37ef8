// The review page: shows doubts, sends one decision at a time, and says "saved" only when the
// server has it on its disk. It keeps no decision of its own but the one that is being saved.
"use strict";

const RETRY_MS = 2000, PATIENCE_MS = 10000, LOAD_MS = 100;
const SWIPE = { share: 1 / 3, edge: 24, slack: 10 }; // of the photo's width; pixels
const CELL = { width: 140, height: 138, overscan: 2 };
const mark = (text) => text; // a sentence that is put into the page's language later
const VERDICTS = { keep: mark("Kept"), drop: mark("Dropped"), "not a car": mark("Not a car") };
const ACTS = ["keep", "suggest", "relabel", "drop", "not a car"];
const LETTERS = { k: "keep", s: "suggest", r: "relabel", d: "drop", n: "not a car", u: "undo" };

const byTouch = matchMedia("(hover: none), (pointer: coarse)");

// A link lets one device in, once, and has done so: nobody need see its token in the address bar.
if (location.search) history.replaceState(null, "", location.pathname);

const $ = (id) => document.getElementById(id);
const make = (tag, className = "", text = "") => {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
};

let doubts = [], classes = new Map(), reasons = {}, path = "";
let texts = {}; // English sentence -> its translation; what is not there is said in English
let decided = new Map(); // id -> decision, the last one taken last
let visible = []; // places in `doubts` that fit the filters
let at = -1; // the place of the photo in question
let pending = null; // what was sent and is not known to be saved
let isBlocked = false; // whether the server did not take it

// --- words -------------------------------------------------------------------------------------

// A sentence in the page's language: text in which values stand at %(name)s; or nodes, for values
// that are elements.
const say = (text, values = {}) => lay(text, values).join("");
const lay = (text, values = {}) => (texts[text] ?? text).split(/%\((\w+)\)s/).map((part, number) => (number % 2 ? values[part] : part));
const whole = (number) => number.toLocaleString(document.documentElement.lang);
const nameOf = (label) => classes.get(label)?.name ?? label;
function chance(share) {
  const text = share < 0.005 ? "<1" : share > 0.995 ? ">99" : String(Math.round(100 * share));
  return `${text}\u202f%`;
}
function describe(decision) {
  return decision.verdict === "relabel" ? nameOf(decision.label) : say(VERDICTS[decision.verdict]);
}
function tell(text, kind = "") {
  $("status").className = kind;
  $("status").textContent = text;
}

// --- photos ------------------------------------------------------------------------------------

async function explainMissing(address) {
  try {
    const response = await fetch(address, { signal: AbortSignal.timeout(PATIENCE_MS) });
    return response.ok ? say("it could not be shown") : await response.text();
  } catch {
    return say("the server does not answer");
  }
}

function makePicture(address, alt) {
  const image = new Image();
  image.alt = alt;
  image.decoding = "async";
  image.draggable = false;
  image.onerror = async () => {
    const box = make("span", "missing");
    box.append(make("b", "", say("No picture")), await explainMissing(address));
    image.replaceWith(box);
  };
  image.src = address;
  return image;
}

// --- the sheet: only the cells in sight are in the page ------------------------------------------

const sheet = $("sheet"), spacer = $("spacer");
const cells = new Map(); // position in `visible` -> its element
let columns = 1, lastTop = 0, loadTimer = 0, isDrawing = false;

function drawCell(cell, position) {
  const place = visible[position], doubt = doubts[place];
  const isUnsaved = isBlocked && pending?.id === doubt.id, decision = decided.get(doubt.id);
  cell.setAttribute("aria-selected", String(place === at));
  cell.classList.toggle("done", Boolean(decision));
  const mark = cell.querySelector(".mark");
  mark.hidden = !decision && !isUnsaved;
  if (!mark.hidden) {
    mark.className = `mark ${isUnsaved ? "unsaved" : decision.verdict.replace("not a car", "no-car")}`;
    mark.textContent = isUnsaved ? say("not saved") : describe(decision);
  }
}

function makeCell(position) {
  const doubt = doubts[visible[position]];
  const cell = make("div", "cell");
  cell.id = `cell-${visible[position]}`;
  cell.setAttribute("role", "option");
  cell.setAttribute("aria-posinset", position + 1);
  cell.setAttribute("aria-setsize", visible.length);
  const picture = make("span", "pic"), text = make("span", "text");
  picture.append(make("span", "mark"));
  const first = make("span");
  first.append(make("span", "rank", `${visible[position] + 1} `), nameOf(doubt.label));
  first.querySelector(".rank").style.display = "inline";
  text.append(first, make("span", "rank", doubt.suggested === null ? "" : `→ ${nameOf(doubt.suggested)}`));
  cell.append(picture, text);
  cell.dataset.position = position;
  drawCell(cell, position);
  return cell;
}

function drawSheet() {
  isDrawing = false;
  const width = sheet.clientWidth;
  if (!width) return;
  const fit = Math.max(1, Math.floor(width / CELL.width));
  if (fit !== columns) { columns = fit; emptySheet(); }
  const cellWidth = Math.floor(width / columns);
  const top = sheet.scrollTop, rows = Math.ceil(visible.length / columns);
  const first = Math.max(0, Math.floor(top / CELL.height) - CELL.overscan);
  const last = Math.min(rows, Math.ceil((top + sheet.clientHeight) / CELL.height) + CELL.overscan);
  for (const [position, cell] of cells) {
    if (position < first * columns || position >= last * columns) dropCell(position, cell);
  }
  for (let position = first * columns; position < Math.min(last * columns, visible.length); position++) {
    let cell = cells.get(position);
    if (!cell) {
      cell = makeCell(position);
      cells.set(position, cell);
      spacer.append(cell);
    }
    const x = (position % columns) * cellWidth, y = Math.floor(position / columns) * CELL.height;
    cell.style.cssText = `width:${cellWidth}px;height:${CELL.height}px;transform:translate(${x}px,${y}px)`;
  }
  loadSoon();
}

function dropCell(position, cell) {
  const image = cell.querySelector("img");
  if (image) { image.onerror = null; image.removeAttribute("src"); } // nobody waits for it now
  cell.remove();
  cells.delete(position);
}

function emptySheet() {
  for (const [position, cell] of cells) dropCell(position, cell);
}

// While the sheet flies past, photos that are gone at once are not asked for.
function loadSoon() {
  if (loadTimer) return;
  loadTimer = setTimeout(loadPictures, LOAD_MS);
}

function loadPictures() {
  loadTimer = 0;
  const passed = Math.abs(sheet.scrollTop - lastTop);
  lastTop = sheet.scrollTop;
  if (passed > 1.5 * sheet.clientHeight) { loadSoon(); return; }
  for (const [position, cell] of cells) {
    const picture = cell.firstChild;
    if (!picture.querySelector("img, .missing")) {
      picture.prepend(makePicture(`/thumb/${doubts[visible[position]].key}`, ""));
    }
  }
}

function drawSoon() {
  if (!isDrawing) { isDrawing = true; requestAnimationFrame(drawSheet); }
}

function redrawCells() {
  for (const [position, cell] of cells) drawCell(cell, position);
}

function layOutSheet() {
  emptySheet();
  $("none").hidden = visible.length > 0;
  sheet.hidden = visible.length === 0;
  columns = Math.max(1, Math.floor(sheet.clientWidth / CELL.width));
  spacer.style.height = `${Math.ceil(visible.length / columns) * CELL.height}px`;
  drawSheet();
}

function scrollToPlace() {
  const position = visible.indexOf(at);
  if (position < 0) { sheet.removeAttribute("aria-activedescendant"); return; }
  const top = Math.floor(position / columns) * CELL.height;
  if (top < sheet.scrollTop) sheet.scrollTop = top;
  else if (top + CELL.height > sheet.scrollTop + sheet.clientHeight) {
    sheet.scrollTop = top + CELL.height - sheet.clientHeight;
  }
  drawSheet();
  sheet.setAttribute("aria-activedescendant", `cell-${at}`);
}

// --- the photo in question -----------------------------------------------------------------------

const decisionOf = (doubt) => (pending?.id === doubt.id && pending.decision) || decided.get(doubt.id);

function drawWork() {
  const doubt = doubts[at];
  $("work").hidden = !doubt;
  if (!doubt) return;
  $("photo").replaceChildren(makePicture(`/photo/${doubt.key}`, say("Photo %(id)s", { id: doubt.id })));
  const place = say("%(number)s of %(count)s", { number: whole(at + 1), count: whole(doubts.length) });
  $("place").textContent = `${place} · ${doubt.id}`;
  $("question").replaceChildren(...lay("Is this a %(car)s?", { car: make("b", "", nameOf(doubt.label)) }));
  const chances = { own: chance(doubt.own), chance: chance(doubt.probability) };
  $("suggestion").replaceChildren(...(doubt.suggested === null
    ? lay("The model gives the label %(own)s and has no other suggestion.", chances)
    : lay("The model suggests %(car)s (%(chance)s); it gives the label %(own)s.", { ...chances, car: make("b", "", nameOf(doubt.suggested)) })));
  if (doubt.data) $("suggestion").append(" ", say("In the data it is still labelled %(car)s.", { car: doubt.data }));
  $("reasons").replaceChildren(...doubt.reasons.map((reason) => {
    const line = make("li");
    line.append(make("b", "", reasons[reason].name), `: ${reasons[reason].meaning}`);
    return line;
  }));
  $("keep-text").textContent = say("Keep %(car)s", { car: nameOf(doubt.label) });
  $("suggest-text").textContent = doubt.suggested === null ? say("No suggestion") : say("It is %(car)s", { car: nameOf(doubt.suggested) });
  $("examples").replaceChildren(...[doubt.label, doubt.suggested].filter((label) => label !== null).map(drawExamples));
  drawVerdict();
}

function drawExamples(label) {
  const group = make("section"), head = make("h3"), row = make("div", "row");
  const shown = classes.get(label);
  const car = make("b", "", shown.name);
  head.append(...(shown.examples.length ? lay("%(car)s looks like this", { car }) : lay("%(car)s has no other photos to compare", { car })));
  row.append(...shown.examples.map((key, number) => {
    const box = make("button", "pic");
    box.type = "button";
    box.title = say("Compare");
    box.append(makePicture(`/thumb/${key}`, say("Compare with %(car)s, example %(number)s", { car: shown.name, number: number + 1 })));
    box.addEventListener("click", () => compare(key, shown.name));
    return box;
  }));
  group.append(head, row);
  return group;
}

// The photo in question and an example of a class side by side, both large.
function compare(key, name) {
  const doubt = doubts[at];
  $("pair").replaceChildren(...[[doubt.key, say("This photo")], [key, name]].map(([one, caption]) => {
    const figure = make("figure");
    figure.append(makePicture(`/photo/${one}`, caption), make("figcaption", "", caption));
    return figure;
  }));
  $("compare").showModal();
}

function drawVerdict() {
  const doubt = doubts[at];
  if (!doubt) return;
  const decision = decisionOf(doubt), isPending = pending?.id === doubt.id;
  const isUnsaved = isPending && isBlocked;
  $("verdict").hidden = !decision && !isUnsaved;
  $("verdict").className = isUnsaved ? "unsaved" : "";
  const what = !decision ? say("Undo")
    : decision.verdict === "relabel" ? say("Relabelled %(car)s", { car: nameOf(decision.label) }) : describe(decision);
  $("verdict").textContent = isUnsaved ? say("Not saved: %(what)s", { what }) : isPending ? say("%(what)s: saving…", { what }) : say("Decided: %(what)s", { what });
  document.querySelector('[data-act="suggest"]').disabled = doubt.suggested === null;
  document.querySelector('[data-act="undo"]').disabled = decided.size === 0;
}

function drawCounts() {
  $("count").textContent = say("%(number)s of %(count)s decided", { number: whole(decided.size), count: whole(doubts.length) });
  $("bar").value = doubts.length ? decided.size / doubts.length : 0;
}

function drawAll() {
  drawCounts();
  drawVerdict();
  redrawCells();
}

// --- moving --------------------------------------------------------------------------------------

function goTo(place) {
  if (place === undefined || place < 0 || place >= doubts.length) return;
  at = place;
  drawWork();
  scrollToPlace();
  redrawCells();
  if (matchMedia("(max-width: 820px)").matches) document.querySelector("main").scrollTop = 0;
  const following = visible[visible.findIndex((one) => one > at)];
  if (following !== undefined) new Image().src = `/photo/${doubts[following].key}`; // ready when asked for
}

function step(by) {
  const position = visible.indexOf(at);
  if (position >= 0) goTo(visible[Math.min(visible.length - 1, Math.max(0, position + by))]);
  else goTo(by > 0 ? visible.find((one) => one > at) ?? visible[0] : visible.findLast((one) => one < at));
}

function findUndecided(after) {
  const isOpen = (place) => !decisionOf(doubts[place]);
  return visible.find((place) => place > after && isOpen(place)) ?? visible.find(isOpen);
}

function filter() {
  const reason = $("reason").value, onlyOpen = $("undecided").checked;
  visible = [];
  doubts.forEach((doubt, place) => {
    const fits = !reason || doubt.reasons.includes(reason);
    if (fits && !(onlyOpen && decisionOf(doubt))) visible.push(place);
  });
  layOutSheet();
}

function filterAnew() {
  filter();
  if (!visible.includes(at) && visible.length) goTo(findUndecided(at) ?? visible[0]);
  else scrollToPlace();
}

// --- deciding ------------------------------------------------------------------------------------

function act(what) {
  const doubt = doubts[at];
  if (!doubt) return;
  if (pending) {
    if (isBlocked) {
      tell(say("Nothing more can be decided until the last decision is saved."), "bad");
      $("retry").focus();
    }
    return; // the answer takes milliseconds; a second key must not decide a photo nobody has seen
  }
  if (what === "undo") {
    const id = decided.has(doubt.id) ? doubt.id : [...decided.keys()].at(-1);
    if (id === undefined) tell(say("There is nothing to undo."), "wait");
    else send({ id, address: "/decisions/take-back", body: { id }, decision: null });
  } else if (what === "relabel") {
    openClasses();
  } else if (what === "suggest") {
    if (doubt.suggested === null) tell(say("There is no suggestion for this photo."), "wait");
    else decide("relabel", doubt.suggested);
  } else {
    decide(what, what === "keep" ? doubt.label : "");
  }
}

function decide(verdict, label) {
  const id = doubts[at].id;
  const body = label ? { id, verdict, label } : { id, verdict };
  send({ id, address: "/decisions", body, decision: { id, verdict, label } });
}

async function send(one) {
  pending = one;
  if (!isBlocked) tell(say("Saving…"), "wait");
  drawAll();
  let answer, response;
  try {
    response = await fetch(one.address, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(one.body),
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    if (response.status === 401) { // as after a restart; the link of now lets the device in again
      fail(one, await response.text());
      return;
    }
    answer = await response.json();
  } catch {
    fail(one, say("The server does not answer: is “lotlens review” still running? Start it again with the same command."));
    return;
  }
  if (response.ok) finish(one, answer);
  else {
    const reason = typeof answer.detail === "string" ? answer.detail : say("The server did not understand it: reload the page.");
    if (response.status >= 500) fail(one, reason);
    else refuse(reason);
  }
}

function fail(one, reason) {
  isBlocked = true;
  $("trouble").hidden = false;
  $("retry").hidden = false;
  const what = `${one.decision ? describe(one.decision) : say("undo")} (${one.id})`;
  const head = say("Not saved: %(what)s", { what }), text = say("%(reason)s It is tried again every two seconds; keep this page open until then.", { reason });
  // Said once: an alert that is written anew is read aloud anew.
  if ($("trouble-head").textContent !== head) $("trouble-head").textContent = head;
  if ($("trouble-text").textContent !== text) $("trouble-text").textContent = text;
  tell(say("Not saved"), "bad");
  drawAll();
  clearTimeout(one.timer);
  one.timer = setTimeout(() => { if (pending === one) send(one); }, RETRY_MS);
}

function refuse(reason) {
  pending = null;
  isBlocked = false;
  $("trouble").hidden = false;
  $("retry").hidden = true;
  $("trouble-head").textContent = say("Not saved");
  $("trouble-text").textContent = reason;
  tell(say("Not saved"), "bad");
  drawAll();
}

function finish(one, answer) {
  clearTimeout(one.timer);
  pending = null;
  isBlocked = false;
  $("trouble").hidden = true;
  $("trouble-head").textContent = "";
  decided.delete(one.id);
  if (answer.decision) decided.set(one.id, answer.decision);
  const place = doubts.findIndex((doubt) => doubt.id === one.id);
  if ($("undecided").checked) filter();
  drawAll();
  if (!answer.decision) {
    tell(say("Undone and saved: %(id)s", { id: one.id }));
    goTo(place);
    return;
  }
  const saved = say("Saved: %(what)s", { what: `${describe(answer.decision)} (${one.id})` });
  const following = findUndecided(place);
  if (following === undefined) {
    tell(`${saved}. ${decided.size === doubts.length ? say("All photos are decided.") : say("No other photo that fits the filters is undecided.")}`);
    if (at === place) goTo(place);
  } else {
    tell(saved);
    if (at === place) goTo(following); // whoever has moved on meanwhile stays there
  }
}

// --- the list of classes -------------------------------------------------------------------------

const dialog = $("classes"), search = $("search"), options = $("options");
let offered = [], marked = 0;

// "ё" is often typed as "е", and nobody types accents.
const fold = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

function openClasses() {
  search.value = "";
  offerClasses();
  dialog.showModal();
  if (!byTouch.matches) search.focus(); // by touch, a keyboard would hide the list
  options.scrollTop = 0;
}

function offerClasses() {
  const doubt = doubts[at], wanted = fold(search.value.trim());
  const first = [doubt.suggested, ...classes.keys()].filter((label) => label !== null && label !== doubt.label);
  offered = [...new Set(first)].filter((label) => fold(classes.get(label).shown).includes(wanted));
  marked = 0;
  options.replaceChildren(...offered.map((label, number) => {
    const option = make("li");
    option.id = `option-${number}`;
    option.setAttribute("role", "option");
    if (number < 9 && !search.value) option.append(make("kbd", "", String(number + 1)));
    option.append(make("span", "", classes.get(label).shown));
    if (label === doubt.suggested) option.append(make("span", "soft", say("suggested, %(chance)s", { chance: chance(doubt.probability) })));
    option.addEventListener("click", () => { marked = number; choose(); });
    return option;
  }));
  if (!offered.length) options.append(Object.assign(make("li", "", say("No model of that name")), { role: "option", ariaDisabled: "true" }));
  markOption();
}

function markOption() {
  options.querySelectorAll("li").forEach((option, number) => option.setAttribute("aria-selected", String(number === marked && offered.length > 0)));
  if (!offered.length) { search.removeAttribute("aria-activedescendant"); return; }
  search.setAttribute("aria-activedescendant", `option-${marked}`);
  $(`option-${marked}`).scrollIntoView({ block: "nearest" });
}

function choose() {
  const label = offered[marked];
  if (label === undefined) return;
  dialog.close();
  decide("relabel", label);
}

search.addEventListener("input", offerClasses);
dialog.addEventListener("keydown", (event) => {
  if (event.isComposing || event.target.closest("button")) return;
  const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 };
  if (event.key === "Enter") choose();
  else if (event.key in moves) marked = Math.min(offered.length - 1, Math.max(0, marked + moves[event.key]));
  else if (/^[1-9]$/.test(event.key) && !search.value && !event.ctrlKey && !event.altKey && !event.metaKey) marked = Math.min(offered.length - 1, Number(event.key) - 1);
  else return;
  event.preventDefault();
  if (dialog.open) markOption();
});

// --- swipes --------------------------------------------------------------------------------------

// Right keeps the label, the one decision that changes nothing; left decides nothing. Both count
// from a third of the photo's width on, so neither is done in passing, and U takes back.
const photo = $("photo");
let swipe = null; // the finger on the photo: where it began, how far it has come

const canKeep = () => !decisionOf(doubts[at]);
const canMove = () => at !== visible.at(-1);

photo.addEventListener("pointerdown", (event) => {
  const isAtEdge = event.clientX < SWIPE.edge || event.clientX > innerWidth - SWIPE.edge; // the browser's own swipes
  const isSecond = !event.isPrimary;
  if (swipe) endSwipe(false);
  if (event.pointerType === "mouse" || isSecond || isAtEdge || photo.classList.contains("enlarged")) return;
  swipe = { id: event.pointerId, x: event.clientX, y: event.clientY, by: 0, isSideways: false };
});
photo.addEventListener("pointermove", (event) => {
  if (event.pointerId !== swipe?.id) return;
  const by = event.clientX - swipe.x, down = Math.abs(event.clientY - swipe.y);
  if (!swipe.isSideways) {
    if (Math.max(Math.abs(by), down) < SWIPE.slack) return;
    if (down > Math.abs(by)) { endSwipe(false); return; }
    swipe.isSideways = true;
    photo.setPointerCapture(swipe.id);
  }
  swipe.by = down > Math.abs(by) ? 0 : by;
  drawSwipe();
});
photo.addEventListener("pointerup", (event) => { if (event.pointerId === swipe?.id) endSwipe(true); });
photo.addEventListener("pointercancel", (event) => { if (event.pointerId === swipe?.id) endSwipe(false); });

const isFar = () => Math.abs(swipe.by) >= SWIPE.share * photo.clientWidth;

function drawSwipe() {
  const isRight = swipe.by > 0, isPossible = isRight ? canKeep() : canMove();
  const says = $("swipe");
  says.hidden = Math.abs(swipe.by) < SWIPE.slack;
  says.className = isFar() && isPossible ? (isRight ? "ready keep" : "ready") : "";
  says.textContent = isRight
    ? (isPossible ? say("Keep %(car)s", { car: nameOf(doubts[at].label) }) : say("Decided already: undo first"))
    : (isPossible ? say("Next photo") : say("No next photo"));
  if (photo.firstChild) photo.firstChild.style.transform = `translateX(${isPossible ? swipe.by : swipe.by / 4}px)`;
}

function endSwipe(isLetGo) {
  const isRight = swipe.by > 0;
  const counts = isLetGo && swipe.isSideways && isFar() && (isRight ? canKeep() : canMove());
  swipe = null;
  $("swipe").hidden = true;
  if (photo.firstChild) photo.firstChild.style.transform = "";
  if (counts && isRight) act("keep");
  else if (counts) step(1);
}

// A photo enlarged by two fingers is moved about with one.
window.visualViewport?.addEventListener("resize", () => photo.classList.toggle("enlarged", visualViewport.scale > 1.05));

// --- keys, buttons, filters ----------------------------------------------------------------------

// The letter that is written on the key of a Latin keyboard, on a Cyrillic one too.
function letterOf(event) {
  const key = event.key.toLowerCase();
  return /^[a-z]$/.test(key) || !event.code.startsWith("Key") ? key : event.code.slice(3).toLowerCase();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
  if (document.querySelector("dialog[open]")) return;
  const isSheetOpen = document.body.classList.contains("sheet-open");
  if (isSheetOpen && ["Escape", "Enter"].includes(event.key) && event.target.tagName !== "BUTTON") { showSheet(false); return; }
  // The search field keeps the focus of a closed list until the next frame: its keys count here.
  if (event.target.matches?.("select")) return;
  const letter = letterOf(event);
  const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, p: -1, j: 1 };
  const by = moves[event.key] ?? moves[letter];
  if (by !== undefined) step(by);
  else if (event.key === "Home") goTo(visible[0]);
  else if (event.key === "End") goTo(visible.at(-1));
  else if (event.key === "?" || event.code === "F1") $("help").showModal();
  else if (event.repeat) return; // a key that is held down decides one photo, not twenty
  else if (letter in LETTERS) act(LETTERS[letter]);
  else if (/^[1-5]$/.test(event.key)) act(ACTS[Number(event.key) - 1]);
  else return;
  event.preventDefault();
});

function showSheet(isOpen) {
  document.body.classList.toggle("sheet-open", isOpen);
  $("open-sheet").setAttribute("aria-expanded", String(isOpen));
  if (isOpen) { layOutSheet(); scrollToPlace(); sheet.focus(); } else $("open-sheet").focus();
}

document.querySelectorAll("[data-act]").forEach((button) => button.addEventListener("click", () => act(button.dataset.act)));
$("previous").addEventListener("click", () => step(-1));
$("next").addEventListener("click", () => step(1));
$("retry").addEventListener("click", () => { if (pending && isBlocked) { clearTimeout(pending.timer); send(pending); } });
$("open-help").addEventListener("click", () => $("help").showModal());
$("close-help").addEventListener("click", () => $("help").close());
$("close-compare").addEventListener("click", () => $("compare").close());
$("close-classes").addEventListener("click", () => dialog.close());
document.querySelectorAll("dialog").forEach((one) => {
  const isBeside = (event) => {
    const box = one.getBoundingClientRect();
    return event.target === one && (event.clientX < box.left || event.clientX > box.right || event.clientY < box.top || event.clientY > box.bottom);
  };
  let hasBegunBeside = false; // a drag out of the search field ends beside, and closes nothing
  one.addEventListener("pointerdown", (event) => { hasBegunBeside = isBeside(event); });
  one.addEventListener("click", (event) => { if (hasBegunBeside && isBeside(event)) one.close(); });
});
$("open-sheet").addEventListener("click", () => showSheet(true));
$("close-sheet").addEventListener("click", () => showSheet(false));
$("reason").addEventListener("change", () => { filterAnew(); sheet.focus(); });
$("undecided").addEventListener("change", filterAnew);
sheet.addEventListener("scroll", drawSoon, { passive: true });
sheet.addEventListener("click", (event) => {
  const cell = event.target.closest(".cell");
  if (!cell) return;
  goTo(visible[Number(cell.dataset.position)]);
  if (document.body.classList.contains("sheet-open")) showSheet(false);
});
new ResizeObserver(() => {
  if (Math.max(1, Math.floor(sheet.clientWidth / CELL.width)) !== columns) { layOutSheet(); scrollToPlace(); } else drawSoon();
}).observe(sheet);
window.addEventListener("beforeunload", (event) => { if (pending) event.preventDefault(); });

// Another tab may have decided meanwhile.
document.addEventListener("visibilitychange", async () => {
  if (document.hidden || pending || !doubts.length) return;
  try {
    const response = await fetch("/decisions.json");
    if (!response.ok || pending) return;
    takeDecisions((await response.json()).decisions);
    filter();
    drawAll();
  } catch { /* the next decision will tell that the server is gone */ }
});

function takeDecisions(decisions) {
  decided = new Map(decisions.map((decision) => [decision.id, decision]));
}

// --- the start -----------------------------------------------------------------------------------

async function start() {
  let values;
  try {
    const response = await fetch("/doubts.json");
    if (response.status === 401) throw new Error(await response.text());
    values = await response.json();
    if (!response.ok) throw new Error(values.detail);
  } catch (error) {
    $("trouble").hidden = false;
    $("retry").hidden = true;
    // Other translations come with the doubts.
    const { head, text } = $("trouble").dataset;
    $("trouble-head").textContent = head;
    $("trouble-text").textContent = text.replace("%(reason)s", () => error.message);
    return;
  }
  ({ doubts, reasons, path, texts } = values);
  classes = new Map(values.classes.map((one) => [one.label, one]));
  takeDecisions(values.decisions);
  const counts = new Map();
  doubts.forEach((doubt) => doubt.reasons.forEach((reason) => counts.set(reason, (counts.get(reason) ?? 0) + 1)));
  $("reason").append(new Option(say("All reasons"), ""), ...[...counts].map(([reason, count]) => new Option(`${reasons[reason].name} (${whole(count)})`, reason)));
  const notes = [];
  if (values.synthetic) notes.push(say("Drawn sample lot, not real cars."));
  if (values.outdated) notes.push(say("%(count)s doubts no longer fit the data and are not shown.", { count: whole(values.outdated) }));
  $("note").textContent = notes.join(" ");
  $("note").hidden = !notes.length;
  document.title = say("Review · %(count)s photos · lotlens", { count: whole(doubts.length) });
  filter();
  drawCounts();
  const open = findUndecided(-1);
  tell(open === undefined ? say("All photos are decided.") : decided.size ? say("Going on at the first undecided photo.") : say("Decisions are kept in %(path)s", { path }), "wait");
  $("work").hidden = false;
  goTo(open ?? 0);
}

start();
