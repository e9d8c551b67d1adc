/**
 * What a key may do. A scope only ever adds; `admin` includes all the others.
 *
 * `workflows:*` starts, reads, cancels, retries and forks any run; `workflows:<name>` the same for one workflow.
 * `workflows.read` only reads. `leases.create` makes, sees and ends the leases of the key itself, whose principal is
 * `key:<id>`. `tools:*` lists and calls any tool, `tools:<name>` one of them; what a call may do is up to the policy. `inbox.use` stores what a chat service says, and takes it out again. `chats.use` is for bots: what their service signs, who in it is whom, and approvals to be shown there; whom such a key names as the user of a turn counts as that user. `webhooks:forward` lets the edge say where a delivery came from. Nothing else is included in anything: who may write secrets, say, does not read the audit log.
 */
import type { SessionUser, UserRole } from '../users/index.ts';
import { ApiError } from './errors.ts';

const PLAIN = [
  'admin',
  'workflows:*',
  'workflows.read',
  'events.emit',
  'threads.read',
  'threads.write',
  'deliveries.claim',
  'inbox.use',
  'chats.use',
  'secrets.read',
  'secrets.write',
  'leases.create',
  'policy.read',
  'policy.write',
  'approvals.decide',
  'audit.read',
  'metrics.read',
  'webhooks:forward',
  'tools:*',
] as const;

/** Besides these, there is `workflows:<name>` for each workflow, and `tools:<name>` for each tool. */
type Scope = (typeof PLAIN)[number];

/**
 * What a route asks for. `perWorkflow`, `perTool`: a key for single workflows or tools passes as well, and the handler narrows what it
 * reaches.
 *
 * `'person'` is no scope that a key can have: a session, of whatever role. `person`: a session passes as well, and the handler narrows what it may do.
 *
 * `ofThread`: the token of a sandbox passes too, for its own thread: the one that the path or the query `named`, or the one
 * that the handler finds.
 */
export type Access =
  | 'public'
  | 'person'
  | {
      readonly scope: Scope;
      readonly perWorkflow?: true;
      readonly perTool?: true;
      readonly ofThread?: 'named' | 'found';
      readonly person?: true;
    };

/** A person, by a session of theirs. No key and no token of a sandbox has one, so none of them counts as a person. */
export interface CallerUser {
  readonly userId: string;
  /** Unique, in lower case: `user:<name>` is the principal, and the actor in the audit log. */
  readonly name: string;
  readonly role: UserRole;
  /** Besides, as gates name them (`role:finance`): those of the principal. */
  readonly roles: readonly string[];
  /** When they last proved who they are: Unix milliseconds. */
  readonly provenAt: number;
}

const VIEWER = ['workflows.read', 'threads.read', 'secrets.read', 'policy.read', 'audit.read', 'metrics.read'] as const;

/** A viewer reads whatever there is to read, and no secret is among it. An approver decides, and starts nothing: who may do both is an admin. */
export const SCOPES_OF_ROLE: Readonly<Record<UserRole, readonly Scope[]>> = {
  viewer: VIEWER,
  operator: [...VIEWER, 'workflows:*', 'events.emit', 'threads.write', 'tools:*'],
  approver: [...VIEWER, 'approvals.decide'],
  admin: ['admin'],
};

export interface Caller {
  /** Of the key, or of the session. */
  readonly keyId: string;
  readonly scopes: readonly string[];
  readonly user?: CallerUser;
  /** Where there is a user: the session, as it stands. */
  readonly session?: SessionUser;
  /** Of a sandbox's token: the only thread that it may read. */
  readonly thread?: string;
  /** Of a sandbox's token: the only tools that its persona leaves it; undefined: all. */
  readonly tools?: readonly string[];
}

export const SCOPE_PATTERN = new RegExp(
  `^(?:${PLAIN.map((scope) => scope.replaceAll(/[.*]/g, '\\$&')).join('|')}|workflows:[A-Za-z0-9_.-]{1,128}|tools:[a-z0-9][a-z0-9_-]{0,63})$`,
);

/** For whoever mistyped one. */
export const SCOPES_TEXT = `${PLAIN.join(', ')}, workflows:<name> or tools:<name>`;

/** @throws ApiError FORBIDDEN naming the scope */
export function authorise(caller: Caller, access: Exclude<Access, 'public'>): void {
  if (access === 'person') {
    if (caller.user !== undefined) return;
    throw new ApiError('FORBIDDEN', 'this is for people, by a session of theirs (centaur login): keys and sandboxes are nobody', {
      details: { needed: ['session'] },
    });
  }
  if (caller.thread !== undefined) {
    if (access.ofThread !== undefined) return;
    throw new ApiError('FORBIDDEN', 'the token of a sandbox reads its own thread and calls tools, and may do nothing else');
  }
  if (has(caller, access.scope) || (access.person === true && caller.user !== undefined)) return;
  if ((access.perWorkflow && single(caller, 'workflows').length > 0) || (access.perTool && single(caller, 'tools').length > 0)) return;
  throw forbidden(caller, [
    ...implying(access.scope),
    ...(access.perWorkflow ? ['workflows:<name>'] : []),
    ...(access.perTool ? ['tools:<name>'] : []),
  ]);
}

/** @throws ApiError FORBIDDEN when a sandbox asks for another thread than its own */
export function authoriseThread(caller: Caller, access: Exclude<Access, 'public'>, params: unknown, query: unknown): void {
  if (access === 'person' || caller.thread === undefined || access.ofThread === 'found') return;
  const named = { ...(query as { thread_key?: unknown }), ...(params as { thread_key?: unknown }) }.thread_key;
  if (named !== caller.thread) throw new ApiError('FORBIDDEN', 'the token of a sandbox reads its own thread, and no other');
}

/** @throws ApiError FORBIDDEN unless the key may start and change runs of this workflow */
export function authoriseRun(caller: Caller, workflow: string): void {
  if (!has(caller, 'workflows:*') && !caller.scopes.includes(`workflows:${workflow}`))
    throw forbidden(caller, [`workflows:${workflow}`, 'workflows:*']);
}

/** @throws ApiError FORBIDDEN unless the key may read runs of this workflow */
export function authoriseRead(caller: Caller, workflow: string): void {
  const readable = readableWorkflows(caller);
  if (readable !== 'all' && !readable.includes(workflow))
    throw forbidden(caller, ['workflows.read', `workflows:${workflow}`, 'workflows:*']);
}

export function readableWorkflows(caller: Caller): 'all' | readonly string[] {
  return has(caller, 'workflows.read') ? 'all' : single(caller, 'workflows');
}

/** A sandbox may see all that its persona leaves it: what its calls may do is up to the policy. */
export function reachesTool(caller: Caller, tool: string): boolean {
  if (caller.thread !== undefined) return caller.tools === undefined || caller.tools.includes(tool);
  return has(caller, 'tools:*') || caller.scopes.includes(`tools:${tool}`);
}

/** @throws ApiError FORBIDDEN unless the caller may see and call this tool */
export function authoriseTool(caller: Caller, tool: string): void {
  if (reachesTool(caller, tool)) return;
  if (caller.thread !== undefined) throw new ApiError('FORBIDDEN', `the persona of this thread may not call ${JSON.stringify(tool)}`);
  throw forbidden(caller, [`tools:${tool}`, 'tools:*']);
}

/** For a route that gives more to keys with a second scope. @throws ApiError FORBIDDEN naming it */
export function requireScope(caller: Caller, scope: Scope): void {
  if (!has(caller, scope)) throw forbidden(caller, implying(scope));
}

export function isAdmin(caller: Caller): boolean {
  return has(caller, 'admin');
}

/** It answers for who in its chat is who, and where. */
export function isBot(caller: Caller): boolean {
  return has(caller, 'chats.use');
}

/** True when reading and changing need no look at which workflow it is. */
export function reachesAllWorkflows(caller: Caller, what: 'read' | 'run'): boolean {
  return has(caller, what === 'read' ? 'workflows.read' : 'workflows:*');
}

function has(caller: Caller, scope: string): boolean {
  return implying(scope).some((each) => caller.scopes.includes(each));
}

/** The scope, and those that include it. */
function implying(scope: string): string[] {
  return [...new Set([scope, ...(scope === 'workflows.read' ? ['workflows:*'] : []), 'admin'])];
}

/** Names of which the key has each. */
function single(caller: Caller, kind: 'workflows' | 'tools'): string[] {
  return caller.scopes
    .filter((scope) => scope.startsWith(`${kind}:`) && scope !== `${kind}:*`)
    .map((scope) => scope.slice(kind.length + 1));
}

function forbidden({ user }: Caller, needed: readonly string[]): ApiError {
  const who = user === undefined ? 'this key may not do that: it needs' : `as ${user.role} you may not do that: it needs`;
  return new ApiError('FORBIDDEN', `${who} the scope ${needed.map((scope) => `"${scope}"`).join(' or ')}`, { details: { needed } });
}
