/** How a secret is rotated, as its description declares it. */
import { canonicalJson } from '../../store/index.ts';
import { VaultError } from '../errors.ts';
import type { Shape } from '../placeholders.ts';
import { type HttpRotation, parseHttpRotation } from './requests.ts';

/**
 * `generate`: a random value, for what the other side reads from here. `postgres_role`: a new password for the role of a DSN.
 * `http`: requests by which a service makes a value and takes one back. `manual`: somebody does it, and the log says when.
 */
export const ROTATION_DRIVERS = ['generate', 'postgres_role', 'http', 'manual'] as const;
export type RotationDriver = (typeof ROTATION_DRIVERS)[number];

export interface RotationRequest {
  readonly every_seconds: number;
  readonly grace_seconds?: number | undefined;
  /** Default: `generate` where the option `generate` says what values are made of, else `manual`. */
  readonly driver?: RotationDriver | undefined;
  /**
   * Another secret, whose rights are used for it: of `postgres_role`, a DSN whose role may give this one a password; of `http`, what
   * stands as `{{admin}}` in requests to its hosts. It names this secret in its option `rotates`.
   */
  readonly admin_secret?: string | undefined;
  readonly http?: HttpRotation | undefined;
}

/** As it is stored. */
export interface Rotation {
  readonly every_seconds: number;
  readonly grace_seconds: number;
  readonly driver?: RotationDriver;
  readonly admin_secret?: string;
  readonly http?: HttpRotation;
}

interface Described {
  readonly type: string;
  readonly isSealed: boolean;
  readonly options: Readonly<Record<string, unknown>>;
}

/** @throws VaultError INVALID_SECRET naming the field */
export function parseRotation(request: RotationRequest, graceSeconds: number, described: Described): Rotation {
  const { every_seconds, grace_seconds = graceSeconds, driver, admin_secret, http } = request;
  if (driver !== undefined && !ROTATION_DRIVERS.includes(driver))
    throw invalid('driver', `expected ${ROTATION_DRIVERS.join(', ')}, got ${JSON.stringify(driver)}`);
  if (driver === 'generate' && described.options['generate'] === undefined)
    throw invalid('driver', 'generate needs the option "generate", which says what values are made of: {"length": 32}');
  if (driver !== undefined && driver !== 'manual' && !described.isSealed)
    throw invalid('driver', 'a secret that comes from a source is rotated there: only manual goes with a source');
  if (driver === 'postgres_role' && described.type !== 'pg_dsn')
    throw invalid('driver', `postgres_role goes with secrets of type pg_dsn, and this one is of type ${described.type}`);
  if (driver === 'http' && described.type !== 'http')
    throw invalid('driver', `http goes with secrets of type http, and this one is of type ${described.type}`);
  if ((driver === 'http') !== (http !== undefined)) throw invalid('http', 'the requests go with the driver http, and it with them');
  if (admin_secret !== undefined && driver !== 'postgres_role' && driver !== 'http')
    throw invalid('admin_secret', 'goes with the drivers postgres_role and http');
  return {
    every_seconds,
    grace_seconds,
    ...(driver === undefined ? {} : { driver }),
    ...(admin_secret === undefined ? {} : { admin_secret }),
    ...(http === undefined ? {} : { http: parseHttpRotation(http, admin_secret !== undefined) }),
  };
}

/** What new values are made of, for secrets that are rotated without anybody: `options.generate`. */
export function parseGenerate(options: Readonly<Record<string, unknown>>): Shape | undefined {
  const { generate } = options;
  if (generate === undefined) return undefined;
  const { prefix = '', length } = (typeof generate === 'object' ? (generate ?? {}) : {}) as { prefix?: unknown; length?: unknown };
  if (typeof prefix !== 'string' || !/^[\x21-\x7e]{0,40}$/.test(prefix))
    throw new VaultError('INVALID_SECRET', 'options.generate.prefix: expected up to 40 visible characters');
  if (typeof length !== 'number' || !Number.isInteger(length) || length < 24 || length > 200)
    throw new VaultError('INVALID_SECRET', 'options.generate.length: expected 24 to 200: random letters after the prefix');
  return { prefix, length };
}

export function driverOf({ driver }: Rotation, { isSealed, options }: Omit<Described, 'type'>): RotationDriver {
  return driver ?? (isSealed && options['generate'] !== undefined ? 'generate' : 'manual');
}

/**
 * The part that the description's MAC covers: whoever could write another one into the row could send values to a place of their
 * own. Rows of earlier releases name no driver, and have MACs without it. How often stays out where nothing else is declared.
 */
export function coveredRotation(rotation: string | null): { readonly rotation: Rotation } | undefined {
  const declared = rotation === null ? undefined : (JSON.parse(rotation) as Rotation);
  return declared?.driver === undefined ? undefined : { rotation: declared };
}

/**
 * Where the value of the secret, or the rights of another one, would newly be used. Whoever may describe a secret need not know it.
 *
 * @returns the field that asks for the value again
 */
export function newUse(before: string | null, next: Rotation | null): string | undefined {
  if (next?.driver !== 'postgres_role' && next?.driver !== 'http') return undefined;
  const known = before === null ? undefined : (JSON.parse(before) as Rotation);
  return (['driver', 'admin_secret', 'http'] as const)
    .filter((field) => canonicalJson(known?.[field] ?? null) !== canonicalJson(next[field] ?? null))
    .map((field) => `rotation.${field}`)[0];
}

function invalid(field: string, problem: string): VaultError {
  return new VaultError('INVALID_SECRET', `rotation.${field}: ${problem}`);
}
