// Send events from Node: one, then a batch. Run it again: nothing is added.
//
//   WHODID_URL=http://127.0.0.1:8787 WHODID_KEY=whodid_… node send.mjs
//
// Needs Node 18 or newer and no package. `import { send } from "./send.mjs"` sends nothing.
import { argv, env } from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";

const TRY_AGAIN = [408, 429, 500, 502, 503, 504];

/** The server will not take these events, however often they are sent. */
export class RefusedError extends Error {}

/**
 * Store an event, or a batch of 1 to 1,000, and return the receipts: they are durable then.
 *
 * Each event needs an `id` or an `idempotency_key`, since it may be sent more than once.
 */
export async function send(events, { url, key, attempts = 8 } = {}) {
  const headers = { "Content-Type": "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  const body = JSON.stringify(Array.isArray(events) ? { events } : events);
  for (let attempt = 0; attempt < attempts; attempt++) {
    let waitMs = Math.min(100 * 2 ** attempt, 10_000) * (0.5 + Math.random() / 2);
    try {
      const answer = await fetch(`${url}/v1/events`, {
        method: "POST", headers, body, redirect: "error", signal: AbortSignal.timeout(30_000),
      });
      if (answer.ok) return (await answer.json()).receipts;
      if (!TRY_AGAIN.includes(answer.status)) throw new RefusedError(await answer.text());
      waitMs = Math.max(waitMs, 1000 * (Number(answer.headers.get("Retry-After")) || 0));
    } catch (error) {
      if (error instanceof RefusedError) throw error;
      // The connection broke: they may be stored or not. Sending them again settles that.
    }
    await sleep(waitMs);
  }
  throw new Error("the server does not answer; keep the events and send them later");
}

if (argv[1] && import.meta.url === pathToFileURL(argv[1]).href) {
  const server = { url: env.WHODID_URL ?? "http://127.0.0.1:8787", key: env.WHODID_KEY };

  // The idempotency key is the application's own name for what happened.
  const one = await send({
    idempotency_key: "login-81f3",
    occurred_at: "2026-03-15T11:00:00Z",
    action: "user.login",
    actor: { type: "user", id: "7", name: "Bob" },
    client: { ip: "203.0.113.7" },
  }, server);

  // All of a batch is stored or nothing, and costs hardly more than one event.
  const batch = await send([
    {
      idempotency_key: "grant-4c02",
      occurred_at: "2026-03-15T11:02:30Z",
      action: "user.role.grant",
      actor: { type: "user", id: "7", name: "Bob" },
      targets: [{ type: "user", id: "9", name: "Ana" }],
      changes: [{ path: "role", old: "viewer", new: "admin" }],
    },
    {
      idempotency_key: "invoice-2026-0042-deleted",
      occurred_at: "2026-03-15T11:04:10Z",
      action: "invoice.delete",
      actor: { type: "user", id: "9", name: "Ana" },
      targets: [{ type: "invoice", id: "2026-0042" }],
    },
  ], server);

  for (const { id, duplicate } of [...one, ...batch]) {
    console.log(id, duplicate ? "was there already" : "stored");
  }
}
