// ECharts: what the server's options leave to the browser, which are theme, size, and words beside the pointer.
/* global echarts */
import { element } from "./cells.js";

const MOST_LINES = 14;
const open = new Map(); // body of a panel -> chart

function colours() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  return { text: of("--text"), dim: of("--dim"), line: of("--line"), panel: of("--panel"), paper: of("--paper") };
}

const font = () => getComputedStyle(document.body).fontFamily;

function written(value, told) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const digits = told.decimals ?? 2;
  const number = Number(value).toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: told.decimals ?? 0 });
  return told.unit && told.unit !== "ratio" ? `${number} ${told.unit}` : number;
}

const moment = (ms) => new Date(ms).toISOString().slice(5, 16).replace("T", " ");

// The box beside the pointer, made of text.
function tip(head, lines, more = 0) {
  const made = element("div", { className: "tip" }, element("b", { textContent: head }));
  for (const [name, value, colour] of lines) {
    const dot = element("i");
    if (colour) dot.style.background = colour;
    made.append(element("p", {}, dot, element("span", { textContent: name }), element("em", { textContent: value })));
  }
  if (more > 0) made.append(element("p", { className: "more", textContent: `+${more}` }));
  return made;
}

function axes(c) {
  return {
    axisLabel: { color: c.dim, fontSize: 11, hideOverlap: true },
    axisLine: { lineStyle: { color: c.line } },
    axisTick: { lineStyle: { color: c.line } },
    splitLine: { lineStyle: { color: c.line, opacity: 0.7 } },
    nameTextStyle: { color: c.dim, fontSize: 11, align: "left" },
  };
}

function tooltip(c, formatter, trigger = "item") {
  return {
    trigger, formatter, confine: true, transitionDuration: 0, backgroundColor: c.panel, borderColor: c.line,
    padding: 8, textStyle: { color: c.text, fontSize: 12 }, axisPointer: { lineStyle: { color: c.dim } },
  };
}

function trend(option, told, c, shown) {
  const formatter = (points) => {
    const lines = points.filter((one) => one.seriesId !== "background" && one.value[1] !== null && one.value[1] !== undefined);
    lines.sort((one, other) => other.value[1] - one.value[1]);
    const rows = lines.slice(0, MOST_LINES).map((one) => [one.seriesName, written(one.value[1], told), one.color]);
    return tip(moment(points[0].axisValue), rows, lines.length - MOST_LINES);
  };
  const small = innerWidth < 600;
  return {
    ...option,
    useUTC: true,
    tooltip: { ...tooltip(c, formatter, "axis") },
    grid: { left: 8, right: 14, top: option.yAxis.name ? 26 : 12, bottom: 34, containLabel: true },
    xAxis: {
      ...axes(c), ...option.xAxis, splitLine: { show: false }, splitNumber: small ? 3 : 5, min: shown.from, max: shown.to,
      axisLabel: { ...axes(c).axisLabel, alignMinLabel: "left", alignMaxLabel: "right" },
    },
    yAxis: { ...axes(c), ...option.yAxis, nameGap: 10, splitNumber: 4 },
    legend: {
      ...option.legend, icon: "roundRect", itemWidth: 12, itemHeight: 3, textStyle: { color: c.dim, fontSize: 11 },
      pageTextStyle: { color: c.dim }, pageIconColor: c.dim, pageIconInactiveColor: c.line, pageIconSize: 10,
    },
    series: option.series.map((one) => ({ ...one, emphasis: { focus: "series", lineStyle: { width: 2.5 } }, blur: { lineStyle: { opacity: 0.15 } } })),
  };
}

function bars(option, told, c) {
  const formatter = (one) => tip(one.name, [["", written(one.value, told), one.color]]);
  const dense = option.yAxis.data.length > 14;
  return {
    ...option,
    tooltip: tooltip(c, formatter),
    grid: { left: 4, right: 58, top: 4, bottom: 4, containLabel: true },
    xAxis: { ...axes(c), ...option.xAxis },
    yAxis: { ...axes(c), ...option.yAxis, axisTick: { show: false }, axisLabel: { color: c.text, fontSize: dense ? 10 : 11, interval: 0 } },
    series: option.series.map((one) => ({ ...one, label: { ...one.label, color: c.text, fontSize: dense ? 9.5 : 10.5 } })),
  };
}

function states(option, told, c) {
  const words = new Map(option.visualMap.pieces.map((piece) => [piece.value, piece]));
  const formatter = (one) => {
    const [column, row, state] = one.value;
    return tip(option.xAxis.data[column], [[option.yAxis.data[row], words.get(state)?.label ?? "", words.get(state)?.color]]);
  };
  const wide = innerWidth >= 700;
  return {
    ...option,
    tooltip: tooltip(c, formatter),
    grid: { left: 4, right: 12, top: 4, bottom: 34, containLabel: true },
    xAxis: { ...axes(c), ...option.xAxis, splitLine: { show: false } },
    yAxis: {
      ...axes(c), ...option.yAxis, axisTick: { show: false }, splitLine: { show: false },
      axisLabel: { color: c.text, fontSize: 11, interval: 0, width: wide ? 300 : 120, overflow: "truncate" },
    },
    visualMap: { ...option.visualMap, textStyle: { color: c.dim, fontSize: 11 }, itemWidth: 12, itemHeight: 12 },
    series: option.series.map((one) => ({ ...one, itemStyle: { borderColor: c.panel, borderWidth: 0.5 } })),
  };
}

// The degrees that fill a room of this size, with all of the box in it.
function filling([west, south, east, north], width, height) {
  const squeeze = Math.cos((((south + north) / 2) * Math.PI) / 180);
  const [wide, high] = [(east - west) * squeeze, north - south];
  const scale = Math.min(width / wide, height / high);
  const [moreLon, moreLat] = [(width / scale - wide) / squeeze / 2, (height / scale - high) / 2];
  return { squeeze, scale, degrees: [west - moreLon, south - moreLat, east + moreLon, north + moreLat] };
}

// Places of a name beside its point, the best first: which side, moved by how much, and the corner nearest to the point
// in units of the text's size.
const SIDES = [
  ["right", [0, 0], 0, -0.5], ["left", [0, 0], -1, -0.5], ["top", [0, 0], -0.5, -1], ["bottom", [0, 0], -0.5, 0],
  ["right", [-2, -11], 0, -0.5], ["right", [-2, 11], 0, -0.5], ["left", [2, -11], -1, -0.5], ["left", [2, 11], -1, -0.5],
  ["top", [14, 0], -0.5, -1], ["top", [-14, 0], -0.5, -1], ["bottom", [14, 0], -0.5, 0], ["bottom", [-14, 0], -0.5, 0],
  ["top", [26, 0], -0.5, -1], ["top", [-26, 0], -0.5, -1], ["bottom", [26, 0], -0.5, 0], ["bottom", [-26, 0], -0.5, 0],
];
const GAP = 8;

function beside([x, y], [side, [right, down], over, above], wide, high) {
  const gap = { right: [GAP, 0], left: [-GAP, 0], top: [0, -GAP], bottom: [0, GAP] }[side];
  const [left, top] = [x + gap[0] + right + over * wide, y + gap[1] + down + above * high];
  return [left, top, left + wide, top + high];
}

const TRIES = 150;
const found = new Map(); // names, signs and room -> sides

// Where each name stands: of some orders in which they may choose, the one that leaves the fewest without a place.
function sides(points, room, fontSize) {
  const key = `${points.map((one) => one.label?.formatter ?? one.name).join()} ${room.degrees} ${fontSize}`;
  if (!found.has(key)) {
    const tries = Array.from({ length: TRIES }, (_, seed) => chosenSides(points, room, fontSize, seed));
    found.set(key, tries.reduce((best, one) => (one.homeless < best.homeless ? one : best)).sides);
  }
  return points.map((point, at) => {
    const [position, offset] = SIDES[found.get(key)[at]];
    return { ...point, label: { ...point.label, position, offset } };
  });
}

function chosenSides(points, { scale, squeeze, degrees: [west, south, east, north] }, fontSize, seed) {
  const spots = points.map(({ value }) => [(value[0] - west) * scale * squeeze, (north - value[1]) * scale]);
  const taken = spots.map(([x, y]) => [x - 5, y - 5, x + 5, y + 5]);
  const [width, height] = [(east - west) * scale * squeeze, (north - south) * scale];
  const free = (box, own) =>
    box[0] >= 0 && box[1] >= 0 && box[2] <= width && box[3] <= height &&
    taken.every((one, at) => at === own || box[0] > one[2] || box[2] < one[0] || box[1] > one[3] || box[3] < one[1]);
  const rank = (at) => (at * 7919 + seed * 104729) % 1009;
  const made = points.map(() => 0);
  let homeless = 0;
  for (const at of [...points.keys()].sort((one, other) => rank(one) - rank(other))) {
    const text = points[at].label?.formatter ?? points[at].name;
    const wide = fontSize * [...text].reduce((sum, sign) => sum + (sign.charCodeAt(0) > 0x2e80 ? 1 : 0.6), 0);
    const boxes = SIDES.map((side) => beside(spots[at], side, wide, fontSize * 1.05));
    const side = boxes.findIndex((box) => free(box, at));
    if (side < 0) homeless += points[at].symbolSize ? 10 : 1; // what is larger is what one must see
    made[at] = Math.max(0, side);
    taken.push(boxes[made[at]]);
  }
  return { sides: made, homeless };
}

// Meridians and parallels over all that is shown, a handful of each.
function graticule([west, south, east, north], colour) {
  const step = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5].find((one) => (east - west) / one <= 9) ?? 10;
  const between = (low, high) => {
    const first = Math.ceil(low / step);
    return Array.from({ length: Math.max(0, Math.floor(high / step) - first + 1) }, (_, place) => (first + place) * step);
  };
  const lines = [
    ...between(west, east).map((at) => [[at, south], [at, north]]),
    ...between(south, north).map((at) => [[west, at], [east, at]]),
  ];
  return {
    id: "graticule", type: "lines", coordinateSystem: "geo", silent: true, tooltip: { show: false },
    lineStyle: { width: 1, color: colour, opacity: 0.7 }, data: lines.map((coords) => ({ coords })),
  };
}

function map(option, told, c, shown, chart) {
  const { box, ...rest } = option;
  const room = filling(box, chart.getWidth() - 16, chart.getHeight() - 16);
  const [west, south, east, north] = room.degrees;
  const name = `box ${room.degrees.map((one) => one.toFixed(3)).join(" ")}`;
  if (!echarts.getMap(name)) {
    const corners = [[west, south], [east, south], [east, north], [west, north], [west, south]];
    const feature = { type: "Feature", properties: { name: "" }, geometry: { type: "Polygon", coordinates: [corners] } };
    echarts.registerMap(name, { type: "FeatureCollection", features: [feature] });
  }
  const formatter = (one) => (one.data?.facts ? tip(one.name, one.data.facts) : "");
  const fontSize = chart.getWidth() < 480 ? 10 : 11;
  return {
    ...rest,
    tooltip: tooltip(c, formatter),
    geo: {
      map: name, roam: (chart.zoomed ?? 1) > 1 ? "move" : false, aspectScale: room.squeeze, left: 8, right: 8, top: 8, bottom: 8,
      silent: true, label: { show: false }, itemStyle: { areaColor: c.paper, borderColor: c.line, borderWidth: 1 },
      emphasis: { disabled: true }, select: { disabled: true },
    },
    visualMap: rest.visualMap && { ...rest.visualMap, seriesIndex: 1, textStyle: { color: c.dim, fontSize: 11 } },
    series: [
      graticule(room.degrees, c.line),
      ...rest.series.map((one) => ({
        ...one, data: one.label.show ? sides(one.data, room, fontSize) : one.data, cursor: "pointer",
        label: { ...one.label, color: c.text, fontSize, textBorderColor: c.paper, textBorderWidth: 2 },
      })),
    ],
  };
}

// The wheel and a finger scroll the page; a map is made larger by buttons, and then can be dragged.
function zoomButtons(chart) {
  const by = (factor) => () => {
    chart.zoomed = Math.min(30, Math.max(1, (chart.zoomed ?? 1) * factor));
    const back = chart.zoomed === 1 ? { center: null } : {};
    chart.setOption({ geo: { zoom: chart.zoomed, roam: chart.zoomed > 1 ? "move" : false, ...back } });
  };
  const button = (textContent, factor) => {
    const made = element("button", { type: "button", textContent, ariaLabel: textContent });
    made.addEventListener("click", by(factor));
    return made;
  };
  return element("div", { className: "zoom" }, button("+", 1.6), button("−", 1 / 1.6));
}

const KINDS = { trend, bars, states, map };

export function drawChart(body, told, shown) {
  let chart = open.get(body);
  if (!chart) {
    const room = element("div", { className: "chart" });
    body.replaceChildren(room);
    chart = echarts.init(room, null, { renderer: "canvas" });
    chart.on("click", (event) => {
      if (event.data?.link) body.dispatchEvent(new CustomEvent("follow", { detail: event.data.link, bubbles: true }));
    });
    if (told.kind === "map") body.append(zoomButtons(chart));
    open.set(body, chart);
  }
  // A signal per line needs so much room to be read; what does not fit is scrolled to.
  const room = chart.getDom();
  const wanted = told.lines ? told.lines * (told.kind === "states" ? 20 : 11) + 52 : 0;
  const height = told.kind === "states" || wanted > body.clientHeight ? `${wanted}px` : "";
  if (room.style.height !== height) {
    room.style.height = height;
    chart.resize({ silent: true });
  }
  const option = KINDS[told.kind](told.option, told, colours(), shown, chart);
  const base = { animation: false, backgroundColor: "transparent", textStyle: { fontFamily: font() } };
  chart.setOption({ ...base, ...option }, { replaceMerge: ["series"], lazyUpdate: false });
}

// Live time goes on where no value has changed.
export function moveTime(body, told, shown) {
  if (told?.kind === "trend") open.get(body)?.setOption({ xAxis: { min: shown.from, max: shown.to } });
}

export function closeChart(body) {
  open.get(body)?.dispose();
  open.delete(body);
}

let resizing = 0;
new ResizeObserver(() => {
  cancelAnimationFrame(resizing);
  resizing = requestAnimationFrame(() => open.forEach((chart) => chart.resize()));
}).observe(document.body);
