/**
 * Links: which account at a chat service is which user's. A person gets a code by their session and brings it by the account; a bot says which
 * account that was, and could say another. So the person sees the account in their session, and says yes to it. Or an admin says so. An
 * account has one user at most, who may have several accounts.
 */
import { createHmac, hkdfSync, randomInt } from 'node:crypto';
import type { ChatLink, ChatPerson, ChatPlatform, Identity, LinkCode, Linked, PendingLink } from '@centaur/sdk';
import { externalId } from '@centaur/sdk';
import type { AuditLog } from '../audit/index.ts';
import type { Queryable, Store } from '../store/index.ts';
import { endLeasesOfAsker, type UserRole, type Users } from '../users/index.ts';
import { ChatError } from './errors.ts';

export interface LinkParts {
  readonly store: Store;
  readonly audit: AuditLog;
  /** Of the installation. */
  readonly macKey: Buffer;
  readonly users: Pick<Users, 'countTry' | 'get'>;
}

const CODE_MS = 10 * 60_000;
const CODES_MOST = 5;
/** Without what is taken for something else when it is typed. 31^8 codes. */
const LETTERS = 'ABCDEFGHJKMNPQRSTUVWXYZ23456789';
/** In a quarter of an hour. */
const TRIES = { identity: 10, key: 500 } as const;

/** @throws ChatError TOO_MANY_CODES */
export async function makeCode(
  { store, audit, macKey }: LinkParts,
  user: { readonly userId: string; readonly name: string },
  platform: ChatPlatform,
): Promise<LinkCode> {
  const code = Array.from({ length: 8 }, () => LETTERS[randomInt(LETTERS.length)]).join('');
  const expiresAt = new Date(store.now() + CODE_MS);
  await store.transaction(async (tx) => {
    // one after the other for each person, so that they are counted
    await tx.query('select 1 from users where user_id = $1 for no key update', [user.userId]);
    const { rows } = await tx.query<{ open: number }>(
      'select count(*)::int as open from chat_link_codes where user_id = $1 and expires_at > $2',
      [user.userId, new Date(store.now())],
    );
    if ((rows[0]?.open ?? 0) >= CODES_MOST)
      throw new ChatError('TOO_MANY_CODES', `${CODES_MOST} codes of yours are open already: use one of them, or wait ten minutes`);
    await audit.append(tx, { action: 'chat.link_code', actor: `user:${user.name}`, resource: `user:${user.name}`, details: { platform } });
    await tx.query('insert into chat_link_codes (code_mac, user_id, platform, expires_at) values ($1, $2, $3, $4)', [
      macOf(macKey, code),
      user.userId,
      platform,
      expiresAt,
    ]);
  });
  return { code: `${code.slice(0, 4)}-${code.slice(4)}`, expires_at: expiresAt.toISOString() };
}

/**
 * The code is the account's from then on, and linked to nobody before its person has confirmed it. Tries are counted before the code is looked at.
 *
 * @throws ChatError LINK_CODE_INVALID, LINK_TAKEN; UserError TOO_MANY_TRIES
 */
export async function bringCode(
  { store, macKey, users }: LinkParts,
  actor: string,
  identity: Identity,
  { code, displayName }: { readonly code: string; readonly displayName?: string | undefined },
): Promise<Linked> {
  await users.countTry(`link ${externalId(identity)}`, null, TRIES.identity);
  // not of the platform as a whole: else one key could keep the people of all others out
  await users.countTry(`link by ${actor}`, null, TRIES.key);
  return store.transaction(async (tx) => {
    await lockIdentity(tx, identity);
    const [platform, team, account] = keyOf(identity);
    // whoever is first has it; one that is refused below is there again
    const { rows } = await tx.query<{ name: string }>(
      `update chat_link_codes c set team = $4, external_user = $5, display_name = $6, brought_by = $7,
         expires_at = case when c.team is null then $8 else c.expires_at end
       from users u where c.code_mac = $1 and c.platform = $2 and c.expires_at > $3 and u.user_id = c.user_id and u.disabled_at is null
         and (c.team is null or (c.team = $4 and c.external_user = $5)) returning u.name`,
      [
        macOf(macKey, plain(code)),
        platform,
        new Date(store.now()),
        team,
        account,
        displayName ?? null,
        actor,
        new Date(store.now() + CODE_MS),
      ],
    );
    const [owner] = rows;
    if (owner === undefined)
      throw new ChatError('LINK_CODE_INVALID', 'code: this one is wrong, over or used; make another with: centaur users link');
    const known = await findLink(tx, identity);
    if (known === undefined) return { user: null, pending: true };
    if (known.user !== owner.name) throw taken(identity);
    // nothing is left to be confirmed
    await tx.query('delete from chat_link_codes where code_mac = $1', [macOf(macKey, plain(code))]);
    return { user: known.user, pending: false };
  });
}

/** Accounts that have brought a code of this person, and wait for their yes. */
export async function listPending({ store }: Pick<LinkParts, 'store'>, userId: string): Promise<readonly PendingLink[]> {
  const { rows } = await store.query<Omit<PendingLink, 'expires_at'> & { readonly expires_at: number }>(
    `select platform, team, external_user, (array_agg(display_name order by expires_at desc))[1] as display_name, max(expires_at) as expires_at
     from chat_link_codes where user_id = $1 and team is not null and expires_at > $2 group by 1, 2, 3 order by 1, 2, 3`,
    [userId, new Date(store.now())],
  );
  return rows.map((row) => ({ ...row, expires_at: new Date(row.expires_at).toISOString() }));
}

/** @throws ChatError LINK_NOT_PENDING, LINK_TAKEN */
export async function confirmLink(
  { store, audit }: LinkParts,
  user: { readonly userId: string; readonly name: string },
  identity: Identity,
): Promise<ChatLink> {
  return store.transaction(async (tx) => {
    await lockIdentity(tx, identity);
    const { rows } = await tx.query<{ display_name: string | null; brought_by: string }>(
      `delete from chat_link_codes where platform = $1 and team = $2 and external_user = $3 and user_id = $4 and expires_at > $5
       returning display_name, brought_by`,
      [...keyOf(identity), user.userId, new Date(store.now())],
    );
    const [brought] = rows;
    if (brought === undefined)
      throw new ChatError(
        'LINK_NOT_PENDING',
        `${externalId(identity)} has brought no code of yours, or too long ago: send the bot a new one`,
      );
    const link = { ...user, displayName: brought.display_name ?? undefined, how: 'code' as const };
    return insertLink(tx, audit, `user:${user.name}`, identity, link, { by: brought.brought_by });
  });
}

/** @throws ChatError LINK_TAKEN; UserError USER_NOT_FOUND */
export async function linkByAdmin(
  { store, audit, users }: LinkParts,
  actor: string,
  identity: Identity,
  { user: name, displayName }: { readonly user: string; readonly displayName?: string | undefined },
): Promise<ChatLink> {
  const { user_id: userId } = await users.get(name);
  return store.transaction(async (tx) => {
    await lockIdentity(tx, identity);
    return insertLink(tx, audit, actor, identity, { userId, name, displayName, how: 'admin' }, {});
  });
}

async function insertLink(
  tx: Queryable,
  audit: AuditLog,
  actor: string,
  identity: Identity,
  link: { readonly userId: string; readonly name: string; readonly displayName: string | undefined; readonly how: 'code' | 'admin' },
  details: object,
): Promise<ChatLink> {
  const known = await findLink(tx, identity);
  if (known !== undefined) {
    if (known.user === link.name) return known;
    throw taken(identity);
  }
  // not disabled or erased meanwhile
  const { rowCount } = await tx.query('select 1 from users where user_id = $1 and disabled_at is null for share', [link.userId]);
  if (rowCount !== 1) throw new ChatError('USER_DISABLED', `${link.name} is disabled: nothing is linked to somebody who may do nothing`);
  const auditId = await audit.append(tx, {
    action: 'chat.link',
    actor,
    resource: `chat:${externalId(identity)}`,
    details: { user: link.name, how: link.how, ...details },
  });
  await tx.query(
    `insert into chat_links (platform, team, external_user, user_id, display_name, how, linked_by, audit_id) values ($1, $2, $3, $4, $5, $6, $7, $8)`,
    [...keyOf(identity), link.userId, link.displayName ?? null, link.how, actor, auditId],
  );
  return (await findLink(tx, identity)) as ChatLink;
}

function taken(identity: Identity): ChatError {
  return new ChatError('LINK_TAKEN', `${externalId(identity)} is linked to somebody else: unlink it first (centaur users unlink)`);
}

/**
 * @param owner whose it has to be; undefined: anybody's
 * @throws ChatError LINK_NOT_FOUND
 */
export async function unlink({ store, audit }: LinkParts, actor: string, identity: Identity, owner: string | undefined): Promise<ChatLink> {
  return store.transaction(async (tx) => {
    await lockIdentity(tx, identity);
    const known = await findLink(tx, identity);
    if (known === undefined || (owner !== undefined && known.user !== owner))
      throw new ChatError('LINK_NOT_FOUND', `${externalId(identity)} is not linked${owner === undefined ? '' : ' to you'}`);
    await audit.append(tx, {
      action: 'chat.unlink',
      actor,
      resource: `chat:${externalId(identity)}`,
      details: { user: known.user },
    });
    // whose it was is kept: they have asked for what was asked for by it
    await tx.query(
      `with gone as (delete from chat_links where platform = $1 and team = $2 and external_user = $3 returning user_id)
       insert into chat_former_links (platform, team, external_user, user_id) select $1, $2, $3, user_id from gone
       on conflict (platform, team, external_user, user_id) do update set ended_at = excluded.ended_at`,
      keyOf(identity),
    );
    // what was leased for a turn that was asked for by the account: in effect at once
    const accounts = [externalId(identity)];
    await endLeasesOfAsker(tx, audit, actor, { accounts, user: known.user, which: 'both', reason: 'the account was unlinked' });
    return known;
  });
}

/** @param owner whose; undefined: everybody's */
export async function listLinks(on: Queryable, owner: string | undefined): Promise<readonly ChatLink[]> {
  const { rows } = await on.query<LinkRow>(`${LINK} where $1::text is null or u.name = $1 order by platform, team, external_user`, [
    owner ?? null,
  ]);
  return rows.map(toLink);
}

/** Who that is now. Somebody who may do nothing any more is nobody. */
export async function identify(on: Queryable, identity: Identity): Promise<ChatPerson> {
  const person = await personOf(on, identity);
  if (person === undefined || person.disabled) return { principal: externalId(identity), user: null, role: null };
  return { principal: `user:${person.name}`, user: person.name, role: person.role };
}

export interface LinkedPerson {
  readonly name: string;
  readonly role: UserRole;
  readonly disabled: boolean;
  /** As gates name them. */
  readonly roles: readonly string[];
}

/** Undefined: nobody has linked it. */
export async function personOf(on: Queryable, identity: Identity): Promise<LinkedPerson | undefined> {
  const { rows } = await on.query<LinkedPerson>(
    `select u.name, u.role, u.disabled_at is not null as disabled,
       array(select r.role from principal_roles r where r.principal = 'user:' || u.name order by r.role) as roles
     from chat_links l join users u using (user_id) where l.platform = $1 and l.team = $2 and l.external_user = $3`,
    keyOf(identity),
  );
  return rows[0];
}

/** Forgets codes that are over. */
export async function pruneCodes({ store }: Pick<LinkParts, 'store'>): Promise<void> {
  await store.query('delete from chat_link_codes where expires_at <= $1', [new Date(store.now())]);
}

/** As it is stored. */
function keyOf(identity: Identity): [string, string, string] {
  const [platform = '', team = '', user = ''] = externalId(identity).split(':');
  return [platform, team, user];
}

/** One change of a link at a time: two codes for one account would both find it free. */
async function lockIdentity(tx: Queryable, identity: Identity): Promise<void> {
  await tx.query('select pg_advisory_xact_lock(7226026, hashtext($1))', [externalId(identity)]);
}

async function findLink(on: Queryable, identity: Identity): Promise<ChatLink | undefined> {
  const { rows } = await on.query<LinkRow>(`${LINK} where l.platform = $1 and l.team = $2 and l.external_user = $3`, keyOf(identity));
  return rows[0] && toLink(rows[0]);
}

const LINK = `select l.platform, l.team, l.external_user, l.display_name, u.name as user, l.how, l.linked_by, l.created_at
  from chat_links l join users u using (user_id)`;

type LinkRow = Omit<ChatLink, 'created_at'> & { readonly created_at: number };

const toLink = (row: LinkRow): ChatLink => ({ ...row, created_at: new Date(row.created_at).toISOString() });

/** As people type it: with or without the dash, in any letters. */
const plain = (code: string): string => code.toUpperCase().replaceAll(/[\s-]/g, '');

/** Codes are short: whoever reads the database must not be able to try them all. */
function macOf(macKey: Buffer, code: string): Buffer {
  const key = Buffer.from(hkdfSync('sha256', macKey, '', 'centaur chat link codes', 32));
  return createHmac('sha256', key).update(code).digest();
}
