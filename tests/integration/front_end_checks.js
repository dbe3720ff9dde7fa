
// Appended to the examples of docs/front-end.md: a check for each of them, whose results the page posts to its own site.

function equal(found, expected) {
  const [left, right] = [found, expected].map((value) => JSON.stringify(value));
  if (left !== right) throw new Error(`${left} is not ${right}`);
}

async function problemOf(promise) {
  try {
    await promise;
  } catch (error) {
    if (error instanceof Problem) return error;
    throw error;
  }
  throw new Error("no problem");
}

const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

const CHECKS = {
  "request": async () => {
    const response = await send("movies/?query=matrix");
    equal(response.status, 401);
    equal(/^[\w.-]{1,64}$/.test(response.headers.get("x-request-id")), true);
    equal((await send("movies/", { headers: { "x-request-id": "from-a-page" } })).headers.get("x-request-id"), "from-a-page");
  },
  "errors": async () => {
    const problem = await problemOf(read(await send("authentication/register/", { method: "POST", body: { email: 1 } })));
    equal([problem.status, problem.code], [400, "invalid_body"]);
    equal(Object.keys(problem.fields).sort(), ["email", "password", "username"]);
    equal(problem.requestId.length > 0, true);
  },
  "tokens": async () => {
    equal((await problemOf(logIn(EMAIL, "not the password"))).code, "invalid_credentials");
    await logIn(EMAIL, PASSWORD);
    equal((await send("users/me/", { token: access })).status, 200);
    const kept = access;
    await logOut();
    equal([access, sessionStorage.getItem("refresh")], [null, null]);
    equal((await send("users/me/", { token: kept })).status, 401);
  },
  "refresh": async () => {
    await logIn(EMAIL, PASSWORD);
    const [first, token] = [access, sessionStorage.getItem("refresh")];
    await wait(3500); // longer than MOVIE_ACCESS_TTL
    const found = await Promise.all([request("users/me/"), request("users/me/"), request("genres/")]);
    equal([found[0].email, found[1].email], [EMAIL, EMAIL]);
    equal(access !== first && sessionStorage.getItem("refresh") !== token, true);
    access = null; // as after a reload
    equal((await request("users/me/")).email, EMAIL);
  },
  "paging": async () => {
    const ids = new Set();
    let items = 0;
    let total = 0;
    for await (const page of pages("matrix", 3)) {
      total = page.total;
      items += page.items.length;
      page.items.forEach((movie) => ids.add(movie.id));
    }
    equal([items, ids.size], [total, total]);
    const response = await send("movies/?query=matrix&limit=3", { token: access });
    for (const name of ["link", "etag", "cache-status", "ratelimit", "ratelimit-policy"]) {
      equal([name, response.headers.get(name) !== null], [name, true]);
    }
    const headers = { "if-none-match": response.headers.get("etag") };
    equal((await send("movies/?query=matrix&limit=3", { token: access, headers })).status, 304);
    equal((await problemOf(request("movies/?q=matrix"))).code, "unknown_parameter");
  },
  "empty results": async () => {
    equal(await search("zzqxjzzqxj"), { total: 0, items: [], suggestions: [] });
    equal((await search("interstellar xqzw vbnm")).suggestions[0], "Interstellar");
    equal((await search("The Matrix")).items[0].title, "The Matrix");
  },
  "generated client": async () => {
    const client = await createClient();
    const { items } = await client.searchMovies({ query: { query: "the third man" } });
    equal(items[0].title, "The Third Man");
    await client.rateMovie({ path: { movie_id: items[0].id }, body: { rating: 9 } });
    equal((await client.getRating({ path: { movie_id: items[0].id } })).rating, 9);
    equal((await client.getMovie({ path: { movie_id: items[0].id } })).title, "The Third Man");
  },
};

const results = {};
for (const [name, check] of Object.entries(CHECKS)) {
  results[name] = await check().then(() => true, (error) => `${error.name}: ${error.message}\n${error.stack}`);
}
await fetch("/results", { method: "POST", body: JSON.stringify(results) });
