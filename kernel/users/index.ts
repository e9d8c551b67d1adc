/**
 * Users: people, how they prove who they are, and their sessions.
 *
 * It promises that a password is kept as argon2id and nowhere else, that a wrong name costs and says as much as a wrong password, that tries
 * are counted before they are looked at, that a session's token is kept by its owner alone, that whoever is disabled or given another role is
 * so within a second everywhere, that there is an admin as long as there was one, and that each change has its entry in the same
 * transaction. It knows neither HTTP nor providers, and does not say what a role may do: that is the API's.
 *
 * Read `passwords.ts` for the hashes, `tries.ts` for what guessing costs, `sessions.ts` for tokens, `identities.ts` for whom a provider means.
 */
import type { AuditLog } from '../audit/index.ts';
import type { Queryable, Store } from '../store/index.ts';
import { changeUser, disableUser, getUser, insertUser, listUsers, lockUser, type Parts, type UserRow } from './accounts.ts';
import { UserError } from './errors.ts';
import { type Admission, admit, type Claims } from './identities.ts';
import { checkPassword, createPasswords, makeTemporaryPassword, type PasswordCost } from './passwords.ts';
import { createSessions } from './sessions.ts';
import { createTries } from './tries.ts';
import type { BegunSession, NewUser, SessionKind, SessionUser, SessionView, Source, UserChange, UserView } from './types.ts';

export { endLeasesOfAsker } from './asker-leases.ts';
export { disableUser, lockUser, refuseLastAdmin, type UserRow } from './accounts.ts';
export { USER_ERRORS, UserError, type UserErrorCode } from './errors.ts';
export type { Admission, Claims } from './identities.ts';
export { PASSWORD_LEAST } from './passwords.ts';
export * from './types.ts';

export interface UsersOptions {
  readonly store: Store;
  readonly audit: AuditLog;
  /** Milliseconds of the wall clock. Default: the store's. */
  readonly now?: () => number;
  readonly passwordCost?: PasswordCost;
}

export interface PasswordSignIn {
  readonly name: string;
  readonly password: string;
  /** In place of the old one, from now on; every other session of the user ends. */
  readonly newPassword?: string | undefined;
  readonly kind: SessionKind;
  readonly source: Source;
}

export interface ProvidedSignIn {
  readonly claims: Claims;
  readonly admission: Admission;
  /** When the provider last proved who it is: Unix milliseconds; 0 where it does not say. */
  readonly provenAt: number;
  readonly kind: SessionKind;
  readonly source: Source;
}

export interface Users {
  list(): Promise<readonly UserView[]>;
  get(name: string): Promise<UserView>;
  /** The password is shown once, counts for three days, and only for choosing another. */
  add(actor: string, user: NewUser, password: 'temporary' | 'none'): Promise<UserView & { readonly temporary_password: string | null }>;
  /** Another role that no person gave ends every session: nobody votes on with what a key has made of them. */
  change(actor: string, name: string, change: UserChange): Promise<UserView>;
  /** Ends every session. */
  disable(actor: string, name: string): Promise<UserView>;
  enable(actor: string, name: string): Promise<UserView>;
  /** Ends every session. */
  resetPassword(actor: string, name: string): Promise<UserView & { readonly temporary_password: string | null }>;
  sessions(name: string): Promise<readonly SessionView[]>;
  /** All of a user. @returns how many */
  endSessions(actor: string, name: string): Promise<number>;
  /** The session's own end. */
  signOut(user: SessionUser): Promise<void>;

  /** @throws UserError TOO_MANY_TRIES, SIGN_IN_REFUSED, PASSWORD_CHANGE_REQUIRED, INVALID_USER, SIGN_IN_BUSY */
  signIn(signIn: PasswordSignIn): Promise<BegunSession>;
  /** In the name of a provider whose word was verified. @throws UserError SIGN_IN_REFUSED */
  signInByProvider(signIn: ProvidedSignIn): Promise<BegunSession>;
  /** That it is still the same person at the keyboard. @throws UserError as `signIn` */
  prove(user: SessionUser, password: string, source: Source): Promise<SessionUser>;
  /** Counts what anybody may ask for. @throws UserError TOO_MANY_TRIES */
  countTry(what: string, address: string | null, most: number): Promise<void>;

  /** Who stands behind a token; undefined when nobody does, or not any more. */
  find(token: string): Promise<SessionUser | undefined>;
  isActive(sessionId: string): Promise<boolean>;
  /** Forgets what is over. */
  prune(): Promise<void>;
}

const isPerson = (actor: string): boolean => actor.startsWith('user:');

const TEMPORARY_MS = 3 * 24 * 3_600_000;

export function createUsers({ store, audit, now = () => store.now(), passwordCost }: UsersOptions): Users {
  const parts: Parts = { store, audit, now };
  const passwords = createPasswords(passwordCost);
  const sessions = createSessions(store, now);
  const tries = createTries(store, now);

  /** The user and what the password is, for one who may try. Whoever is not there costs as much as whoever is. */
  async function check(name: string, password: string, source: Source): Promise<{ readonly user: UserRow; readonly rehash: boolean }> {
    const lower = name.trim().toLowerCase();
    await tries.take(lower, source.address, await sessions.isFrom(lower, source.address));
    const { rows } = await store.query<UserRow>('select *, user_id::text from users where name = $1', [lower]);
    const user = rows[0];
    const isUsable = user !== undefined && user.disabled_at === null && (user.temporary_until === null || user.temporary_until > now());
    const verdict = await passwords.verify(password.slice(0, 4000), isUsable ? user.password_hash : null);
    if (verdict === 'wrong' || user === undefined) {
      // a name that nobody has may be a password that was typed into the wrong field
      await audit.writeSoon({
        action: 'user.sign_in_refused',
        actor: 'anonymous',
        resource: user === undefined ? 'user:unknown' : `user:${user.name}`,
        details: { how: 'password', address: source.address },
      });
      throw new UserError('SIGN_IN_REFUSED', 'name or password is wrong, or the account is disabled');
    }
    await tries.forgive(lower, source.address);
    return { user, rehash: verdict !== 'right' };
  }

  async function begin(
    tx: Queryable,
    user: UserRow,
    session: { readonly kind: SessionKind; readonly how: 'password' | 'oidc'; readonly provenAt: number; readonly source: Source },
  ): Promise<BegunSession> {
    const { token, sessionId } = await sessions.begin(tx, { ...session, userId: user.user_id });
    await audit.append(tx, {
      action: 'user.sign_in',
      actor: `user:${user.name}`,
      resource: `session:${sessionId}`,
      details: { kind: session.kind, how: session.how, address: session.source.address },
    });
    await tx.query('update users set last_sign_in_at = $2 where user_id = $1', [user.user_id, new Date(now())]);
    return { token, user: await sessions.read(tx, sessionId) };
  }

  /** As `check` found it, and nobody has changed it since. @throws UserError SIGN_IN_REFUSED */
  async function lockChecked(tx: Queryable, seen: UserRow): Promise<void> {
    const { rowCount } = await tx.query(
      'select 1 from users where user_id = $1 and password_hash = $2 and disabled_at is null for no key update',
      [seen.user_id, seen.password_hash],
    );
    if (rowCount === 0) throw new UserError('SIGN_IN_REFUSED', 'name or password is wrong, or the account is disabled');
  }

  async function keepPassword(tx: Queryable, userId: string, hash: string, temporaryUntil: number | null): Promise<void> {
    await tx.query('update users set password_hash = $2, temporary_until = $3, updated_at = $4 where user_id = $1', [
      userId,
      hash,
      temporaryUntil === null ? null : new Date(temporaryUntil),
      new Date(now()),
    ]);
  }

  async function endAll(tx: Queryable, actor: string, user: UserRow): Promise<number> {
    const ended = await sessions.end(tx, { userId: user.user_id });
    if (ended.length > 0)
      await audit.append(tx, { action: 'user.sessions_end', actor, resource: `user:${user.name}`, details: { sessions: ended } });
    return ended.length;
  }

  const changed = async (name: string): Promise<UserView> => {
    sessions.forget();
    return getUser(parts, name);
  };

  return {
    list: () => listUsers(parts),
    get: (name) => getUser(parts, name),
    async add(actor, user, password) {
      const temporary = password === 'temporary' ? makeTemporaryPassword() : null;
      const given = temporary === null ? {} : { passwordHash: await passwords.hash(temporary), temporaryUntil: now() + TEMPORARY_MS };
      await store.transaction((tx) => insertUser(tx, parts, actor, { ...user, ...given }));
      return { ...(await getUser(parts, user.name)), temporary_password: temporary };
    },
    async change(actor, name, change) {
      await changeUser(parts, actor, name, change, async (tx, user) => isPerson(actor) || endAll(tx, actor, user));
      return changed(name);
    },
    async disable(actor, name) {
      await store.transaction(async (tx) => {
        const user = await lockUser(tx, name);
        if (await disableUser(tx, audit, actor, user, new Date(now()))) await endAll(tx, actor, user);
      });
      return changed(name);
    },
    async enable(actor, name) {
      await store.transaction(async (tx) => {
        const user = await lockUser(tx, name);
        if (user.disabled_at === null) return;
        await audit.append(tx, { action: 'user.enable', actor, resource: `user:${name}` });
        await tx.query('update users set disabled_at = null, updated_at = $2 where user_id = $1', [user.user_id, new Date(now())]);
      });
      return changed(name);
    },
    async resetPassword(actor, name) {
      await getUser(parts, name);
      const temporary = makeTemporaryPassword();
      const hash = await passwords.hash(temporary);
      await store.transaction(async (tx) => {
        const user = await lockUser(tx, name);
        await audit.append(tx, { action: 'user.password_reset', actor, resource: `user:${name}` });
        await keepPassword(tx, user.user_id, hash, now() + TEMPORARY_MS);
        await endAll(tx, actor, user);
      });
      return { ...(await changed(name)), temporary_password: temporary };
    },
    async sessions(name) {
      return sessions.list((await getUser(parts, name)).user_id);
    },
    async endSessions(actor, name) {
      await getUser(parts, name);
      const count = await store.transaction(async (tx) => endAll(tx, actor, await lockUser(tx, name)));
      sessions.forget();
      return count;
    },
    async signOut(user) {
      await store.transaction(async (tx) => {
        await audit.append(tx, { action: 'user.sign_out', actor: `user:${user.name}`, resource: `session:${user.sessionId}` });
        await sessions.end(tx, { userId: user.userId, sessionId: user.sessionId });
      });
      sessions.forget();
    },

    async signIn({ name, password, newPassword, kind, source }) {
      // before the try is spent: what is wrong with it says nothing of the account
      if (newPassword !== undefined) {
        checkPassword(newPassword, 'new_password');
        if (newPassword === password) throw new UserError('INVALID_USER', 'new_password: it is the old one');
      }
      const { user, rehash } = await check(name, password, source);
      if (user.temporary_until !== null && newPassword === undefined)
        throw new UserError(
          'PASSWORD_CHANGE_REQUIRED',
          'this password was made for you, and only serves to choose your own: send new_password too',
        );
      const hash = newPassword !== undefined || rehash ? await passwords.hash(newPassword ?? password) : undefined;
      const begun = await store.transaction(async (tx) => {
        await lockChecked(tx, user);
        if (hash !== undefined) await keepPassword(tx, user.user_id, hash, null);
        if (newPassword !== undefined) {
          await audit.append(tx, { action: 'user.password_change', actor: `user:${user.name}`, resource: `user:${user.name}` });
          await endAll(tx, `user:${user.name}`, user);
        }
        return begin(tx, user, { kind, how: 'password', provenAt: now(), source });
      });
      sessions.forget();
      return begun;
    },
    async signInByProvider({ claims, admission, provenAt, kind, source }) {
      try {
        return await store.transaction(async (tx) => {
          const user = await admit(tx, parts, claims, admission);
          return begin(tx, user, { kind, how: 'oidc', provenAt: Math.min(provenAt, now()), source });
        });
      } catch (error) {
        if (error instanceof UserError && error.code === 'SIGN_IN_REFUSED')
          await audit.writeSoon({
            action: 'user.sign_in_refused',
            actor: 'anonymous',
            resource: 'user:unknown',
            details: { how: 'oidc', issuer: claims.issuer, subject: claims.subject.slice(0, 255), address: source.address },
          });
        throw error;
      } finally {
        // a provider's groups may have given another role
        sessions.forget();
      }
    },
    async prove(session, password, source) {
      const { user } = await check(session.name, password, source);
      if (user.temporary_until !== null)
        throw new UserError('PASSWORD_CHANGE_REQUIRED', 'your password was reset: sign in again and choose your own');
      const proven = await store.transaction(async (tx) => {
        await lockChecked(tx, user);
        await audit.append(tx, { action: 'user.prove', actor: `user:${user.name}`, resource: `session:${session.sessionId}` });
        await sessions.prove(tx, session.sessionId);
        return sessions.read(tx, session.sessionId);
      });
      sessions.forget();
      return proven;
    },
    countTry: tries.takeOne,

    find: sessions.find,
    isActive: sessions.isActive,
    async prune() {
      await sessions.prune();
      await tries.prune();
    },
  };
}
