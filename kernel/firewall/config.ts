/** Storing what firewalls obey. Apart from the firewall itself, so that the API need not load one. */
import { createHash } from 'node:crypto';
import type { AuditLog } from '../audit/index.ts';
import { canonicalJson, type Store } from '../store/index.ts';
import { type EgressConfig, readRules } from './rules.ts';

export { type EgressConfig, readRules } from './rules.ts';

export interface StoredConfig {
  readonly version: number;
  readonly created: boolean;
}

/**
 * A new version when it differs from the newest one; firewalls take it up within a second.
 *
 * @throws RangeError naming the field: then nothing is stored
 */
export async function storeEgressConfig(
  { store, audit }: { readonly store: Store; readonly audit: AuditLog },
  actor: string,
  config: EgressConfig,
): Promise<StoredConfig> {
  readRules(config);
  const text = canonicalJson(config);
  const digest = createHash('sha256').update(text).digest();
  return store.transaction(async (tx) => {
    await tx.query('select pg_advisory_xact_lock(7226014)');
    const { rows } = await tx.query<{ version: number; digest: Buffer }>(
      'select version, digest from firewall_configs order by version desc limit 1',
    );
    const [newest] = rows;
    if (newest?.digest.equals(digest) === true) return { version: newest.version, created: false };
    const auditId = await audit.append(tx, {
      action: 'egress.configure',
      actor,
      resource: 'egress',
      details: { digest: digest.toString('hex'), config: { ...config, ca_pems: config.ca_pems?.length ?? 0 } },
    });
    const { rows: made } = await tx.query<{ version: number }>(
      'insert into firewall_configs (digest, config, audit_id) values ($1, $2, $3) returning version',
      [digest, text, auditId],
    );
    await tx.query(`select pg_notify('centaur_firewall', '')`);
    return { version: made[0]?.version as number, created: true };
  });
}

export interface FirewallView {
  readonly process_id: string;
  readonly host: string;
  readonly address: string;
  readonly config_version: number | null;
  readonly policy_version: number | null;
  readonly problem: string | null;
  readonly seen_at: string;
}

/** Firewalls that were alive within the last 15 s. */
export async function listFirewalls(store: Store): Promise<readonly FirewallView[]> {
  const { rows } = await store.query<Omit<FirewallView, 'seen_at'> & { seen_at: number }>(
    `select process_id, host, address, config_version, policy_version, problem, seen_at from firewall_processes
     where seen_at > now() - interval '15 seconds' order by started_at`,
  );
  return rows.map((row) => ({ ...row, seen_at: new Date(row.seen_at).toISOString() }));
}
