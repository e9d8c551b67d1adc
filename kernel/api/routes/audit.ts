/** The audit log: reading it, proving it, taking it elsewhere. */
import { type AuditView, exportLog, listEntries, noteExport, proveInclusion, verifyLog } from '../../audit/index.ts';
import { eraseKey } from '../../care/index.ts';
import { isUuid, type Store } from '../../store/index.ts';
import { ApiError } from '../errors.ts';
import { lineStream } from '../line-stream.ts';
import { idBefore } from '../neighbours.ts';
import { actorOf, ok, route } from '../route.ts';
import { page } from '../schemas.ts';
import { installationOf } from '../services.ts';
import {
  AuditEntrySchema,
  AuditKeySchema,
  AuditPath,
  AuditQuery,
  EraseBody,
  InclusionProofSchema,
  VerifyBody,
  VerifyReportSchema,
} from '../trust-schemas.ts';
import { z } from 'zod';

const EXPORT_TYPE = 'application/jsonl';

export const auditRoutes = [
  route({
    id: 'listAudit',
    method: 'GET',
    path: '/audit',
    group: 'Audit',
    summary: 'Read the audit log',
    access: { scope: 'audit.read' },
    query: AuditQuery,
    responses: { 200: { description: 'A page of entries', schema: page(AuditEntrySchema) } },
    errors: ['VAULT_UNAVAILABLE'],
    async handle({ query }, services) {
      const { store } = installationOf(services);
      const { lease_id, run_id, trace_id, thread_key, order, ...filter } = query;
      return ok(
        await listEntries(store, {
          ...filter,
          leaseId: lease_id,
          runId: run_id,
          traceId: trace_id,
          threadKey: thread_key,
          forward: order === 'asc',
        }),
      );
    },
  }),
  route({
    id: 'exportAudit',
    method: 'GET',
    path: '/audit/export',
    group: 'Audit',
    summary: 'The whole log as lines of JSON, for "centaur audit verify --file" or an auditor’s own tools',
    description:
      'What can be sealed is sealed and signed first, so that a missing end shows. An export that breaks off ends the connection without its last chunk.',
    access: { scope: 'audit.read' },
    responses: {
      200: { description: 'One object per line: `head`, then `batch`, `entry` and `checkpoint`, and `policy`', contentType: EXPORT_TYPE },
    },
    errors: ['VAULT_UNAVAILABLE'],
    async handle({ caller, request, hangUp }, services) {
      const { store, audit, signer, sealer } = installationOf(services);
      const headers = { 'content-type': EXPORT_TYPE, 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' };
      if (request.method === 'HEAD') return new Response(null, { headers });
      await sealer.seal();
      const body = lineStream(
        exportLog(store, signer, (lastBatch) => noteExport(store, audit, actorOf(caller), lastBatch)),
        {
          server: services.closing,
          isAllowed: () => services.keys.isActive(caller),
          hangUp,
          log: services.log,
        },
      );
      return new Response(body, { headers });
    },
  }),
  route({
    id: 'getAuditKey',
    method: 'GET',
    path: '/audit/key',
    group: 'Audit',
    summary: 'The public key that signs checkpoints: keep it elsewhere',
    access: { scope: 'audit.read' },
    responses: { 200: { description: 'The key', schema: AuditKeySchema } },
    errors: ['VAULT_UNAVAILABLE'],
    handle(_call, services) {
      const { signer } = installationOf(services);
      return ok({ origin: signer.origin, public_key: signer.rawPublicKey.toString('base64') });
    },
  }),
  route({
    id: 'verifyAudit',
    method: 'POST',
    path: '/audit/verify',
    group: 'Audit',
    summary: 'Verify the whole log: its chain, its entries, its signatures',
    description:
      'Reads all of it, which takes seconds per million entries. Answers 200 with what it found, whether or not that is anything.',
    access: { scope: 'audit.read' },
    body: VerifyBody,
    example: {},
    responses: { 200: { description: 'What it found', schema: VerifyReportSchema } },
    errors: ['VAULT_UNAVAILABLE'],
    async handle({ body }, services) {
      const { store, macKey, signer } = installationOf(services);
      const { findings, ...report } = await verifyLog(store, {
        macKey,
        rawPublicKey: signer.rawPublicKey,
        ...(body.anchors === undefined ? {} : { anchors: body.anchors }),
      });
      const told = findings.map(({ batch, auditId, problem }) => ({ batch, audit_id: auditId, problem }));
      return ok({ ok: report.problems === 0, ...report, findings: told });
    },
  }),
  route({
    id: 'eraseSubject',
    method: 'POST',
    path: '/audit/erase',
    group: 'Audit',
    summary: 'Make what is private of a subject unreadable, for ever',
    description: 'Its key is destroyed, unless a legal hold keeps it. The entries stay, and still verify.',
    access: { scope: 'admin' },
    body: EraseBody,
    example: { subject: 'user:ann' },
    responses: {
      200: {
        description: '`erased` is false when there was nothing, or nothing any more',
        schema: z.strictObject({ subject: z.string(), erased: z.boolean() }),
      },
    },
    errors: ['INVALID_SUBJECT', 'HELD', 'VAULT_UNAVAILABLE'],
    async handle({ body: { subject }, caller }, services) {
      const { store, audit } = installationOf(services);
      return ok({ subject, erased: await eraseKey({ store, audit }, actorOf(caller), subject) });
    },
  }),
  route({
    id: 'getAuditEntry',
    method: 'GET',
    path: '/audit/{audit_id}',
    group: 'Audit',
    summary: 'Read an entry',
    access: { scope: 'audit.read' },
    params: AuditPath,
    responses: { 200: { description: 'The entry', schema: AuditEntrySchema } },
    errors: ['AUDIT_ENTRY_NOT_FOUND', 'VAULT_UNAVAILABLE'],
    handle: async ({ params }, services) => ok(await readEntry(installationOf(services).store, params.audit_id)),
  }),
  route({
    id: 'proveAuditEntry',
    method: 'GET',
    path: '/audit/{audit_id}/proof',
    group: 'Audit',
    summary: 'The proof that an entry is in the sealed log: its path to the root of its batch, and the checkpoint that covers it',
    access: { scope: 'audit.read' },
    params: AuditPath,
    responses: { 200: { description: 'The proof', schema: InclusionProofSchema } },
    errors: ['AUDIT_ENTRY_NOT_FOUND', 'NOT_SEALED', 'VAULT_UNAVAILABLE'],
    async handle({ params: { audit_id } }, services) {
      const { store } = installationOf(services);
      const proof = isUuid(audit_id) ? await proveInclusion(store, audit_id) : undefined;
      if (proof === undefined) throw notFound(audit_id);
      if (proof === null)
        throw new ApiError('NOT_SEALED', `entry ${audit_id} is not sealed yet: ask again in a second`, { headers: { 'retry-after': '1' } });
      return ok(proof);
    },
  }),
];

/** @throws ApiError AUDIT_ENTRY_NOT_FOUND */
export async function readEntry(store: Store, auditId: string): Promise<AuditView> {
  const { items } = isUuid(auditId) ? await listEntries(store, { after: idBefore(auditId), forward: true, limit: 1 }) : { items: [] };
  const [entry] = items;
  if (entry?.id !== auditId) throw notFound(auditId);
  return entry;
}

function notFound(auditId: string): ApiError {
  return new ApiError('AUDIT_ENTRY_NOT_FOUND', `there is no audit entry ${JSON.stringify(auditId)}`);
}
