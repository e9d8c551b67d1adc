/** For load balancers, monitoring and tools. */
import { z } from 'zod';
import { ApiError } from '../errors.ts';
import { checkReady } from '../health.ts';
import { ok, route } from '../route.ts';

export const operationRoutes = [
  route({
    id: 'health',
    method: 'GET',
    path: '/healthz',
    group: 'Operations',
    summary: 'Whether the process answers',
    access: 'public',
    responses: { 200: { description: 'It does', schema: z.strictObject({ status: z.literal('ok'), version: z.string() }) } },
    handle: (_call, { version }) => ok({ status: 'ok', version }),
  }),
  route({
    id: 'ready',
    method: 'GET',
    path: '/readyz',
    group: 'Operations',
    summary: 'Whether it should get requests: Postgres answers and is migrated, and the process is not draining',
    access: 'public',
    responses: { 200: { description: 'It should', schema: z.strictObject({ status: z.literal('ready') }) } },
    errors: ['NOT_READY'],
    async handle(_call, { store, isDraining }) {
      if (isDraining()) throw new ApiError('NOT_READY', 'this process is draining', { headers: { 'retry-after': '1' } });
      await checkReady(store);
      return ok({ status: 'ready' });
    },
  }),
  route({
    id: 'metrics',
    method: 'GET',
    path: '/metrics',
    group: 'Operations',
    summary: 'Figures for Prometheus',
    access: { scope: 'metrics.read' },
    responses: { 200: { description: 'Text exposition format', contentType: 'text/plain; version=0.0.4; charset=utf-8' } },
    handle: async (_call, { metrics, engine, store }) =>
      new Response(await metrics.render(engine, store), {
        headers: { 'content-type': 'text/plain; version=0.0.4; charset=utf-8', 'cache-control': 'no-store' },
      }),
  }),
  route({
    id: 'openapi',
    method: 'GET',
    path: '/openapi.json',
    group: 'Operations',
    summary: 'This API as an OpenAPI 3.1 document',
    access: 'public',
    responses: { 200: { description: 'The document', schema: z.record(z.string(), z.unknown()) } },
    handle: (_call, { openapi }) => ok(openapi()),
  }),
];
