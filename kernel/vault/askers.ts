/**
 * Whose grants count in a turn, beside those of its thread: those of who asked for it, and of the channel that it was asked in. Both are
 * somebody's word: of the chat's bot, or of a session.
 */
import { externalId, readExternalId } from '@centaur/sdk/chat-names';
import type { Queryable } from '../store/index.ts';
import { grantsOf, isOwnSecretOf, isPrincipal } from './grants.ts';

/** Of a turn. */
export interface Asker {
  /** `slack:T1:U1`, or the name of a user; null: nobody vouches for anybody. */
  readonly account: string | null;
  /** `channel:slack:C1`. */
  readonly channel: string | null;
}

export interface Besides extends Asker {
  /** Name of the user; the account where no user is linked to it. */
  readonly user: string | null;
  /** Principals that hold something, sorted. */
  readonly principals: readonly string[];
  readonly secrets: readonly string[];
}

/**
 * As of now. What a user has connected of their own is not among the secrets: that is for calls of tools, in turns in which nobody else has
 * a word (decision 17).
 */
export async function besidesOf(on: Queryable, asker: Asker, lock: Lock = 'free'): Promise<Besides> {
  const { channel } = asker;
  const account = asker.account === null ? null : canonicalAccount(asker.account);
  const person = account === null ? undefined : await personOfAccount(on, account, lock);
  const holders = [
    ...(person?.state === 'linked' && person.external ? [account as string] : []),
    ...(person?.state === 'linked' ? [`user:${person.user}`] : []),
    ...(person?.state === 'unknown' ? [account as string] : []),
    // who may do nothing any more has nothing of a channel either
    ...(channel === null || person?.state === 'nobody' ? [] : [channel]),
    // what is too long for a principal holds nothing
  ].filter(isPrincipal);
  const held = new Map<string, readonly string[]>();
  for (const holder of holders) {
    const secrets = (await grantsOf(on, holder)).filter((secret) => person?.state !== 'linked' || !isOwnSecretOf(secret, person.user));
    if (secrets.length > 0) held.set(holder, secrets);
  }
  const user = person?.state === 'linked' ? person.user : person?.state === 'unknown' ? account : null;
  return { account, channel, user, principals: [...held.keys()].toSorted(), secrets: [...new Set([...held.values()].flat())] };
}

/** `held`: nobody is unlinked or disabled until the transaction ends. */
type Lock = 'free' | 'held';

/** As links and grants have it; a user's name as it is. */
export function canonicalAccount(account: string): string {
  const identity = readExternalId(account);
  return identity === undefined ? account : externalId(identity);
}

export type AccountPerson =
  | { readonly state: 'linked'; readonly user: string; readonly external: boolean }
  /** Of a chat, and nobody has linked it. */
  | { readonly state: 'unknown' }
  /** Disabled, or never there. */
  | { readonly state: 'nobody' };

/** Who that is: an account in a chat, or a user's name. */
export async function personOfAccount(on: Queryable, account: string, lock: Lock = 'free'): Promise<AccountPerson> {
  const identity = readExternalId(account);
  const { rows } = await (identity === undefined
    ? on.query<{ name: string; disabled: boolean }>(
        `select name, disabled_at is not null as disabled from users where name = $1 ${lock === 'held' ? 'for share' : ''}`,
        [account],
      )
    : on.query<{ name: string; disabled: boolean }>(
        `select u.name, u.disabled_at is not null as disabled from chat_links l join users u using (user_id)
         where l.platform = $1 and l.team = $2 and l.external_user = $3 ${lock === 'held' ? 'for share' : ''}`,
        [identity.platform, identity.team, identity.externalUser],
      ));
  const [found] = rows;
  if (found === undefined) return { state: identity === undefined ? 'nobody' : 'unknown' };
  return found.disabled ? { state: 'nobody' } : { state: 'linked', user: found.name, external: identity !== undefined };
}

/** Whose words these are, as budgets and tools know them; undefined when they are nobody's. */
export async function userOfWords(
  on: Queryable,
  { userId, vouched }: { readonly userId: string | null; readonly vouched: boolean },
): Promise<string | undefined> {
  if (userId === null) return undefined;
  // a user's name is believed to whoever may write to threads, as ever
  if (readExternalId(userId) === undefined) return userId;
  if (!vouched) return undefined;
  const person = await personOfAccount(on, userId);
  return person.state === 'linked' ? person.user : person.state === 'unknown' ? userId : undefined;
}
