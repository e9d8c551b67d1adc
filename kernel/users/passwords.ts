/**
 * Passwords as argon2id in Node's own crypto. A hash says by which parameters it was made, so that they may grow: who signs in with
 * fewer gets a new hash. A check takes 19 MiB for as long as it lasts, so few go on at a time and few wait.
 */
import { argon2, randomBytes, timingSafeEqual } from 'node:crypto';
import { UserError } from './errors.ts';

/** KiB, rounds and lanes. */
export interface PasswordCost {
  readonly memory: number;
  readonly passes: number;
  readonly parallelism: number;
}

/** The least that OWASP's cheat sheet on password storage asks for: as much as a machine with two cores gives to a sign-in. */
const COST: PasswordCost = { memory: 19_456, passes: 2, parallelism: 1 };
const TAG_BYTES = 32;
const SALT_BYTES = 16;
const AT_ONCE = 2;
const WAITING_MOST = 32;

export const PASSWORD_LEAST = 12;
const PASSWORD_MOST = 1000;

export interface Passwords {
  /** @throws UserError SIGN_IN_BUSY */
  hash(password: string): Promise<string>;
  /**
   * As much work for nobody's password as for somebody's.
   *
   * @param hash null: there is none, and the answer is no
   * @throws UserError SIGN_IN_BUSY
   */
  verify(password: string, hash: string | null): Promise<'wrong' | 'right' | 'right, but made with other parameters'>;
}

export function createPasswords(cost: PasswordCost = COST): Passwords {
  let running = 0;
  const waiting: (() => void)[] = [];
  /** What is compared with where there is no hash: nothing hashes to it. */
  const nobody = formatHash(cost, randomBytes(SALT_BYTES), randomBytes(TAG_BYTES));

  async function inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (running >= AT_ONCE) {
      if (waiting.length >= WAITING_MOST)
        throw new UserError('SIGN_IN_BUSY', 'too many passwords are being checked just now; try again in a moment', { 'retry-after': '2' });
      // whoever ends hands its place on, so nobody slips in between
      await new Promise<void>((resolve) => waiting.push(resolve));
    } else running++;
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      if (next === undefined) running--;
      else next();
    }
  }

  return {
    hash: (password) =>
      inTurn(async () => {
        const salt = randomBytes(SALT_BYTES);
        return formatHash(cost, salt, await derive(password, salt, cost));
      }),
    verify: (password, hash) =>
      inTurn(async () => {
        const { cost: made, salt, tag } = parseHash(hash ?? nobody);
        const isSame = timingSafeEqual(await derive(password, salt, made), tag);
        if (!isSame || hash === null) return 'wrong';
        const isCurrent = made.memory === cost.memory && made.passes === cost.passes && made.parallelism === cost.parallelism;
        return isCurrent ? 'right' : 'right, but made with other parameters';
      }),
  };
}

/** Length, and nothing else: rules about signs make passwords worse. @throws UserError INVALID_USER */
export function checkPassword(password: string, field: string): void {
  const { length } = Array.from(password.normalize('NFC'));
  if (length < PASSWORD_LEAST) throw new UserError('INVALID_USER', `${field}: expected at least ${PASSWORD_LEAST} characters`);
  if (length > PASSWORD_MOST) throw new UserError('INVALID_USER', `${field}: expected at most ${PASSWORD_MOST} characters`);
}

/** For an admin to hand on: 100 bits, without signs that look alike. */
export function makeTemporaryPassword(): string {
  const letters = 'abcdefghjkmnpqrstuvwxyz23456789';
  const taken: string[] = [];
  // those above the last whole multiple would make some letters likelier
  while (taken.length < 20) for (const byte of randomBytes(32)) if (byte < 248 && taken.length < 20) taken.push(letters.charAt(byte % 31));
  return [0, 5, 10, 15].map((at) => taken.slice(at, at + 5).join('')).join('-');
}

/** The same keys on another keyboard may make other code points of the same text. */
function derive(password: string, salt: Buffer, { memory, passes, parallelism }: PasswordCost): Promise<Buffer> {
  const message = Buffer.from(password.normalize('NFC'), 'utf8');
  return new Promise((resolve, reject) => {
    argon2('argon2id', { message, nonce: salt, memory, passes, parallelism, tagLength: TAG_BYTES }, (error, tag) =>
      error === null || error === undefined ? resolve(tag) : reject(error),
    );
  });
}

const unpadded = (bytes: Buffer): string => bytes.toString('base64').replaceAll('=', '');

/** The form of the reference implementation, which other programs read too. */
function formatHash({ memory, passes, parallelism }: PasswordCost, salt: Buffer, tag: Buffer): string {
  return `$argon2id$v=19$m=${memory},t=${passes},p=${parallelism}$${unpadded(salt)}$${unpadded(tag)}`;
}

function parseHash(hash: string): { readonly cost: PasswordCost; readonly salt: Buffer; readonly tag: Buffer } {
  const found = /^\$argon2id\$v=19\$m=(\d{1,8}),t=(\d{1,4}),p=(\d{1,3})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]{43})$/.exec(hash);
  if (found === null) throw new Error('a password hash in the database is not as it was written');
  const [, memory, passes, parallelism, salt = '', tag = ''] = found;
  return {
    cost: { memory: Number(memory), passes: Number(passes), parallelism: Number(parallelism) },
    salt: Buffer.from(salt, 'base64'),
    tag: Buffer.from(tag, 'base64'),
  };
}
