// Which time is shown: live, or a moment that the slider stands at.

const GRAIN_MS = 10_000;
const STEPS = 40; // an arrow goes by so many parts of what is shown

export class Clock extends EventTarget {
  constructor(page) {
    super();
    Object.assign(this, { page, span: page.span, to: page.to, oldest: page.oldest, newest: page.newest, stillS: 0 });
    this.at = (id) => document.getElementById(id);
    this.at("slider").addEventListener("input", () => this.choose(Number(this.at("slider").value)));
    this.at("live").addEventListener("click", () => this.choose(null));
    this.at("earlier").addEventListener("click", () => this.step(-1));
    this.at("later").addEventListener("click", () => this.step(1));
    this.at("span").addEventListener("change", () => {
      this.span = Number(this.at("span").value);
      this.changed();
    });
    this.show();
  }

  get live() {
    return this.to === null;
  }

  // The end of what is shown, ms since 1970 UTC.
  get until() {
    return this.to ?? this.newest;
  }

  step(way) {
    this.choose(this.until + way * Math.max(GRAIN_MS, this.span / STEPS));
  }

  choose(moment) {
    const least = Math.min(this.oldest + GRAIN_MS, this.newest);
    this.to = moment === null || moment >= this.newest ? null : Math.floor(Math.max(moment, least) / GRAIN_MS) * GRAIN_MS;
    this.changed();
  }

  changed() {
    this.show();
    history.replaceState(null, "", this.address(location.href));
    this.dispatchEvent(new Event("change"));
  }

  // An address of ours at the time that is shown.
  address(link) {
    const url = new URL(link, location.href);
    const [from, to] = this.live ? [`now-${this.span / 1000}s`, "now"] : [this.until - this.span, this.until];
    // four digits are all that a time before now may have
    const minutes = this.span / 60_000;
    url.searchParams.set("from", this.live && this.span > 9_999_000 ? `now-${minutes > 9999 ? `${minutes / 60}h` : `${minutes}m`}` : from);
    url.searchParams.set("to", to);
    return url.pathname + url.search + url.hash;
  }

  // What the server says of the store.
  hear(told) {
    if (told.newest) Object.assign(this, { oldest: told.oldest, newest: told.newest });
    this.stillS = told.still_s;
    this.show();
  }

  show() {
    const { page } = this;
    const slider = this.at("slider");
    slider.disabled = !this.newest || this.newest <= this.oldest;
    slider.min = this.oldest;
    slider.max = this.newest;
    slider.step = GRAIN_MS;
    slider.value = this.until;
    const part = (this.until - this.oldest) / Math.max(1, this.newest - this.oldest);
    const back = (this.until - this.span - this.oldest) / Math.max(1, this.newest - this.oldest);
    slider.style.setProperty("--to", `${100 * Math.min(1, Math.max(0, part))}%`);
    slider.style.setProperty("--from", `${100 * Math.min(1, Math.max(0, back))}%`);
    const still = this.stillS > 15;
    const button = this.at("live");
    button.className = this.live ? (still ? "on still" : "on") : "";
    button.setAttribute("aria-pressed", String(this.live));
    button.lastElementChild.textContent = this.live && still ? page.words.newest : page.words.live;
    this.at("clock").textContent = this.newest ? this.written(this.until) : "–";
    slider.setAttribute("aria-valuetext", this.at("clock").textContent);
  }

  written(ms) {
    const there = new Date(ms + this.page.offset);
    const day = new Intl.DateTimeFormat(this.page.lang, { weekday: "short", timeZone: "UTC" }).format(there);
    const hours = this.page.offset / 3_600_000;
    const zone = `UTC${hours < 0 ? "−" : "+"}${Math.abs(hours)}`;
    const iso = there.toISOString();
    if (innerWidth < 700) return `${iso.slice(0, 10)} ${iso.slice(11, 19)} ${zone}`;
    return `${day} ${iso.slice(0, 10)} ${iso.slice(11, 19)} ${zone}`;
  }
}
