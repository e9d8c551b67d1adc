/** A database that a client was let into, and what it has to pass before: the listener asks each door the same. */
import type pg from 'pg';
import type { Channel } from './exchange.ts';
import type { LeaseRole, RoleBase } from './lease-roles.ts';

/** One way in, chosen by what the client said. */
export interface Door {
  readonly channel: Channel;
  /** Everything that is decided before the audit entry. @throws RefusedError */
  admit(isGone: () => boolean): Promise<Admission>;
}

export interface Admission extends RoleBase {
  /** `postgres://host:port/database`, for the log. */
  readonly resource: string;
  /** For the log. */
  readonly details: Readonly<Record<string, unknown>>;
  /** How the session is opened. */
  session(role: LeaseRole): pg.ClientConfig;
  /** When the session is over. */
  left?(): void;
}
