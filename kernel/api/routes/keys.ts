/** API keys, for whoever holds an admin key. */
import { actorOf, ok, route } from '../route.ts';
import { CreatedKeySchema, CreateKeyBody, KeyPath, KeySchema, page } from '../schemas.ts';

export const keyRoutes = [
  route({
    id: 'listKeys',
    method: 'GET',
    path: '/keys',
    group: 'Keys',
    summary: 'List the API keys, the revoked ones included; never a key itself',
    access: { scope: 'admin' },
    responses: { 200: { description: 'All of them', schema: page(KeySchema) } },
    handle: async (_call, { keys }) => ok({ items: await keys.list(), next: null }),
  }),
  route({
    id: 'createKey',
    method: 'POST',
    path: '/keys',
    group: 'Keys',
    summary: 'Make an API key',
    description: 'The answer holds the key, this once. Only its SHA-256 is kept.',
    access: { scope: 'admin' },
    body: CreateKeyBody,
    example: { name: 'nightly cron', scopes: ['workflows:nightly_report', 'events.emit'] },
    responses: { 201: { description: 'The key', schema: CreatedKeySchema } },
    handle: async ({ body, caller }, { keys }) => ({ status: 201, body: await keys.create(actorOf(caller), body) }),
  }),
  route({
    id: 'revokeKey',
    method: 'DELETE',
    path: '/keys/{key_id}',
    group: 'Keys',
    summary: 'Revoke an API key',
    description: 'In effect everywhere within a second. The last admin key cannot be revoked.',
    access: { scope: 'admin' },
    params: KeyPath,
    responses: { 200: { description: 'The revoked key', schema: KeySchema } },
    errors: ['KEY_NOT_FOUND', 'LAST_ADMIN_KEY'],
    handle: async ({ params, caller }, { keys }) => ok(await keys.revoke(actorOf(caller), params.key_id)),
  }),
];
