/** Whom a provider means: found by issuer and subject, and the first time by an address that the provider has verified. */
import type { Queryable } from '../store/index.ts';
import { checkEmail, insertUser, lockUser, lockUsers, NAME, type Parts, refuseLastAdmin, type UserRow } from './accounts.ts';
import { UserError } from './errors.ts';
import type { UserRole } from './types.ts';

/** What a provider has said, and we have verified that it did. */
export interface Claims {
  readonly issuer: string;
  readonly subject: string;
  /** Undefined unless the provider says that it is verified. */
  readonly email: string | undefined;
  readonly displayName: string | undefined;
  /** What it would like to be called. */
  readonly nickname: string | undefined;
  /** By the provider's groups; undefined: they say nothing. */
  readonly role: UserRole | undefined;
}

/** What the operator has said about whom a provider knows. */
export interface Admission {
  /** Undefined: of any domain, who was invited. */
  readonly emailDomains: readonly string[] | undefined;
  /** Undefined: whoever is not here must be invited. */
  readonly newcomers: UserRole | undefined;
}

/** @throws UserError SIGN_IN_REFUSED for whoever is not to come in */
export async function admit(tx: Queryable, parts: Parts, claims: Claims, admission: Admission): Promise<UserRow> {
  // of two first sign-ins of one person, the second finds what the first has made
  await lockUsers(tx);
  const known = (await findLinked(tx, claims)) ?? (await link(tx, parts, claims, admission));
  if (known.disabled_at !== null) throw refused();
  return claims.role === undefined || claims.role === known.role ? known : takeRole(tx, parts, known, claims.role);
}

async function findLinked(tx: Queryable, { issuer, subject }: Claims): Promise<UserRow | undefined> {
  const { rows } = await tx.query<UserRow>(
    'select u.*, u.user_id::text from user_identities i join users u using (user_id) where i.issuer = $1 and i.subject = $2 for update of u',
    [issuer, subject],
  );
  return rows[0];
}

async function link(tx: Queryable, parts: Parts, claims: Claims, { emailDomains, newcomers }: Admission): Promise<UserRow> {
  const email = readEmail(claims.email);
  if (email === null) throw refused();
  if (emailDomains !== undefined && !emailDomains.includes(email.slice(email.indexOf('@') + 1))) throw refused();
  const { rows } = await tx.query<UserRow>('select *, user_id::text from users where email = $1 for update', [email]);
  const invited = rows[0];
  if (invited === undefined && newcomers === undefined) throw refused();
  // an address may be given to somebody else one day: whoever has an account at this provider is not the one who comes with it
  if (invited !== undefined && (await hasIdentity(tx, invited, claims.issuer))) throw refused();
  const user =
    invited ??
    (await insertUser(tx, parts, `oidc:${claims.issuer}`, {
      name: await freeName(tx, claims.nickname ?? email),
      display_name: readDisplayName(claims.displayName),
      role: claims.role ?? (newcomers as UserRole),
      email,
    }));
  await parts.audit.append(tx, {
    action: 'user.link',
    actor: `oidc:${claims.issuer}`,
    resource: `user:${user.name}`,
    details: { issuer: claims.issuer, subject: claims.subject.slice(0, 255) },
  });
  await tx.query('insert into user_identities (issuer, subject, user_id, created_at) values ($1, $2, $3, $4)', [
    claims.issuer,
    claims.subject,
    user.user_id,
    new Date(parts.now()),
  ]);
  return user;
}

async function hasIdentity(tx: Queryable, { user_id }: UserRow, issuer: string): Promise<boolean> {
  return (await tx.query('select 1 from user_identities where user_id = $1 and issuer = $2', [user_id, issuer])).rowCount > 0;
}

/** The last admin stays one, whatever the groups say: or a slip at the provider would lock everybody out. */
async function takeRole(tx: Queryable, { audit, now }: Parts, known: UserRow, role: UserRole): Promise<UserRow> {
  const user = await lockUser(tx, known.name);
  try {
    await refuseLastAdmin(tx, user, 'demoted');
  } catch (error) {
    if (error instanceof UserError && error.code === 'LAST_ADMIN') return user;
    throw error;
  }
  await audit.append(tx, {
    action: 'user.change',
    actor: 'oidc',
    resource: `user:${user.name}`,
    details: { before: { role: user.role }, after: { role } },
  });
  await tx.query('update users set role = $2, updated_at = $3 where user_id = $1', [user.user_id, role, new Date(now())]);
  return { ...user, role };
}

/**
 * `Ann.Lee@example.com` becomes `ann.lee`, or `ann.lee-2` where somebody is, or was, called that. People choose what a provider calls
 * them, so it is no name either that something is given to already: a role, a secret, an account, a vote. Only an admin gives that away.
 */
async function freeName(tx: Queryable, wish: string): Promise<string> {
  const [before = ''] = wish.toLowerCase().split('@');
  const slug = before
    .replaceAll(/[^a-z0-9._-]+/g, '-')
    .replace(/^[^a-z0-9]+/, '')
    .slice(0, 58);
  const base = NAME.test(slug) ? slug : 'user';
  const { rows } = await tx.query<{ name: string }>(
    `select name from users where starts_with(name, $1)
     union select lower(substr(principal, 6)) from principal_roles where starts_with(lower(principal), 'user:' || $1)
     union select lower(substr(principal, 6)) from grants where revoked_at is null and starts_with(lower(principal), 'user:' || $1)
     union select lower(user_name) from oauth_connections where starts_with(lower(user_name), $1)
     union select lower(named[1]) from policy_versions, regexp_matches(source, 'user:([A-Za-z0-9._-]+)', 'g') as named where state = 'active'`,
    [base],
  );
  const taken = new Set(rows.map(({ name }) => name));
  for (let n = 1; ; n++) {
    const name = n === 1 ? base : `${base}-${n}`;
    if (!taken.has(name)) return name;
  }
}

function readEmail(email: string | undefined): string | null {
  try {
    return checkEmail(email ?? null);
  } catch {
    return null;
  }
}

function readDisplayName(name: string | undefined): string | undefined {
  const plain = name
    ?.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '')
    .toWellFormed()
    .trim()
    .slice(0, 100);
  return plain === '' ? undefined : plain;
}

function refused(): UserError {
  return new UserError(
    'SIGN_IN_REFUSED',
    'the provider knows you, but you may not sign in here: ask an admin to invite you with the address that you have there',
  );
}
