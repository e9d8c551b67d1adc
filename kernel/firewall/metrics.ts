/** Counters and latencies of a firewall. */
import { createCounter, createHistogram, type Family, family, type MetricName } from '../telemetry/index.ts';

export interface FirewallMetrics {
  count(what: 'refused' | 'leaks' | 'tunnels', label: string): void;
  exchange(ms: number, bytes: number): void;
  /** Refusals are recorded one by one until a client makes too many of them; those beyond are counted. */
  mayRecord(peer: string): boolean;
  /** @param gauges of what is counted elsewhere @param more figures of others */
  families(gauges: Readonly<Partial<Record<MetricName, number>>>, more?: readonly Family[]): readonly Family[];
}

/** Recorded refusals of one client, per second. */
const RECORDED = 200;

export function createFirewallMetrics(): FirewallMetrics {
  const refused = createCounter('centaur_egress_refused_total');
  const leaks = createCounter('centaur_leak_hits_total');
  const tunnels = createCounter('centaur_egress_tunnels_total');
  const seconds = createHistogram('centaur_egress_seconds');
  let bytesOut = 0;
  let unrecorded = 0;
  let second = 0;
  let recorded = new Map<string, number>();

  return {
    count(what, label) {
      if (what === 'refused') refused.add({ code: label });
      else if (what === 'leaks') leaks.add({ secret: label });
      else tunnels.add({ kind: label });
    },
    exchange(ms, bytes) {
      seconds.add(ms / 1000);
      bytesOut += bytes;
    },
    mayRecord(peer) {
      const now = Math.floor(performance.now() / 1000);
      if (now !== second) {
        second = now;
        recorded = new Map();
      }
      const used = (recorded.get(peer) ?? 0) + 1;
      recorded.set(peer, used);
      if (used > RECORDED) unrecorded += 1;
      return used <= RECORDED;
    },
    families: (gauges, more = []) => [
      refused.family(),
      family('centaur_egress_refused_unrecorded_total', unrecorded),
      leaks.family(),
      tunnels.family(),
      family('centaur_egress_answer_bytes_total', bytesOut),
      seconds.family(),
      ...Object.entries(gauges).map(([name, value]) => family(name as MetricName, value)),
      ...more,
    ],
  };
}
