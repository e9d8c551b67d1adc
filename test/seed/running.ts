/**
 * The installation for the sentences of "Inside a running system": two tools, some workflows, a service that does as it is told, a receiver of
 * telemetry, and what the tests of both files do with them.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { type Service, startService } from '../support/firewall.ts';
import { type OtlpServer, startOtlpServer } from '../support/otlp.ts';
import { freePort } from '../support/ports.ts';
import { eventually } from '../support/wait.ts';
import { watchConnections } from './connections.ts';
import { type Answer, type FollowOptions, type Installation, startInstallation } from './installation.ts';

/** A machine that others use too is slow. */
export const PATIENCE = { timeoutMs: 240_000 };
export const LIMIT = { timeout: 900_000 };
export const BANK_KEY = 'sk-bank-Real0Key1With2Enough3Letters';
export const TURNING_KEY = 'sk_turning_First0Value1With2Enough3Letters';
export const DASHBOARD_KEY = 'dd-Real0Key1With2Enough3Letters';

/** A task of three steps, each of which asks the service, and hands on what it said. */
const order = (url: string) => `export const WORKFLOW_NAME = 'order';
const tell = async (path: string) => {
  const answer = await fetch('${url}' + path, { method: 'POST', headers: { authorization: 'Bearer ' + process.env.ORDER_KEY } });
  if (answer.status !== 200) throw new Error('the service answered ' + answer.status);
  return await answer.text();
};
export async function handler(input: any, ctx: any) {
  const reserved = await ctx.step('reserve', () => tell('/reserve/' + input.id));
  const charged = await ctx.step('charge', () => tell('/charge/' + input.id + '/' + reserved));
  const shipped = await ctx.step('ship', () => tell('/ship/' + input.id + '/' + charged));
  return [reserved, charged, shipped];
}
`;

/** Says something as long as the service does not say stop. */
const ticks = (url: string) => `export const WORKFLOW_NAME = 'ticks';
export async function handler(input: any, ctx: any) {
  for (let n = 1; ; n++) {
    const said = await ctx.step('tick', async () => {
      const answer = await fetch('${url}/tick/' + n, { headers: { authorization: 'Bearer ' + process.env.ORDER_KEY } });
      return n + ' ' + await answer.text();
    }, { retry: { maxAttempts: 20, delay: '200ms' } });
    if (said.endsWith('stop')) return n;
    await ctx.step('pause', () => new Promise((resolve) => setTimeout(resolve, 50)));
  }
}
`;

const HANDOFF = `export const WORKFLOW_NAME = 'handoff';
export async function handler(input: any, ctx: any) {
  const found = await ctx.runAgent('research', { text: 'say: fact ' + input.id, harness: 'demo' });
  const go = await ctx.waitForEvent('go', { eventType: 'go', correlationId: input.id, timeout: '2m' });
  const written = await ctx.runAgent('write', { text: 'say: written from ' + found.result_text + ', ' + go.by, harness: 'demo' });
  return written.result_text;
}
`;

/** A step of each kind. */
const KINDS = `export const WORKFLOW_NAME = 'kinds';
export async function handler(input: any, ctx: any) {
  await ctx.step('look', () => 'seen');
  await ctx.step('fail', () => { throw new Error('no'); }).catch(() => 0);
  await ctx.sleep('rest', 20);
  await ctx.waitForEvent('hear', { eventType: 'go', correlationId: input.id, timeout: '2m' });
  await ctx.waitForEvent('miss', { eventType: 'never', correlationId: input.id, timeout: 50 }).catch(() => 0);
  await ctx.callTool('bank', 'look', {});
  await ctx.runWorkflow('delegate', { workflow: 'child', input: {} });
  return 'done';
}
`;
const CHILD = `export const WORKFLOW_NAME = 'child';
export async function handler(input: any, ctx: any) { return ctx.step('only', () => 1); }
`;

/** Asks an agent, which asks a tool. */
const CLERK = `export const WORKFLOW_NAME = 'clerk';
export async function handler(input: any, ctx: any) {
  await ctx.step('begin', () => 'begun');
  const answer = await ctx.runAgent('pay', { text: "run: centaur-tools call bank pay '" + JSON.stringify({ note: input.note }) + "'", harness: 'demo' });
  return answer.result_text;
}
`;

/** Sends a request with its own key, or with what it is given in its place. */
const caller = (name: string) => `export const WORKFLOW_NAME = '${name}';
export async function handler(input: any, ctx: any) {
  return ctx.step('ask', async () => {
    const key = input.use ?? process.env.${name.toUpperCase()}_KEY;
    const answer = await fetch(input.url, { headers: { 'x-api-key': key } });
    return { status: answer.status, said: await answer.text(), key, names: Object.keys(process.env).filter((each) => each.endsWith('_KEY')) };
  });
}
`;

const bank = ({ url, host }: { url: string; host: string }) => `import { defineTool, method, secret } from '@centaur/sdk';
const input = { type: 'object', properties: { note: { type: 'string' }, url: { type: 'string' } } } as const;
const send = async (url: string, note = '') => {
  const answer = await fetch(url, { method: 'POST', headers: { 'x-api-key': secret('BANK_KEY') }, body: note });
  return { status: answer.status, said: await answer.text(), key: secret('BANK_KEY') };
};
export default defineTool({
  description: 'Moves money.',
  secrets: [{ name: 'BANK_KEY', hosts: ['${host}'] }],
  methods: {
    look: method({ description: 'Reads.', risk: 'read', input, run: ({ note, url }: any) => send(url ?? '${url}/look', note) }),
    note: method({ description: 'Writes.', risk: 'write', input, run: ({ note }: any) => send('${url}/note', note) }),
    pay: method({ description: 'Pays.', risk: 'financial', input, run: ({ note }: any) => send('${url}/pay', note) }),
  },
});
`;

/** Another integration, with a key for the same host. */
const post = ({ url, host }: { url: string; host: string }) => `import { defineTool, method, secret } from '@centaur/sdk';
export default defineTool({
  description: 'Sends letters.',
  secrets: [{ name: 'POST_KEY', hosts: ['${host}'] }],
  methods: {
    send: method({ description: 'Sends.', risk: 'read', input: { type: 'object', properties: { use: { type: 'string' } } } as const, async run({ use }: any) {
      const foreign = (() => { try { return secret('BANK_KEY'); } catch { return null; } })();
      const answer = await fetch('${url}/post', { headers: { 'x-api-key': use ?? secret('POST_KEY') } });
      return { status: answer.status, said: await answer.text(), foreign, names: Object.keys(process.env).filter((each) => each.endsWith('_KEY')) };
    } }),
  },
});
`;

export let t: Installation;
/** A service that no secret is bound to. */
export let other: Service;
export let otlp: OtlpServer;
export let watch: ReturnType<typeof watchConnections>;
/** The session of a person who decides. */
let approver = '';
export let firewallMetrics = 0;
/** First words of paths: those that are refused, those that are not answered yet, and who waits there. */
export const refused = new Set<string>();
export const held = new Set<string>();
export const waiting: (() => void)[] = [];
/** What the service answers to `ticks`. */
export const says: { tick: 'go' | 'stop' } = { tick: 'go' };

/** For `before`. */
export async function begin(): Promise<void> {
  otlp = await startOtlpServer();
  other = await startService((_, response) => void response.end('elsewhere'));
  firewallMetrics = await freePort();
  t = await startInstallation({
    env: {
      // where sandboxes that outlive their server look for it again
      FIREWALL_PORT: String(await freePort()),
      FIREWALL_POSTGRES_PORT: '0',
      FIREWALL_METRICS_PORT: String(firewallMetrics),
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: otlp.url,
      OTEL_EXPORTER_OTLP_HEADERS: `dd-api-key=${DASHBOARD_KEY}`,
      OTEL_BSP_SCHEDULE_DELAY: '100',
    },
    handler: (request, response) => {
      const [, what = ''] = (request.url ?? '').split('/');
      if (refused.has(what)) {
        response.statusCode = 500;
        return void response.end('not today');
      }
      if (what === 'tick') return void response.end(says.tick);
      // what a careless service does
      if (what === 'echo') return void response.end(`yours is ${String(request.headers['x-api-key'])}, it was ${TURNING_KEY}`);
      // new each time: a step that ran twice would be seen
      const answer = () => void response.end(`${what}-${randomUUID().slice(0, 8)}`);
      if (held.has(what)) waiting.push(answer);
      else answer();
    },
    files: (service) => ({
      'tools/bank/tool.ts': bank(service),
      'tools/post/tool.ts': post(service),
      'workflows/order.ts': order(service.url),
      'workflows/ticks.ts': ticks(service.url),
      'workflows/handoff.ts': HANDOFF,
      'workflows/kinds.ts': KINDS,
      'workflows/child.ts': CHILD,
      'workflows/clerk.ts': CLERK,
      'workflows/a.ts': caller('a'),
      'workflows/b.ts': caller('b'),
    }),
    secrets: (host) => ({
      BANK_KEY: [BANK_KEY, '--for', 'bank'],
      POST_KEY: ['sk-post-Real0Key1With2Enough3Letters', '--for', 'post'],
      ORDER_KEY: ['sk-order-Real0Key1With2Enough3Letters', '--host', host],
      B_KEY: ['sk-b-Real0Key1With2Enough3Letters', '--host', host],
    }),
  });
  watch = watchConnections([t.server.place.folder]);
  // a value that is made anew by nobody but the schedule
  const turning = await t.ask('PUT', '/api/secrets/A_KEY', {
    value: TURNING_KEY,
    hosts: [new URL(t.url).host],
    rotation: { every_seconds: 3600, grace_seconds: 3600 },
    options: { generate: { prefix: 'sk_turning_', length: 32 } },
  });
  assert.equal(turning.status, 200, JSON.stringify(turning.body));
  // an hour passes
  await t.sql(`update secret_versions set created_at = created_at - interval '1 hour 1 minute' where name = 'A_KEY'`);
  for (const [workflow, secret] of [
    ['order', 'ORDER_KEY'],
    ['ticks', 'ORDER_KEY'],
    ['a', 'A_KEY'],
    ['b', 'B_KEY'],
  ] as const)
    await t.server.centaur('grants', 'add', `workflow:${workflow}`, secret);
  approver = await t.person('ann', 'approver');
}

/** For `after`. */
export async function end(): Promise<void> {
  watch.stop();
  for (const answer of waiting.splice(0)) answer();
  await t[Symbol.asyncDispose]();
  await other[Symbol.asyncDispose]();
  await otlp[Symbol.asyncDispose]();
}

export const arrived = (path: string) => t.service.seen.filter(({ url }) => url.startsWith(path));

export async function start(workflow: string, input: object = {}): Promise<string> {
  const { status, body } = await t.ask('POST', '/workflows/runs', { workflow_name: workflow, input });
  assert.equal(status, 201, JSON.stringify(body));
  return body.run_id;
}

export async function read(at: string): Promise<Answer> {
  const { status, body } = await t.ask('GET', at);
  assert.equal(status, 200, JSON.stringify(body));
  return body;
}

export async function all(at: string, options?: FollowOptions): Promise<Answer[]> {
  const seen: Answer[] = [];
  for await (const { id, event, data } of t.follow(at, options)) seen.push({ id, event, data: JSON.parse(data) });
  return seen;
}

/** What a person is asked about something, once they are. */
export const asked = (about: string): Promise<Answer> =>
  eventually(async () => {
    const { items } = await read('/api/approvals?state=pending');
    return items.find(({ summary }: Answer) => JSON.stringify(summary).includes(about));
  }, PATIENCE);

export async function approve({ approval_id }: Answer): Promise<void> {
  const { status, body } = await t.ask('POST', `/api/approvals/${approval_id}/approve`, { reason: 'ticket 4711' }, approver);
  assert.deepEqual([status, body.state], [200, 'approved'], JSON.stringify(body));
}

export const ofTrace = (run: string, server = otlp) => server.spans.filter(({ traceId }) => traceId === run.replaceAll('-', ''));

/** Name with labels to value, of the API and of the firewall. */
export async function scrape(url = t.server.url, firewall = firewallMetrics, token?: string): Promise<ReadonlyMap<string, number>> {
  const ofApi = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${token ?? (await metricsKey())}` } });
  assert.equal(ofApi.status, 200);
  assert.match(ofApi.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/);
  const ofFirewall = await fetch(`http://127.0.0.1:${firewall}/metrics`);
  const samples = new Map<string, number>();
  for (const line of `${await ofApi.text()}${await ofFirewall.text()}`.split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    const [, name = '', value] =
      /^([a-zA-Z_:][\w:]*(?:\{(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\.)*",?)*\})?) (\S+)$/.exec(line) ?? assert.fail(line);
    samples.set(name, Number(value));
  }
  return samples;
}

let ofMetrics = '';
/** One that may do nothing else, as a dashboard has it. */
async function metricsKey(): Promise<string> {
  ofMetrics ||=
    (await t.server.centaur('keys', 'create', 'dashboard', '--scope', 'metrics.read'))
      .trim()
      .split(/\s+/)
      .find((word) => word.startsWith('ck_')) ?? '';
  return ofMetrics;
}

/** Names of all figures that are told, without labels. */
export const familiesTold = async (): Promise<ReadonlySet<string>> =>
  new Set([...(await scrape()).keys()].map((name) => name.split('{', 1)[0] as string));

/** Outcomes are written behind the answers: until there is one for each intent. */
export const settled = (which: string, value: string) =>
  eventually(async () => {
    const open = await t.sql(
      `select 1 from audit_log i where i.action in ('tool.call', 'egress.intent') and ${which} and not exists (select from audit_log o where o.intent_id = i.audit_id)`,
      [value],
    );
    return open.length === 0;
  }, PATIENCE);
