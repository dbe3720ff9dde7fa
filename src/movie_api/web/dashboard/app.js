// The dashboard: logs in, requests the reports of `analytics/`, draws charts. Data of the API is inserted as text, never
// as HTML, because queries are untrusted. The tokens are stored in `session` only.

const API = new URL("../api/v1/", import.meta.url).href; // the public URL may have a path
const REQUEST_TIMEOUT = 20_000; // milliseconds
const DAY = 86_400_000; // milliseconds
const INITIAL_ROWS = 10; // rows of a list until the user requests all

let session = null; // {access, refresh}; a new object for each login
let range = null; // {from, to}, days such as "2026-11-01"
let generation = 0; // number of the current load, so that responses to an earlier one are ignored

const byId = (id) => document.getElementById(id);

// --- requests

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
      signal: AbortSignal.timeout(REQUEST_TIMEOUT),
    });
  } catch {
    throw new Problem(0, "unreachable", "the server is unavailable or did not respond in time");
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  const retryAfter = Number(response.headers.get("retry-after")) || null;
  throw new Problem(response.status, problem.code ?? "", problem.detail ?? `status ${response.status}`, retryAfter);
}

// An authenticated request. An expired access token is refreshed once.
async function sendAuthenticated(path, options = {}) {
  const mine = session;
  if (mine === null) throw new Problem(401, "not_authenticated", "not logged in");
  const token = mine.access;
  try {
    return await send(path, { ...options, token });
  } catch (problem) {
    if (problem.status !== 401) throw problem;
    if (mine.access === token) await refreshTokens(mine);
    return send(path, { ...options, token: mine.access });
  }
}

// A refresh token is valid for one use, so concurrent requests share one refresh.
function refreshTokens(mine) {
  mine.pendingRefresh ??= send("authentication/jwt/token/refresh/", { method: "POST", body: { refresh: mine.refresh } })
    .then(async (response) => {
      const { access, refresh } = await response.json();
      Object.assign(mine, { access, refresh });
    })
    .finally(() => {
      mine.pendingRefresh = null;
    });
  return mine.pendingRefresh;
}

async function fetchReport(name, { from, to } = range) {
  const response = await sendAuthenticated(`analytics/${name}?from=${from}&to=${to}`);
  try {
    return await response.json();
  } catch {
    throw new Problem(0, "unreachable", "the response is incomplete");
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

// Compares a figure with that of the previous period.
function change(now, before) {
  if (before === 0) return now === 0 ? "none in the previous period either" : "none in the previous period";
  const grown = (now - before) / before;
  if (grown === 0) return "unchanged";
  const arrow = el("span", { "aria-hidden": "true" }, grown > 0 ? "▲ " : "▼ ");
  const word = el("span", { class: "unseen" }, grown > 0 ? "up " : "down ");
  return [arrow, word, `${shares.format(Math.abs(grown))} (${numbers.format(before)} in the previous period)`];
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

// Decorative: the text next to it has the same figures.
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

// A chart with grid lines, days on the x axis, and a tooltip for each day. `draw` returns the elements of a day, which
// lie between `x` and `x + step`; `y` converts a value to its height.
function chart({ id, width, height, title, description, days, labels, format, describe, draw }) {
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
    // Centered on its day, but within the chart.
    const at = Math.min(Math.max(x(place) + step / 2, EDGE.left), width - 20);
    const text = shortDates.format(timeOf(days[place].day));
    drawn.append(svg("text", { x: at, y: height - 6, "text-anchor": "middle" }, text));
  }
  days.forEach((day, index) => {
    const strip = { class: "target", x: x(index), y: EDGE.top, width: step, height: inner.height };
    const group = svg("g", { class: "day" }, svg("title", {}, describe(day)), svg("rect", strip));
    group.append(...draw(day, { x: x(index), step, y, index }));
    drawn.append(group);
  });
  return drawn;
}

const STATES = {
  fresh: "Fresh: from the cache",
  live: "Live: from the source",
  stale: "Stale: from the cache, past its freshness",
  fallback: "Fallback: from the local catalogue, source unavailable",
};
const responsesOf = (day) => day.live + day.fresh + day.stale + day.fallback;

const describeResponses = (day) =>
  `${dates.format(timeOf(day.day))}: ${Object.keys(STATES)
    .map((state) => `${state} ${numbers.format(day[state])}`)
    .join(", ")}`;
const describeCalls = (day) =>
  `${dates.format(timeOf(day.day))}: ${numbers.format(day.failures)} of ${count(day.attempts, "call")} failed`;

function responsesChart(days, width, description) {
  return chart({
    id: "responses",
    width,
    height: 240,
    title: "Search responses by day and state",
    description,
    days,
    labels: ticks(Math.max(...days.map(responsesOf))),
    format: (label) => short.format(label),
    describe: describeResponses,
    draw: (day, { x, step, y }) => {
      const gap = step > 4 ? step * 0.15 : 0;
      let sum = 0;
      return Object.keys(STATES).flatMap((state) => {
        if (day[state] === 0) return [];
        const height = Math.max(0.5, y(sum) - y(sum + day[state]) - 0.75); // a thin gap between the segments
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
    title: "Failed calls to the movie source by day",
    description,
    days,
    labels: [0, 0.5, 1],
    format: (label) => shares.format(label),
    describe: describeCalls,
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

// --- the sections of the page: how each is loaded and drawn

const SECTIONS = {
  summary: {
    load: () => {
      const before = periodBefore(range);
      return Promise.all([
        fetchReport("summary/"),
        fetchReport("summary/", before),
        fetchReport("clicks/"),
        fetchReport("clicks/", before),
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
          clicksBefore.searches > 0 ? `${shares.format(clicksBefore.click_through_rate)} in the previous period` : "none in the previous period",
          "searches followed by a click within 30 minutes",
        ),
        tile(
          "Mean clicked position",
          clicks.mean_position === null ? "–" : numbers.format(clicks.mean_position),
          clicksBefore.mean_position === null
            ? "none in the previous period"
            : `${numbers.format(clicksBefore.mean_position)} in the previous period`,
          "1 is the first result",
        ),
      ];
      const days = daysIn(now.meta);
      const previous = days === 1 ? "the day before" : `the ${days} days before`;
      const rest = now.meta.to >= isoDay(Date.now()) ? " Today is incomplete." : "";
      return [el("dl", { class: "tiles" }, ...tiles), el("p", { class: "note" }, `The previous period is ${previous}.${rest}`)];
    },
  },

  source: {
    load: () => fetchReport("source/"),
    draw: ({ items, meta }, width) => {
      if (items.length === 0) return nothing("No searches in this period.");
      const days = everyDay(items, meta);
      const [responses, attempts, failures] = [responsesOf, (day) => day.attempts, (day) => day.failures].map((figure) =>
        days.reduce((sum, day) => sum + figure(day), 0),
      );
      const total = (state) => days.reduce((sum, day) => sum + day[state], 0);
      const cached = total("fresh") + total("stale");
      const states = Object.keys(STATES).map((state) => `${state} ${share(total(state), responses)}`);
      const worst = days.reduce((one, other) => (failureRate(other) > failureRate(one) ? other : one));
      const facts = [
        ["Responses from the cache", cached, responses, "response"],
        ["Responses while the source was unavailable", total("fallback"), responses, "response"],
        ["Failed calls to the source", failures, attempts, "call"],
      ].map(([name, part, whole, one]) =>
        tile(name, share(part, whole), `${numbers.format(part)} of ${count(whole, one)}`),
      );
      const legend = Object.entries(STATES).map(([state, name]) =>
        el("li", {}, el("span", { class: state, "aria-hidden": "true" }), name),
      );
      const calls = `${share(failures, attempts)} in total. The worst day: ${describeCalls(worst)}.`;
      return [
        el("dl", { class: "tiles" }, ...facts),
        el("h3", {}, "Responses by day"),
        responsesChart(days, width, `${count(responses, "response")} in total: ${states.join(", ")}.`),
        el("ul", { class: "legend" }, ...legend),
        el("h3", {}, "Failed calls to the source by day"),
        ...(attempts === 0 ? nothing("No calls to the source in this period.") : [failuresChart(days, width, calls)]),
        el("details", {}, el("summary", {}, "Table by day"), daysTable(days)),
      ];
    },
  },

  funnel: {
    load: () => fetchReport("funnel/"),
    draw: ({ searched, clicked, rated }) => {
      if (searched === 0) return nothing("No searches by logged-in users in this period.");
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
        step("searched", searched, "logged-in users"),
        step("then clicked", clicked, `${share(clicked, searched)} of those who searched`),
        step("then rated", rated, `${share(rated, clicked)} of those who clicked, ${share(rated, searched)} of those who searched`),
      ];
      return [el("ol", { class: "steps" }, ...steps)];
    },
  },

  retention: {
    load: () => fetchReport("retention/"),
    draw: ({ items }) => {
      if (items.length === 0) return nothing("No accounts were activated in this period.");
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
      const caption = "Share of users who searched in the week of their activation (+0) and in the following weeks";
      return [scrolled(table("cohorts", caption, headings, rows), "Retention by week")];
    },
  },

  top: {
    load: () => fetchReport("searches/top/"),
    draw: ({ items }) => queries(items, "Most frequent searches", "No searches in this period."),
  },

  zero: {
    load: () => fetchReport("searches/zero-results/"),
    draw: ({ items }) =>
      queries(items, "Most frequent searches without results", "No searches without results in this period."),
  },
};

const failureRate = (day) => (day.attempts === 0 ? -1 : day.failures / day.attempts);

// One item per day of the range, with zeros for days that the report omits.
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
  const caption = "Search responses and calls to the movie source by UTC day";
  return scrolled(table("days", caption, headings, rows), "Table by day");
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
  const rest = [...shown.tBodies[0].rows].slice(INITIAL_ROWS);
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

const loadedReports = new Map(); // the data of each section, to draw it again at another width

function draw(name) {
  const body = byId(name).querySelector(".body");
  const isOpen = body.querySelector("details")?.open ?? false;
  body.replaceChildren(...SECTIONS[name].draw(loadedReports.get(name), Math.max(240, body.clientWidth)));
  if (isOpen) body.querySelector("details")?.setAttribute("open", "");
}

async function load(name, mine) {
  const body = byId(name).querySelector(".body");
  body.setAttribute("aria-busy", "true");
  showStatus();
  if (!loadedReports.has(name)) body.replaceChildren(el("p", { class: "note" }, "Loading…"));
  try {
    const report = await SECTIONS[name].load();
    if (mine !== generation) return;
    loadedReports.set(name, report);
    draw(name);
  } catch (problem) {
    if (mine !== generation || endsLogin(problem)) return;
    loadedReports.delete(name);
    if (problem.status === 400) {
      byId("alert").textContent = errorMessage(problem); // the range is invalid: the same error for all sections
      body.replaceChildren();
      return;
    }
    const retry = el("button", { type: "button", class: "quiet", click: () => loadMissing(name) }, "Retry");
    body.replaceChildren(el("p", { class: "failure" }, errorMessage(problem)), retry);
  } finally {
    if (mine === generation) {
      body.removeAttribute("aria-busy");
      showStatus();
    }
  }
}

// Reloads every section that failed; the keyboard focus stays at the section of the button.
function loadMissing(name) {
  byId(`${name}-title`).tabIndex = -1;
  byId(`${name}-title`).focus();
  for (const missing of Object.keys(SECTIONS).filter((one) => !loadedReports.has(one))) load(missing, generation);
}

function showStatus() {
  const [first, last] = [range.from, range.to].map((day) => dates.format(timeOf(day)));
  const period = `${first} to ${last}, ${count(daysIn(range), "day")} in UTC`;
  const missing = Object.keys(SECTIONS).length - loadedReports.size;
  let state = `${period}.`;
  if (document.querySelector("[aria-busy]") !== null) state = `Loading ${period}…`;
  else if (missing > 0) state = `${period}; ${count(missing, "section")} could not be loaded.`;
  if (byId("status").textContent !== state) byId("status").textContent = state;
}

async function loadAll() {
  const mine = ++generation;
  byId("from").value = range.from;
  byId("to").value = range.to;
  for (const button of document.querySelectorAll("[data-days]")) {
    const preset = lastDays(Number(button.dataset.days));
    button.setAttribute("aria-pressed", String(preset.from === range.from && preset.to === range.to));
  }
  byId("alert").textContent = "";
  await Promise.all(Object.keys(SECTIONS).map((name) => load(name, mine)));
}

function errorMessage(problem) {
  if (!(problem instanceof Problem)) throw problem;
  const wait = problem.retryAfter === null ? "" : ` Retry in ${count(problem.retryAfter, "second")}.`;
  if (problem.code === "store_unavailable") return `The database is unavailable.${wait}`;
  if (problem.code === "invalid_credentials")
    return "The email address or password is wrong, or the account is not active.";
  if (problem.code === "rate_limited") return `Too many requests.${wait}`;
  return sentence(problem.message) + wait;
}

// Whether the problem ends the login; if so, shows the login form with a message.
function endsLogin(problem) {
  if (problem.status === 403) {
    endSession(session).catch(() => {}); // not needed any more; on failure it expires by itself
    leave("This account has no staff rights. An operator of the service can grant them.");
  } else if (problem.status === 401) {
    leave("Your session has ended. Log in again.");
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
    byId("login-alert").textContent = errorMessage(problem);
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
    await refreshTokens(mine);
    await send("authentication/logout/", { method: "POST", token: mine.access });
  }
}

async function logOut() {
  const mine = session;
  leave("Logged out.");
  try {
    await endSession(mine);
  } catch (problem) {
    if (problem.status === 401) return; // the session had ended already
    byId("login-alert").textContent =
      "Logged out on this page, but the server could not be reached; the session on the server expires after some days.";
  }
}

// Discards the tokens and all data.
function leave(message) {
  session = null;
  generation += 1;
  loadedReports.clear();
  for (const name of Object.keys(SECTIONS)) {
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
  const mine = generation;
  byId("alert").textContent = "";
  try {
    const response = await sendAuthenticated(`analytics/${name}?from=${range.from}&to=${range.to}`, { accept: "text/csv" });
    const file = /filename="([^"]+)"/.exec(response.headers.get("content-disposition") ?? "")?.[1] ?? "analytics.csv";
    const url = URL.createObjectURL(await response.blob());
    el("a", { href: url, download: file }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  } catch (problem) {
    if (mine !== generation || endsLogin(problem)) return;
    byId("alert").textContent = errorMessage(problem);
  }
}

// --- initialization

byId("login-form").addEventListener("submit", logIn);
byId("log-out").addEventListener("click", logOut);
byId("range").addEventListener("submit", (event) => {
  event.preventDefault();
  const wanted = { from: byId("from").value, to: byId("to").value };
  if (wanted.from > wanted.to) {
    byId("alert").textContent = "The first day must not be after the last day.";
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
    if (loadedReports.has("source")) draw("source");
  });
});
// A page restored from the back/forward cache must not show data after the user has left.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
show(false);
byId("email").focus();
