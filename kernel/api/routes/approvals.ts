/** Requests that wait for people. Whatever the surface, a vote goes through `castVote`; who votes is a person with a session. */
import {
  castVote,
  castVotes,
  getApproval,
  listApprovals,
  listSticky,
  overrideApproval,
  PolicyError,
  revokeSticky,
  type Vote,
  type Voter,
  type VotingParts,
  whyNotVoter,
} from '../../policy/index.ts';
import { isUuid } from '../../store/index.ts';
import { checkSchema } from '../../tools/index.ts';
import {
  ApprovalDetailSchema,
  ApprovalForYouSchema,
  ApprovalGrantPath,
  ApprovalGrantQuery,
  ApprovalGrantSchema,
  ApprovalPath,
  ApprovalQuery,
  ApprovalSchema,
  ApproveBody,
  BulkVoteBody,
  BulkVotedSchema,
  DenyBody,
  OverrideBody,
  VoteBody,
} from '../approval-schemas.ts';
import { ApiError } from '../errors.ts';
import { actorOf, ok, route } from '../route.ts';
import { page } from '../schemas.ts';
import type { Caller } from '../scopes.ts';
import { installationOf, type Services } from '../services.ts';

/** Keys see what waits, and end what was let through for a while; nothing that they do decides. */
const SEEING = { scope: 'approvals.decide', person: true } as const;

const VOTE_ERRORS = [
  'APPROVAL_NOT_FOUND',
  'APPROVAL_DECIDED',
  'NOT_AN_APPROVER',
  'APPROVAL_BY_AUTHOR',
  'STALE_DIGEST',
  'STALE_VERSION',
  'REASON_REQUIRED',
  'APPROVAL_TAMPERED',
  'VAULT_UNAVAILABLE',
];

export const approvalRoutes = [
  route({
    id: 'listApprovals',
    method: 'GET',
    path: '/approvals',
    group: 'Approvals',
    summary: 'List requests that needed a person, newest first',
    access: SEEING,
    query: ApprovalQuery,
    responses: { 200: { description: 'A page of them', schema: page(ApprovalSchema) } },
    errors: ['VAULT_UNAVAILABLE'],
    handle: async ({ query }, services) => ok(await listApprovals(installationOf(services).store, query)),
  }),
  route({
    id: 'listApprovalGrants',
    method: 'GET',
    path: '/approvals/grants',
    group: 'Approvals',
    summary: 'List what is let through for a while without asking again, newest first',
    access: SEEING,
    query: ApprovalGrantQuery,
    responses: { 200: { description: 'All of them', schema: page(ApprovalGrantSchema) } },
    errors: ['VAULT_UNAVAILABLE'],
    handle: async ({ query }, services) => ok({ items: await listSticky(installationOf(services).store, query), next: null }),
  }),
  route({
    id: 'revokeApprovalGrant',
    method: 'DELETE',
    path: '/approvals/grants/{grant_id}',
    group: 'Approvals',
    summary: 'Ask again from now on',
    access: { scope: 'approvals.decide' },
    params: ApprovalGrantPath,
    responses: { 200: { description: 'The grant, revoked', schema: ApprovalGrantSchema } },
    errors: ['STICKY_NOT_FOUND', 'VAULT_UNAVAILABLE'],
    async handle({ params, caller }, services) {
      const { grant_id } = params;
      if (!isUuid(grant_id)) throw new PolicyError('STICKY_NOT_FOUND', `there is no approval grant ${JSON.stringify(grant_id)}`);
      return ok(await revokeSticky(installationOf(services), actorOf(caller), grant_id));
    },
  }),
  route({
    id: 'voteOnMany',
    method: 'POST',
    path: '/approvals/votes',
    group: 'Approvals',
    summary: 'Vote on up to 20 approvals, each by its digest',
    description: 'Each is a vote by itself: one that is refused refuses no other, and is answered with its code and message.',
    access: 'person',
    body: BulkVoteBody,
    example: {
      votes: [
        {
          approval_id: '0198c0de-0000-7000-8000-000000000000',
          verdict: 'deny',
          digest: 'b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c',
          reason: 'over the limit of this month',
        },
      ],
    },
    responses: { 200: { description: 'What became of each, in their order', schema: BulkVotedSchema } },
    errors: ['VAULT_UNAVAILABLE'],
    async handle({ body, caller }, services) {
      const votes = body.votes.map(({ approval_id, version, ...vote }) => ({ ...toVote(vote, version), approvalId: approval_id }));
      return ok({ items: await castVotes(votingParts(services), voterOf(caller), votes) });
    },
  }),
  route({
    id: 'getApproval',
    method: 'GET',
    path: '/approvals/{approval_id}',
    group: 'Approvals',
    summary: 'Read what is asked for, who may decide, and what was decided',
    description: 'The `ETag` is its version, for `If-Match` of a vote.',
    access: SEEING,
    params: ApprovalPath,
    responses: { 200: { description: 'The approval', schema: ApprovalForYouSchema } },
    errors: ['APPROVAL_NOT_FOUND', 'VAULT_UNAVAILABLE'],
    async handle({ params, caller }, services) {
      const { store } = installationOf(services);
      const approval = await getApproval(store, known(params.approval_id));
      const whyNot = caller.user === undefined ? undefined : await whyNotVoter(store, voterOf(caller), approval.approval_id);
      const you = caller.user === undefined ? null : { may_vote: whyNot === undefined, why_not: whyNot ?? null };
      return { status: 200, body: { ...approval, you }, headers: { etag: `"${approval.version}"` } };
    },
  }),
  route({
    id: 'vote',
    method: 'POST',
    path: '/approvals/{approval_id}/votes',
    group: 'Approvals',
    summary: 'Vote: approve, deny or abstain; or approve with other arguments',
    description:
      'A person only: API keys, sandboxes and agents never vote. One that denies is enough; approved it is with as many votes as its gate asks for. ' +
      'A second vote of the same person takes the place of the first. With `args_patch` the arguments are changed: what was voted before counts no more. ' +
      'With `If-Match`, a vote on another version is refused.',
    access: 'person',
    params: ApprovalPath,
    body: VoteBody,
    example: {
      verdict: 'approve',
      digest: 'b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c',
      reason: 'the refund of ticket 4711',
    },
    responses: { 200: { description: 'The approval as it is by now', schema: ApprovalDetailSchema } },
    errors: [...VOTE_ERRORS, 'EDIT_REFUSED', 'STICKY_REFUSED', 'POLICY_BROKEN'],
    handle: async ({ params, body, caller, request }, services) =>
      ok(await castVote(votingParts(services), voterOf(caller), known(params.approval_id), toVote(body, versionOf(request)))),
  }),
  route({
    id: 'approve',
    method: 'POST',
    path: '/approvals/{approval_id}/approve',
    group: 'Approvals',
    summary: 'Vote for it',
    description: 'The short form of a vote. Without a digest it is for what was asked, and refused when somebody has edited that.',
    access: 'person',
    params: ApprovalPath,
    body: ApproveBody,
    example: { reason: 'the refund of ticket 4711' },
    responses: { 200: { description: 'The approval as it is by now', schema: ApprovalDetailSchema } },
    errors: VOTE_ERRORS,
    handle: async ({ params, body, caller, request }, services) =>
      ok(
        await castVote(votingParts(services), voterOf(caller), known(params.approval_id), {
          ...toVote(body, versionOf(request)),
          verdict: 'approve',
        }),
      ),
  }),
  route({
    id: 'deny',
    method: 'POST',
    path: '/approvals/{approval_id}/deny',
    group: 'Approvals',
    summary: 'Refuse the request, and say why',
    access: 'person',
    params: ApprovalPath,
    body: DenyBody,
    example: { reason: 'over the limit of this month' },
    responses: { 200: { description: 'The decided approval', schema: ApprovalDetailSchema } },
    errors: VOTE_ERRORS,
    handle: async ({ params, body, caller, request }, services) =>
      ok(
        await castVote(votingParts(services), voterOf(caller), known(params.approval_id), {
          ...toVote(body, versionOf(request)),
          verdict: 'deny',
        }),
      ),
  }),
  route({
    id: 'overrideApproval',
    method: 'POST',
    path: '/approvals/{approval_id}/override',
    group: 'Approvals',
    summary: 'Approve it past its gate, as an administrator who has just proved who they are',
    description: 'For emergencies: it is an audit action of its own, and is told on the channel `centaur_overrides` of the database.',
    access: 'person',
    params: ApprovalPath,
    body: OverrideBody,
    example: { reason: 'the site is down and nobody else can be reached' },
    responses: { 200: { description: 'The decided approval', schema: ApprovalDetailSchema } },
    errors: [...VOTE_ERRORS, 'PROOF_REQUIRED'],
    handle: async ({ params, body, caller, request }, services) =>
      ok(
        await overrideApproval(installationOf(services), voterOf(caller), known(params.approval_id), {
          ...body,
          channel: body.channel ?? 'api',
          version: versionOf(request),
        }),
      ),
  }),
];

/** Of a person’s session, and of nothing else. @throws ApiError FORBIDDEN */
function voterOf({ user }: Caller): Voter {
  if (user === undefined)
    throw new ApiError('FORBIDDEN', 'people decide, by a session of theirs (centaur login): keys, sandboxes and agents never vote');
  const { name, role, roles, provenAt } = user;
  return { name, role, roles, provenAt };
}

function votingParts(services: Services): VotingParts {
  const { store, audit } = installationOf(services);
  return { store, audit, ...checksOf(services) };
}

/** What an edit is held against. */
export function checksOf({ tools }: Services): Pick<VotingParts, 'checkArguments' | 'checkSchema'> {
  return { checkArguments: (tool, args) => tools?.check(tool, args), checkSchema };
}

function toVote(
  {
    args_patch,
    for: scope,
    fields,
    channel = 'api',
    ...vote
  }: {
    readonly verdict?: Vote['verdict'];
    readonly digest?: string | undefined;
    readonly reason?: string | undefined;
    readonly args_patch?: Readonly<Record<string, unknown>> | undefined;
    readonly for?: 'thread' | 'run' | number | undefined;
    readonly fields?: readonly string[] | undefined;
    readonly channel?: 'api' | 'cli' | 'console' | undefined;
  },
  version: number | undefined,
): Vote {
  if (fields !== undefined && scope === undefined)
    throw new ApiError('INVALID_REQUEST', 'fields: say for how long, too (for)', {
      details: { issues: [{ path: 'for', message: 'is needed with fields' }] },
    });
  const sticky = scope === undefined ? undefined : { for: scope, fields };
  return { verdict: 'approve', ...vote, channel, version, patch: args_patch, sticky };
}

/** @throws ApiError INVALID_REQUEST */
function versionOf(request: Request): number | undefined {
  const given = request.headers.get('if-match');
  if (given === null || given === '*') return undefined;
  const version = /^"?([1-9]\d{0,8})"?$/.exec(given)?.[1];
  if (version === undefined)
    throw new ApiError('INVALID_REQUEST', 'header If-Match: expected the version of the approval, such as "3"', {
      details: { issues: [{ path: 'If-Match', message: 'is no version' }] },
    });
  return Number(version);
}

/** @throws PolicyError APPROVAL_NOT_FOUND */
export function known(approvalId: string): string {
  if (!isUuid(approvalId)) throw new PolicyError('APPROVAL_NOT_FOUND', `there is no approval ${JSON.stringify(approvalId)}`);
  return approvalId;
}
