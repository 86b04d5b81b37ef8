// Filters and sorts the offers that stand in the page.
"use strict";
(() => {
  const find = (id) => document.getElementById(id);
  const list = find("list"), rows = [...list.children], texts = find("texts").dataset;
  const show = find("show"), car = find("car"), sort = find("sort"), search = find("search");
  const mark = find("mark"); // on the desk
  // What an advert says of itself, not the others that its price is explained by.
  const told = (row) =>
    [...row.querySelectorAll(".offer > :not(details)")].map((one) => one.textContent).join(" ").toLowerCase();
  const number = (row, key) => (row.dataset[key] === "" ? Infinity : Number(row.dataset[key]));
  const orders = {
    place: (a, b) => number(a, "place") - number(b, "place"),
    share: (a, b) => number(a, "share") - number(b, "share"),
    price: (a, b) => number(a, "price") - number(b, "price"),
    year: (a, b) => (Number(b.dataset.year) || 0) - (Number(a.dataset.year) || 0),
  };

  function choose() {
    const words = search.value.trim().toLowerCase();
    let num = 0;
    for (const row of rows) {
      const fits =
        (!show.value || row.dataset.kind.split(" ").includes(show.value)) &&
        (!car.value || row.dataset.car === car.value) &&
        (!mark || !mark.value || (row.dataset.mark || "none") === mark.value) &&
        (!words || told(row).includes(words));
      row.hidden = !fits;
      num += fits;
    }
    list.append(...[...rows].sort((a, b) => orders[sort.value](a, b) || orders.place(a, b)));
    find("count").textContent = texts.count
      .replace("%(num)s", num)
      .replace("%(all)s", rows.length);
  }

  for (const one of [show, car, sort, mark].filter(Boolean)) one.addEventListener("change", choose);
  search.addEventListener("input", choose);
  find("tools").addEventListener("submit", (event) => event.preventDefault());
  find("tools").hidden = false;
  choose();
})();
