/**
 * The roles that leases get in databases: each with a password of its own, for as long as the lease lasts.
 *
 * Such a role may do nothing but become the one whose rights are given, and a session begins as that one. So what a
 * session makes belongs to a role that stays, the next lease finds it, and the role of the lease can always be dropped.
 */
import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';
import pg from 'pg';
import { sqlState, type StoreLogEntry } from '../store/index.ts';
import type { LiveLease } from './lease-book.ts';

/** A database, and whose rights are given in it. */
export interface RoleBase {
  /** Tells it from the others that one lease may have. */
  readonly id: string;
  /** The role whose rights are given. */
  readonly grant: string;
  /** As whoever may make roles. */
  readonly owner: pg.ClientConfig;
}

/** For as long as it lasts: whatever is in `open` is called at its end. */
export type RoleHolder = Pick<LiveLease, 'leaseId' | 'expiresAt' | 'open'>;

export interface LeaseRole {
  readonly user: string;
  readonly password: string;
}

export interface LeaseRoles {
  /** One per lease and database, until the lease ends. */
  of(lease: RoleHolder, base: RoleBase): Promise<LeaseRole>;
  /** Waits for what is being dropped. */
  settled(): Promise<void>;
}

export const LEASE_ROLE_PREFIX = 'centaur_lease_';
export const SESSIONS_MOST = 10;
/** Until a session that is told to end has ended. */
const GONE_MS = 2000;

interface Held {
  readonly role: Promise<LeaseRole>;
  /** The end of the lease, as it was when the role was told of it. */
  readonly until: number;
}

export function createLeaseRoles(log: (entry: StoreLogEntry) => void): LeaseRoles {
  const roles = new Map<string, Held>();
  const dropping = new Set<Promise<void>>();

  function of(lease: RoleHolder, base: RoleBase): Promise<LeaseRole> {
    const id = `${lease.leaseId} ${base.id}`;
    const held = roles.get(id);
    const until = lease.expiresAt;
    if (held !== undefined && held.until >= until) return held.role;
    // a lease that was renewed keeps its role
    const role = held === undefined ? makeRole(base, until) : held.role.then((known) => prolongRole(base, known, until));
    const next = { role, until };
    roles.set(id, next);
    const end = () => {
      lease.open.delete(end);
      if (roles.get(id) !== next) return;
      roles.delete(id);
      const dropped = role
        .then((made) => dropRole(base, made))
        .catch(() => undefined)
        .finally(() => dropping.delete(dropped));
      dropping.add(dropped);
    };
    lease.open.add(end);
    role.catch(() => {
      lease.open.delete(end);
      if (roles.get(id) !== next) return;
      if (held === undefined) roles.delete(id);
      else roles.set(id, held);
    });
    return role;
  }

  async function dropRole(base: RoleBase, { user }: LeaseRole): Promise<void> {
    await asOwner(base, async (owner) => {
      await owner.query(`select pg_terminate_backend(pid, $2) from pg_stat_activity where usename = $1`, [user, GONE_MS]);
      // it can own nothing that lasts but large objects, and default rights for what it never makes
      await owner.query(`drop owned by ${user}`);
      await owner.query(`drop role if exists ${user}`);
    }).catch((error: Error) =>
      log({
        level: 'warn',
        message: 'the role of a lease could not be dropped; it is valid no longer than the lease was',
        role: user,
        error: error.message,
      }),
    );
  }

  return {
    of,
    async settled() {
      await Promise.all(dropping);
    },
  };
}

/** Runs `work` on a connection of its own. */
export async function asOwner(base: Pick<RoleBase, 'owner'>, work: (owner: pg.Client) => Promise<void>): Promise<void> {
  const owner = new pg.Client(base.owner);
  owner.on('error', () => undefined);
  await owner.connect();
  try {
    await work(owner);
  } finally {
    await owner.end().catch(() => undefined);
  }
}

/** What a session is opened with: it begins as the role that is granted, and is that again after `reset role`. */
export function sessionOptions(grant: string, settings: Readonly<Record<string, string>> = {}): string {
  return Object.entries({ role: grant, ...settings })
    .map(([name, value]) => `-c ${name}=${value.replaceAll(/[\s\\]/g, String.raw`\$&`)}`)
    .join(' ');
}

async function makeRole(base: RoleBase, expiresAt: number): Promise<LeaseRole> {
  const role = { user: `${LEASE_ROLE_PREFIX}${randomBytes(8).toString('hex')}`, password: randomBytes(24).toString('base64url') };
  await asOwner(base, async (owner) => {
    // of firewalls that were killed
    const { rows } = await owner.query<{ name: string }>(
      `select rolname as name from pg_roles where rolname like $1 and rolvaliduntil < now()
         and not exists (select from pg_stat_activity where usename = rolname)`,
      [`${LEASE_ROLE_PREFIX.replaceAll('_', String.raw`\_`)}%`],
    );
    for (const { name } of rows) await owner.query(`drop role if exists ${pg.escapeIdentifier(name)}`).catch(() => undefined);
    // the verifier and not the password: statements are logged. The owner is a member, which it needs for ending sessions
    await owner.query(
      `create role ${role.user} login noinherit password ${pg.escapeLiteral(scramVerifier(role.password))} valid until ${validUntil(expiresAt)}
         connection limit ${SESSIONS_MOST} in role ${pg.escapeIdentifier(base.grant)} role current_user`,
    );
  });
  return role;
}

async function prolongRole(base: RoleBase, role: LeaseRole, expiresAt: number): Promise<LeaseRole> {
  try {
    await asOwner(base, async (owner) => void (await owner.query(`alter role ${role.user} valid until ${validUntil(expiresAt)}`)));
    return role;
  } catch (error) {
    // no longer valid for a while, it was taken for one that was left behind
    if (sqlState(error) !== '42704') throw error;
    return makeRole(base, expiresAt);
  }
}

function validUntil(expiresAt: number): string {
  return pg.escapeLiteral(new Date(expiresAt).toISOString());
}

/** What Postgres keeps of a password (RFC 5803). */
function scramVerifier(password: string): string {
  const salt = randomBytes(16);
  const salted = pbkdf2Sync(password, salt, 4096, 32, 'sha256');
  const keyed = (text: string) => createHmac('sha256', salted).update(text).digest();
  const stored = createHash('sha256').update(keyed('Client Key')).digest('base64');
  return `SCRAM-SHA-256$4096:${salt.toString('base64')}$${stored}:${keyed('Server Key').toString('base64')}`;
}
