// The journey of the README with the types that openapi-typescript generates, and openapi-fetch.
//
// `node build/journey-openapi-typescript.js http://127.0.0.1:8000 ann` registers `ann` and asks for the link in the email.

import assert from "node:assert/strict";
import { createInterface } from "node:readline/promises";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Problem = components["schemas"]["Problem"];

const [url = "http://127.0.0.1:8000", username = "ann"] = process.argv.slice(2);
const email = `${username}@example.com`;
const password = "copper lantern walks home";
const terminal = createInterface({ input: process.stdin, output: process.stdout });

// Some operations also respond with HTML or CSV; the second argument selects JSON.
const client = createClient<paths, "application/json" | "application/problem+json">({ baseUrl: url });

/** Returns the body of a successful response; throws otherwise. */
function succeeded<T>(result: { data?: T; error?: Problem; response: Response }): T {
  if (result.data === undefined) {
    throw new Error(result.error ? `${result.error.code}: ${result.error.detail}` : `status ${result.response.status}`);
  }
  return result.data;
}

const account = { email, username, password };
console.log("registered", succeeded(await client.POST("/api/v1/authentication/register/", { body: account })).email);

const [uid = "", token = ""] = new URL(await terminal.question("link in the email: ")).pathname.split("/").slice(-3);
terminal.close();
const activated = await client.POST("/api/v1/authentication/verify-email/{uid}/{token}/", {
  params: { path: { uid, token } },
  body: { password },
});
console.log(succeeded(activated).message);

const pair = succeeded(await client.POST("/api/v1/authentication/login/", { body: { email, password } }));
client.use({
  onRequest({ request }) {
    request.headers.set("Authorization", `Bearer ${pair.access}`);
  },
});

const search = (offset: number) =>
  client.GET("/api/v1/movies/", { params: { query: { query: "casablanca", limit: 1, offset } } });

const page = succeeded(await search(0));
const movie = page.items[0];
assert(movie && page.page_info.next);
console.log("found", page.total, "movies, first", movie.title, "with", movie.cast);

const next = succeeded(await search(Number(new URL(page.page_info.next).searchParams.get("offset"))));
assert.notEqual(next.items[0]?.id, movie.id);
console.log("next page:", next.page_info.current_page, next.items[0]?.title);

const rated = await client.PUT("/api/v1/movies/{movie_id}/rating/", {
  params: { path: { movie_id: movie.id } },
  body: { rating: 9.5 },
});
console.log("rated", succeeded(rated).movie_id, succeeded(rated).rating);

const recommended = succeeded(await client.GET("/api/v1/recommendations/", { params: { query: { limit: 3 } } }));
assert(recommended.items.length);
console.log(`recommended (${recommended.meta.tier}):`);
for (const item of recommended.items) {
  console.log(" ", item.title, "because of", item.reasons.map((reason) => reason.title));
}

console.log(succeeded(await client.POST("/api/v1/authentication/logout/")).message);
const refused = await search(0);
assert.equal(refused.response.status, 401);
console.log("after that:", refused.error?.code);
