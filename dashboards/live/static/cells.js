// Tables and single numbers. Everything goes in as text, nothing as HTML.

export function element(name, properties = {}, ...inside) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...inside);
  return made;
}

// Only addresses within this page; the board's own links begin so.
function safe(link) {
  return link.startsWith("/d/") ? link : "#";
}

const MANY = 4; // with more columns a row is broken into lines on a phone
const className = (head) => ["number", "short", "moment"].filter((name) => head[name]).join(" ");

function cell(told, head) {
  const made = element("td", { className: className(head) });
  if (head.text) made.dataset.head = head.text; // beside the value where there is no room for heads
  let text = told.text;
  if (told.colour) {
    text = element("span", { className: "word", textContent: told.text });
    text.style.setProperty("--c", told.colour);
  }
  made.append(told.link ? element("a", { href: safe(told.link) }, text) : text);
  return made;
}

// Rows that were not there before are shown for a moment.
export function drawTable(body, told) {
  const before = body.rowsShown;
  const now = new Set(told.rows.map((row) => row.map((one) => one.text).join("\u0001")));
  const rows = told.rows.map((row) => {
    const made = element("tr", {}, ...row.map((one, place) => cell(one, told.heads[place])));
    if (before && !before.has(row.map((one) => one.text).join("\u0001"))) made.className = "fresh";
    return made;
  });
  const heads = told.heads.map((head) => element("th", { textContent: head.text, className: className(head) }));
  const scrolled = body.querySelector(".rows")?.scrollTop ?? 0;
  const table = element(
    "table", {}, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows),
  );
  const box = element("div", { className: told.heads.length > MANY ? "rows wide" : "rows", tabIndex: 0 }, table);
  body.replaceChildren(box);
  box.scrollTop = scrolled;
  body.rowsShown = now;
}

export function drawNumber(body, told) {
  const number = element("strong", { textContent: told.text });
  const unit = element("span", { textContent: [told.sign, told.unit].filter(Boolean).join(" ") });
  const made = element("p", { className: "figure" }, number, unit);
  if (told.colour) made.style.setProperty("--c", told.colour);
  body.replaceChildren(made);
}

export function drawText(body, text, failed) {
  body.replaceChildren(element("p", { className: failed ? "said failed" : "said", textContent: text }));
}
