/** A service that makes keys, knows which are good, and takes them back, for tests of rotations. */
import { randomBytes } from 'node:crypto';
import { type ServiceHandler, startService } from './firewall.ts';
import type { TestRotations } from './rotations.ts';
import type { SecretRequest } from '../../kernel/vault/index.ts';

export const FIRST = 'sk_live_the-first-value-of-all';

/** @param instead of its own answers, by method and path */
export async function startKeys(r: TestRotations, instead: Readonly<Record<string, ServiceHandler>> = {}) {
  const good = new Map([['key_1', FIRST]]);
  const service = await startService((request, response, body) => {
    const url = new URL(request.url ?? '/', 'https://localhost');
    const answer = (status: number, given: object = {}) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(given));
    const handler = instead[`${request.method} ${url.pathname}`];
    if (handler !== undefined) return handler(request, response, body);
    const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1];
    if (![...good.values()].includes(token ?? '')) return void answer(401);
    if (request.method === 'POST') {
      const [id, key] = [`key_${good.size + 1}`, `sk_live_${randomBytes(16).toString('hex')}`];
      good.set(id, key);
      return void answer(201, { data: { id, key, name: JSON.parse(body.toString()).name } });
    }
    if (request.method === 'DELETE') return void answer(good.delete(url.pathname.slice('/keys/'.length)) ? 200 : 404);
    return void answer(200);
  });
  await r.configure({ allow_cidrs: ['127.0.0.1'], ca_pems: [service.caPem] });
  const at = (path: string) => `https://localhost:${service.port}${path}`;
  const bearer = (name: string) => ({ authorization: `Bearer {{${name}}}` });
  const http = {
    mint: {
      method: 'POST',
      url: at('/keys'),
      headers: bearer('current'),
      json: { name: 'by centaur' },
      value: '/data/key',
      id: '/data/id',
    },
    probe: { method: 'GET', url: at('/me'), headers: bearer('new') },
    revoke: { method: 'DELETE', url: at('/keys/{{id}}'), headers: bearer('current') },
  };
  const described = (more: Partial<NonNullable<SecretRequest['rotation']>> = {}): SecretRequest => ({
    value: FIRST,
    hosts: [`localhost:${service.port}`],
    rotation: { every_seconds: 86_400, grace_seconds: 0, driver: 'http', http, ...more },
  });
  return {
    service,
    good,
    http,
    at,
    described,
    asked: (method: string) => service.seen.filter((each) => each.method === method).length,
    [Symbol.asyncDispose]: () => service[Symbol.asyncDispose](),
  };
}
