// The dashboard: logs in, asks `analytics/`, draws. What comes from the API is only ever set as text, never as HTML:
// queries are strangers' words. The tokens live in `session` and nowhere else.

const API = "/api/v1/";
const PATIENCE = 20_000; // milliseconds for one request
const DAY = 86_400_000; // milliseconds
const SHOWN = 10; // rows of a list before somebody asks for all

let session = null; // {access, refresh}; another object for each login
let range = null; // {from, to}, days such as "2026-11-01"
let run = 0; // counts what was asked for, so that late answers to an earlier question are passed over

const byId = (id) => document.getElementById(id);

// --- talking to the API

class Problem extends Error {
  constructor(status, code, detail, retryAfter = null) {
    super(detail);
    Object.assign(this, { status, code, retryAfter });
  }
}

async function send(path, { method = "GET", token = null, body = null, accept = "application/json" } = {}) {
  const headers = { accept };
  if (token !== null) headers.authorization = `Bearer ${token}`;
  if (body !== null) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(API + path, {
      method,
      headers,
      body: body === null ? undefined : JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
      signal: AbortSignal.timeout(PATIENCE),
    });
  } catch {
    throw new Problem(0, "unreachable", "the server can't be reached, or doesn't answer in time");
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  const retryAfter = Number(response.headers.get("retry-after")) || null;
  throw new Problem(response.status, problem.code ?? "", problem.detail ?? `status ${response.status}`, retryAfter);
}

// As who is logged in. An access token that has expired is renewed once.
async function ask(path, options = {}) {
  const mine = session;
  if (mine === null) throw new Problem(401, "not_authenticated", "nobody is logged in");
  const token = mine.access;
  try {
    return await send(path, { ...options, token });
  } catch (problem) {
    if (problem.status !== 401) throw problem;
    if (mine.access === token) await renew(mine);
    return send(path, { ...options, token: mine.access });
  }
}

// A refresh token is good for one use: requests that find the access token expired together share the renewal.
function renew(mine) {
  mine.renewal ??= send("authentication/jwt/token/refresh/", { method: "POST", body: { refresh: mine.refresh } })
    .then(async (response) => {
      const { access, refresh } = await response.json();
      Object.assign(mine, { access, refresh });
    })
    .finally(() => {
      mine.renewal = null;
    });
  return mine.renewal;
}

async function figures(name, { from, to } = range) {
  const response = await ask(`analytics/${name}?from=${from}&to=${to}`);
  try {
    return await response.json();
  } catch {
    throw new Problem(0, "unreachable", "the answer broke off");
  }
}

// --- building the page

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

const numbers = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const shares = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 });
const dates = new Intl.DateTimeFormat("en", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
const shortDates = new Intl.DateTimeFormat("en", { day: "numeric", month: "short", timeZone: "UTC" });

const count = (number, one, many = `${one}s`) => `${numbers.format(number)} ${number === 1 ? one : many}`;
const share = (part, whole) => (whole === 0 ? "–" : shares.format(part / whole));
const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1).replace(/\.$/, "")}.`;

const isoDay = (time) => new Date(time).toISOString().slice(0, 10);
const timeOf = (day) => Date.parse(`${day}T00:00:00Z`);
const daysIn = ({ from, to }) => Math.round((timeOf(to) - timeOf(from)) / DAY) + 1;
const lastDays = (number) => ({ from: isoDay(Date.now() - (number - 1) * DAY), to: isoDay(Date.now()) });
const periodBefore = ({ from, to }) => ({
  from: isoDay(timeOf(from) - daysIn({ from, to }) * DAY),
  to: isoDay(timeOf(from) - DAY),
});

function tile(name, figure, ...more) {
  return el(
    "div",
    { class: "tile" },
    el("dt", {}, name),
    el("dd", { class: "figure" }, figure),
    ...more.map((text) => el("dd", { class: "change" }, ...[text].flat())),
  );
}

// What to say of a figure beside the one of the period before.
function change(now, before) {
  if (before === 0) return now === 0 ? "none before either" : "none before";
  const grown = (now - before) / before;
  if (grown === 0) return "as many as before";
  const arrow = el("span", { "aria-hidden": "true" }, grown > 0 ? "▲ " : "▼ ");
  const word = el("span", { class: "unseen" }, grown > 0 ? "up " : "down ");
  return [arrow, word, `${shares.format(Math.abs(grown))} (${numbers.format(before)} before)`];
}

const scrolled = (table, name) =>
  el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name }, table);

function table(name, caption, headings, rows) {
  return el(
    "table",
    { class: name },
    el("caption", {}, caption),
    el("thead", {}, el("tr", {}, ...headings.map((heading) => el("th", { scope: "col" }, heading)))),
    el("tbody", {}, ...rows.map(([first, ...cells]) => el("tr", {}, el("th", { scope: "row" }, ...first), ...cells))),
  );
}

const cell = (text) => el("td", {}, text);
const nothing = (text) => [el("p", { class: "note" }, text)];

// Beside text that says the same in figures.
function bar(part) {
  const box = { class: "bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" };
  const width = Math.max(part > 0 ? 0.5 : 0, 100 * part);
  return svg(
    "svg",
    box,
    svg("rect", { class: "track", width: 100, height: 10 }),
    svg("rect", { class: "part", width, height: 10 }),
  );
}

// --- charts over days

const EDGE = { left: 44, right: 10, top: 10, bottom: 24 };

// Steps of 1, 2 or 5 times a power of ten, at most four up to the maximum.
function ticks(max) {
  const raw = Math.max(max, 1) / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = Math.max(
    1,
    [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= raw),
  );
  return Array.from({ length: Math.ceil(Math.max(max, 1) / step) + 1 }, (_, index) => index * step);
}

// An empty chart: rules, days along the bottom, and a strip of each day which tells its figures when pointed at.
// `draw` adds what there is to see of the day between `x` and `x + step`, with `y` from a value to its height.
function chart({ id, width, height, title, description, days, labels, format, tell, draw }) {
  const top = labels.at(-1);
  const inner = { width: width - EDGE.left - EDGE.right, height: height - EDGE.top - EDGE.bottom };
  const step = inner.width / days.length;
  const y = (value) => EDGE.top + inner.height * (1 - value / top);
  const x = (index) => EDGE.left + index * step;
  const drawn = svg(
    "svg",
    { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-labelledby": `${id}-t ${id}-d` },
    svg("title", { id: `${id}-t` }, title),
    svg("desc", { id: `${id}-d` }, description),
  );
  for (const label of labels) {
    drawn.append(
      svg("line", { class: "rule", x1: EDGE.left, x2: width - EDGE.right, y1: y(label), y2: y(label) }),
      svg("text", { x: EDGE.left - 6, y: y(label) + 4, "text-anchor": "end" }, format(label)),
    );
  }
  const every = Math.ceil(days.length / Math.max(1, Math.floor(inner.width / 70)));
  for (let place = days.length - 1; place >= 0; place -= every) {
    // In the middle of its day, but within the chart.
    const at = Math.min(Math.max(x(place) + step / 2, EDGE.left), width - 20);
    const text = shortDates.format(timeOf(days[place].day));
    drawn.append(svg("text", { x: at, y: height - 6, "text-anchor": "middle" }, text));
  }
  days.forEach((day, index) => {
    const strip = { class: "target", x: x(index), y: EDGE.top, width: step, height: inner.height };
    const group = svg("g", { class: "day" }, svg("title", {}, tell(day)), svg("rect", strip));
    group.append(...draw(day, { x: x(index), step, y, index }));
    drawn.append(group);
  });
  return drawn;
}

const STATES = {
  fresh: "Fresh: from the cache",
  live: "Live: from the source",
  stale: "Stale: from the cache, past its time",
  fallback: "Fallback: the source was away",
};
const answersOf = (day) => day.live + day.fresh + day.stale + day.fallback;

const tellAnswers = (day) =>
  `${dates.format(timeOf(day.day))}: ${Object.keys(STATES)
    .map((state) => `${state} ${numbers.format(day[state])}`)
    .join(", ")}`;
const tellCalls = (day) =>
  `${dates.format(timeOf(day.day))}: ${numbers.format(day.failures)} of ${count(day.attempts, "call")} failed`;

function answersChart(days, width, description) {
  return chart({
    id: "answers",
    width,
    height: 240,
    title: "Answers to searches, by day and state",
    description,
    days,
    labels: ticks(Math.max(...days.map(answersOf))),
    format: (label) => short.format(label),
    tell: tellAnswers,
    draw: (day, { x, step, y }) => {
      const gap = step > 4 ? step * 0.15 : 0;
      let sum = 0;
      return Object.keys(STATES).flatMap((state) => {
        if (day[state] === 0) return [];
        const height = Math.max(0.5, y(sum) - y(sum + day[state]) - 0.75); // a hair of background between the parts
        sum += day[state];
        return [svg("rect", { class: state, x: x + gap / 2, width: step - gap, y: y(sum), height })];
      });
    },
  });
}

function failuresChart(days, width, description) {
  const line = [];
  let isPenDown = false;
  const drawn = chart({
    id: "failures",
    width,
    height: 160,
    title: "Failed calls of the movie source, by day",
    description,
    days,
    labels: [0, 0.5, 1],
    format: (label) => shares.format(label),
    tell: tellCalls,
    draw: (day, { x, step, y }) => {
      if (day.attempts === 0) {
        isPenDown = false;
        return [];
      }
      const at = [x + step / 2, y(day.failures / day.attempts)];
      line.push(`${isPenDown ? "L" : "M"}${at[0].toFixed(1)} ${at[1].toFixed(1)}`);
      isPenDown = true;
      return [svg("circle", { class: "dot", cx: at[0], cy: at[1], r: days.length > 60 ? 1.5 : 3 })];
    },
  });
  drawn.append(svg("path", { class: "line", d: line.join("") }));
  return drawn;
}

// --- what the page shows: how each part is asked for, and how it is drawn

const PARTS = {
  summary: {
    ask: () => {
      const before = periodBefore(range);
      return Promise.all([
        figures("summary/"),
        figures("summary/", before),
        figures("clicks/"),
        figures("clicks/", before),
      ]);
    },
    draw: ([now, before, clicks, clicksBefore]) => {
      const tiles = [
        tile("Searches", numbers.format(now.searches), change(now.searches, before.searches)),
        tile("Users", numbers.format(now.users), change(now.users, before.users)),
        tile("Clicks", numbers.format(now.clicks), change(now.clicks, before.clicks)),
        tile("Ratings", numbers.format(now.ratings), change(now.ratings, before.ratings)),
        tile(
          "Searches without results",
          numbers.format(now.zero_result_searches),
          change(now.zero_result_searches, before.zero_result_searches),
          ...(now.searches > 0 ? [`${share(now.zero_result_searches, now.searches)} of searches`] : []),
        ),
        tile(
          "Click-through rate",
          clicks.searches > 0 ? shares.format(clicks.click_through_rate) : "–",
          clicksBefore.searches > 0 ? `${shares.format(clicksBefore.click_through_rate)} before` : "none before",
          "searches followed by a click within 30 minutes",
        ),
        tile(
          "Mean clicked position",
          clicks.mean_position === null ? "–" : numbers.format(clicks.mean_position),
          clicksBefore.mean_position === null ? "none before" : `${numbers.format(clicksBefore.mean_position)} before`,
          "1 is the first result",
        ),
      ];
      const days = daysIn(now.meta);
      const compared = days === 1 ? "the day before" : `the ${days} days before`;
      const rest = now.meta.to >= isoDay(Date.now()) ? " Today isn't over yet." : "";
      return [el("dl", { class: "tiles" }, ...tiles), el("p", { class: "note" }, `“Before” is ${compared}.${rest}`)];
    },
  },

  source: {
    ask: () => figures("source/"),
    draw: ({ items, meta }, width) => {
      if (items.length === 0) return nothing("No search was answered in these days.");
      const days = everyDay(items, meta);
      const [answers, attempts, failures] = [answersOf, (day) => day.attempts, (day) => day.failures].map((figure) =>
        days.reduce((sum, day) => sum + figure(day), 0),
      );
      const total = (state) => days.reduce((sum, day) => sum + day[state], 0);
      const remembered = total("fresh") + total("stale");
      const states = Object.keys(STATES).map((state) => `${state} ${share(total(state), answers)}`);
      const worst = days.reduce((one, other) => (failureRate(other) > failureRate(one) ? other : one));
      const facts = [
        ["Answered from the cache", remembered, answers, "answer"],
        ["Answered while the source was away", total("fallback"), answers, "answer"],
        ["Failed calls of the source", failures, attempts, "call"],
      ].map(([name, part, whole, one]) =>
        tile(name, share(part, whole), `${numbers.format(part)} of ${count(whole, one)}`),
      );
      const legend = Object.entries(STATES).map(([state, name]) =>
        el("li", {}, el("span", { class: state, "aria-hidden": "true" }), name),
      );
      const calls = `${share(failures, attempts)} in all. The worst day: ${tellCalls(worst)}.`;
      return [
        el("dl", { class: "tiles" }, ...facts),
        el("h3", {}, "Answers by day"),
        answersChart(days, width, `${count(answers, "answer")} in all: ${states.join(", ")}.`),
        el("ul", { class: "legend" }, ...legend),
        el("h3", {}, "Failed calls of the source by day"),
        ...(attempts === 0 ? nothing("The source wasn't called in these days.") : [failuresChart(days, width, calls)]),
        el("details", {}, el("summary", {}, "The figures of each day"), daysTable(days)),
      ];
    },
  },

  funnel: {
    ask: () => figures("funnel/"),
    draw: ({ searched, clicked, rated }) => {
      if (searched === 0) return nothing("Nobody who was logged in searched in these days.");
      const step = (name, users, note) =>
        el(
          "li",
          {},
          el("strong", {}, numbers.format(users)),
          ` ${name} `,
          el("span", { class: "note" }, note),
          bar(users / searched),
        );
      const steps = [
        step("searched", searched, "users who were logged in"),
        step("then clicked", clicked, `${share(clicked, searched)} of who searched`),
        step("then rated", rated, `${share(rated, clicked)} of who clicked, ${share(rated, searched)} of who searched`),
      ];
      return [el("ol", { class: "steps" }, ...steps)];
    },
  },

  retention: {
    ask: () => figures("retention/"),
    draw: ({ items }) => {
      if (items.length === 0) return nothing("No account was activated in these days.");
      const weeks = Math.max(...items.map((item) => item.returned.length));
      const headings = ["Week of activation", "Users", ...Array.from({ length: weeks }, (_, week) => `+${week}`)];
      const rows = items.map(({ cohort, size, returned }) => [
        [cohort],
        cell(numbers.format(size)),
        ...Array.from({ length: weeks }, (_, week) => {
          if (week >= returned.length) return cell("");
          const heat = el("td", { class: "heat", title: `${returned[week]} of ${size}` }, share(returned[week], size));
          heat.style.setProperty("--part", size === 0 ? 0 : returned[week] / size);
          return heat;
        }),
      ]);
      const caption = "Part of the users who searched in the week of their activation (+0) and in the weeks after it";
      return [scrolled(table("cohorts", caption, headings, rows), "Who comes back, by week")];
    },
  },

  top: {
    ask: () => figures("searches/top/"),
    draw: ({ items }) => queries(items, "Most frequent searches", "Nobody searched for anything in these days."),
  },

  zero: {
    ask: () => figures("searches/zero-results/"),
    draw: ({ items }) =>
      queries(items, "Most frequent searches that found nothing", "No search without results in these days."),
  },
};

const failureRate = (day) => (day.attempts === 0 ? -1 : day.failures / day.attempts);

// Also those of which nothing is told.
function everyDay(items, range) {
  const known = new Map(items.map((item) => [item.day, item]));
  const none = { attempts: 0, failures: 0, live: 0, fresh: 0, stale: 0, fallback: 0 };
  return Array.from({ length: daysIn(range) }, (_, index) => {
    const day = isoDay(timeOf(range.from) + index * DAY);
    return known.get(day) ?? { day, ...none };
  });
}

function daysTable(days) {
  const names = ["live", "fresh", "stale", "fallback", "attempts", "failures"];
  const rows = days.map((day) => [[day.day], ...names.map((name) => cell(numbers.format(day[name])))]);
  const headings = ["Day", "Live", "Fresh", "Stale", "Fallback", "Calls", "Failed calls"];
  const caption = "Answers to searches, and calls of the movie source, by UTC day";
  return scrolled(table("days", caption, headings, rows), "Figures of each day");
}

function queries(items, caption, empty) {
  if (items.length === 0) return nothing(empty);
  const most = items[0].count;
  const rows = items.map(({ query, count: times, users }) => [
    [el("bdi", {}, query), bar(times / most)],
    cell(numbers.format(times)),
    cell(numbers.format(users)),
  ]);
  const shown = table("queries", caption, ["Query", "Searches", "Users"], rows);
  const rest = [...shown.tBodies[0].rows].slice(SHOWN);
  if (rest.length === 0) return [shown];
  for (const row of rest) row.hidden = true;
  const more = el(
    "button",
    {
      type: "button",
      class: "quiet more",
      click: () => {
        for (const row of rest) row.hidden = false;
        rest[0].tabIndex = -1;
        rest[0].focus();
        more.remove();
      },
    },
    `Show all ${items.length}`,
  );
  return [shown, more];
}

// --- loading

const drawnParts = new Map(); // what each part shows, to draw it anew in another width

function draw(name) {
  const body = byId(name).querySelector(".body");
  const isOpen = body.querySelector("details")?.open ?? false;
  body.replaceChildren(...PARTS[name].draw(drawnParts.get(name), Math.max(240, body.clientWidth)));
  if (isOpen) body.querySelector("details")?.setAttribute("open", "");
}

async function load(name, mine) {
  const body = byId(name).querySelector(".body");
  body.setAttribute("aria-busy", "true");
  tellState();
  if (!drawnParts.has(name)) body.replaceChildren(el("p", { class: "note" }, "Loading…"));
  try {
    const found = await PARTS[name].ask();
    if (mine !== run) return;
    drawnParts.set(name, found);
    draw(name);
  } catch (problem) {
    if (mine !== run || ends(problem)) return;
    drawnParts.delete(name);
    if (problem.status === 400) {
      byId("alert").textContent = told(problem); // the days are to blame: for all parts alike
      body.replaceChildren();
      return;
    }
    const retry = el("button", { type: "button", class: "quiet", click: () => loadMissing(name) }, "Try again");
    body.replaceChildren(el("p", { class: "failure" }, told(problem)), retry);
  } finally {
    if (mine === run) {
      body.removeAttribute("aria-busy");
      tellState();
    }
  }
}

// Every part that is missing, and the keyboard stays at the one where somebody asked.
function loadMissing(name) {
  byId(`${name}-title`).tabIndex = -1;
  byId(`${name}-title`).focus();
  for (const missing of Object.keys(PARTS).filter((one) => !drawnParts.has(one))) load(missing, run);
}

function tellState() {
  const [first, last] = [range.from, range.to].map((day) => dates.format(timeOf(day)));
  const period = `${first} to ${last}, ${count(daysIn(range), "day")} in UTC`;
  const missing = Object.keys(PARTS).length - drawnParts.size;
  let state = `${period}.`;
  if (document.querySelector("[aria-busy]") !== null) state = `Loading ${period}…`;
  else if (missing > 0) state = `${period}; ${count(missing, "part")} could not be loaded.`;
  if (byId("status").textContent !== state) byId("status").textContent = state;
}

async function loadAll() {
  const mine = ++run;
  byId("from").value = range.from;
  byId("to").value = range.to;
  for (const button of document.querySelectorAll("[data-days]")) {
    const preset = lastDays(Number(button.dataset.days));
    button.setAttribute("aria-pressed", String(preset.from === range.from && preset.to === range.to));
  }
  byId("alert").textContent = "";
  await Promise.all(Object.keys(PARTS).map((name) => load(name, mine)));
}

function told(problem) {
  if (!(problem instanceof Problem)) throw problem;
  const wait = problem.retryAfter === null ? "" : ` Try again in ${count(problem.retryAfter, "second")}.`;
  if (problem.code === "store_unavailable") return `The database is away.${wait}`;
  if (problem.code === "invalid_credentials")
    return "E-mail and password don't belong together, or the account isn't active.";
  if (problem.code === "rate_limited") return `Too many tries.${wait}`;
  return sentence(problem.message) + wait;
}

// Whether the problem ends the login; then the page says so.
function ends(problem) {
  if (problem.status === 403) {
    endSession(session).catch(() => {}); // of no use to anybody; else it ends by itself
    leave("This account is not staff. Somebody who operates the service can make it so.");
  } else if (problem.status === 401) {
    leave("Your login has ended. Log in again.");
  }
  return session === null;
}

// --- logging in and out

async function logIn(event) {
  event.preventDefault();
  const button = event.submitter ?? byId("login-form").querySelector("button");
  const [email, password] = [byId("email").value, byId("password").value];
  byId("login-alert").textContent = "";
  button.disabled = true;
  try {
    const response = await send("authentication/login/", { method: "POST", body: { email, password } });
    const { access, refresh } = await response.json();
    session = { access, refresh };
  } catch (problem) {
    byId("login-alert").textContent = told(problem);
    byId("password").focus();
    return;
  } finally {
    button.disabled = false;
  }
  byId("login-form").reset();
  show(true);
  byId("range-title").focus();
  range = lastDays(30);
  await loadAll();
}

async function endSession(mine) {
  try {
    await send("authentication/logout/", { method: "POST", token: mine.access });
  } catch (problem) {
    if (problem.status !== 401) throw problem;
    await renew(mine);
    await send("authentication/logout/", { method: "POST", token: mine.access });
  }
}

async function logOut() {
  const mine = session;
  leave("Logged out.");
  try {
    await endSession(mine);
  } catch (problem) {
    if (problem.status === 401) return; // it had ended already
    byId("login-alert").textContent =
      "Logged out of this page, but the server could not be told; there the session ends by itself after some days.";
  }
}

// Forget the tokens and every figure.
function leave(message) {
  session = null;
  run += 1;
  drawnParts.clear();
  for (const name of Object.keys(PARTS)) {
    const body = byId(name).querySelector(".body");
    body.removeAttribute("aria-busy");
    body.replaceChildren();
  }
  byId("status").textContent = byId("alert").textContent = "";
  show(false);
  byId("login-alert").textContent = message;
  byId("email").focus();
}

function show(isLoggedIn) {
  byId("login").hidden = isLoggedIn;
  byId("report").hidden = byId("log-out").hidden = !isLoggedIn;
}

// --- downloads

async function download(name) {
  const mine = run;
  byId("alert").textContent = "";
  try {
    const response = await ask(`analytics/${name}?from=${range.from}&to=${range.to}`, { accept: "text/csv" });
    const file = /filename="([^"]+)"/.exec(response.headers.get("content-disposition") ?? "")?.[1] ?? "analytics.csv";
    const url = URL.createObjectURL(await response.blob());
    el("a", { href: url, download: file }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  } catch (problem) {
    if (mine !== run || ends(problem)) return;
    byId("alert").textContent = told(problem);
  }
}

// --- the page begins

byId("login-form").addEventListener("submit", logIn);
byId("log-out").addEventListener("click", logOut);
byId("range").addEventListener("submit", (event) => {
  event.preventDefault();
  const wanted = { from: byId("from").value, to: byId("to").value };
  if (wanted.from > wanted.to) {
    byId("alert").textContent = "The first day must not come after the last.";
    return;
  }
  range = wanted;
  loadAll();
});
for (const button of document.querySelectorAll("[data-days]")) {
  button.addEventListener("click", () => {
    range = lastDays(Number(button.dataset.days));
    loadAll();
  });
}
for (const button of document.querySelectorAll("[data-csv]")) {
  button.addEventListener("click", () => download(button.dataset.csv));
}

let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === width) return;
  width = innerWidth;
  requestAnimationFrame(() => {
    if (drawnParts.has("source")) draw("source");
  });
});
// A page that the browser brings back from its memory must not show what somebody has left.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
show(false);
byId("email").focus();
