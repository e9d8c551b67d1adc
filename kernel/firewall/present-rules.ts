/** The rules of the way out as they are now, for those who go out by themselves. */
import type { Queryable } from '../store/index.ts';
import { type EgressConfig, type EgressRules, readRules } from './rules.ts';

export async function presentRules(store: Queryable): Promise<EgressRules> {
  const { rows } = await store.query<{ config: string }>('select config from firewall_configs order by version desc limit 1');
  return readRules(rows[0] === undefined ? {} : (JSON.parse(rows[0].config) as EgressConfig));
}
