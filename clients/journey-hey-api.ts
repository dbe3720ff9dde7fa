// The journey of the README with the client that @hey-api/openapi-ts generates.
//
// `node build/journey-hey-api.js http://127.0.0.1:8000 ann` registers `ann` and asks for the link in the email.

import assert from "node:assert/strict";
import { createInterface } from "node:readline/promises";
import { activate, logIn, logOut, rateMovie, recommendMovies, register, searchMovies } from "./hey-api/index.js";
import { client } from "./hey-api/client.gen.js";

const [url = "http://127.0.0.1:8000", username = "ann"] = process.argv.slice(2);
const email = `${username}@example.com`;
const password = "copper lantern walks home";
const terminal = createInterface({ input: process.stdin, output: process.stdout });

client.setConfig({ baseUrl: url });
const throwOnError = true; // throws the problem document

const registered = await register({ body: { email, username, password }, throwOnError });
console.log("registered", registered.data.email);

const [uid = "", token = ""] = new URL(await terminal.question("link in the email: ")).pathname.split("/").slice(-3);
terminal.close();
const activated = await activate({ path: { uid, token }, body: { password }, throwOnError });
console.log(activated.data.message);

const { data: pair } = await logIn({ body: { email, password }, throwOnError });
client.setConfig({ auth: pair.access });

const { data: page } = await searchMovies({ query: { query: "casablanca", limit: 1 }, throwOnError });
const movie = page.items[0];
assert(movie && page.page_info.next);
console.log("found", page.total, "movies, first", movie.title, "with", movie.cast);

const offset = Number(new URL(page.page_info.next).searchParams.get("offset"));
const { data: next } = await searchMovies({ query: { query: "casablanca", limit: 1, offset }, throwOnError });
assert.notEqual(next.items[0]?.id, movie.id);
console.log("next page:", next.page_info.current_page, next.items[0]?.title);

const rated = await rateMovie({ path: { movie_id: movie.id }, body: { rating: 9.5 }, throwOnError });
console.log("rated", rated.data.movie_id, rated.data.rating);

const { data: recommended } = await recommendMovies({ query: { limit: 3 }, throwOnError });
assert(recommended.items.length);
console.log(`recommended (${recommended.meta.tier}):`);
for (const item of recommended.items) {
  console.log(" ", item.title, "because of", item.reasons.map((reason) => reason.title));
}

console.log((await logOut({ throwOnError })).data.message);
const refused = await searchMovies();
assert.equal(refused.response?.status, 401);
console.log("after that:", refused.error?.code);
