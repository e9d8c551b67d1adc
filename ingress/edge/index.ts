/**
 * The edge: a small stateless door for webhooks that can stand where the API should not, on Cloudflare Workers, Deno or Node.
 *
 * It promises that only deliveries whose signature holds reach the API, with the raw body as it came and the sender's address
 * under a signature of its own; that it refuses with the same codes as the API does; and that it keeps, logs and decides
 * nothing else. The API checks every delivery again: whoever takes over an edge can send no delivery that the provider did
 * not sign. `worker.ts`, `deno.ts` and `node.ts` are its entries; `build.ts` makes one file of each.
 */
export { type Environment, readConfig } from './config.ts';
export { createEdge, type Edge, type EdgeLog, type EdgeOptions, type EdgeWebhook } from './edge.ts';
