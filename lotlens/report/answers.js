// Shows the answers that stand in the page: some at a time, filtered and sorted. All texts of the
// data are set as text, never as HTML.
"use strict";
(() => {
  const STEP = 60;
  const [ID, HEAD, KIND, WORD, CHANCE, NUMBER, RUNNER, REASON, CHECK, PICTURE] = Array(10).keys();
  const find = (id) => document.getElementById(id);
  const { rows, names } = JSON.parse(find("data").textContent);
  const list = find("list"), more = find("more"), count = find("count"), texts = find("texts").dataset;
  const show = find("show"), car = find("car"), sort = find("sort"), search = find("search");
  const large = find("large");
  let chosen = [], num = 0;

  const make = (tag, name, text) => {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const fill = (text, values) => text.replace(/%\((\w+)\)s/g, (_, key) => values[key]);
  const source = (row) => "data:image/jpeg;base64," + row[PICTURE];

  // The name of an answer that is not sure is a question, for whoever reads no further.
  const title = (row) => row[HEAD] + (row[KIND] === "unsure" && row[CHANCE] ? "?" : "");

  function draw(row) {
    const item = make("li", row[CHECK] ? "check" : "");
    if (row[PICTURE]) {
      const button = make("button", "photo");
      button.type = "button";
      button.setAttribute("aria-label", fill(texts.enlarge, { id: row[ID] }));
      const image = make("img");
      image.alt = "";
      image.src = source(row);
      button.append(image);
      button.addEventListener("click", () => enlarge(row));
      item.append(button);
    } else item.append(make("div", "photo none", texts.none));
    const said = make("div", "said");
    said.append(make("h3", "", title(row)));
    if (row[RUNNER]) said.append(make("p", "", fill(texts.runner, { car: row[RUNNER] })));
    if (row[REASON]) said.append(make("p", "", row[REASON]));
    said.append(make("p", "id", row[ID]));
    const sure = make("div", "sure");
    if (row[CHANCE]) {
      const told = make("p");
      told.append(make("b", "num", row[CHANCE]), " ", make("span", "", row[WORD]));
      const bar = make("div", "bar"), full = make("div");
      bar.setAttribute("aria-hidden", "true");
      full.style.width = 100 * row[NUMBER] + "%";
      bar.append(full);
      sure.append(told, bar);
    }
    if (row[CHECK]) sure.append(make("p", "flag", texts.check));
    item.append(said, sure);
    return item;
  }

  function enlarge(row) {
    const image = find("large-image");
    image.src = source(row);
    image.alt = row[ID];
    find("large-text").textContent = title(row) + (row[CHANCE] ? " · " + row[CHANCE] : "") + " · " + row[ID];
    large.showModal();
  }

  function extend() {
    list.append(...chosen.slice(num, num + STEP).map(draw));
    num = Math.min(num + STEP, chosen.length);
    more.hidden = num >= chosen.length;
  }

  const orders = {
    check: null,
    sure: (a, b) => b[NUMBER] - a[NUMBER],
    unsure: (a, b) => a[NUMBER] - b[NUMBER],
    name: (a, b) => a[HEAD].localeCompare(b[HEAD]) || b[NUMBER] - a[NUMBER],
    file: (a, b) => a[ID].localeCompare(b[ID], undefined, { numeric: true }),
  };

  function choose() {
    const words = search.value.trim().toLowerCase(), kind = show.value;
    const name = car.value ? names[Number(car.value)] : null;
    chosen = rows.filter((row) =>
      (!kind || (kind === "check" ? row[CHECK] : row[KIND] === kind)) &&
      (name === null || (row[HEAD] === name && row[CHANCE])) &&
      (!words || (row[ID] + "\n" + row[HEAD] + "\n" + row[RUNNER] + "\n" + row[REASON]).toLowerCase().includes(words)));
    const order = orders[sort.value];
    if (order) chosen.sort(order);
    num = 0;
    list.replaceChildren();
    extend();
    count.textContent = fill(texts.count, {
      num: chosen.length.toLocaleString(document.documentElement.lang),
      all: rows.length.toLocaleString(document.documentElement.lang),
    });
  }

  names.forEach((name, at) => {
    const option = make("option", "", name);
    option.value = String(at);
    car.append(option);
  });
  for (const one of [show, car, sort]) one.addEventListener("change", choose);
  let waiting = 0;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(choose, 150);
  });
  more.addEventListener("click", () => {
    const first = num;
    extend();
    // Whoever pressed the button goes on at the first row that it brought.
    const item = list.children[first];
    if (item) {
      item.tabIndex = -1;
      item.focus({ preventScroll: true });
    }
  });
  large.addEventListener("click", () => large.close());
  find("tools").hidden = false;
  choose();
})();
