/** People with sessions, for tests: the one place that says how a request of theirs is known. */
import type { Caller } from '../../kernel/api/scopes.ts';
import type { Voter } from '../../kernel/policy/index.ts';

const SESSION = 'test-session-';

const SCOPES: Readonly<Record<Voter['role'], readonly string[]>> = {
  viewer: ['workflows.read', 'threads.read', 'policy.read'],
  operator: ['workflows:*', 'threads.read', 'threads.write', 'tools:*', 'policy.read'],
  approver: ['workflows.read', 'threads.read', 'policy.read', 'approvals.decide'],
  admin: ['admin'],
};

export function person(name: string, role: Voter['role'] = 'approver', more: Partial<Voter> = {}): Voter {
  return { name, role, roles: [], provenAt: Date.now(), ...more };
}

/** What they send in place of a key. */
export function sessionOf(voter: Voter): string {
  return SESSION + Buffer.from(JSON.stringify(voter)).toString('base64url');
}

export async function callerOfSession(headers: Headers): Promise<Caller | undefined> {
  const given = headers.get('x-api-key') ?? headers.get('authorization')?.replace(/^Bearer /, '') ?? '';
  if (!given.startsWith(SESSION)) return undefined;
  const voter = JSON.parse(Buffer.from(given.slice(SESSION.length), 'base64url').toString()) as Voter;
  return { keyId: `session-${voter.name}`, scopes: SCOPES[voter.role], user: { userId: voter.name, ...voter } };
}
