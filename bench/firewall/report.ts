/** The figures as a page of Markdown. */
import { readFileSync } from 'node:fs';
import os from 'node:os';

export type Firewalls = ReadonlyMap<string, number>;

export function report(figures: Firewalls, { repeat, idle }: { readonly repeat: number; readonly idle: number }): string {
  const get = (name: string) => figures.get(name) ?? Number.NaN;
  const show = (value: number, digits: number) =>
    Number.isNaN(value) ? '–' : value.toLocaleString('en', { maximumFractionDigits: digits, minimumFractionDigits: digits });
  const rows: readonly (readonly [label: string, name: string, digits: number])[] = [
    ['paced, 800 requests/s on 32 connections: p50 ms', 'paced p50 ms', 2],
    ['paced: p99 ms', 'paced p99 ms', 2],
    ['32 connections at full speed: requests/s', 'req/s', 0],
    ['full speed: p50 ms', 'full p50 ms', 2],
    ['requests/s per core of the proxy', 'req/s per core', 0],
    ['one stream: MB/s', 'MB/s', 0],
    ['server-sent event, from written to read: p50 ms', 'event ms', 2],
  ];
  const goals: readonly (readonly [goal: string, asked: string, value: number, unit: string, met: boolean])[] = [
    goal('added p50 of a paced request', get('ours paced p50 ms') - get('direct paced p50 ms'), 0.25, 'ms', 'most'),
    goal('added p99 of a paced request', get('ours paced p99 ms') - get('direct paced p99 ms'), 2, 'ms', 'most'),
    goal('requests/s per core', get('ours req/s per core'), 12_000, '', 'least'),
    goal('streamed with 50 secrets', get('ours MB/s'), 220, 'MB/s', 'least'),
    goal('added delay of a server-sent event, p50', get('ours event ms') - get('direct event ms'), 0.3, 'ms', 'most'),
    goal('an idle tunnel', get('ours KB per tunnel'), 100, 'KB', 'most'),
  ];
  return `# Benchmarks of the firewall

Written by \`npm run bench:firewall\`: medians of ${repeat}. ${os.cpus().length} cores, ${os.cpus()[0]?.model.trim()}, Node ${process.versions.node}.
Client, service, proxy and Postgres share the machine. Machines differ: read the figures beside one another.

| | direct | bare proxy | Centaur | mockttp |
| --- | --- | --- | --- | --- |
${rows.map(([label, name, digits]) => `| ${label} | ${show(get(`direct ${name}`), digits)} | ${show(get(`floor ${name}`), digits)} | **${show(get(`ours ${name}`), digits)}** | ${show(get(`mockttp ${name}`), digits)} |`).join('\n')}
| one stream with 500 secrets: MB/s | | | **${show(get('ours, 500 secrets MB/s'), 0)}** | |
| memory of an idle tunnel (${idle} of them): KB | | | **${show(get('ours KB per tunnel'), 0)}** | ${show(get('mockttp KB per tunnel'), 0)} |

One row committed by itself: p50 ${show(get('commit p50 ms'), 2)} ms, p99 ${show(get('commit p99 ms'), 2)} ms.

Of what Centaur adds to a paced request, the bare proxy and one commit make up ${show(get('floor paced p50 ms') - get('direct paced p50 ms') + get('commit p50 ms'), 2)} of ${show(get('ours paced p50 ms') - get('direct paced p50 ms'), 2)} ms. Per core it serves ${show(get('ours req/s per core') / get('floor req/s per core'), 2)} of the bare
proxy's requests, and ${show(get('ours req/s per core') / get('mockttp req/s per core'), 1)} times those of mockttp.

## Goals

| goal | asked | reached | |
| --- | --- | --- | --- |
${goals.map(([name, asked, value, unit, met]) => `| ${name} | ${asked} | ${show(value, value < 10 ? 2 : 0)} ${unit} | ${met ? 'met' : '**not met**'} |`).join('\n')}

## What is measured

Every request of Centaur's has a lease checked, its placeholder found and replaced, the policy decided, an audit entry
committed in Postgres before it is sent and one after, and its answer scanned for 50 secrets in all their encodings. TLS is
ended and begun anew. A paced request is sent at its moment, whether or not others are under way; at full speed each connection has one request under way at any time.

The bare proxy is the floor: Node, TLS on both sides and the same client library, and nothing that a firewall is for.
mockttp ${mockttpVersion()} is the peer: a proxy in the same language that ends TLS and puts the key into the same header, over HTTP/1.1. It
checks no lease, decides no policy, writes no log and scans nothing, so it does a part of the work.
`;
}

function mockttpVersion(): string {
  const text = readFileSync(new URL('../peers/firewall/package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { dependencies: Record<string, string> }).dependencies['mockttp'] ?? '';
}

function goal(
  name: string,
  value: number,
  bound: number,
  unit: string,
  kind: 'most' | 'least',
): readonly [string, string, number, string, boolean] {
  return [
    name,
    `${kind === 'most' ? '≤' : '≥'} ${bound.toLocaleString('en')} ${unit}`,
    value,
    unit,
    kind === 'most' ? value <= bound : value >= bound,
  ];
}
