/** Data care: what is kept for how long, and what is exported, held or erased for whom. */
import { z } from 'zod';
import {
  beginErasure,
  dueNow,
  exportSubject,
  getErasure,
  listErasures,
  listHolds,
  parseSubject,
  placeHold,
  planErasure,
  pruneDue,
  releaseHold,
  runErasures,
} from '../../care/index.ts';
import {
  DueSchema,
  ErasureBody,
  ErasurePath,
  ErasureSchema,
  HoldBody,
  HoldPath,
  HoldSchema,
  HoldsQuery,
  PlanSchema,
  PrunedSchema,
  SubjectQuery,
} from '../data-schemas.ts';
import type { RetentionPeriods } from '../../config/index.ts';
import { ApiError } from '../errors.ts';
import { lineStream } from '../line-stream.ts';
import { actorOf, ok, route } from '../route.ts';
import { page } from '../schemas.ts';
import { installationOf, type Services } from '../services.ts';

const EXPORT_TYPE = 'application/jsonl';

/** @throws ApiError VAULT_UNAVAILABLE */
function periodsOf({ trust }: Services): RetentionPeriods {
  if (trust?.retention === undefined) throw new ApiError('VAULT_UNAVAILABLE', 'this process was started without periods of retention');
  return trust.retention;
}

export const dataRoutes = [
  route({
    id: 'getRetention',
    method: 'GET',
    path: '/data/retention',
    group: 'Data',
    summary: 'How long what is kept, and how much is over its time now',
    access: { scope: 'admin' },
    responses: { 200: { description: 'By kind', schema: page(DueSchema) } },
    errors: ['VAULT_UNAVAILABLE'],
    async handle(_call, services) {
      const { store } = installationOf(services);
      return ok({ items: await dueNow(store, periodsOf(services)), next: null });
    },
  }),
  route({
    id: 'applyRetention',
    method: 'POST',
    path: '/data/retention/apply',
    group: 'Data',
    summary: 'Delete now what is over its time, which servers do each hour by themselves',
    access: { scope: 'admin' },
    body: z.strictObject({}).optional(),
    example: {},
    responses: { 200: { description: 'How much went', schema: PrunedSchema } },
    errors: ['VAULT_UNAVAILABLE'],
    async handle({ caller }, services) {
      const { store, audit } = installationOf(services);
      const periods = periodsOf(services);
      await audit.write({ action: 'data.retention', actor: actorOf(caller) });
      return ok({ pruned: await pruneDue({ store, audit }, periods) });
    },
  }),
  route({
    id: 'listHolds',
    method: 'GET',
    path: '/data/holds',
    group: 'Data',
    summary: 'List legal holds',
    access: { scope: 'admin' },
    query: HoldsQuery,
    responses: { 200: { description: 'The newest first', schema: page(HoldSchema) } },
    errors: ['VAULT_UNAVAILABLE'],
    handle: async ({ query }, services) =>
      ok({ items: await listHolds(installationOf(services).store, query.all === 'true' ? 'all' : 'standing'), next: null }),
  }),
  route({
    id: 'placeHold',
    method: 'POST',
    path: '/data/holds',
    group: 'Data',
    summary: 'Keep what is of a thread or a person, whatever retention or an erasure says',
    access: { scope: 'admin' },
    body: HoldBody,
    example: { subject: 'user:ann', reason: 'case 2026-11' },
    responses: { 201: { description: 'It stands', schema: HoldSchema } },
    errors: ['INVALID_SUBJECT', 'VAULT_UNAVAILABLE'],
    handle: async ({ body, caller }, services) => ({
      status: 201,
      body: await placeHold(installationOf(services), actorOf(caller), body.subject, body.reason),
    }),
  }),
  route({
    id: 'releaseHold',
    method: 'DELETE',
    path: '/data/holds/{hold_id}',
    group: 'Data',
    summary: 'Release a legal hold',
    access: { scope: 'admin' },
    params: HoldPath,
    responses: { 200: { description: 'It stands no more', schema: HoldSchema } },
    errors: ['HOLD_NOT_FOUND', 'VAULT_UNAVAILABLE'],
    handle: async ({ params, caller }, services) => ok(await releaseHold(installationOf(services), actorOf(caller), params.hold_id)),
  }),
  route({
    id: 'exportData',
    method: 'GET',
    path: '/data/export',
    group: 'Data',
    summary: 'Everything that is stored of a thread or a person, as "centaur data export" writes it to a folder',
    description:
      'One object per line: `{file, row}` for a line of a file, the text of which is `row`; `{file, data}` for the next bytes of an attachment, base64; and `{end}`, with the SHA-256 of each file. It has no secrets in it. An export that breaks off ends the connection without its last chunk.',
    access: { scope: 'admin' },
    query: SubjectQuery,
    responses: { 200: { description: 'Lines', contentType: EXPORT_TYPE } },
    errors: ['INVALID_SUBJECT', 'SUBJECT_NOT_FOUND', 'VAULT_UNAVAILABLE'],
    async handle({ query: { subject }, caller, request, hangUp }, services) {
      const { store, audit, master, sealer } = installationOf(services);
      const headers = { 'content-type': EXPORT_TYPE, 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' };
      parseSubject(subject);
      if (request.method === 'HEAD') return new Response(null, { headers });
      const lines = exportSubject({ store, master }, subject);
      // what is refused is refused with a status, and not in the middle of an answer
      const first = await lines.next();
      await audit.write({ action: 'data.export', actor: actorOf(caller), resource: subject });
      await sealer.seal();
      const all = (async function* () {
        if (first.done !== true) yield first.value;
        yield* lines;
      })();
      const body = lineStream(all, {
        server: services.closing,
        isAllowed: () => services.keys.isActive(caller),
        hangUp,
        log: services.log,
      });
      return new Response(body, { headers });
    },
  }),
  route({
    id: 'planErasure',
    method: 'GET',
    path: '/data/erasures/plan',
    group: 'Data',
    summary: 'What an erasure would delete, what is in its way, and what it does not reach',
    access: { scope: 'admin' },
    query: SubjectQuery,
    responses: { 200: { description: 'The plan; nothing has changed', schema: PlanSchema } },
    errors: ['INVALID_SUBJECT', 'VAULT_UNAVAILABLE'],
    handle: async ({ query }, services) => ok(await planErasure(installationOf(services).store, query.subject)),
  }),
  route({
    id: 'eraseData',
    method: 'POST',
    path: '/data/erasures',
    group: 'Data',
    summary: 'Erase what is of a thread or a person',
    description:
      '`confirm` repeats the subject. The job goes on when this process dies. A turn that is live is in its way, and so is a legal hold; asking again while it runs answers the same job.',
    access: { scope: 'admin' },
    body: ErasureBody,
    example: { subject: 'user:ann', confirm: 'user:ann' },
    responses: { 202: { description: 'It runs', schema: ErasureSchema } },
    errors: ['INVALID_SUBJECT', 'SUBJECT_NOT_FOUND', 'HELD', 'TURN_LIVE', 'LAST_ADMIN', 'VAULT_UNAVAILABLE'],
    async handle({ body, caller }, services) {
      const { store, audit } = installationOf(services);
      const job = await beginErasure({ store, audit }, actorOf(caller), body.subject);
      // nobody waits for it; a process that dies leaves it to the next one
      void runErasures({ store, audit, log: services.log }).catch((error: Error) =>
        services.log({ level: 'warn', message: 'an erasure was interrupted; it goes on', error: error.message }),
      );
      return { status: 202, body: job };
    },
  }),
  route({
    id: 'listErasures',
    method: 'GET',
    path: '/data/erasures',
    group: 'Data',
    summary: 'List erasures',
    access: { scope: 'admin' },
    responses: { 200: { description: 'The newest first', schema: page(ErasureSchema) } },
    errors: ['VAULT_UNAVAILABLE'],
    handle: async (_call, services) => ok({ items: await listErasures(installationOf(services).store), next: null }),
  }),
  route({
    id: 'getErasure',
    method: 'GET',
    path: '/data/erasures/{erasure_id}',
    group: 'Data',
    summary: 'How far an erasure is',
    access: { scope: 'admin' },
    params: ErasurePath,
    responses: { 200: { description: 'The job', schema: ErasureSchema } },
    errors: ['ERASURE_NOT_FOUND', 'VAULT_UNAVAILABLE'],
    handle: async ({ params }, services) => ok(await getErasure(installationOf(services).store, params.erasure_id)),
  }),
];
