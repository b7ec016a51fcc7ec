// The page: asks the server for the panels in sight, every two seconds while it is live, and draws what has changed.
import { closeChart, drawChart, moveTime } from "./charts.js";
import { drawNumber, drawTable, drawText } from "./cells.js";
import { Clock } from "./clock.js";

const EACH_MS = 2000;
const HURRY_MS = 300;
const SLOW_MS = 6000;

const page = JSON.parse(document.getElementById("page").textContent);
const clock = new Clock(page);
const panels = new Map(); // key -> what is known of a panel
const inSight = new Set();
let asking = false;
let next = 0;

for (const article of document.querySelectorAll("article[data-key]")) {
  panels.set(article.dataset.key, { article, body: article.querySelector(".body"), version: "", told: null, since: 0 });
}

// ---------------------------------------------------------------- asking

const sight = new IntersectionObserver(
  (seen) => {
    for (const one of seen) {
      if (one.isIntersecting) inSight.add(one.target.dataset.key);
      else inSight.delete(one.target.dataset.key);
    }
    soon(50);
  },
  { rootMargin: "150px" },
);
panels.forEach(({ article }) => sight.observe(article));

function soon(ms) {
  clearTimeout(next);
  next = setTimeout(ask, ms);
}

// In live time everything in sight may have changed; a moment of the past is asked for once.
function wanted() {
  return [...inSight].filter((key) => clock.live || panels.get(key).at !== timeKey());
}

const timeKey = () => `${clock.to} ${clock.span}`;

async function ask() {
  if (asking || document.hidden) return;
  asking = true;
  const begun = performance.now();
  const keys = wanted();
  const time = timeKey();
  let pause = EACH_MS;
  try {
    const url = new URL(clock.address(location.href), location.href);
    for (const key of keys) url.searchParams.append("p", `${key}:${panels.get(key).version}`);
    const answer = await fetch(`/api${url.pathname}${url.search}`, { signal: AbortSignal.timeout(20_000) });
    if (!answer.ok) throw new Error(await answer.text());
    const told = await answer.json();
    clock.hear(told);
    if (time === timeKey()) pause = take(told, time) ? HURRY_MS : EACH_MS;
    else pause = 0;
  } catch (failure) {
    console.warn(String(failure));
    trouble(page.words.lost);
  }
  asking = false;
  soon(Math.max(0, pause - (pause === EACH_MS ? performance.now() - begun : 0)));
}

// Draw what came. Says whether the store still owes something.
function take(told, time) {
  const now = performance.now();
  const shown = { from: told.from + page.offset, to: told.to + page.offset };
  let owed = false;
  let slow = false;
  for (const [key, one] of Object.entries(told.panels)) {
    const panel = panels.get(key);
    if (one.waiting) {
      owed = true;
      panel.since ||= now;
      slow ||= now - panel.since > SLOW_MS;
      panel.article.classList.toggle("old", now - panel.since > SLOW_MS);
      continue;
    }
    panel.since = 0;
    panel.at = time;
    panel.article.classList.remove("old");
    if (one.same) moveTime(panel.body, panel.told, shown);
    else draw(panel, one, shown);
  }
  openAlerts(told.open);
  const away = told.trouble ? `${page.words.away} ${told.trouble}` : "";
  trouble(away || (told.ready ? (slow ? page.words.slow : "") : page.words.empty));
  return owed && !told.trouble;
}

// ---------------------------------------------------------------- drawing

function draw(panel, told, shown) {
  const { body } = panel;
  const chart = "option" in told;
  if (!chart || panel.told?.kind !== told.kind) closeChart(body);
  panel.version = told.version;
  panel.told = told;
  panel.shown = shown;
  panel.article.classList.add("drawn");
  if (chart) drawChart(body, told, shown);
  else if (told.table) drawTable(body, told.table);
  else if (told.number) drawNumber(body, told.number);
  else drawText(body, told.said, told.failed);
}

function trouble(text) {
  const bar = document.getElementById("trouble");
  bar.textContent = text;
  bar.hidden = !text;
}

function openAlerts(count) {
  if (count === null || count === undefined) return;
  const badge = document.getElementById("open-alerts");
  badge.textContent = `${count > 0 ? "✗" : "✓"} ${count}`;
  badge.className = count > 0 ? "some" : "";
  document.title = document.title.replace(/^(\(\d+\) )?/, count > 0 ? `(${count}) ` : "");
}

// ---------------------------------------------------------------- what the viewer does

clock.addEventListener("change", () => soon(60));
document.addEventListener("visibilitychange", () => soon(0));

// Whoever goes to another board takes the time along.
function follow(event) {
  const link = event.target.closest?.('a[href^="/d/"]');
  if (link) link.href = clock.address(link.href);
}
document.addEventListener("mousedown", follow, true);
document.addEventListener("click", follow, true);
document.addEventListener("follow", (event) => location.assign(clock.address(event.detail)));

document.getElementById("language").addEventListener("change", (event) => {
  const url = new URL(location.href);
  url.pathname = `/d/${event.target.value}`;
  location.assign(clock.address(url.href));
});

document.getElementById("theme").addEventListener("click", () => {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("theme", theme);
  for (const panel of panels.values()) {
    if (panel.told && "option" in panel.told) {
      closeChart(panel.body);
      drawChart(panel.body, panel.told, panel.shown);
    }
  }
});

const variables = document.getElementById("variables");
if (variables) {
  const choose = (form) => {
    const url = new URL(location.href);
    [...url.searchParams.keys()].filter((name) => name.startsWith("var-")).forEach((name) => url.searchParams.delete(name));
    for (const [name, value] of new FormData(form)) {
      if (value === "$__all" || !form.querySelector(`[name="${name}"].all:checked`)) url.searchParams.append(name, value);
    }
    location.assign(clock.address(url.href));
  };
  variables.addEventListener("submit", (event) => {
    event.preventDefault();
    choose(variables);
  });
  variables.addEventListener("change", (event) => {
    if (event.target.matches("select")) choose(variables);
    const group = event.target.closest(".many");
    if (!group) return;
    const all = group.querySelector(".all");
    const boxes = [...group.querySelectorAll("input:not(.all)")];
    if (event.target === all) boxes.forEach((box) => (box.checked = all.checked));
    else all.checked = boxes.every((box) => box.checked);
  });
}

document.addEventListener("click", (event) => {
  for (const one of document.querySelectorAll("details.about[open], details.many[open]")) {
    if (!one.contains(event.target)) one.open = false;
  }
});

soon(0);
