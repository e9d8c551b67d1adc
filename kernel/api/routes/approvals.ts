/** Requests that wait for a person. */
import { decideApproval, getApproval, listApprovals, PolicyError } from '../../policy/index.ts';
import { isUuid } from '../../store/index.ts';
import { actorOf, ok, route } from '../route.ts';
import { page } from '../schemas.ts';
import { installationOf } from '../services.ts';
import { ApprovalPath, ApprovalQuery, ApprovalSchema, ApproveBody, DenyBody } from '../trust-schemas.ts';

export const approvalRoutes = [
  route({
    id: 'listApprovals',
    method: 'GET',
    path: '/approvals',
    group: 'Approvals',
    summary: 'List requests that needed a person, newest first',
    access: { scope: 'approvals.decide' },
    query: ApprovalQuery,
    responses: { 200: { description: 'A page of them', schema: page(ApprovalSchema) } },
    errors: ['VAULT_UNAVAILABLE'],
    handle: async ({ query }, services) => ok(await listApprovals(installationOf(services).store, query)),
  }),
  route({
    id: 'getApproval',
    method: 'GET',
    path: '/approvals/{approval_id}',
    group: 'Approvals',
    summary: 'Read what is asked for, and what was decided',
    access: { scope: 'approvals.decide' },
    params: ApprovalPath,
    responses: { 200: { description: 'The approval', schema: ApprovalSchema } },
    errors: ['APPROVAL_NOT_FOUND', 'VAULT_UNAVAILABLE'],
    handle: async ({ params }, services) => ok(await getApproval(installationOf(services).store, known(params.approval_id))),
  }),
  route({
    id: 'approve',
    method: 'POST',
    path: '/approvals/{approval_id}/approve',
    group: 'Approvals',
    summary: 'Let the request through, once',
    description: 'Whoever waits for it goes on at once; else the same request may be made again within an hour.',
    access: { scope: 'approvals.decide' },
    params: ApprovalPath,
    body: ApproveBody,
    example: { reason: 'the refund of ticket 4711' },
    responses: { 200: { description: 'The decided approval', schema: ApprovalSchema } },
    errors: ['APPROVAL_NOT_FOUND', 'APPROVAL_DECIDED', 'VAULT_UNAVAILABLE'],
    handle: async ({ params, body, caller }, services) =>
      ok(
        await decideApproval(installationOf(services), actorOf(caller), known(params.approval_id), {
          state: 'approved',
          reason: body.reason,
        }),
      ),
  }),
  route({
    id: 'deny',
    method: 'POST',
    path: '/approvals/{approval_id}/deny',
    group: 'Approvals',
    summary: 'Refuse the request, and say why',
    access: { scope: 'approvals.decide' },
    params: ApprovalPath,
    body: DenyBody,
    example: { reason: 'over the limit of this month' },
    responses: { 200: { description: 'The decided approval', schema: ApprovalSchema } },
    errors: ['APPROVAL_NOT_FOUND', 'APPROVAL_DECIDED', 'VAULT_UNAVAILABLE'],
    handle: async ({ params, body, caller }, services) =>
      ok(
        await decideApproval(installationOf(services), actorOf(caller), known(params.approval_id), {
          state: 'denied',
          reason: body.reason,
        }),
      ),
  }),
];

function known(approvalId: string): string {
  if (!isUuid(approvalId)) throw new PolicyError('APPROVAL_NOT_FOUND', `there is no approval ${JSON.stringify(approvalId)}`);
  return approvalId;
}
