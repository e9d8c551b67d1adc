/**
 * The HTTP API: routes and keys, and nothing else.
 *
 * It promises that every route but three asks for an API key, for a provider's signature where webhooks arrive, or
 * for the state of an account that is being connected, that a request is checked whole before anything happens, and that a refusal says what is wrong in words and in a stable `code`,
 * without a stack, SQL or a key in it. Every route is a thin call into the engine, the vault, the policy or the audit log; a
 * secret's value goes in and never comes out. It never holds state that matters: any API process answers for any run.
 *
 * Read `routes/` for the table that drives routing, validation and the documents; `keys.ts` and `scopes.ts` for who
 * may do what; `stream.ts` for server-sent events.
 */
export { type AdminKey, adminKeyFile, ensureAdminKey, readAdminKey } from './admin-key.ts';
export { ensureBotKey } from './bot-keys.ts';
export { migrationState, type MigrationState } from './health.ts';
export type { KeyView } from './keys.ts';
export { createMetrics, type MetricReader, type Metrics } from './metrics.ts';
export { errorsByStatus, openApiDocument, scopesOf } from './openapi.ts';
export type { Route } from './route.ts';
export { ROUTES } from './routes/index.ts';
export { type Api, type ApiOptions, createApi } from './server.ts';
export type { Trust } from './services.ts';
export { makeThreadToken } from './thread-tokens.ts';
