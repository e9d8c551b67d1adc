/** People with sessions, for tests of whatever asks for a person. */
import assert from 'node:assert/strict';
import type { Voter } from '../../kernel/policy/index.ts';
import { createUsers, UserError, type UserRole } from '../../kernel/users/index.ts';
import { createSessions } from '../../kernel/users/sessions.ts';
import { setRoles } from '../../kernel/vault/index.ts';
import type { CallOptions, TestApi } from './api.ts';

export interface Person {
  readonly name: string;
  readonly password: string;
  readonly token: string;
  /** For `api.call`: as the CLI sends it. */
  readonly as: CallOptions;
}

/** Adds a user with the admin key, who then chooses a password and signs in. */
export async function addPerson(
  api: TestApi,
  name: string,
  role: UserRole,
  more: { readonly email?: string; readonly roles?: readonly string[] } = {},
): Promise<Person> {
  const { roles, ...given } = more;
  const added = await api.call('POST', '/users', { name, role, ...given });
  assert.equal(added.status, 201, JSON.stringify(added.body));
  if (roles !== undefined) assert.equal((await api.call('PUT', `/users/${name}/roles`, { roles })).status, 200);
  const password = `the own password of ${name}`;
  const body = { name, password: added.body.temporary_password, new_password: password };
  const begun = await api.call('POST', '/auth/password', body, { key: null });
  assert.equal(begun.status, 200, JSON.stringify(begun.body));
  return { name, password, token: begun.body.token, as: bearer(begun.body.token) };
}

export async function signIn(api: TestApi, { name, password }: Pick<Person, 'name' | 'password'>): Promise<string> {
  const { status, body } = await api.call('POST', '/auth/password', { name, password }, { key: null });
  assert.equal(status, 200, JSON.stringify(body));
  return body.token;
}

/** Signs in as a browser does. @returns its cookie */
export async function browserCookie(api: TestApi, { name, password }: Pick<Person, 'name' | 'password'>): Promise<string> {
  const { headers } = await api.call('POST', '/auth/password', { name, password, kind: 'browser' }, { key: null });
  return cookieIn(headers) ?? assert.fail('no cookie was set');
}

export function bearer(token: string): CallOptions {
  return { key: null, headers: { authorization: `Bearer ${token}` } };
}

/** Name and value of a cookie that an answer sets. */
export function cookieIn(headers: Headers, name = 'centaur'): string | undefined {
  return headers
    .getSetCookie()
    .map((cookie) => cookie.split(';')[0] ?? '')
    .find((pair) => pair.startsWith(`${name}=`) && !pair.endsWith('='));
}
/** For whatever asks no more than who it is. `sessionOf` makes a user of it. */
export function person(name: string, role: Voter['role'] = 'approver', more: Partial<Voter> = {}): Voter {
  return { name, role, roles: [], provenAt: Date.now(), ...more };
}

/** A session of this person, who is added unless there: what they send in place of a key. */
export async function sessionOf({ installation }: TestApi, { name, role, roles, provenAt }: Voter): Promise<string> {
  const { store, audit } = installation;
  const users = createUsers({ store, audit });
  await users.add('test', { name, role }, 'none').catch((error: unknown) => {
    if (!(error instanceof UserError && error.code === 'USER_EXISTS')) throw error;
  });
  if (roles.length > 0) await setRoles(installation, 'test', `user:${name}`, roles);
  const { user_id: userId, ...user } = await users.get(name);
  assert.deepEqual([user.role, user.roles], [role, roles.toSorted()], `${name} is somebody else already`);
  const source = { address: null, agent: null };
  return store.transaction(async (tx) => {
    const begun = await createSessions(store, () => store.now()).begin(tx, { userId, kind: 'cli', how: 'password', provenAt, source });
    return begun.token;
  });
}
