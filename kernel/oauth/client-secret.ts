/** Another secret of an app's client: accounts that are connected by it go on with that one. */
import type { Queryable } from '../store/index.ts';
import { type Installation, lockTokens, openConnected, rotateSecretIn, VaultError } from '../vault/index.ts';
import type { OAuthApp } from './types.ts';

/** Values of `brokered_token` secrets, as this room writes them. */
export interface TokenValue {
  readonly refresh_token: string;
  readonly client_secret?: string;
}

/** Undefined for what this room has not written. Says nothing of what it was. */
export function readTokenValue(value: string): TokenValue | undefined {
  try {
    const read = JSON.parse(value) as Partial<TokenValue> | null;
    return typeof read?.refresh_token === 'string' ? (read as TokenValue) : undefined;
  } catch {
    return undefined;
  }
}

export function writeTokenValue(refreshToken: string, { client_secret: secret }: Pick<OAuthApp, 'client_secret'>): string {
  return JSON.stringify({ refresh_token: refreshToken, ...(secret === null ? {} : { client_secret: secret }) } satisfies TokenValue);
}

/**
 * In the transaction that stores the app, which has its row locked. A token belongs to the client that it was given to, so this is for an
 * app whose client and token endpoint stay the same.
 */
export async function takeClientSecret(tx: Queryable, { audit, master }: Installation, actor: string, app: OAuthApp): Promise<void> {
  const { rows } = await tx.query<{ connection_id: string; secret: string }>(
    `select connection_id::text, secret from oauth_connections where app = $1 and status in ('connected', 'broken') order by secret`,
    [app.name],
  );
  for (const { secret } of rows) await lockTokens(tx, secret);
  for (const { connection_id: connection, secret } of rows) {
    const held = await openConnected(master, tx, secret, connection).catch((error: unknown) => {
      // what is refused or cannot be opened has to be connected again, whatever the client's secret
      if (error instanceof VaultError) return undefined;
      throw error;
    });
    const tokens = held?.type === 'brokered_token' ? readTokenValue(held.value) : undefined;
    if (held === undefined || tokens === undefined) continue;
    const exchanged = { version: `v${held.version}`, connection };
    await rotateSecretIn(tx, { audit, master }, actor, secret, writeTokenValue(tokens.refresh_token, app), { exchanged });
  }
}
