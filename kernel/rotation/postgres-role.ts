/**
 * A new password for the role of a DSN. It is known here before the database hears of it, so whoever dies in between has lost nothing:
 * the next try finds out which of the two the database takes. A role has one password: the one before is good for nothing from then on.
 */
import pg from 'pg';
import { clientSettings, type Dsn, readDsn } from '../firewall/postgres-secret.ts';
import { presentRules } from '../firewall/present-rules.ts';
import { RefusedError } from '../firewall/target.ts';
import { createUpstreams } from '../firewall/upstream.ts';
import type { Store } from '../store/index.ts';
import { makePlaceholder, type OpenedRotation, type OpenedSecret, RotationError } from '../vault/index.ts';
import { scramVerifier } from './scram.ts';

/** 238 bits, of letters that mean the same in every address. */
const PASSWORD = { prefix: '', length: 40 };
const ANSWER_MS = 10_000;

/** The same address with a new password. @throws RotationError NOT_A_DSN */
export function withNewPassword(value: string): string {
  const url = URL.canParse(value) ? new URL(value) : undefined;
  if (url === undefined || url.username === '' || url.password === '') throw new RotationError('NOT_A_DSN');
  url.password = makePlaceholder(PASSWORD);
  return url.href;
}

/**
 * The database takes the new value when this is done.
 *
 * @param before is called before anything is changed there
 * @throws RotationError
 */
export async function setNewPassword(store: Store, opened: OpenedRotation, before: () => Promise<void>): Promise<void> {
  const next = await reach(store, opened.secret, opened.pending);
  const login = await tryLogin(next);
  // by a try that died behind it
  if (login === 'taken') return;
  // whoever took no look at it could neither try it nor see that it is in use
  if (login === 'not asked') throw new RotationError('NO_PASSWORD_ASKED');
  const owner = await ownerOf(store, opened, next);
  await withLogin(owner, async (client, asked) => {
    // whatever is tried as a password would be taken then
    if (opened.admin === undefined && !asked) throw new RotationError('NO_PASSWORD_ASKED');
    await before();
    await alter(client, next);
  });
}

/** @throws RotationError PROBE_FAILED, NO_PASSWORD_ASKED, UNREACHABLE */
export async function probePassword(store: Store, opened: OpenedRotation): Promise<void> {
  const outcome = await tryLogin(await reach(store, opened.secret, opened.pending));
  if (outcome === 'refused') throw new RotationError('PROBE_FAILED');
  if (outcome === 'not asked') throw new RotationError('NO_PASSWORD_ASKED');
}

/**
 * The database takes the present value again when this is done.
 *
 * @param wasSet `set`: a pooler with a list of its own may let the present value in, and the database behind it does not
 * @throws RotationError when that is not known
 */
export async function undoPassword(
  store: Store,
  opened: OpenedRotation,
  wasSet: 'set' | 'unknown',
  before: () => Promise<void>,
): Promise<void> {
  const present = await reach(store, opened.secret, opened.secret.value);
  const login = await tryLogin(present);
  if (login !== 'refused' && wasSet === 'unknown') return;
  const owner =
    opened.admin !== undefined
      ? await ownerOf(store, opened, present)
      : login === 'refused'
        ? await reach(store, opened.secret, opened.pending)
        : present;
  await withLogin(owner, async (client) => {
    await before();
    await alter(client, present);
  });
}

interface Reached {
  readonly dsn: Dsn;
  /** Dialled: it was checked. */
  readonly address: string;
}

/** Only where the secret itself may go, and by the rules of the way out. */
async function reach(store: Store, secret: OpenedSecret, value: string | undefined): Promise<Reached> {
  if (value === undefined) throw new RotationError('SUPERSEDED');
  const rules = await presentRules(store);
  const dsn = parse(secret, value, rules.caPems);
  const { target } = dsn;
  if (!secret.binding.hosts.some(({ host, port }) => host === target.host && port === target.port)) throw new RotationError('NOT_BOUND');
  if (!rules.isPortOpen(target)) throw new RotationError('ADDRESS_DENIED');
  const upstreams = createUpstreams({ ...rules, headersTimeoutMs: ANSWER_MS, idleTimeoutMs: ANSWER_MS });
  try {
    return { dsn, address: await upstreams.resolve(target) };
  } catch (error) {
    throw new RotationError(error instanceof RefusedError && error.code === 'ADDRESS_DENIED' ? 'ADDRESS_DENIED' : 'UNREACHABLE');
  } finally {
    await upstreams.close();
  }
}

function parse(secret: OpenedSecret, value: string, caPems: readonly string[]): Dsn {
  try {
    return readDsn({ name: secret.name, value }, caPems);
  } catch {
    throw new RotationError('NOT_A_DSN');
  }
}

/** By whose rights the password is changed: the admin's, on the same server, or the role's own. */
async function ownerOf(store: Store, { secret, admin }: OpenedRotation, { dsn }: Reached): Promise<Reached> {
  if (admin === undefined) return reach(store, secret, secret.value);
  if (admin.type !== 'pg_dsn') throw new RotationError('ADMIN_REFUSED');
  const owner = await reach(store, admin, admin.value);
  if (owner.dsn.target.host !== dsn.target.host || owner.dsn.target.port !== dsn.target.port) throw new RotationError('ADMIN_REFUSED');
  return owner;
}

async function alter(client: pg.Client, { dsn: { user, password } }: Reached): Promise<void> {
  // a statement of this kind takes no parameters
  const text = `alter role ${pg.escapeIdentifier(user)} password ${pg.escapeLiteral(scramVerifier(password))}`;
  await client.query(text).catch((error: unknown) => {
    throw new RotationError(error instanceof pg.DatabaseError ? 'ALTER_REFUSED' : 'UNREACHABLE');
  });
}

/** `not asked`: the database lets it in whatever it says. */
async function tryLogin(reached: Reached): Promise<'taken' | 'not asked' | 'refused'> {
  try {
    return await withLogin(reached, async (_, asked) => (asked ? 'taken' : 'not asked'));
  } catch (error) {
    if (error instanceof RotationError && error.code === 'LOGIN_REFUSED') return 'refused';
    throw error;
  }
}

async function withLogin<T>({ dsn, address }: Reached, work: (client: pg.Client, asked: boolean) => Promise<T>): Promise<T> {
  let asked = false;
  const client = new pg.Client({
    ...clientSettings(dsn, address),
    user: dsn.user,
    // called when the server asks for it, and not otherwise
    password: () => ((asked = true), dsn.password),
    query_timeout: ANSWER_MS,
    application_name: 'centaur rotation',
  });
  client.on('error', () => {});
  try {
    await client.connect().catch((error: unknown) => {
      // class 28: the role, or what it says of itself, is not accepted
      const isRefusal = error instanceof pg.DatabaseError && error.code?.startsWith('28') === true;
      throw new RotationError(isRefusal ? 'LOGIN_REFUSED' : 'UNREACHABLE');
    });
    return await work(client, asked);
  } finally {
    await client.end().catch(() => undefined);
  }
}
