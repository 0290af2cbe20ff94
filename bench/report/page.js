"use strict";
function sortable(table) {
  const heads = [...table.querySelectorAll("thead th")];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const rising = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const key = (row) => row.cells[column].textContent.trim();
      const number = (text) => parseFloat(text.replace("+", ""));
      const body = table.tBodies[0];
      [...body.rows].sort((first, second) => {
        const [a, b] = [key(first), key(second)];
        const [x, y] = [number(a), number(b)];
        if (isNaN(x) !== isNaN(y)) return isNaN(x) ? 1 : -1;
        const order = isNaN(x) ? a.localeCompare(b) : x - y;
        return rising ? order : -order;
      }).forEach((row) => body.append(row));
    });
  });
}
document.querySelectorAll("table.sort").forEach(sortable);

const filter = document.getElementById("filter");
if (filter) {
  const rows = [...document.getElementById("cells").tBodies[0].rows];
  const apply = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    rows.forEach((row) => {
      // Between the cells a space, so that words of two columns stay apart.
      const text = [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    });
    const shown = rows.filter((row) => !row.hidden).length;
    document.getElementById("count").value = shown + " of " + rows.length + " rows";
  };
  filter.addEventListener("input", apply);
  apply();
}

const choice = document.getElementById("choice");
if (choice) {
  const { names, pairs } = JSON.parse(document.getElementById("pictures").textContent);
  const place = document.getElementById("flips");
  const all = document.getElementById("all");
  const show = (button) => {
    const pressed = button.getAttribute("aria-pressed") === "true";
    const full = pressed !== button.matches(".peeked");
    button.querySelector("img").style.top = full ? "0" : "-100%";
    button.querySelector(".badge").textContent = names[full ? 0 : 1];
  };
  const press = (button, pressed) => {
    button.setAttribute("aria-pressed", pressed);
    button.classList.remove("peeked");
    show(button);
  };
  const made = (pair, k) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "flip";
    button.setAttribute("aria-label", "Show in " + names[0] + ": " + pair.captions[k]);
    const view = document.createElement("span");
    view.className = "window";
    view.style.aspectRatio = pair.size[1] + " / " + pair.size[0];
    const image = document.createElement("img");
    image.alt = "";
    image.src = pair.data;
    image.style.width = 100 * pair.captions.length + "%";
    image.style.height = "200%";
    image.style.left = -100 * k + "%";
    const badge = document.createElement("span");
    badge.className = "badge";
    view.append(image, badge);
    const caption = document.createElement("span");
    caption.className = "caption";
    caption.textContent = pair.captions[k];
    button.append(view, caption);
    // A finger has no hover: its pointer type is touch, and the tap is the click.
    button.addEventListener("pointerenter", (event) => {
      if (event.pointerType !== "mouse") return;
      button.classList.add("peeked");
      show(button);
    });
    button.addEventListener("pointerleave", () => {
      button.classList.remove("peeked");
      show(button);
    });
    button.addEventListener("click", () => press(button, button.getAttribute("aria-pressed") !== "true"));
    press(button, all.getAttribute("aria-pressed") === "true");
    return button;
  };
  const choose = () => {
    const pair = pairs[choice.value];
    place.replaceChildren(...pair.captions.map((caption, k) => made(pair, k)));
  };
  all.addEventListener("click", () => {
    const pressed = all.getAttribute("aria-pressed") !== "true";
    all.setAttribute("aria-pressed", pressed);
    place.querySelectorAll(".flip").forEach((button) => press(button, pressed));
  });
  choice.addEventListener("change", choose);
  choose();
}

const reveal = () => {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target && target.tagName === "DETAILS") target.open = true;
};
addEventListener("hashchange", reveal);
reveal();
addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach((part) => { part.open = true; });
});
