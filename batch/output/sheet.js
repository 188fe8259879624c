"use strict";
// The contact sheet's script. Rule 1: text enters the page as text (textContent, attributes), never as markup.
// Rule 2: only http and https ever become links to elsewhere, and nothing is fetched from there.
// Rule 3: only the cards near the window exist; a sheet of 10,000 rows is as light as one of 40.

const byId = (name) => document.getElementById(name);
const data = JSON.parse(byId("data").textContent);
const unpack = ({ values, at }) => (at ? at.map((index) => values[index]) : values);
const columns = new Map(data.columns.map((column) => [column.key, unpack(column)])); // by parameter, whatever its heading
const headings = new Map(data.columns.map((column) => [column.key, column.name]));
const products = unpack(data.products), textures = unpack(data.textures), notes = unpack(data.notes);
const templated = new Set(data.templated);
const every = data.images.map((_, row) => row);
const OWN_FIRST = ["id", "prompt", "image_1", "image_2", "image_3"];
const REDOABLE = new Set(["saved", "failed", "expired", "abandoned"]); // the others may be at work: a redo would pay twice
const MAX_SEED = 2147483647, MOST_NAMES = 500, MOST_PRINTED = 500, OVERSCAN = 2;
const RELOAD_MS = 60_000, STALE_MS = 900_000; // a run writes the page every few minutes, however long it is

// What a cell was before the report made it safe for spreadsheets and templates.
function plain(name, row) {
  const cell = columns.get(name)[row];
  if (typeof cell !== "string") return cell === null ? "" : String(cell);
  const text = cell.replace(/^'(?='*[=+\-@\t\r])/, "");
  return templated.has(name) ? text.replace(/\{\{|\}\}/g, (pair) => pair[0]) : text;
}
const status = (row) => columns.get("status")[row];
const ours = (name) => columns.get(`texbatch_${name}`) ?? columns.get(name); // prefixed where the manifest has such a column
const outputState = ours("output_state");
const decisions = ours("decision"), decidedBy = ours("decided_by"), decidedAt = ours("decided_at");
const decision = (row) => (["accepted", "rejected"].includes(decisions[row]) ? decisions[row] : status(row) === "saved" ? "undecided" : "");
const away = (row) => ({ moved: ", moved away", changed: ", changed" })[outputState[row]] ?? "";
const usd = (amount) => `$${Number(amount).toFixed(4).replace(/0{1,2}$/, "")}`;
const moment = (text) => text.replace("T", " ").replace(/\.\d+Z$/, " UTC");
const cost = (row) => (columns.get("cost")[row] === null ? "" : usd(columns.get("cost")[row]));
const isUrl = (text) => /^https?:\/\//i.test(text);
const many = (count, what) => `${count.toLocaleString("en")} ${what}${count === 1 ? "" : "s"}`;

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null)); // strings become text nodes
  return node;
}

// ---- images
const source = (image) => (data.thumbs[image] ? `thumbs/${data.thumbs[image]}` : data.hrefs[image]);
const visible = (image) => image >= 0 && Boolean(!notes[image] || data.thumbs[image]); // a moved one has its thumbnail
const full = (image) => (notes[image] ? source(image) : data.hrefs[image]);

// ---- what people decided: "rejected (shape)", and who said so
const unescaped = (name, row) => (ours(name)[row] ?? "").replace(/^'(?='*[=+\-@\t\r])/, "");

function verdict(row) {
  if (!decisions[row]) return "";
  const reason = ours("decision_reason")[row];
  return decisions[row] === "cleared" && !unescaped("decision_note", row) ? "" : decisions[row] + (reason ? ` (${reason})` : "");
}

function decider(row) {
  const who = unescaped("decided_by", row), when = decidedAt[row] ? `, ${moment(decidedAt[row])}` : "";
  return [who && `by ${who}${when}`, unescaped("decision_note", row)].filter(Boolean).join(": ");
}

function link(url, label, attributes = {}) {
  return isUrl(url)
    ? el("a", { href: url, target: "_blank", rel: "noopener noreferrer", referrerpolicy: "no-referrer", ...attributes }, label)
    : el("span", {}, label);
}

function small(image, alt) {
  if (image < 0) return el("span", { class: "well" }, "none");
  const note = notes[image];
  if (note === "link") return link(data.hrefs[image], "link ↗", { class: "well", tabindex: -1, "aria-label": `${alt}, opens elsewhere` });
  if (note) return el("span", { class: "well", title: note }, note);
  return el("span", { class: "well" }, preview(image, alt));
}

function preview(image, alt) {
  const node = el("img", { src: source(image), alt, loading: "lazy", decoding: "async", draggable: "false" });
  node.addEventListener("error", () => node.replaceWith("cannot be shown"), { once: true });
  return node;
}

// ---- which rows, in which order
const wanted = { status: "", decision: "", product: "", texture: "", reason: "", text: "", order: "" };
let shown = every;
let haystack = null;

function matches(row, words) {
  return (
    (!wanted.status || status(row) === wanted.status) &&
    (!wanted.decision || decision(row) === wanted.decision) &&
    (!wanted.product || products[row] === wanted.product) &&
    (!wanted.texture || textures[row] === wanted.texture) &&
    (!wanted.reason || (columns.get("error_class")[row] === wanted.reason && status(row) !== "saved")) &&
    words.every((word) => haystack[row].includes(word))
  );
}

function choose() {
  const words = wanted.text.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length && !haystack) haystack = every.map((row) => [...columns.keys()].map((name) => plain(name, row)).join("\n").toLowerCase());
  shown = every.filter((row) => matches(row, words));
  const key = { product: products, texture: textures }[wanted.order] ?? columns.get(wanted.order);
  if (["product", "texture", "status"].includes(wanted.order)) {
    const collator = new Intl.Collator("en", { numeric: true });
    shown.sort((a, b) => collator.compare(key[a], key[b]) || a - b);
  } else if (wanted.order === "completed_at") {
    shown.sort((a, b) => (key[a] < key[b]) - (key[a] > key[b]) || a - b);
  } else if (wanted.order) {
    shown.sort((a, b) => Number(key[b]) - Number(key[a]) || a - b);
  }
  current = 0;
  keepChoice();
  byId("count").textContent = `${shown.length.toLocaleString("en")} of ${many(every.length, "row")}`;
  byId("none").hidden = shown.length > 0;
  for (const button of document.querySelectorAll("[data-status]:not(i)")) button.setAttribute("aria-pressed", button.dataset.status === wanted.status);
  for (const button of document.querySelectorAll("[data-reason]")) button.setAttribute("aria-pressed", button.dataset.reason === wanted.reason);
  for (const node of cards.values()) node.remove();
  cards.clear();
  draw();
}

// The choice is kept in the page's address, so that it outlives a reload and can be sent to somebody.
function keepChoice() {
  const chosen = new URLSearchParams(Object.entries(wanted).filter(([, value]) => value)).toString();
  try { history.replaceState(null, "", chosen ? `#${chosen}` : location.pathname + location.search); } catch { /* not kept, then */ }
}

function recallChoice() {
  const chosen = new URLSearchParams(location.hash.slice(1));
  for (const name of ["text", "decision", "product", "texture", "order"]) {
    byId(name).value = chosen.get(name) ?? "";
    wanted[name] = byId(name).value; // a select has no value that is not among its options
  }
  for (const name of ["status", "reason"]) {
    const known = [...document.querySelectorAll(`button[data-${name}]`)].some((button) => button.dataset[name] === chosen.get(name));
    wanted[name] = known ? chosen.get(name) : "";
  }
}

// ---- the grid
const grid = byId("grid");
const cards = new Map(); // place in `shown` → its card
let current = 0; // the card that Tab reaches
let rowHeight = 0;

// What a candidate is called, by the name that its file has in images/.previous/; nothing for an image that was replaced.
const seedOf = (image) => { const seed = /\.seed-(\d+)(?:-\d+)?\.[^.]+$/.exec(data.hrefs[image]); return seed ? `Seed ${seed[1]}` : null; };
const others = (images) => images.length === 1 ? (seedOf(images[0]) ?? "earlier").toLowerCase()
  : images.every(seedOf) ? `${images.length} other seeds` : `${images.length} earlier`;

function card(place) {
  const row = shown[place];
  const [product, texture, result, ...earlier] = data.images[row];
  const id = plain("id", row), state = status(row), named = `${products[row]} in ${textures[row]}`;
  const why = plain("error", row) || (state === "pending" ? "not made yet" : "no image");
  const figure = (image, name) => el("figure", {}, small(image, name), el("figcaption", { title: name }, name));
  const node = el("li", { class: "card", "data-row": row, "aria-posinset": place + 1, "aria-setsize": shown.length },
    el("div", { class: "inputs" },
      figure(product, products[row]),
      figure(texture, textures[row]),
      earlier.length ? figure(earlier[0], others(earlier)) : null),
    el("button", { type: "button", class: "result", "aria-label": `Open ${id}: ${named}, ${state}` },
      visible(result) ? preview(result, "") : el("span", { class: "why" }, result < 0 ? why : notes[result])),
    el("div", { class: "facts" },
      el("span", { class: "id", title: id }, id),
      el("span", { class: "cost" }, cost(row)),
      el("span", { class: "status" }, el("i", { class: `dot ${state}`, "aria-hidden": "true" }), state + away(row)),
      verdict(row) ? el("p", { class: `verdict ${decision(row)}`, title: decider(row) }, verdict(row)) : null,
      el("p", { class: "prompt" }, plain("prompt", row))),
    REDOABLE.has(state) ? el("label", { class: "reject" }, el("input", { type: "checkbox", "aria-label": `Reject ${id}` }), "reject") : null);
  mark(node, row);
  return node;
}

function mark(node, row) {
  const box = node.querySelector("input");
  if (box) box.checked = rejected.has(row);
  node.classList.toggle("rejected", rejected.has(row));
}

function reach(place) {
  current = place;
  for (const [at, node] of cards) {
    for (const control of node.querySelectorAll("button, input, a")) control.tabIndex = at === current ? 0 : -1;
  }
}

const across = () => getComputedStyle(grid).gridTemplateColumns.split(" ").length;

function draw(all = false) {
  if (!rowHeight && shown.length) {
    grid.append(card(0));
    rowHeight = grid.firstChild.offsetHeight + parseFloat(getComputedStyle(grid).rowGap);
    grid.replaceChildren();
  }
  const width = across(), lines = Math.ceil(shown.length / width);
  const top = -grid.getBoundingClientRect().top;
  const first = all ? 0 : Math.min(Math.max(0, Math.floor(top / rowHeight) - OVERSCAN), Math.max(0, lines - 1));
  const last = all ? lines : Math.min(lines, Math.ceil((top + innerHeight) / rowHeight) + OVERSCAN);
  const from = first * width, to = Math.min(Math.max(last, first + 1) * width, shown.length, all ? MOST_PRINTED : Infinity);
  for (const [place, node] of cards) {
    if (place < from || place >= to) { node.remove(); cards.delete(place); }
  }
  let next = grid.firstChild;
  for (let place = from; place < to; place += 1) {
    let node = cards.get(place);
    if (!node) { node = card(place); cards.set(place, node); grid.insertBefore(node, next); } else next = node.nextSibling;
  }
  grid.style.paddingTop = `${first * rowHeight}px`;
  grid.style.paddingBottom = `${Math.max(0, lines - Math.ceil(to / width)) * rowHeight}px`;
  reach(cards.has(current) ? current : from);
}

let asked = 0;
const redraw = () => { asked ||= requestAnimationFrame(() => { asked = 0; draw(); }); };

function go(place) {
  const line = Math.floor(place / across());
  if (!cards.has(place)) { scrollTo(0, scrollY + grid.getBoundingClientRect().top + line * rowHeight - innerHeight / 3); draw(); }
  reach(place);
  cards.get(place).querySelector(".result").focus();
}

grid.addEventListener("click", (event) => {
  const node = event.target.closest(".card");
  if (node && !event.target.closest("a, label")) open(Number(node.getAttribute("aria-posinset")) - 1);
});
grid.addEventListener("change", (event) => reject(Number(event.target.closest(".card").dataset.row), event.target.checked));
grid.addEventListener("focusin", (event) => {
  const node = event.target.closest(".card");
  if (node) reach(Number(node.getAttribute("aria-posinset")) - 1);
});
grid.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across(), ArrowUp: -across(), Home: -current, End: shown.length - 1 - current }[event.key];
  if (step !== undefined && shown.length && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    go(Math.min(Math.max(current + step, 0), shown.length - 1));
  } else if (event.key === "x" && shown.length && !event.target.matches("input")) {
    reject(shown[current], !rejected.has(shown[current]));
  }
});

// ---- one row, full size
const view = byId("view"), slider = byId("slider"), stage = byId("stage");
let viewed = 0;

function open(place) {
  viewed = place;
  const row = shown[place];
  const [product, texture, result, ...earlier] = data.images[row];
  byId("view-title").textContent = plain("id", row);
  byId("place").textContent = `${(place + 1).toLocaleString("en")} of ${shown.length.toLocaleString("en")}`;
  byId("previous").disabled = place === 0;
  byId("next").disabled = place === shown.length - 1;
  const choices = [["Product", product], ["Texture", texture], ...earlier.map((image, n) => [seedOf(image) ?? (earlier.length > 1 ? `Earlier ${n + 1}` : "Earlier"), image])];
  const usable = choices.filter(([, image]) => image >= 0 && !notes[image]);
  byId("versions").replaceChildren(...usable.map(([label, image]) => {
    const button = el("button", { type: "button" }, label);
    button.addEventListener("click", () => compare(row, label, image));
    return button;
  }));
  compare(row, ...(usable[0] ?? ["", -1]), result);
  slide(50);
  byId("pick").checked = rejected.has(row);
  byId("pick").parentElement.hidden = !REDOABLE.has(status(row));
  facts(row);
  byId("links").replaceChildren(...[["Result", notes[result] ? -1 : result], ...choices].filter(([, image]) => image >= 0).map(([label, image]) =>
    notes[image] === "link"
      ? link(data.hrefs[image], `${label} ↗`)
      : el("a", { href: data.hrefs[image], target: "_blank", rel: "noopener" }, label)));
  if (!view.open) { view.showModal(); byId("close").focus(); }
}

function compare(row, label, image) {
  const result = data.images[row][2], name = plain("id", row);
  const has = visible(result), both = has && image >= 0;
  const show = (node, number, alt) => { node.hidden = number < 0; if (number >= 0) { node.src = full(number); node.alt = alt; } else node.removeAttribute("src"); };
  show(byId("after"), has ? result : image, has ? `Result of ${name}` : `${label} of ${name}`);
  show(byId("before"), both ? image : -1, `${label} of ${name}`);
  for (const part of ["before-box", "slider"]) byId(part).hidden = !both;
  stage.querySelector(".handle").hidden = !both;
  byId("before-tag").textContent = image >= 0 ? label : "";
  byId("before-tag").hidden = image < 0;
  byId("after-tag").textContent = (has ? "Result" : status(row)) + away(row);
  byId("missing").textContent = plain("error", row) || "There is no image to show.";
  byId("missing").hidden = has || image >= 0;
  for (const button of byId("versions").children) button.setAttribute("aria-pressed", button.textContent === label);
}

function facts(row) {
  const size = plain("width", row) && `${plain("width", row)} × ${plain("height", row)} pixels`;
  const seconds = plain("total_s", row) && `${Number(plain("total_s", row)).toFixed(1)} s`;
  const facts = [["Status", status(row)], ["Decision", [verdict(row), verdict(row) && decider(row)].filter(Boolean).join(" ")], ["What went wrong", plain("error", row)], ["Prompt", plain("prompt", row)], ["Product", products[row]],
    ["Texture", textures[row]], ["Cost", cost(row)], ["Seed", plain("seed", row)], ["Size", size], ["Time at the service", seconds]];
  for (const name of data.own) if (!["product", "texture"].includes(name)) facts.push([name, plain(name, row)]);
  facts.push(["Finished", moment(plain("completed_at", row))], ["Request", plain("request_id", row)]);
  byId("facts").replaceChildren(...facts.filter(([, text]) => text !== "").map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, text))));
}

function slide(share) {
  slider.value = share;
  stage.style.setProperty("--at", `${share}%`);
}

const step = (by) => { if (shown[viewed + by] !== undefined) open(viewed + by); };
slider.addEventListener("input", () => slide(slider.value));
byId("previous").addEventListener("click", () => step(-1));
byId("next").addEventListener("click", () => step(1));
byId("close").addEventListener("click", () => view.close());
byId("pick").addEventListener("change", (event) => reject(shown[viewed], event.target.checked));
view.addEventListener("click", (event) => { if (event.target === view) view.close(); });
view.addEventListener("close", () => { if (shown.length) go(viewed); });
view.addEventListener("keydown", (event) => {
  if (event.target === slider || event.ctrlKey || event.metaKey || event.altKey) return; // there the arrows move the slider
  if (event.key === "ArrowLeft") step(-1);
  else if (event.key === "ArrowRight") step(1);
  else if (event.key === "x" && REDOABLE.has(status(shown[viewed]))) { byId("pick").click(); }
});

// ---- redo: the rejected rows as a manifest that `texbatch retry` takes
const STORE = `texbatch redo ${location.pathname}`;
const rejected = new Set();
const seeds = new Map(); // drawn once a row, so that what is copied is what is downloaded

function reject(row, yes) {
  if (!REDOABLE.has(status(row))) return;
  if (yes) rejected.add(row); else rejected.delete(row);
  showRedo();
}

function showRedo() {
  for (const [place, node] of cards) mark(node, shown[place]);
  byId("redo").hidden = rejected.size === 0;
  const price = `, about ${usd((rejected.size * data.price) / 1e6)} to make again`;
  byId("redo-title").textContent = `${many(rejected.size, "row")} rejected${price}`;
  byId("notice").textContent = "";
  byId("keep").hidden = judged().length === 0;
  try { sessionStorage.setItem(STORE, JSON.stringify([...rejected].map((row) => plain("id", row)))); } catch { /* not kept, then */ }
}

function seed(row) {
  const before = columns.get("seed")[row], how = byId("seed").value;
  if (status(row) !== "saved" || how === "same") return before;
  if (how === "next") return before === MAX_SEED ? 0 : before + 1;
  if (!seeds.has(row)) seeds.set(row, crypto.getRandomValues(new Uint32Array(1))[0] >>> 1);
  return seeds.get(row);
}

// Only an image can be judged.
const judged = () => every.filter((row) => rejected.has(row) && status(row) === "saved");

// The folder from the page's own address, so that the file may lie anywhere; null when it is not opened from disk.
const folder = location.protocol === "file:" ? decodeURIComponent(location.pathname.replace(/\/[^/]*$/, "")) : null;
const doubled = (text) => text.replace(/[{}]/g, "$&$&");

function cell(name, row) {
  const value = columns.get(name)[row];
  if (name === "seed") return seed(row);
  if (name === "prompt" && byId("append").value.trim()) return `${value} ${doubled(byId("append").value.trim())}`;
  if (/^image_\d$/.test(name) && value && !isUrl(value) && folder !== null) return `${doubled(folder)}/${value.replace(/^'/, "")}`;
  return value ?? "";
}

const quoted = (value) => (/[",\r\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
const lines = (rows) => rows.map((cells) => cells.map(quoted).join(",")).join("\n") + "\n";
const safe = (text) => text.replace(/^'*[=+\-@\t\r]/, "'$&");

function manifest() {
  const names = [...columns.keys()];
  const rows = every.filter((row) => rejected.has(row)).map((row) => names.map((name) => cell(name, row)));
  return lines([names.map((name) => safe(headings.get(name))), ...rows]); // as report.csv has it: the cells are safe already
}

// What `texbatch mark` takes. The hash of an image that was changed since is not known here: it is judged as it lies there.
function decisionsFile() {
  const hash = (row) => (outputState[row] === "changed" ? "" : columns.get("output_sha256")[row] ?? "");
  const rows = judged().map((row) => [safe(plain("id", row)), "rejected", "other", decidedAt[row] ?? "", hash(row)]);
  return lines([[safe(headings.get("id")), "decision", "decision_reason", "decided_at", "output_sha256"], ...rows]);
}

function save(text, name) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

async function copied(text) {
  try { await navigator.clipboard.writeText(text); return true; } catch { /* an older way below */ }
  const area = el("textarea", { class: "unseen", "aria-hidden": "true" });
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

byId("copy").addEventListener("click", async () => {
  byId("notice").textContent = (await copied(manifest())) ? "Copied" : "The browser does not let it be copied: download it";
});
byId("download").addEventListener("click", () => {
  save(manifest(), "redo.csv");
  byId("notice").textContent = folder === null ? "Put the file into the output folder: its paths are relative" : "Downloaded";
});
byId("keep").addEventListener("click", () => {
  save(decisionsFile(), "decisions.csv");
  byId("notice").textContent = "Downloaded";
});
byId("clear").addEventListener("click", () => { rejected.clear(); showRedo(); grid.focus(); });
byId("all").addEventListener("click", () => { for (const row of shown) if (REDOABLE.has(status(row))) rejected.add(row); showRedo(); });

// ---- the tools
function options(select, names) {
  const distinct = [...new Set(names)].sort(new Intl.Collator("en", { numeric: true }).compare);
  select.append(...distinct.slice(0, MOST_NAMES).map((name) => el("option", { value: name }, name)));
  if (distinct.length > MOST_NAMES) select.append(el("option", { disabled: true }, "more: use Find"));
}

options(byId("product"), products);
options(byId("texture"), textures);
let typing = 0;
byId("text").addEventListener("input", (event) => { clearTimeout(typing); typing = setTimeout(() => { wanted.text = event.target.value; choose(); }, 120); });
for (const name of ["decision", "product", "texture", "order"]) byId(name).addEventListener("change", (event) => { wanted[name] = event.target.value; choose(); });
for (const button of document.querySelectorAll("[data-status]:not(i)")) button.addEventListener("click", () => { wanted.status = button.dataset.status; choose(); });
for (const button of document.querySelectorAll("[data-reason]")) {
  button.addEventListener("click", () => { wanted.reason = wanted.reason === button.dataset.reason ? "" : button.dataset.reason; choose(); });
}
byId("reset").addEventListener("click", () => {
  document.querySelector(".tools").reset();
  Object.assign(wanted, { status: "", decision: "", product: "", texture: "", reason: "", text: "", order: "" });
  choose();
});
document.querySelector(".tools").addEventListener("submit", (event) => event.preventDefault());
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); grid.focus(); grid.scrollIntoView(); }); // the address keeps the choice
for (const part of document.querySelectorAll("[data-share]")) part.style.flexGrow = part.dataset.share;

async function printed() {
  draw(true);
  await Promise.all([...grid.querySelectorAll("img")].map((node) => { node.loading = "eager"; return node.decode().catch(() => {}); }));
  print();
}
byId("print").addEventListener("click", printed);
addEventListener("beforeprint", () => draw(true));
addEventListener("afterprint", () => draw());
addEventListener("scroll", redraw, { passive: true });
addEventListener("resize", () => { rowHeight = 0; for (const node of cards.values()) node.remove(); cards.clear(); redraw(); });

const shell = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
const here = folder === null ? document.body.dataset.folder : shell(folder);
byId("command").textContent = `texbatch retry ${here} ~/Downloads/redo.csv`;
byId("mark-command").textContent = `texbatch mark ${here} ~/Downloads/decisions.csv`;
try {
  const before = new Set(JSON.parse(sessionStorage.getItem(STORE) ?? "[]"));
  if (before.size) for (const row of every) if (before.has(plain("id", row)) && REDOABLE.has(status(row))) rejected.add(row);
} catch { /* nothing was kept */ }
recallChoice();
choose();
showRedo();

// ---- while a run goes on: the page from disk is written again about every minute
let due = false;
const idle = () => !document.hidden && !view.open && rejected.size === 0 && !Object.values(wanted).some(Boolean)
  && !document.activeElement?.closest("form, .redo, .grid");

function refresh() {
  if (Date.now() - Date.parse(data.made_at) > STALE_MS) {
    byId("fresh").textContent = `Nothing new for a quarter of an hour: was the run killed? See: texbatch status ${here}`;
  } else if (due && idle()) {
    due = false;
    location.reload();
  }
}

if (data.running) {
  byId("fresh").textContent = "Reloads itself each minute while nothing is chosen, rejected or open.";
  byId("reload").hidden = false;
  byId("reload").addEventListener("click", () => location.reload());
  setInterval(() => { due = true; refresh(); }, RELOAD_MS);
  document.addEventListener("visibilitychange", refresh);
}
