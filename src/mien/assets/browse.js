"use strict";
// A grid of faces that is only laid out where it is looked at; see mien.faceset.browse, which writes the data.
const $ = id => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const count = data.names.length, side = data.side, gap = 6, tall = side + 18;
const limits = {}, ticked = new Set();
let shown = [...data.names.keys()], open = -1;

const said = (column, i) => {
  const value = column.values[i];
  return value === null ? "–" : typeof value === "string" ? value : value.toFixed(column.decimals);
};
const sprite = (element, i, scale = 1) => {
  const sheet = data.sheets[Math.floor(i / data.sheet)], place = i % data.sheet, across = data.across;
  element.style.cssText = `width:${side * scale}px;height:${side * scale}px;background-image:url(${sheet});` +
    `background-size:${across * side * scale}px auto;` +
    `background-position:${-(place % across) * side * scale}px ${-Math.floor(place / across) * side * scale}px`;
};
const order = (a, b) => a === null || b === null ? (a === null) - (b === null) : a < b ? -1 : a > b ? 1 : 0;

function choose() {
  const column = data.columns[$("by").value], sign = $("down").ariaPressed === "true" ? -1 : 1;
  const kept = Object.entries(limits).filter(([, [low, high]]) => low !== null || high !== null);
  shown = [...data.names.keys()].filter(i => kept.every(([key, [low, high]]) => {
    const value = data.columns[key].values[i];
    return value !== null && (low === null || value >= low) && (high === null || value <= high);
  }));
  if ($("only").ariaPressed === "true") shown = shown.filter(i => ticked.has(i));
  shown.sort((a, b) => sign * order(column.values[a], column.values[b]) || a - b);
  $("said").textContent = `${shown.length} of ${count} shown, ${ticked.size} ticked`;
  draw();
}

function draw() {
  const grid = $("grid"), across = Math.max(1, Math.floor((grid.clientWidth + gap) / (side + gap)));
  grid.style.height = `${Math.ceil(shown.length / across) * (tall + gap)}px`;
  const top = -grid.getBoundingClientRect().top, row = tall + gap;
  const first = Math.max(0, Math.floor(top / row) - 2) * across;
  const last = Math.min(shown.length, Math.ceil((top + innerHeight) / row + 2) * across);
  const column = data.columns[$("by").value], made = [];
  for (let at = first; at < last; at++) {
    const i = shown[at], face = document.createElement("div");
    face.className = ticked.has(i) ? "face on" : "face";
    face.style.left = `${(at % across) * (side + gap)}px`;
    face.style.top = `${Math.floor(at / across) * row}px`;
    face.style.width = `${side}px`;
    const button = document.createElement("button");
    button.ariaLabel = data.names[i];
    sprite(button, i);
    button.onclick = () => look(i);
    const label = document.createElement("label"), box = document.createElement("input"), under = document.createElement("p");
    box.type = "checkbox";
    box.checked = ticked.has(i);
    box.ariaLabel = `drop ${data.names[i]}`;
    box.onchange = () => tick(i, box.checked);
    label.append(box);
    under.textContent = under.title = said(column, i);
    face.append(button, label, under);
    made.push(face);
  }
  grid.replaceChildren(...made);
}

function tick(i, on) {
  on ? ticked.add(i) : ticked.delete(i);
  listed();
  draw();
}

function listed() {
  $("names").value = [...ticked].sort((a, b) => a - b).map(i => data.names[i]).join(",");
  $("said").textContent = `${shown.length} of ${count} shown, ${ticked.size} ticked`;
}

function look(i) {
  open = i;
  sprite($("picture"), i, 2);
  $("name").textContent = `${data.names[i]}.${data.format}`;
  $("drop").checked = ticked.has(i);
  $("row").replaceChildren(...Object.values(data.columns).flatMap(column => {
    const term = document.createElement("dt"), text = document.createElement("dd");
    term.textContent = column.title;
    text.textContent = said(column, i) + (column.unit ? ` ${column.unit}` : "");
    return column.group === "Order" || column.group === "Expression" && !(column.values[i] >= 0.1) ? [] : [term, text];
  }));
  if (!$("detail").open) $("detail").showModal();
}

function step(by) {
  const at = shown.indexOf(open) + by;
  if (at >= 0 && at < shown.length) look(shown[at]);
}

function slider(key) {
  const column = data.columns[key], numbers = column.values.filter(value => value !== null);
  const low = Math.min(...numbers), high = Math.max(...numbers);
  const box = document.createElement("fieldset"), legend = document.createElement("legend");
  const told = document.createElement("span"), pair = document.createElement("div");
  const ends = [0, 200].map((value, which) => {
    const end = document.createElement("input");
    Object.assign(end, {type: "range", min: 0, max: 200, value, ariaLabel: `${which ? "most" : "least"} ${column.title}`});
    end.oninput = move;
    return end;
  });
  function move() {
    const [a, b] = ends.map(end => +end.value).sort((x, y) => x - y), at = v => low + (high - low) * v / 200;
    limits[key] = [a > 0 ? at(a) : null, b < 200 ? at(b) : null];
    told.textContent = `${at(a).toFixed(column.decimals)} to ${at(b).toFixed(column.decimals)}${column.unit ? " " + column.unit : ""}`;
    choose();
  }
  pair.className = "pair";
  pair.append(...ends);
  legend.append(column.title, told);
  box.append(legend, pair);
  $("filters").append(box);
  limits[key] = [null, null];
  told.textContent = `${low.toFixed(column.decimals)} to ${high.toFixed(column.decimals)}${column.unit ? " " + column.unit : ""}`;
  $("reset").addEventListener("click", () => { ends[0].value = 0; ends[1].value = 200; move(); });
}

const groups = {};
for (const [key, column] of Object.entries(data.columns)) {
  const group = groups[column.group] ??= Object.assign(document.createElement("optgroup"), {label: column.group});
  group.append(new Option(column.title, key));
}
$("by").append(...Object.values(groups));
data.filters.forEach(slider);
const toggle = (id, then) => $(id).onclick = () => { $(id).ariaPressed = $(id).ariaPressed !== "true"; then(); };
$("by").onchange = choose;
toggle("down", choose);
toggle("only", choose);
$("all").onclick = () => { shown.forEach(i => ticked.add(i)); listed(); draw(); };
$("none").onclick = () => { ticked.clear(); listed(); choose(); };
$("copy").onclick = async () => {
  $("names").select();
  try { await navigator.clipboard.writeText($("names").value); } catch { document.execCommand("copy"); }
};
$("drop").onchange = () => tick(open, $("drop").checked);
$("before").onclick = () => step(-1);
$("after").onclick = () => step(1);
$("close").onclick = () => $("detail").close();
$("detail").onkeydown = event => {
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
  if (event.key === "x") { tick(open, !ticked.has(open)); $("drop").checked = ticked.has(open); }
};
let waiting = false;
const later = () => { if (!waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; draw(); }); } };
addEventListener("scroll", later, {passive: true});
addEventListener("resize", later);
choose();
