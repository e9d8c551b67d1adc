/** Counters and latencies, in the text format of Prometheus. */

export interface FirewallMetrics {
  count(what: 'refused' | 'leaks' | 'tunnels', label: string): void;
  exchange(ms: number, bytes: number): void;
  /** Refusals are recorded one by one until a client makes too many of them; those beyond are counted. */
  mayRecord(peer: string): boolean;
  /** @param gauges name and value of what is counted elsewhere */
  text(gauges: Readonly<Record<string, number>>): string;
}

const BUCKETS_MS = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 60_000];
/** Recorded refusals of one client, per second. */
const RECORDED = 200;

export function createFirewallMetrics(): FirewallMetrics {
  const counts = { refused: new Map<string, number>(), leaks: new Map<string, number>(), tunnels: new Map<string, number>() };
  const buckets = BUCKETS_MS.map(() => 0);
  let exchanges = 0;
  let total = 0;
  let bytesOut = 0;
  let unrecorded = 0;
  let second = 0;
  let recorded = new Map<string, number>();

  return {
    count(what, label) {
      counts[what].set(label, (counts[what].get(label) ?? 0) + 1);
    },
    exchange(ms, bytes) {
      exchanges += 1;
      total += ms;
      bytesOut += bytes;
      for (const [i, most] of BUCKETS_MS.entries()) if (ms <= most) buckets[i] = (buckets[i] as number) + 1;
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
    text(gauges) {
      const lines: string[] = [];
      const metric = (name: string, type: string, help: string, samples: readonly [string, number][]) =>
        lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...samples.map(([labels, value]) => `${name}${labels} ${value}`));
      const labelled = (label: string, map: ReadonlyMap<string, number>) =>
        [...map].map(([value, count]): [string, number] => [`{${label}="${value.replaceAll(/[^\w.-]/g, '_')}"}`, count]);
      metric('centaur_egress_refused_total', 'counter', 'Requests that were refused, by code', labelled('code', counts.refused));
      metric('centaur_egress_refused_unrecorded_total', 'counter', 'Refusals beyond what is recorded one by one', [['', unrecorded]]);
      metric('centaur_leak_hits_total', 'counter', 'Answers with a secret in them, by secret', labelled('secret', counts.leaks));
      metric('centaur_egress_tunnels_total', 'counter', 'Tunnels opened, by kind', labelled('kind', counts.tunnels));
      metric('centaur_egress_answer_bytes_total', 'counter', 'Bytes of answers sent on', [['', bytesOut]]);
      metric('centaur_egress_seconds', 'histogram', 'From the first line of a request to the end of its answer', [
        ...BUCKETS_MS.map((most, i): [string, number] => [`_bucket{le="${most / 1000}"}`, buckets[i] as number]),
        ['_bucket{le="+Inf"}', exchanges],
        ['_sum', total / 1000],
        ['_count', exchanges],
      ]);
      for (const [name, value] of Object.entries(gauges)) metric(name, 'gauge', name.replaceAll('_', ' '), [['', value]]);
      return `${lines.join('\n')}\n`;
    },
  };
}
