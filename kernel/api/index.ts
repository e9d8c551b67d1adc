/**
 * The API: HTTP in front of the engine.
 *
 * It promises that every route is authenticated unless the table says otherwise, that every answer is JSON with a
 * stable code when it is an error, and that nothing internal (stacks, SQL, secrets) leaves the process. It never
 * decides anything about runs: each route is a thin call into the engine.
 */
export { type Api, type ApiOptions, createApi } from './server.ts';
export { createKeys, ensureAdminKey, type Keys } from './keys.ts';
export { ROUTES, type Route } from './routes.ts';
export { openApiDocument } from './openapi.ts';
